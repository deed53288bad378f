//! Everything that can end a command, with its message, what to do about it, and its exit code.

use std::collections::BTreeSet;
use std::fmt::Display;

use crate::engine::ComponentError;
use crate::exit_code::ExitCode;
use crate::report::output::{Output, Tone};
use crate::report::storage_failure;
use crate::repository::{FEATURES, RepositoryError, STATE};
use crate::run::AgentError;
use crate::wit::batch::{AddError, ConfigurationProblem, OpenError, Unresolved};
use crate::wit::doctor::RepairError;
use crate::wit::feature::{FeatureError, IllegalMove};
use crate::wit::processes::ProcessStatus;
use crate::wit::session::{Holder, StorageFailure};
use crate::wit::terminator::Leftover;

/// Why a command ended early.
#[derive(Debug)]
pub(super) enum Error {
    /// The arguments are invalid; what would be valid.
    Usage { message: String, hint: Option<String> },
    /// The repository cannot be used.
    Repository(RepositoryError),
    /// The configuration cannot be used.
    Configuration(Vec<ConfigurationProblem>),
    /// The configured agent cannot be used.
    Agent(AgentError),
    /// Another process is using this root.
    Busy(Box<Holder>, Root),
    /// Leftover processes of an interrupted session are running.
    Leftovers(Vec<Leftover>, Root),
    /// A file operation below this root failed.
    Storage(Root, StorageFailure),
    /// The component failed. No agents were running.
    Component(ComponentError),
    /// The component failed during a session, and its agents were ended.
    Aborted(ComponentError),
    /// The state of a feature does not permit it; what it permits.
    Illegal { message: String, legal: Vec<String> },
    /// A feature's file is damaged.
    Damaged(String),
    /// Files have changed since a backup was made.
    Changed { root: Root, id: String, paths: Vec<String> },
    /// Anything else.
    Unexpected(anyhow::Error),
}

/// The root of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Root {
    /// `.wreckit`.
    Batch,
    /// The directory of the features.
    Features,
}

impl Root {
    /// Returns its path relative to the root of the repository.
    pub(super) fn path(self) -> &'static str {
        match self {
            Root::Batch => STATE,
            Root::Features => FEATURES,
        }
    }

    /// Returns its backups relative to the root of the repository.
    fn backups(self) -> String {
        match self {
            Root::Batch => format!("{STATE}/backups"),
            Root::Features => format!("{FEATURES}/.backups"),
        }
    }

    fn take_over(self) -> &'static str {
        match self {
            Root::Batch => "wreckit-host run --take-over",
            Root::Features => "wreckit-host feature run ID --take-over",
        }
    }
}

