//! `wreckit-host feature run`

use std::path::{Path, PathBuf};

use super::{open, warn_about_missing_worktree};
use crate::cli::Context;
use crate::cli::agent_args::AgentArgs;
use crate::cli::error::{Error, Root};
use crate::cli::session::{self, drive, handle_signals};
use crate::engine::Instance;
use crate::exit_code::ExitCode;
use crate::git::{self, Found, GitError};
use crate::report::output::safe;
use crate::report::{FollowUp, Human, Json, Reporter};
use crate::repository::{FEATURES, Features, read_configuration};
use crate::run::{Session, Workspace};
use crate::wit::batch::{AgentChoice, AgentKind, Configuration, Options};
use crate::wit::feature::{RunOptions, Snapshot, Worktree};

/// Take a feature through its phases with the configured agent
///
/// Continues where it stopped.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The feature: its id, or an unambiguous prefix
    id: String,
    /// Approve the results of a phase, also in advance; can be repeated
    #[arg(long, value_name = "PHASE")]
    approve: Vec<String>,
    /// Approve the results of every phase
    #[arg(long)]
    yes: bool,
    /// Continue although the process of an earlier run may still be running, for example in another container
    #[arg(long)]
    take_over: bool,
    #[command(flatten)]
    agent: AgentArgs,
    /// Print events, one per line, as `run --format json` does
    #[arg(long)]
    json: bool,
}

pub(super) fn main(args: &Args, context: &Context) -> Result<ExitCode, Error> {
    let (features, mut instance) = open(context)?;
    let feature = context.call(&mut instance, |instance| instance.feature_read(&args.id))??;
    let defaults = context.call(&mut instance, Instance::default_options)?;
    let mut options = args.options(defaults, &features, context)?;
    let screen = args.agent.screen(context)?;
    let worktree = worktree(&features.root, feature.worktree.as_ref(), context)?;
    options.worktree = worktree.as_ref().map(|path| path.to_string_lossy().into_owned());
    let follow_up = args.follow_up(&feature, context);
    let mut reporter: Box<dyn Reporter> = match args.json {
        true => Box::new(Json::new(context.output, follow_up)),
        false => Box::new(Human::new(context.output, screen, follow_up, FEATURES)),
    };

    let mut signals = handle_signals(&mut instance)?;
    let opened = session::open(&mut instance, &mut signals, context, |instance| {
        instance.feature_open_run(&feature.id, &options)
    })?;
    let opening = match opened {
        Ok(opening) => opening,
        Err(code) => return Ok(code),
    };
    reporter.opened(&opening);
    drop((opening, options));
    let workspace = Workspace {
        root: &features.root,
        state: &features.directory,
        path: FEATURES,
        worktree: worktree.as_deref(),
        show_output: context.output.verbose,
    };
    let session = Session {
        instance: &mut instance,
        workspace: &workspace,
        parallel: 1,
        signals: &mut signals,
        reporter: reporter.as_mut(),
    };
    let code = drive(session, Root::Features)?;
    if code == ExitCode::Success && !args.json {
        print_summary(&feature.id, &mut instance, context)?;
    }
    Ok(code)
}

impl Args {
    /// Returns the options of the run, after checking that the agent can be started.
    fn options(
        &self,
        defaults: Options,
        features: &Features,
        context: &Context,
    ) -> Result<RunOptions, Error> {
        let repository = features.repository()?;
        let (agent, configuration) = match &repository {
            Some(repository) => {
                let mut instance = context.instance(repository)?;
                self.agent.choose(repository, &mut instance, context, false)?
            }
            None if self.agent.is_mock(false) => (self.agent.mock(), None),
            // The component explains that there is no configuration.
            None => (AgentChoice::Configured, None),
        };
        // The configuration is outside of the component's directory, so it is passed on.
        let files = match &repository {
            Some(repository) if agent == AgentChoice::Configured => read_configuration(repository)?,
            _ => Vec::new(),
        };
        let session = self.agent.options(defaults, &features.root);
        Ok(RunOptions {
            agent_name: agent_name(configuration.as_ref()),
            session: Options { agent, take_over: self.take_over, ..session },
            approve: self.approve.clone(),
            approve_all: self.yes,
            worktree: None,
            configuration: files,
        })
    }

    fn follow_up(&self, feature: &Snapshot, context: &Context) -> FollowUp {
        let (program, id) = (context.program(), safe::word(&feature.id));
        let yes = if self.yes { " --yes" } else { "" };
        let flags = self.agent.repeated(false);
        FollowUp {
            resume: format!("{program} feature run {id}{yes}{flags}"),
            retry: None,
            review: Some(format!("{program} feature resume {id}")),
        }
    }
}

/// Returns the name of an agent: that of its program.
fn agent_name(configuration: Option<&Configuration>) -> String {
    let path = match configuration.map(|configuration| &configuration.agent) {
        Some(AgentKind::Command(path) | AgentKind::Process(path) | AgentKind::Component(path)) => {
            path
        }
        Some(AgentKind::Mock) | None => "mock",
    };
    let name = Path::new(path).file_name().unwrap_or(path.as_ref());
    name.to_string_lossy().into_owned()
}

/// Prints the summary of a feature that is complete.
fn print_summary(id: &str, instance: &mut Instance, context: &Context) -> Result<(), Error> {
    let entries = super::show::entries(instance, context)?;
    let is_complete = |status: &str| status == "complete";
    let entry = entries.iter().find(|entry| entry.id == id);
    if entry.and_then(|entry| entry.status.as_deref()).is_some_and(is_complete) {
        let id = id.to_owned();
        let view = context.call(instance, |instance| instance.feature_summarize(&id))??;
        context.output.document(view.text.trim_end());
    }
    Ok(())
}

/// Returns the directory in which agents work, if it is not the root of the repository. Whatever the document
/// says, it is a worktree of this repository.
fn worktree(
    root: &Path,
    worktree: Option<&Worktree>,
    context: &Context,
) -> Result<Option<PathBuf>, Error> {
    let Some(Worktree { path, .. }) = worktree else { return Ok(None) };
    match git::find(root, path.as_ref()) {
        Ok(Found::Linked(worktree)) => Ok(Some(worktree.path)),
        Ok(Found::Root) => Ok(None),
        // The first agent may create it.
        Ok(Found::Nothing | Found::Record(_)) => {
            warn_about_missing_worktree(&root.join(path), context);
            Ok(None)
        }
        Err(error) => {
            let advice = match error {
                GitError::NotLinked { .. } => {
                    ". Correct `worktree.path` in the feature's progress.json, or create the worktree with `git worktree add`"
                }
                _ => "",
            };
            Err(Error::failed(format!("no agent is started: {error}{advice}")))
        }
    }
}
