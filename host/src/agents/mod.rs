//! Agents: what works on an item.

mod log_file;
mod process;
mod template;

pub(crate) use process::{Ending, Process};

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cap_std::fs::Dir;

use crate::config::AgentConfig;
use crate::engine::batch::Attempt;

/// An agent that can be started.
#[derive(Debug, Clone)]
pub(crate) enum Agent {
    /// A program, once per item, in the repository's root.
    Command {
        /// The program, absolute.
        program: PathBuf,
        /// Its arguments, with placeholders.
        args: Vec<String>,
    },
    /// Nothing: waits and succeeds.
    Mock {
        /// How long.
        delay: Duration,
    },
}

/// The program of an agent is not there.
#[derive(Debug, thiserror::Error)]
#[error("the agent's command {command:?} cannot be run: {reason}")]
pub(crate) struct NoProgram {
    command: String,
    reason: which::Error,
}

impl Agent {
    /// The agent of a configuration; its program is looked up now, so that a batch does not start
    /// in vain. A path counts from the repository's root, a name is searched in `PATH`.
    pub(crate) fn new(
        config: &AgentConfig,
        root: &Path,
        mock_delay: Duration,
    ) -> Result<Self, NoProgram> {
        match config {
            AgentConfig::Mock => Ok(Agent::Mock { delay: mock_delay }),
            AgentConfig::Command { command, args } => {
                let program = which::which_in(command, crate::ambient::variable("PATH"), root);
                let program =
                    program.map_err(|reason| NoProgram { command: command.clone(), reason })?;
                Ok(Agent::Command { program, args: args.clone() })
            }
        }
    }

    /// True if nothing is done.
    pub(crate) fn is_mock(&self) -> bool {
        matches!(self, Agent::Mock { .. })
    }

    /// Starts work on an item.
    pub(crate) fn start(&self, attempt: &Attempt, place: &Place<'_>) -> io::Result<Work> {
        match self {
            Agent::Mock { delay } => Ok(Work::Mock { until: Instant::now() + *delay }),
            Agent::Command { program, args } => {
                let directory = place.root.join(crate::repository::STATE).join(&attempt.directory);
                let directory = directory.to_string_lossy().into_owned();
                let root = place.root.to_string_lossy();
                let values = [
                    ("id", attempt.item.as_str()),
                    ("title", &attempt.title),
                    ("dir", &directory),
                    ("root", &root),
                ];
                let args = args.iter().map(|argument| template::fill(argument, &values)).collect();
                let number = attempt.number.to_string();
                let environment = [
                    ("WRECKIT_ROOT", place.marker),
                    ("WRECKIT_ITEM_ID", &attempt.item),
                    ("WRECKIT_ITEM_DIR", &directory),
                    ("WRECKIT_SESSION_ID", place.session),
                    ("WRECKIT_ATTEMPT", &number),
                ];
                let environment = environment.map(|(name, value)| (name, OsString::from(value)));
                let log = log_file::LogFile::new(place.state.try_clone()?, &attempt.log);
                Ok(Work::Process(Process::start(program, args, &environment, place.root, log)?))
            }
        }
    }
}

/// Where agents work.
pub(crate) struct Place<'a> {
    /// The repository's root.
    pub(crate) root: &'a Path,
    /// `.wreckit`.
    pub(crate) state: &'a Dir,
    /// The session.
    pub(crate) session: &'a str,
    /// What every agent of this repository carries in its environment.
    pub(crate) marker: &'a str,
}

/// Work on an item that was started.
#[derive(Debug)]
pub(crate) enum Work {
    /// By a process and its group.
    Process(Process),
    /// By nobody.
    Mock {
        /// When it will be done.
        until: Instant,
    },
}