impl Error {
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Error::Usage { message: message.into(), hint: None }
    }

    pub(super) fn failed(message: impl Into<String>) -> Self {
        Error::Unexpected(anyhow::Error::msg(message.into()))
    }

    /// Converts an unexpected error, with what failed.
    pub(super) fn unexpected<E>(
        context: impl Display + Send + Sync + 'static,
    ) -> impl FnOnce(E) -> Self
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        move |error| Error::Unexpected(anyhow::Error::new(error).context(context))
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        match self {
            Error::Usage { .. }
            | Error::Repository(_)
            | Error::Configuration(_)
            | Error::Agent(_)
            | Error::Changed { .. } => ExitCode::Usage,
            // The file that `--component` names, or that it was given at all.
            Error::Component(ComponentError::Unreadable { .. } | ComponentError::NoCompiler) => {
                ExitCode::Usage
            }
            Error::Busy(..) => ExitCode::Busy,
            // The system's limit, and nothing was started.
            Error::Component(ComponentError::NoThread(_))
            | Error::Leftovers(..)
            | Error::Storage(..)
            | Error::Illegal { .. }
            | Error::Damaged(_)
            | Error::Unexpected(_) => ExitCode::Failure,
            Error::Component(_) | Error::Aborted(_) => ExitCode::Component,
        }
    }

    /// Prints the message and what to do about it.
    pub(super) fn print(&self, output: Output) {
        if let Error::Configuration(problems) = self {
            for problem in problems {
                output.line(Tone::Error, &problem.message);
            }
        } else {
            output.line(Tone::Error, &self.message());
        }
        if let Some(hint) = self.hint() {
            output.lines(Tone::Hint, &hint.lines().collect::<Vec<_>>());
        }
    }

    pub(super) fn message(&self) -> String {
        match self {
            Error::Usage { message, .. } | Error::Damaged(message) => message.clone(),
            Error::Repository(error) => error.to_string(),
            Error::Configuration(problems) => {
                let messages: Vec<&str> = problems.iter().map(|it| it.message.as_str()).collect();
                messages.join("; ")
            }
            Error::Agent(error) => format!("the agent cannot be started: {error}"),
            Error::Busy(holder, root) => busy(holder, *root),
            Error::Leftovers(leftovers, _) => leftover(leftovers),
            Error::Storage(root, failure) => storage_failure(root.path(), failure),
            Error::Illegal { message, .. } => message.clone(),
            Error::Component(error) | Error::Aborted(error) => error.to_string(),
            Error::Changed { root, paths, .. } => {
                let path = |path: &String| format!("{}/{path}", root.path());
                format!(
                    "Not restored. These files changed since the repair, or cannot be verified: {}",
                    paths.iter().map(path).collect::<Vec<_>>().join(", ")
                )
            }
            Error::Unexpected(error) => format!("{error:#}"),
        }
    }

    pub(super) fn hint(&self) -> Option<String> {
        Some(match self {
            Error::Usage { hint, .. } => return hint.clone(),
            Error::Repository(error) => return error.hint(),
            Error::Configuration(problems) => return configuration_hint(problems),
            Error::Agent(AgentError::NoProgram(_)) => format!(
                "install it, or set agent.command in {STATE}/config.json; `--mock-agent` runs without one"
            ),
            Error::Agent(AgentError::NoComponent { .. }) => format!(
                "set agent.component in {STATE}/config.json to a `wasi:cli/command` component; the path is relative to the root of the repository"
            ),
            Error::Busy(holder, root) => busy_hint(holder, *root),
            Error::Leftovers(leftovers, root) => leftover_hint(leftovers, *root),
            Error::Damaged(_) => {
                "`wreckit-host doctor` shows whether a backup can be restored, `doctor --fix` restores it".to_owned()
            }
            Error::Illegal { legal, .. } if legal.is_empty() => return None,
            Error::Illegal { legal, .. } => format!("possible now: {}", legal.join(", ")),
            Error::Storage(..) => {
                "No results were lost. Fix the problem above and run again.".to_owned()
            }
            Error::Component(ComponentError::NoThread(_)) => {
                "nothing was changed; end some processes or raise their limit (`ulimit -u`, `pids.max` of the container), then run again".to_owned()
            }
            Error::Component(
                ComponentError::Unreadable { .. }
                | ComponentError::Unusable(_)
                | ComponentError::NoCompiler,
            ) => return None,
            Error::Component(_) => "acknowledged results are on disk".to_owned(),
            Error::Aborted(_) => {
                "acknowledged results are on disk, and the agents were ended: the next run continues from there".to_owned()
            }
            Error::Changed { root, id, .. } => {
                format!("To recover files by hand, copy them from {}/{id}/", root.backups())
            }
            Error::Unexpected(_) => return None,
        })
    }
}

/// Returns the hints of all problems, each once.
fn configuration_hint(problems: &[ConfigurationProblem]) -> Option<String> {
    let mut hints: Vec<&str> = Vec::new();
    for hint in problems.iter().filter_map(|problem| problem.hint.as_deref()) {
        if !hints.contains(&hint) {
            hints.push(hint);
        }
    }
    (!hints.is_empty()).then(|| hints.join("\n"))
}

/// Says what to do about a process that is not visible from here.
fn out_of_sight(command: &str) -> String {
    format!(
        "it ran in another container (PID namespace) or on another machine; once you know that it and its agents have exited, `{command}` continues its session"
    )
}

fn busy_hint(holder: &Holder, root: Root) -> String {
    match root {
        Root::Batch if holder.locked => {
            "wait until it has finished; `wreckit-host status` shows its progress".to_owned()
        }
        _ if holder.status == Some(ProcessStatus::Unknown) => out_of_sight(root.take_over()),
        Root::Batch => {
            "if you know that it has exited, `--take-over` continues its session".to_owned()
        }
        Root::Features => {
            "wait until it has finished; `wreckit-host feature list` shows the progress".to_owned()
        }
    }
}

