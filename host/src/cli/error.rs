//! Everything that can end a command, with its message, what to do about it, and its exit code.

use std::collections::BTreeSet;

use crate::agents::AgentError;
use crate::config::ConfigError;
use crate::engine::batch::{AddError, Holder, OpenError, StorageFailure, Unresolved};
use crate::engine::doctor::RepairError;
use crate::engine::feature::{FeatureError, IllegalMove};
use crate::engine::process::Liveness;
use crate::engine::process::Worker;
use crate::engine::{ComponentError, describe};
use crate::features::FEATURES;
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
    Agent(AgentError),
    Busy(Box<Holder>),
    /// Another run of a feature, a repair or a change.
    FeatureBusy(Box<Holder>),
    /// Agents of an interrupted batch could not be ended.
    Orphaned(Vec<Worker>),
    /// In this directory of the repository.
    Storage(&'static str, StorageFailure),
    Component(ComponentError),
    /// What cannot be done with a feature as it is, and what can.
    Illegal {
        message: String,
        legal: Vec<String>,
    },
    /// A feature's file is damaged.
    Damaged(String),
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
            Error::Usage { .. } | Error::Repository(_) | Error::Config(_) | Error::Agent(_) => {
                ExitCode::Usage
            }
            Error::Busy(_) | Error::FeatureBusy(_) => ExitCode::Busy,
            Error::Orphaned(_)
            | Error::Storage(..)
            | Error::Failed(_)
            | Error::Illegal { .. }
            | Error::Damaged(_) => ExitCode::Failure,
            // The system's limit, and nothing was begun.
            Error::Component(ComponentError::NoThread(_)) => ExitCode::Failure,
            Error::Component(_) => ExitCode::Component,
        }
    }

    pub(super) fn message(&self) -> String {
        match self {
            Error::Usage { message, .. } | Error::Failed(message) | Error::Damaged(message) => {
                message.clone()
            }
            Error::Repository(error) => error.to_string(),
            Error::Config(error) => error.to_string(),
            Error::Agent(error) => error.to_string(),
            Error::Busy(holder) => busy(holder),
            Error::FeatureBusy(holder) => {
                format!(
                    "a feature of this repository is being run, mended or changed{}",
                    who(holder)
                )
            }
            Error::Orphaned(workers) => orphaned(workers),
            Error::Storage(place, failure) => describe(place, failure),
            Error::Illegal { message, .. } => message.clone(),
            Error::Component(error) => error.to_string(),
        }
    }

    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Error::Usage { hint, .. } => hint.clone(),
            Error::Repository(error) => error.hint(),
            Error::Config(error) => Some(error.hint()),
            Error::Agent(AgentError::NoProgram { .. }) => Some(format!(
                "install it, or set agent.command in {STATE}/config.json; `--mock-agent` runs without one"
            )),
            Error::Agent(AgentError::Prompt(_)) => Some(
                "mend the file (`{{name}}` and `{{#if name}}…{{/if}}` are filled in), or remove it for the default".to_owned(),
            ),
            Error::Agent(AgentError::NoComponent { .. }) => Some(format!(
                "set agent.component in {STATE}/config.json to a `wasi:cli/command` component; the path counts from the repository's root"
            )),
            Error::Orphaned(workers) if workers.iter().all(|worker| !worker.proven) => Some(
                "if they are agents, end them (`kill PID`) and run again; if they are not, `wreckit-host run --take-over` leaves them alone".to_owned(),
            ),
            Error::Orphaned(_) => Some(
                "end them (`kill -9 PID`; what hangs in the kernel ends with the machine), then run again".to_owned(),
            ),
            Error::FeatureBusy(holder) if holder.liveness == Some(Liveness::Unknown) => {
                Some(out_of_sight("wreckit-host feature run ID --take-over"))
            }
            Error::FeatureBusy(_) => Some(
                "wait until it has ended; `wreckit-host feature list` shows where they are".to_owned(),
            ),
            Error::Busy(holder) if holder.locked => {
                Some("wait until it has ended; `wreckit-host status` shows how far it is".to_owned())
            }
            Error::Busy(holder) if holder.liveness == Some(Liveness::Unknown) => {
                Some(out_of_sight("wreckit-host run --take-over"))
            }
            Error::Busy(_) => {
                Some("if you know that it has ended, `--take-over` goes on with its session".to_owned())
            }
            Error::Damaged(_) => Some(
                "`wreckit-host doctor` says whether a backup can be brought back, `doctor --fix` does it".to_owned(),
            ),
            Error::Illegal { legal, .. } if legal.is_empty() => None,
            Error::Illegal { legal, .. } => Some(format!("what can be done now: {}", legal.join(", "))),
            Error::Storage(..) => {
                Some("nothing that was acknowledged is lost; mend the cause and run again".to_owned())
            }
            Error::Component(ComponentError::NoThread(_)) => Some(
                "nothing was changed; end some processes or raise their limit (`ulimit -u`, `pids.max` of the container), then run again".to_owned(),
            ),
            Error::Component(_) => Some(
                "what was acknowledged is on disk, and agents were ended: the next run goes on from there".to_owned(),
            ),
            Error::Failed(_) => None,
        }
    }
}

