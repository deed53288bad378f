//! Agents: what works on an item.

pub(crate) mod descriptors;
mod directory;
mod log_file;
mod output;
mod process;
mod prompts;
mod render;
mod shell;
mod strays;
mod template;
#[cfg(feature = "compile")]
pub(crate) mod wasm;

pub(crate) use output::{Output, Wanted};
pub(crate) use process::{Ending, Process};
pub(crate) use prompts::{DEFAULTS as PROMPTS, PromptError, Prompts};
pub(crate) use strays::{Start, Strays, StraysOf};

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cap_std::fs::Dir;
use regex::bytes::Regex;

use self::directory::Directory;
use self::log_file::LogFile;
use self::process::Launch;
use self::prompts::Surroundings;
use crate::config::{AgentConfig, Config};
use crate::engine::batch::Attempt;
use crate::{ambient, marker};

/// A longer text is cut in the environment: Linux takes no string of 128 KiB.
const LONGEST_VARIABLE: usize = 64 << 10;

/// An agent that can be started.
#[derive(Debug, Clone)]
pub(crate) struct Agent {
    kind: Kind,
    /// What in its output says that a limit was reached.
    limits: Vec<Regex>,
}

#[derive(Debug, Clone)]
enum Kind {
    /// A program, once per item, in the repository's root.
    Command {
        /// The program, absolute.
        program: PathBuf,
        /// Its arguments, with placeholders.
        args: Vec<String>,
    },
    /// A program, once per phase and story, in the item's directory.
    Process {
        /// The program, absolute.
        program: PathBuf,
        /// Its arguments.
        args: Vec<String>,
        prompts: Box<Prompts>,
        surroundings: Surroundings,
    },
    /// A component, once per item, in a process of ours.
    #[cfg(feature = "compile")]
    Wasm {
        /// This program.
        program: PathBuf,
        /// The component's file, absolute.
        component: PathBuf,
        /// The component's arguments, with placeholders.
        args: Vec<String>,
    },
    /// Nothing: waits and succeeds.
    Mock {
        /// How long.
        delay: Duration,
    },
}

/// Why an agent cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AgentError {
    #[error("the agent's command {command:?} cannot be run: {reason}")]
    NoProgram { command: String, reason: which::Error },
    #[error(transparent)]
    Prompt(#[from] PromptError),
    #[error("the agent's component {} cannot be used: {reason}", path.display())]
    NoComponent { path: PathBuf, reason: String },
}

impl Agent {
    /// The mock agent.
    pub(crate) fn mock(delay: Duration) -> Self {
        Agent { kind: Kind::Mock { delay }, limits: Vec::new() }
    }

    /// The agent of a configuration. What it needs is looked for now, so that a batch does not
    /// start in vain.
    pub(crate) fn new(
        config: &Config,
        root: &Path,
        prompts: impl FnOnce() -> Result<Prompts, PromptError>,
        mock_delay: Duration,
    ) -> Result<Self, AgentError> {
        let kind = match &config.agent {
            AgentConfig::Mock => Kind::Mock { delay: mock_delay },
            AgentConfig::Command { command, args } => {
                Kind::Command { program: find(command, root)?, args: args.clone() }
            }
            AgentConfig::Process { command, args, completion_signal } => Kind::Process {
                program: find(command, root)?,
                args: args.clone(),
                prompts: Box::new(prompts()?),
                surroundings: Surroundings {
                    base_branch: config.base_branch.clone(),
                    branch_prefix: config.branch_prefix.clone(),
                    completion_signal: completion_signal.clone(),
                },
            },
            AgentConfig::Wasm { component, args } => wasm_kind(root.join(component), args.clone())?,
        };
        Ok(Agent { kind, limits: config.limit_patterns.clone() })
    }

    /// What it is called: its program.
    pub(crate) fn name(&self) -> String {
        let file_name = |path: &Path| {
            path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
        };
        match &self.kind {
            Kind::Command { program, .. } | Kind::Process { program, .. } => file_name(program),
            #[cfg(feature = "compile")]
            Kind::Wasm { component, .. } => file_name(component),
            Kind::Mock { .. } => "mock".to_owned(),
        }
    }

    /// False if its arguments tell it what it works on, and not in which phase.
    pub(crate) fn is_told_its_phase(&self) -> bool {
        let Kind::Command { args, .. } = &self.kind else { return true };
        let names = |name: &str| args.iter().any(|arg| arg.contains(name));
        names("{phase}") || !["{id}", "{title}", "{dir}"].into_iter().any(names)
    }

    /// What should be changed in its command line, although it can run.
    pub(crate) fn warning(&self) -> Option<String> {
        match &self.kind {
            Kind::Command { program, args } => shell::warning(&program.to_string_lossy(), args),
            _ => None,
        }
    }

    /// True if nothing is done.
    pub(crate) fn is_mock(&self) -> bool {
        matches!(self.kind, Kind::Mock { .. })
    }

    /// True if it is called for each phase of an item.
    pub(crate) fn has_phases(&self) -> bool {
        matches!(self.kind, Kind::Process { .. })
    }