fn busy(holder: &Holder, root: Root) -> String {
    let pid = holder.pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
    let what = match root {
        Root::Batch => "this repository",
        Root::Features => "the features of this repository",
    };
    let session = holder.session.as_ref().map(|session| format!("session {session}"));
    let since = holder.since.as_ref().map(|since| format!("started {since}"));
    let details: Vec<String> = [session, since].into_iter().flatten().collect();
    let details = match details.is_empty() {
        true => String::new(),
        false => format!(": {}", details.join(", ")),
    };
    match holder.locked || holder.status == Some(ProcessStatus::Running) {
        true => format!("Another wreckit-host process{pid} is using {what}{details}"),
        false => format!(
            "Another wreckit-host process{pid} may be using {what}, and is not visible from here{details}"
        ),
    }
}

fn leftover(leftovers: &[Leftover]) -> String {
    let pids: BTreeSet<u64> = leftovers.iter().map(|leftover| leftover.process.pid).collect();
    let pids: Vec<String> = pids.iter().map(ToString::to_string).collect();
    let pids = pids.join(", ");
    match leftovers.iter().all(|leftover| !leftover.proven) {
        true => format!(
            "Processes are running that may be agents of an interrupted session, but are not proven to be: pid {pids}"
        ),
        false => {
            format!(
                "Agents of an interrupted session are still running and could not be ended: pid {pids}"
            )
        }
    }
}

fn leftover_hint(leftovers: &[Leftover], root: Root) -> String {
    match leftovers.iter().all(|leftover| !leftover.proven) {
        true => format!(
            "if they are agents, end them (`kill PID`) and run again; otherwise `{}` ignores them",
            root.take_over()
        ),
        false => {
            "end them (`kill -9 PID`; a process that hangs in the kernel ends with a reboot), then run again".to_owned()
        }
    }
}

impl From<RepositoryError> for Error {
    fn from(error: RepositoryError) -> Self {
        Error::Repository(error)
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

impl From<AddError> for Error {
    fn from(error: AddError) -> Self {
        match error {
            AddError::Busy => {
                Error::failed("another process is adding items to this repository: try again")
            }
            AddError::WrongRoot(why) => wrong_root(Root::Batch, &why),
            AddError::Storage(failure) => Error::Storage(Root::Batch, failure),
        }
    }
}

impl From<OpenError> for Error {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Busy(holder) => Error::Busy(Box::new(holder), Root::Batch),
            OpenError::UnknownItem(Unresolved { given, candidates }) => Error::Usage {
                message: format!("unknown item {given:?}"),
                hint: Some(match candidates.is_empty() {
                    true => "`wreckit-host status` lists the items".to_owned(),
                    false => format!("did you mean {}?", candidates.join(", ")),
                }),
            },
            OpenError::AmbiguousItem(unresolved) => ambiguous(&unresolved),
            OpenError::AlreadyOpen => already_open(),
            OpenError::WrongRoot(why) => wrong_root(Root::Batch, &why),
            OpenError::Configuration(problems) => Error::Configuration(problems),
            OpenError::Terminating(_) => still_terminating(),
            OpenError::Leftovers(leftovers) => Error::Leftovers(leftovers, Root::Batch),
            OpenError::Storage(failure) => Error::Storage(Root::Batch, failure),
        }
    }
}

impl From<FeatureError> for Error {
    fn from(error: FeatureError) -> Self {
        match error {
            FeatureError::Busy(holder) => Error::Busy(Box::new(holder), Root::Features),
            FeatureError::UnknownFeature(Unresolved { given, candidates }) => Error::Usage {
                message: format!("unknown feature {given:?}"),
                hint: Some(match candidates.is_empty() {
                    true => "`wreckit-host feature new NAME` creates one".to_owned(),
                    false => format!("the features are {}", candidates.join(", ")),
                }),
            },
            FeatureError::AmbiguousFeature(unresolved) => ambiguous(&unresolved),
            FeatureError::Invalid(message) => Error::usage(message),
            FeatureError::Illegal(IllegalMove { message, legal }) => {
                Error::Illegal { message, legal }
            }
            FeatureError::Corrupt(message) => Error::Damaged(message),
            FeatureError::AlreadyOpen => already_open(),
            FeatureError::WrongRoot(why) => wrong_root(Root::Features, &why),
            FeatureError::Configuration(problems) => Error::Configuration(problems),
            FeatureError::Terminating(_) => still_terminating(),
            FeatureError::Leftovers(leftovers) => Error::Leftovers(leftovers, Root::Features),
            FeatureError::Storage(failure) => Error::Storage(Root::Features, failure),
        }
    }
}