/// What to do about a process that is not visible from here.
fn out_of_sight(command: &str) -> String {
    format!(
        "it ran in another container (PID namespace) or on another machine; once you know that it and its agents have ended, `{command}` goes on with its session"
    )
}

/// Who else works here, as far as it is known.
fn who(holder: &Holder) -> String {
    let session = holder.session.as_ref().map(|session| format!("session {session}"));
    let pid = holder.pid.map(|pid| format!("pid {pid}"));
    let since = holder.since.as_ref().map(|since| format!("started {since}"));
    let parts: Vec<String> = [session, pid, since].into_iter().flatten().collect();
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
}

fn busy(holder: &Holder) -> String {
    let who = who(holder);
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

/// What is in the way of a batch.
fn orphaned(workers: &[Worker]) -> String {
    // A process may be found twice: by its marker and as the leader of a group.
    let pids: BTreeSet<u64> = workers.iter().map(|worker| worker.pid).collect();
    let pids: Vec<String> = pids.iter().map(ToString::to_string).collect();
    let pids = pids.join(", ");
    match workers.iter().all(|worker| !worker.proven) {
        true => format!(
            "processes still run that the journal of an interrupted batch names, or that carry the mark of this repository, and nothing proves that they are its agents: pid {pids}"
        ),
        false => {
            format!("agents of an interrupted batch still run and could not be ended: pid {pids}")
        }
    }
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

impl From<AgentError> for Error {
    fn from(error: AgentError) -> Self {
        Error::Agent(error)
    }
}

impl From<ComponentError> for Error {
    fn from(error: ComponentError) -> Self {
        Error::Component(error)
    }
}

impl From<StorageFailure> for Error {
    fn from(failure: StorageFailure) -> Self {
        Error::Storage(STATE, failure)
    }
}

impl From<AddError> for Error {
    fn from(error: AddError) -> Self {
        match error {
            AddError::Busy => Error::Failed(
                "another process is adding items to this repository: try again".to_owned(),
            ),
            AddError::Storage(failure) => failure.into(),
        }
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
            OpenError::Orphaned(workers) => Error::Orphaned(workers),
            OpenError::Storage(failure) => Error::Storage(STATE, failure),
        }
    }
}

impl Error {
    /// Of the features' directory, which could not be opened or made.
    pub(super) fn of_features(operation: &str, error: RepositoryError) -> Self {
        match error {
            RepositoryError::Unreadable { error, .. }
            | RepositoryError::NoDirectory { error, .. } => {
                Error::Failed(format!("cannot {operation} {FEATURES}: {error}"))
            }
            error => Error::Repository(error),
        }
    }

    /// Of a repair in this directory of the repository.
    pub(super) fn of_repair(error: RepairError, place: &'static str) -> Self {
        match error {
            RepairError::Busy(holder) if place == FEATURES => Error::FeatureBusy(Box::new(holder)),
            RepairError::Busy(holder) => Error::Busy(Box::new(holder)),
            RepairError::UnknownBackup => Error::Usage {
                message: "there is no such backup".to_owned(),
                hint: Some("`wreckit-host backups list` lists them".to_owned()),
            },
            RepairError::Changed(paths) => Error::Usage {
                message: format!(
                    "these were changed since the backup was made, or nobody can tell: {}; nothing was restored",
                    paths
                        .iter()
                        .map(|path| format!("{place}/{path}"))
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
                hint: Some(format!(
                    "what the backup holds stands in the directory of its name in {place}/{}: copy from it by hand what you want",
                    if place == FEATURES { ".backups" } else { "backups" }
                )),
            },
            RepairError::InvalidBackup(why) => {
                Error::Failed(format!("the backup cannot be used: {why}"))
            }
            RepairError::Storage(failure) => Error::Storage(place, failure),
        }
    }
}

impl From<FeatureError> for Error {
    fn from(error: FeatureError) -> Self {
        match error {
            FeatureError::Busy(holder) => Error::FeatureBusy(Box::new(holder)),
            FeatureError::UnknownFeature(words) => Error::Usage {
                message: format!("there is no feature {:?}", words.given),
                hint: Some(match words.candidates.is_empty() {
                    true => "`wreckit-host feature new NAME` makes one".to_owned(),
                    false => format!("there are {}", words.candidates.join(", ")),
                }),
            },
            FeatureError::AmbiguousFeature(words) => Error::Usage {
                message: format!("{:?} fits more than one feature", words.given),
                hint: Some(format!("say one of {}", words.candidates.join(", "))),
            },
            FeatureError::Invalid(message) => Error::usage(message),
            FeatureError::Illegal(IllegalMove { message, legal }) => {
                Error::Illegal { message, legal }
            }
            FeatureError::Corrupt(message) => Error::Damaged(message),
            FeatureError::Storage(failure) => Error::Storage(FEATURES, failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_found_twice_is_named_once() {
        let worker = |pid| Worker { pid, start_time: None, item: None, since: None, proven: true };
        let message = Error::Orphaned(vec![worker(7), worker(8), worker(7)]).message();
        assert!(message.ends_with(": pid 7, 8"), "{message}");
    }
}