    /// Starts work on an item.
    pub(crate) fn start(&self, attempt: &Attempt, place: &Place<'_>) -> io::Result<Work> {
        if let Kind::Mock { delay } = &self.kind {
            return Ok(Work::Mock { until: Instant::now() + *delay });
        }
        let directory = place.root.join(place.path).join(&attempt.directory);
        let directory = directory.to_string_lossy().into_owned();
        let mut environment: Vec<(&'static str, OsString)> = vec![
            (marker::ROOT, place.marker.into()),
            (marker::ITEM, attempt.item.clone().into()),
            (marker::ATTEMPT, attempt.number.to_string().into()),
            ("WRECKIT_ITEM_DIR", directory.clone().into()),
            ("WRECKIT_SESSION_ID", place.session.into()),
            ("WRECKIT_REPOSITORY", place.root.into()),
            ("WRECKIT_TITLE", variable(&attempt.title)),
            ("WRECKIT_OVERVIEW", variable(&attempt.overview)),
            ("WRECKIT_PHASE", variable(&attempt.phase)),
            ("WRECKIT_STORY", variable(attempt.story.as_deref().unwrap_or_default())),
        ];
        if let Some(feature) = place.feature {
            environment.push(("WRECKIT_FEATURE_ID", feature.id.clone().into()));
        }
        let launch = Launch { environment, ..self.launch(attempt, place, directory)? };
        let wanted = Wanted {
            signal: match &self.kind {
                Kind::Process { surroundings, .. } => Some(surroundings.completion_signal.clone()),
                _ => None,
            },
            limits: self.limits.clone(),
            lines: place.shows_output,
        };
        let log = LogFile::new(place.state.try_clone()?, &attempt.log, attempt.call > 1);
        Ok(Work::Process(Box::new(Process::start(launch, Output::new(log, wanted))?)))
    }

    /// What is to be started; its environment is added to it.
    fn launch(
        &self,
        attempt: &Attempt,
        place: &Place<'_>,
        directory: String,
    ) -> io::Result<Launch> {
        let launch = |program: &PathBuf, args, directory: Directory, input| Launch {
            program: program.clone(),
            args,
            environment: Vec::new(),
            directory,
            input,
        };
        let root = place.root.to_string_lossy();
        let worktree = place.feature.and_then(|feature| feature.worktree.as_deref());
        let work_in = || Directory::At(worktree.unwrap_or(place.root).to_owned());
        let item = || Directory::open(place.state, &attempt.directory);
        let fill = |args: &[String]| -> Vec<OsString> {
            let values = [
                ("id", place.feature.map_or(attempt.item.as_str(), |feature| &feature.id)),
                ("title", &attempt.title),
                ("phase", &attempt.phase),
                ("dir", &directory),
                ("root", &root),
            ];
            args.iter().map(|argument| template::argument(argument, &values).into()).collect()
        };
        Ok(match &self.kind {
            Kind::Command { program, args } => launch(program, fill(args), work_in(), None),
            Kind::Process { program, args, prompts, surroundings } => {
                let prompt = prompts.fill(attempt, surroundings, place, &directory)?;
                let args = args.iter().map(OsString::from).collect();
                // Items are worked on in their directories, features where their code is.
                let work_in = if place.feature.is_some() { work_in() } else { item()? };
                launch(program, args, work_in, Some(prompt.into_bytes()))
            }
            #[cfg(feature = "compile")]
            Kind::Wasm { program, component, args } => {
                launch(program, wasm::arguments(component, fill(args)), item()?, None)
            }
            Kind::Mock { .. } => return Err(io::Error::other("the mock agent starts no process")),
        })
    }
}

/// A text as a variable: without the NUL that would end it, and cut where it is too long.
fn variable(text: &str) -> OsString {
    text[..text.floor_char_boundary(LONGEST_VARIABLE)].replace('\0', "\u{fffd}").into()
}

/// A path counts from the repository's root, a name is searched in `PATH`.
fn find(command: &str, root: &Path) -> Result<PathBuf, AgentError> {
    which::which_in(command, ambient::search_path(), root)
        .map_err(|reason| AgentError::NoProgram { command: command.to_owned(), reason })
}

#[cfg(feature = "compile")]
fn wasm_kind(component: PathBuf, args: Vec<String>) -> Result<Kind, AgentError> {
    let unusable = |reason: String| AgentError::NoComponent { path: component.clone(), reason };
    let program = ambient::current_exe().map_err(|error| unusable(error.to_string()))?;
    wasm::check(&program, &component).map_err(unusable)?;
    Ok(Kind::Wasm { program, component, args })
}

#[cfg(not(feature = "compile"))]
fn wasm_kind(component: PathBuf, _: Vec<String>) -> Result<Kind, AgentError> {
    let reason = "this build has no compiler; build it with the feature `compile`".to_owned();
    Err(AgentError::NoComponent { path: component, reason })
}

/// A feature whose phases are worked on.
#[derive(Debug, Clone)]
pub(crate) struct Feature {
    pub(crate) id: String,
    /// Where it is built, if not in the repository's root; absolute.
    pub(crate) worktree: Option<PathBuf>,
}

/// Where agents work.
pub(crate) struct Place<'a> {
    /// The repository's root.
    pub(crate) root: &'a Path,
    /// The root of the component's instance.
    pub(crate) state: &'a Dir,
    /// Its path from the repository's root.
    pub(crate) path: &'static str,
    /// The feature whose phases are worked on, if it is one.
    pub(crate) feature: Option<&'a Feature>,
    /// The session.
    pub(crate) session: &'a str,
    /// What every agent of this repository carries in its environment.
    pub(crate) marker: &'a OsStr,
    /// Whether what agents put out is to be shown.
    pub(crate) shows_output: bool,
}

/// Work on an item that was started.
#[derive(Debug)]
pub(crate) enum Work {
    /// By a process and its group.
    Process(Box<Process>),
    /// By nobody.
    Mock {
        /// When it will be done.
        until: Instant,
    },
}