impl Error {
    /// Converts the error of opening or creating the directory of the features.
    pub(super) fn of_features(operation: &str, error: RepositoryError) -> Self {
        match error {
            RepositoryError::Unreadable { error, .. }
            | RepositoryError::NoDirectory { error, .. } => {
                Error::unexpected(format!("cannot {operation} {FEATURES}"))(error)
            }
            error => Error::Repository(error),
        }
    }

    /// Converts the error of a repair; `id` is the backup, if one was to be restored.
    pub(super) fn of_repair(error: RepairError, root: Root, id: &str) -> Self {
        match error {
            RepairError::Busy(holder) => Error::Busy(Box::new(holder), root),
            RepairError::WrongRoot(why) => wrong_root(root, &why),
            RepairError::Terminating(_) => still_terminating(),
            RepairError::UnknownBackup => Error::Usage {
                message: format!("unknown backup {id:?}"),
                hint: Some("`wreckit-host backups list` lists the backups".to_owned()),
            },
            RepairError::Changed(paths) => Error::Changed { root, id: id.to_owned(), paths },
            RepairError::InvalidBackup(why) => {
                Error::failed(format!("the backup cannot be used: {why}"))
            }
            RepairError::Storage(failure) => Error::Storage(root, failure),
        }
    }
}

fn ambiguous(unresolved: &Unresolved) -> Error {
    let Unresolved { given, candidates } = unresolved;
    Error::Usage {
        message: format!("{given:?} is ambiguous; it matches {}", candidates.join(", ")),
        hint: Some("add more of its id".to_owned()),
    }
}

fn already_open() -> Error {
    Error::Component(ComponentError::Protocol("a session is open already".to_owned()))
}

fn wrong_root(root: Root, why: &str) -> Error {
    let (what, command) = match root {
        Root::Batch => ("a wreckit repository", "wreckit-host init"),
        Root::Features => ("a directory of features", "wreckit-host feature new NAME"),
    };
    Error::Usage {
        message: format!("{} is not {what}: {why}", root.path()),
        hint: Some(format!("if it should be one, `{command}` creates what is missing")),
    }
}

fn still_terminating() -> Error {
    Error::failed("leftover processes of an interrupted session are still being ended: try again")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wit::processes::Process;

    #[test]
    fn a_process_that_is_found_twice_is_named_once() {
        let leftover = |pid| Leftover {
            process: Process { token: String::new(), pid },
            item: None,
            started_at: None,
            proven: true,
        };
        let leftovers = vec![leftover(7), leftover(8), leftover(7)];
        let message = Error::Leftovers(leftovers, Root::Batch).message();
        assert!(message.ends_with(": pid 7, 8"), "{message}");
    }

    #[test]
    fn only_a_failure_during_a_session_says_that_agents_were_ended() {
        let error = std::io::Error::other("no");
        let unreadable = Error::from(ComponentError::Unreadable { path: "/x".into(), error });
        assert_eq!((unreadable.exit_code(), unreadable.hint()), (ExitCode::Usage, None));
        let unusable = Error::from(ComponentError::Unusable("no".to_owned()));
        assert_eq!((unusable.exit_code(), unusable.hint()), (ExitCode::Component, None));
        let trapped = || ComponentError::Trapped("no".to_owned());
        assert_eq!(Error::from(trapped()).exit_code(), ExitCode::Component);
        assert!(!Error::from(trapped()).hint().unwrap().contains("agents"));
        assert!(Error::Aborted(trapped()).hint().unwrap().contains("agents were ended"));
    }

    #[test]
    fn a_hint_of_several_problems_is_given_once() {
        let problem = |hint: &str| ConfigurationProblem {
            file: String::new(),
            key: String::new(),
            message: String::new(),
            hint: Some(hint.to_owned()),
        };
        let problems = vec![problem("a"), problem("b"), problem("a")];
        assert_eq!(Error::Configuration(problems).hint().as_deref(), Some("a\nb"));
    }
}
