//! Everything that can end a command, with its message, what to do about it, and its exit code.

use crate::agents::NoProgram;
use crate::config::ConfigError;
use crate::engine::ComponentError;
use crate::engine::batch::{Holder, OpenError, StorageFailure, Unresolved};
use crate::engine::doctor::RepairError;
use crate::engine::filesystem::{Error as FileError, Kind};
use crate::engine::process::Liveness;
use crate::repository::{RepositoryError, STATE};

use super::exit_code::ExitCode;

/// Why a command ended early.
#[derive(Debug)]
pub(super) enum Error {
    /// Wrong arguments, and what would be right.
    Usage {
        message: String,
        hint: Option<String>,
    },
    Repository(RepositoryError),
    Config(ConfigError),
    NoProgram(NoProgram),
    Busy(Box<Holder>),
    Storage(StorageFailure),
    Component(ComponentError),
    /// Something else of the system's.
    Failed(String),
}

impl Error {
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Error::Usage { message: message.into(), hint: None }
    }

    pub(super) fn failed(error: &impl ToString) -> Self {
        Error::Failed(error.to_string())
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        match self {
            Error::Usage { .. } | Error::Repository(_) | Error::Config(_) | Error::NoProgram(_) => {
                ExitCode::Usage
            }
            Error::Busy(_) => ExitCode::Busy,
            Error::Storage(_) | Error::Failed(_) => ExitCode::Failure,
            Error::Component(_) => ExitCode::Component,
        }
    }

    pub(super) fn message(&self) -> String {
        match self {
            Error::Usage { message, .. } | Error::Failed(message) => message.clone(),
            Error::Repository(error) => error.to_string(),
            Error::Config(error) => error.to_string(),
            Error::NoProgram(error) => error.to_string(),
            Error::Busy(holder) => busy(holder),
            Error::Storage(failure) => storage(failure),
            Error::Component(error) => error.to_string(),
        }
    }

    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Error::Usage { hint, .. } => hint.clone(),
            Error::Repository(RepositoryError::NotFound(_)) => Some(
                "`wreckit-host init` makes one here; `wreckit-host run --demo` shows a batch without one".to_owned(),
            ),
            Error::Repository(_) => None,
            Error::Config(error) => Some(error.hint()),
            Error::NoProgram(_) => Some(format!(
                "install it, or set agent.command in {STATE}/config.json; `--mock-agent` runs without one"
            )),
            Error::Busy(holder) if holder.locked => {
                Some("wait until it has ended; `wreckit-host status` shows how far it is".to_owned())
            }
            Error::Busy(_) => {
                Some("if you know that it has ended, `--take-over` goes on with its session".to_owned())
            }
            Error::Storage(_) => {
                Some("nothing that was acknowledged is lost; mend the cause and run again".to_owned())
            }
            Error::Component(_) => Some(
                "agents were ended and the saved progress is valid: the next run goes on from there".to_owned(),
            ),
            Error::Failed(_) => None,
        }
    }
}

/// Who else works here, as far as it is known.
fn busy(holder: &Holder) -> String {
    let session = holder.session.as_ref().map(|session| format!("session {session}"));
    let pid = holder.pid.map(|pid| format!("pid {pid}"));
    let since = holder.since.as_ref().map(|since| format!("started {since}"));
    let parts: Vec<String> = [session, pid, since].into_iter().flatten().collect();
    let who = if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) };
    match (holder.locked, holder.liveness) {
        (true, _) => format!("another batch, fix or `next` is running on this repository{who}"),
        (false, Some(Liveness::Running)) => {
            format!("another batch is running on this repository{who}")
        }
        (false, _) => format!(
            "another batch may be running on this repository{who}: its process cannot be seen from here"
        ),
    }
}

/// A storage failure in one line.
pub(super) fn storage(failure: &StorageFailure) -> String {
    let why = match &failure.error {
        FileError::NotFound => "there is no such file or directory".to_owned(),
        FileError::Exists => "it exists already".to_owned(),
        FileError::Outside => "the path leads out of the directory".to_owned(),
        FileError::WrongKind(Kind::Directory) => "it is a directory".to_owned(),
        FileError::WrongKind(_) => "it is not a regular file".to_owned(),
        FileError::TooLarge(size) => format!("it has {size} bytes, which is too much"),
        FileError::Failed(words) => words.clone(),
    };
    format!("cannot {} {STATE}/{}: {why}", failure.operation, failure.path)
}

impl From<RepositoryError> for Error {
    fn from(error: RepositoryError) -> Self {
        Error::Repository(error)
    }
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        Error::Config(error)
    }
}

impl From<NoProgram> for Error {
    fn from(error: NoProgram) -> Self {
        Error::NoProgram(error)
    }
}

impl From<ComponentError> for Error {
    fn from(error: ComponentError) -> Self {
        Error::Component(error)
    }
}

impl From<StorageFailure> for Error {
    fn from(failure: StorageFailure) -> Self {
        Error::Storage(failure)
    }
}

impl From<OpenError> for Error {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Busy(holder) => Error::Busy(Box::new(holder)),
            OpenError::UnknownItem(words) => Error::Usage {
                message: format!("there is no item {:?}", words.given),
                hint: Some(match words.candidates.is_empty() {
                    true => "`wreckit-host status` lists the items".to_owned(),
                    false => format!("did you mean {}?", words.candidates.join(", ")),
                }),
            },
            OpenError::AmbiguousItem(Unresolved { given, candidates }) => Error::Usage {
                message: format!("{given:?} fits more than one item"),
                hint: Some(format!("say which: {}", candidates.join(", "))),
            },
            OpenError::AlreadyOpen => {
                Error::Component(ComponentError::Nonsense("a session is open already".to_owned()))
            }
            OpenError::Storage(failure) => Error::Storage(failure),
        }
    }
}

impl From<RepairError> for Error {
    fn from(error: RepairError) -> Self {
        match error {
            RepairError::Busy(holder) => Error::Busy(Box::new(holder)),
            RepairError::UnknownBackup => Error::Usage {
                message: "there is no such backup".to_owned(),
                hint: Some("`wreckit-host backups list` lists them".to_owned()),
            },
            RepairError::InvalidBackup(why) => {
                Error::Failed(format!("the backup cannot be used: {why}"))
            }
            RepairError::Storage(failure) => Error::Storage(failure),
        }
    }
}
