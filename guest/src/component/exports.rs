//! The exports of the component: the logic, with the types of the WIT package.

mod batch;
mod doctor;
mod feature;

use std::cell::RefCell;
use std::sync::Once;

use super::bindings::exports::wreckit::batch::batch as wit;
use super::bindings::wreckit::batch::{filesystem, process};
use super::imports::Imports;
use crate::io::capabilities::{Capabilities, FsError, Kind, Level, Liveness};
use crate::io::lock::Holder;
use crate::io::tree::{Failure, Tree};
use crate::session::Session;

pub(super) struct Component;

thread_local! {
    /// The one session of the instance.
    static SESSION: RefCell<Option<Session>> = const { RefCell::new(None) };
}

/// The tree of an instance over `.wreckit`.
fn tree() -> Tree<'static> {
    hear_panics();
    Tree::new(&Imports)
}

/// The tree of an instance over the features of a repository.
fn features() -> Tree<'static> {
    hear_panics();
    Tree::of(&Imports, &crate::formats::layout::FEATURES)
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

impl From<Liveness> for process::Liveness {
    fn from(liveness: Liveness) -> Self {
        match liveness {
            Liveness::Running => process::Liveness::Running,
            Liveness::Exited => process::Liveness::Exited,
            Liveness::Unknown => process::Liveness::Unknown,
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
            momentary: holder.momentary,
        }
    }
}
