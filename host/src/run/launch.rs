//! Carries out what a call asks for.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cap_std::fs::Dir;
use rustix::io::Errno;

use crate::ambient;
use crate::process::{Directory, Group, LogFile, Output, OutputRules, Program};
use crate::wit::session::{
    Call, CommandLaunch, ComponentLaunch, NotStarted, StartFailure, Worker, WorkingDirectory,
};

/// Maximum delay of the mock agent: clocks cannot represent every time in the future.
const LONGEST_DELAY: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Where agents work.
pub(crate) struct Workspace<'a> {
    /// The root of the repository, absolute.
    pub(crate) root: &'a Path,
    /// The root of the component's instance.
    pub(crate) state: &'a Dir,
    /// The path of `state`, relative to the root of the repository.
    pub(crate) path: &'static str,
    /// The worktree of a feature, absolute; `None` for the root of the repository.
    pub(crate) worktree: Option<&'a Path>,
    /// Whether the output of agents is shown.
    pub(crate) show_output: bool,
}

/// A call that is being carried out.
#[derive(Debug)]
pub(super) enum Work {
    /// By a process and its group.
    Process(Box<Group>),
    /// By waiting.
    Mock {
        /// Until when.
        until: Instant,
    },
}

/// Starts agents.
pub(super) struct Launcher<'a> {
    workspace: &'a Workspace<'a>,
    /// Programs that were found before, by the name in the launch.
    programs: HashMap<String, PathBuf>,
}

/// Why an agent cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AgentError {
    #[error("the command {0:?} was not found in PATH, or is not executable")]
    NoProgram(String),
    #[error("the component {} cannot be used: {reason}", path.display())]
    NoComponent { path: PathBuf, reason: String },
}

/// Returns the absolute path of a program: a path is relative to the root of the repository, a name is looked
/// up in `PATH`.
pub(crate) fn find_program(program: &str, root: &Path) -> Result<PathBuf, AgentError> {
    which::which_in(program, ambient::search_path(), root)
        .map_err(|_| AgentError::NoProgram(program.to_owned()))
}

/// Checks that the component of an agent can be run.
#[cfg(feature = "compile")]
pub(crate) fn check_component(file: &str, root: &Path) -> Result<(), AgentError> {
    let path = root.join(file);
    let checked = ambient::current_exe()
        .map_err(|error| error.to_string())
        .and_then(|program| crate::process::wasm_agent::check(&program, &path));
    checked.map_err(|reason| AgentError::NoComponent { path, reason })
}

/// Fails: this program was built without a compiler.
#[cfg(not(feature = "compile"))]
pub(crate) fn check_component(file: &str, root: &Path) -> Result<(), AgentError> {
    let reason = "this build has no compiler; build it with the feature `compile`".to_owned();
    Err(AgentError::NoComponent { path: root.join(file), reason })
}

impl<'a> Launcher<'a> {
    pub(super) fn new(workspace: &'a Workspace<'a>) -> Self {
        Launcher { workspace, programs: HashMap::new() }
    }

    /// Starts the worker of a call. `Err` says why it did not start.
    pub(super) fn start(&mut self, call: &Call) -> Result<Work, NotStarted> {
        let program = match &call.launch.worker {
            Worker::Mock(delay) => {
                let delay = Duration::from_millis(*delay).min(LONGEST_DELAY);
                return Ok(Work::Mock { until: Instant::now() + delay });
            }
            Worker::Command(launch) => self.command(call, launch)?,
            Worker::Component(launch) => self.component(call, launch)?,
            Worker::Custom => return Err(failed("this host has no agent of its own".to_owned())),
        };
        self.log(call)
            .and_then(|output| program.start(output))
            .map(|group| Work::Process(Box::new(group)))
            .map_err(|error| self.explain(&error))
    }

    fn command(&mut self, call: &Call, launch: &CommandLaunch) -> Result<Program, NotStarted> {
        let path = match self.programs.get(&launch.program) {
            Some(path) => path.clone(),
            None => {
                let path = find_program(&launch.program, self.workspace.root)
                    .map_err(|error| failed(error.to_string()))?;
                self.programs.insert(launch.program.clone(), path.clone());
                path
            }
        };
        let directory = match launch.directory {
            WorkingDirectory::Repository => Directory::At(self.workspace.root.to_owned()),
            WorkingDirectory::Worktree => {
                Directory::At(self.workspace.worktree.unwrap_or(self.workspace.root).to_owned())
            }
            WorkingDirectory::Item => self.item_directory(call)?,
        };
        Ok(Program {
            path,
            arguments: launch.arguments.iter().map(Into::into).collect(),
            environment: environment(call),
            directory,
            input: launch.input.as_ref().map(|text| text.clone().into_bytes()),
        })
    }

    #[cfg(feature = "compile")]
    fn component(&self, call: &Call, launch: &ComponentLaunch) -> Result<Program, NotStarted> {
        let file = self.workspace.root.join(&launch.file);
        Ok(Program {
            path: ambient::current_exe().map_err(|error| self.explain(&error))?,
            arguments: crate::process::wasm_agent::arguments(&file, &launch.arguments),
            environment: environment(call),
            directory: self.item_directory(call)?,
            input: None,
        })
    }

    #[cfg(not(feature = "compile"))]
    fn component(&self, _: &Call, launch: &ComponentLaunch) -> Result<Program, NotStarted> {
        match check_component(&launch.file, self.workspace.root) {
            Ok(()) => Err(failed("this build has no compiler".to_owned())),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    fn item_directory(&self, call: &Call) -> Result<Directory, NotStarted> {
        Directory::open(self.workspace.state, &call.directory).map_err(|error| self.explain(&error))
    }

    fn log(&self, call: &Call) -> io::Result<Output> {
        let launch = &call.launch;
        let log = LogFile::new(self.workspace.state.try_clone()?, &launch.log, launch.append_log);
        let rules =
            OutputRules { watch: launch.watch_output, show_lines: self.workspace.show_output };
        Ok(Output::new(log, rules))
    }

    /// Returns why an agent could not be started. It is not the item's fault if the system is out of
    /// resources (EMFILE, EAGAIN, …).
    fn explain(&self, error: &io::Error) -> NotStarted {
        let root = self.workspace.root;
        let is_gone = error.kind() == io::ErrorKind::NotFound && !ambient::is_dir(root);
        let reason = match is_gone {
            true => {
                let root = root.display();
                format!("the directory {root} no longer exists, was the repository moved?")
            }
            false => error.to_string(),
        };
        let advice = match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::MFILE) => "raise the limit on open files (`ulimit -n`)",
            Some(Errno::NFILE) => "the whole system has too many files open",
            Some(Errno::AGAIN) => {
                "raise the limit on processes (`ulimit -u`, `pids.max` of the container)"
            }
            Some(Errno::NOMEM) => "the system is out of memory",
            _ => return failed(reason),
        };
        NotStarted { failure: StartFailure::OutOfResources, reason: format!("{reason}; {advice}") }
    }
}

fn failed(reason: String) -> NotStarted {
    NotStarted { failure: StartFailure::Failed, reason }
}

fn environment(call: &Call) -> Vec<(String, String)> {
    let variables = call.launch.environment.iter();
    variables.map(|variable| (variable.name.clone(), variable.value.clone())).collect()
}
