//! `wreckit-host feature run`

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{open, parse, show, warn_of_no_worktree};
use crate::agents::{Feature, Place};
use crate::cli::Context;
use crate::cli::agent_args::AgentArgs;
use crate::cli::error::Error;
use crate::cli::exit_code::ExitCode;
use crate::cli::run::{interrupted, to_its_end};
use crate::engine::ComponentError;
use crate::engine::feature::RunOptions;
use crate::features::FEATURES;
use crate::git::{self, Found, GitError};
use crate::marker::RootMark;
use crate::output::{self, Tone, safe};
use crate::run::{Batch, Human, Json, Reporter, Session, Signals};

/// Take a feature through its phases with the configured agent; goes on where it stopped
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The feature: its id, or an unambiguous beginning of it
    id: String,
    /// Approve what a phase left, or will leave; can be repeated
    #[arg(long, value_name = "PHASE")]
    approve: Vec<String>,
    /// Approve what every phase leaves
    #[arg(long)]
    yes: bool,
    /// Go on although the process of an earlier run may still run, in another container for instance
    #[arg(long)]
    take_over: bool,
    #[command(flatten)]
    agent: AgentArgs,
    /// Print events, one a line, as `run --format json` does
    #[arg(long)]
    json: bool,
}

pub(super) fn main(args: &Args, context: &Context) -> Result<ExitCode, Error> {
    let (features, mut instance) = open(context)?;
    let read = context.call(&mut instance, |instance| instance.feature_read(&args.id))??;
    let document = parse(&read.document)?;
    let phases: Vec<String> = document["phases"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, _)| name.clone())
        .collect();
    let state = features.state()?;
    let configured = args.agent.of_feature(&features.root, state.as_ref(), &phases, context)?;
    let screen = args.agent.screen(context)?;
    let options = RunOptions {
        agent: configured.agent.name(),
        approve: args.approve.clone(),
        approve_all: args.yes,
        limit_wait: configured.limit_wait.saturating_mul(1000),
        retries: args.agent.retries,
        take_over: args.take_over,
    };
    let feature = Feature {
        id: read.id.clone(),
        worktree: worktree(&features.root, document["worktree"]["path"].as_str(), context)?,
    };
    if !configured.agent.is_told_its_phase() {
        let text = "the agent is not told in which phase it works: put {phase} into agent.args of .wreckit/config.json (it is in WRECKIT_PHASE, too)";
        context.output.line(Tone::Warning, text);
    }
    let mut resume = format!("{} feature run {}", context.program(), safe::word(&read.id));
    if args.yes {
        resume.push_str(" --yes");
    }
    resume.push_str(&args.agent.repeated(false));
    let mut reporter: Box<dyn Reporter> = match args.json {
        true => Box::new(Json::new(context.output, resume)),
        false => Box::new(Human::new(context.output, screen, resume, FEATURES)),
    };

    output::do_not_wait();
    let mut signals = Signals::new().map_err(|error| Error::failed(&error))?;
    instance.interrupt_on(signals.interrupt());
    let opening =
        super::patiently(&mut instance, context, |it| it.feature_open_run(&read.id, &options));
    let opening = match opening {
        Err(Error::Component(ComponentError::Interrupted)) => {
            return Ok(interrupted(&mut signals, context));
        }
        opening => opening?,
    };
    // The run has given the directory its id by now.
    let mark = RootMark::of(&features.directory).map_err(|error| Error::failed(&error))?;
    let marker = mark.to_value();
    reporter.opened(&opening);
    let place = Place {
        root: &features.root,
        state: &features.directory,
        path: FEATURES,
        feature: Some(&feature),
        session: &read.id,
        marker: &marker,
        shows_output: context.output.verbose,
    };
    let code = to_its_end(Batch {
        instance: &mut instance,
        session: Session::Feature,
        agent: &configured.agent,
        place: &place,
        parallel: 1,
        timeout: configured.timeout,
        signals: &mut signals,
        reporter: reporter.as_mut(),
    })?;
    if code == ExitCode::Success && !args.json {
        let told = context.call(&mut instance, |it| it.feature_summarize(&read.id))??;
        let told: Value = parse(&told)?;
        if told["status"] == "complete" {
            show::print_summary(&told, context);
        }
    }
    Ok(code)
}

/// The directory in which agents work, if it is not the repository's root. Whatever the document says, it
/// is a worktree of this repository.
fn worktree(root: &Path, path: Option<&str>, context: &Context) -> Result<Option<PathBuf>, Error> {
    let Some(path) = path else { return Ok(None) };
    match git::find(root, path.as_ref()) {
        Ok(Found::Linked(worktree)) => Ok(Some(worktree.path)),
        Ok(Found::Root) => Ok(None),
        // It is the first agent's to make.
        Ok(Found::Nothing | Found::Record(_)) => {
            warn_of_no_worktree(&root.join(path), context);
            Ok(None)
        }
        Err(error) => {
            let what_to_do = match error {
                GitError::NotLinked { .. } => {
                    ". Correct `worktree.path` in the feature's progress.json, or make the worktree with `git worktree add`"
                }
                _ => "",
            };
            Err(Error::Failed(format!("no agent is started: {error}{what_to_do}")))
        }
    }
}
