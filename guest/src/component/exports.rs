//! The exports of the component: the logic, with the types of the WIT package.

mod batch;
mod doctor;
mod feature;

use std::cell::RefCell;
use std::sync::Once;

use super::bindings::exports::wreckit::batch::batch as wit;
use super::bindings::wreckit::batch::{filesystem, process};
use super::imports::Imports;
use crate::io::capabilities::{Capabilities, FsError, Kind, Level, ProcessStatus};
use crate::io::host::{Failure, Host};
use crate::io::lock::Holder;
use crate::session::Session;

pub(super) struct Component;

thread_local! {
    /// The one session of the instance.
    static SESSION: RefCell<Option<Session>> = const { RefCell::new(None) };
}

/// The host of an instance over `.wreckit`.
fn host() -> Host<'static> {
    hear_panics();
    Host::new(&Imports)
}

/// The host of an instance over the features of a repository.
fn features() -> Host<'static> {
    hear_panics();
    Host::with_layout(&Imports, &crate::formats::layout::FEATURES)
}

/// A panic from here on reaches the user before the trap does.
fn hear_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            Imports.log(Level::Error, &format!("the component panicked: {panic}"))
        }));
    });
}

impl From<Failure> for wit::StorageFailure {
    fn from(failure: Failure) -> Self {
        wit::StorageFailure {
            operation: failure.operation.to_owned(),
            path: failure.path,
            error: match failure.error {
                FsError::NotFound => filesystem::Error::NotFound,
                FsError::Exists => filesystem::Error::Exists,
                FsError::Outside => filesystem::Error::Outside,
                FsError::WrongKind(kind) => filesystem::Error::WrongKind(match kind {
                    Kind::File => filesystem::Kind::File,
                    Kind::Directory => filesystem::Kind::Directory,
                    Kind::Link => filesystem::Kind::Link,
                    Kind::Other => filesystem::Kind::Other,
                }),
                FsError::TooLarge(size) => filesystem::Error::TooLarge(size),
                FsError::Full(words) => filesystem::Error::Full(words),
                FsError::CrossesDevices => filesystem::Error::CrossesDevices,
                FsError::Failed(words) => filesystem::Error::Failed(words),
            },
        }
    }
}

impl From<ProcessStatus> for process::ProcessStatus {
    fn from(liveness: ProcessStatus) -> Self {
        match liveness {
            ProcessStatus::Running => process::ProcessStatus::Running,
            ProcessStatus::Exited => process::ProcessStatus::Exited,
            ProcessStatus::Unknown => process::ProcessStatus::Unknown,
        }
    }
}

impl From<Holder> for wit::Holder {
    fn from(holder: Holder) -> Self {
        wit::Holder {
            session: holder.session,
            pid: holder.pid,
            since: holder.since,
            liveness: holder.liveness.map(Into::into),
            locked: holder.locked,
            transient: holder.transient,
        }
    }
}
