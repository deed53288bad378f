//! `wreckit-host feature`: one feature through its phases.

mod abort;
mod changes;
mod run;
mod show;

use std::path::Path;
use std::time::{Duration, Instant};

use clap::Subcommand;

use super::error::Error;
use super::exit_code::ExitCode;
use super::{Context, parse};
use crate::engine::feature::{Changed, FeatureError};
use crate::engine::{ComponentError, Instance};
use crate::features::Features;
use crate::output::Tone;

/// While somebody else changes a feature, it is tried again for so long.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often.
const INTERVAL: Duration = Duration::from_millis(5);

/// Keep the progress of a feature through its phases
///
/// By hand: new, then start and complete for each phase, then summary. With the configured agent: new,
/// then run. A fresh session begins with resume.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    New(changes::New),
    List(show::List),
    Show(show::Show),
    Resume(show::Resume),
    Summary(show::Summary),
    /// Begin work on a phase; also one that was blocked, failed or aborted
    Start(changes::Move),
    /// A phase is done
    Complete(changes::Move),
    /// Something outside of a phase has to happen first
    Block(changes::Move),
    /// A phase did not succeed
    Fail(changes::Move),
    Iterate(changes::Iterate),
    Record(Box<changes::Record>),
    Abort(abort::Args),
    Run(run::Args),
}

pub(super) fn main(args: &Args, context: &Context) -> Result<ExitCode, Error> {
    match &args.command {
        Command::New(args) => changes::new(args, context),
        Command::List(args) => show::list(args, context),
        Command::Show(args) => show::show(args, context),
        Command::Resume(args) => show::resume(args, context),
        Command::Summary(args) => show::summary(args, context),
        Command::Start(args) => changes::start(args, context),
        Command::Complete(args) => changes::complete(args, context),
        Command::Block(args) => changes::block(args, context),
        Command::Fail(args) => changes::fail(args, context),
        Command::Iterate(args) => changes::iterate(args, context),
        Command::Record(args) => changes::record(args, context),
        Command::Abort(args) => abort::main(args, context),
        Command::Run(args) => run::main(args, context),
    }
}

/// The features of the repository that the user is in, and an instance over them.
fn open(context: &Context) -> Result<(Features, Instance), Error> {
    let Some(features) = context.features()? else {
        return Err(Error::Usage {
            message: "there are no features here".to_owned(),
            hint: Some("`wreckit-host feature new NAME` makes one".to_owned()),
        });
    };
    let instance = context.instance_over(&features.directory)?;
    Ok((features, instance))
}

/// Makes a call that changes something. Others that do at the same moment are waited for.
fn patiently<T>(
    instance: &mut Instance,
    context: &Context,
    mut call: impl FnMut(&mut Instance) -> Result<Result<T, FeatureError>, ComponentError>,
) -> Result<T, Error> {
    let until = Instant::now() + PATIENCE;
    loop {
        match context.call(instance, &mut call)? {
            Err(FeatureError::Busy(holder)) if holder.momentary && Instant::now() < until => {
                std::thread::sleep(INTERVAL);
            }
            answer => return Ok(answer?),
        }
    }
}

/// Tells what a change came to.
fn tell(changed: &Changed, json: bool, context: &Context) -> Result<(), Error> {
    match json {
        true => context.json(&changed.document)?,
        false => context.output.result(&format!("{}: {}", changed.id, changed.message)),
    }
    Ok(())
}

fn warn_of_no_worktree(path: &Path, context: &Context) {
    let text = format!(
        "there is no worktree at {}: until there is one, agents work in the repository's root",
        path.display()
    );
    context.output.line(Tone::Warning, &text);
}
