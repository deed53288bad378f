//! `wreckit-host feature`: one feature through its phases.

mod abort;
mod changes;
mod metrics;
mod run;
mod show;

use std::path::Path;

use clap::Subcommand;

use super::Context;
use super::error::Error;
use crate::engine::{ComponentError, Instance};
use crate::exit_code::ExitCode;
use crate::report::output::Tone;
use crate::repository::Features;
use crate::wit::feature::{FeatureError, Snapshot};

/// Record the progress of a feature through its phases
///
/// By hand: new, then start and complete for each phase, then summary. With the configured agent: new, then
/// run. A new session begins with resume.
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
    /// Start a phase; also one that was blocked, failed or aborted
    Start(changes::Move),
    /// Complete a phase
    Complete(changes::Move),
    /// Block a phase: something else must happen first
    Block(changes::Move),
    /// Mark a phase as failed
    Fail(changes::Move),
    Iterate(changes::Iterate),
    Record(Box<metrics::Record>),
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
        Command::Record(args) => metrics::record(args, context),
        Command::Abort(args) => abort::main(args, context),
        Command::Run(args) => run::main(args, context),
    }
}

/// Opens the features of the repository around the current directory, and creates an instance over them.
fn open(context: &Context) -> Result<(Features, Instance), Error> {
    let Some(features) = context.features()? else {
        return Err(Error::Usage {
            message: "this repository has no features".to_owned(),
            hint: Some("`wreckit-host feature new NAME` creates one".to_owned()),
        });
    };
    let instance = context.instance_over(&features.directory)?;
    Ok((features, instance))
}

/// Makes a change, and waits for other changes.
fn change(
    instance: &mut Instance,
    context: &Context,
    call: impl FnMut(&mut Instance) -> Result<Result<Snapshot, FeatureError>, ComponentError>,
) -> Result<Snapshot, Error> {
    Ok(context.call_retrying(instance, None, call)??)
}

/// Prints the result of a change.
fn print(snapshot: &Snapshot, json: bool, context: &Context) -> Result<(), Error> {
    match json {
        true => context.json(&snapshot.document)?,
        false => context.output.result(&format!("{}: {}", snapshot.id, snapshot.message)),
    }
    Ok(())
}

fn warn_about_missing_worktree(path: &Path, context: &Context) {
    let text = format!(
        "there is no worktree at {}: until it exists, agents work in the root of the repository",
        path.display()
    );
    context.output.line(Tone::Warning, &text);
}
