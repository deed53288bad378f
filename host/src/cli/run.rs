//! `wreckit-host run`

use std::time::Duration;

use clap::value_parser;

use super::Context;
use super::agent_args::{AgentArgs, Configured};
use super::demo::Demo;
use super::error::Error;
use super::exit_code::ExitCode;
use crate::agents::Place;
use crate::engine::batch::{Forecast, Options, Summary};
use crate::engine::{ComponentError, Instance};
use crate::output::{self, Tone, safe};
use crate::repository::{Repository, STATE};
use crate::run::{self, Batch, Human, Json, Reporter, Session, Signals, Stop, Stopping};

/// Run every item that is not done; goes on where an interrupted run stopped
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only these items: id, number without leading zeros, or unambiguous prefix
    #[arg(value_name = "ITEM")]
    items: Vec<String>,
    /// Start fresh batch run, ignoring saved progress
    #[arg(long)]
    no_resume: bool,
    /// Include previously failed items when resuming
    #[arg(long)]
    retry_failed: bool,
    /// Go on with a session although its process may still run, on another machine for instance
    #[arg(long)]
    take_over: bool,
    /// How many items run at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u32).range(1..))]
    parallel: u32,
    /// Only show what would run
    #[arg(long)]
    dry_run: bool,
    /// Start nothing more after so many items have failed
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    max_failures: Option<u32>,
    #[command(flatten)]
    agent: AgentArgs,
    /// What to put on standard output
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,
    /// Run a throw-away copy of the quickstart with the mock agent
    #[arg(long, conflicts_with_all = ["items", "no_resume", "retry_failed", "take_over"])]
    demo: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum Format {
    /// A summary for a person
    #[default]
    Human,
    /// The journal's events, one a line
    Json,
}

pub(super) fn main(args: &Args, context: &Context) -> Result<ExitCode, Error> {
    if args.demo {
        return demo(args, context);
    }
    run_in(
        &context.repository()?,
        args,
        context,
        args.resume(&format!("{} run", context.program())),
    )
}

fn demo(args: &Args, context: &Context) -> Result<ExitCode, Error> {
    let demo =
        Demo::new().map_err(|error| Error::Failed(format!("cannot make the demo: {error}")))?;
    let place = demo.root().display().to_string();
    context.output.note(Tone::Plain, &format!("a copy of the quickstart is in {place}"));
    let mut code = ExitCode::Success;
    let result = run_in(
        &Repository::open(demo.root())?,
        args,
        context,
        args.resume(&format!("wreckit-host --cwd {} run", safe::word(demo.root()))),
    )
    .inspect(|ended| code = *ended);
    // What was interrupted can be resumed; what ended is thrown away.
    if matches!(code, ExitCode::Signal(_)) {
        demo.keep();
    }
    result
}

fn run_in(
    repository: &Repository,
    args: &Args,
    context: &Context,
    resume: String,
) -> Result<ExitCode, Error> {
    // Everything that can be wrong before anything is changed.
    let configured = args.agent.of_items(repository, context, args.demo)?;
    let screen = args.agent.screen(context)?;
    let options = Options {
        items: args.items.clone(),
        no_resume: args.no_resume,
        retry_failed: args.retry_failed,
        take_over: args.take_over,
        parallel: args.parallel,
        max_failures: args.max_failures.unwrap_or(0),
        ..configured.options(&args.agent)
    };
    let mut instance = context.instance(repository)?;
    if args.dry_run {
        let forecast = context.call(&mut instance, |instance| {
            run::patiently(|| instance.preview(&options), run::holder_of_open)
        })??;
        print_forecast(&forecast, context);
        return Ok(ExitCode::Success);
    }
    let mut reporter: Box<dyn Reporter> = match args.format {
        Format::Human => Box::new(Human::new(context.output, screen, resume, STATE)),
        Format::Json => Box::new(Json::new(context.output, resume)),
    };
    run_session(&mut instance, repository, &configured, &options, reporter.as_mut(), context)
}

impl Args {
    /// The command that goes on with the session.
    fn resume(&self, command: &str) -> String {
        let mut command = command.to_owned();
        if self.parallel > 1 {
            command.push_str(&format!(" --parallel {}", self.parallel));
        }
        if let Some(failures) = self.max_failures {
            command.push_str(&format!(" --max-failures {failures}"));
        }
        command.push_str(&self.agent.repeated(self.demo));
        for item in &self.items {
            command.push_str(&format!(" {}", safe::word(item)));
        }
        command
    }
}

/// So long a reader has in any case to take what is left.
const LAST_READING: Duration = Duration::from_secs(1);

/// Opens a session, runs it to its end and tells how it went.
pub(super) fn run_session(
    instance: &mut Instance,
    repository: &Repository,
    configured: &Configured,
    options: &Options,
    reporter: &mut dyn Reporter,
    context: &Context,
) -> Result<ExitCode, Error> {
    // From before the lock is taken: a signal at any later moment is one of the batch's, and nobody
    // who reads too slowly keeps us from it.
    output::do_not_wait();
    let mut signals = Signals::new().map_err(|error| Error::failed(&error))?;
    instance.interrupt_on(signals.interrupt());
    let opening = context
        .call(instance, |instance| run::patiently(|| instance.open(options), run::holder_of_open));
    let opening = match opening {
        Err(Error::Component(ComponentError::Interrupted)) => {
            return Ok(interrupted(&mut signals, context));
        }
        opening => opening??,
    };
    // The session has given the repository its id by now.
    let marker = repository.marker().map_err(|error| Error::failed(&error))?;
    reporter.opened(&opening);
    // The rest of it names every item: that is not kept for hours.
    let session = opening.session;
    let place = Place {
        root: &repository.root,
        state: &repository.state,
        path: STATE,
        feature: None,
        session: &session,
        marker: &marker,
        shows_output: context.output.verbose,
    };
    let batch = Batch {
        instance,
        session: Session::Batch,
        agent: &configured.agent,
        place: &place,
        parallel: options.parallel as usize,
        timeout: configured.timeout,
        signals: &mut signals,
        reporter,
    };
    to_its_end(batch)
}

/// Explains that a session could not be opened because a signal came first.
pub(super) fn interrupted(signals: &mut Signals, context: &Context) -> ExitCode {
    let words = format!("{}: nothing was started", ComponentError::Interrupted);
    context.output.line(Tone::Warning, &words);
    match signals.take() {
        Some(Stopping::End(signal)) => ExitCode::Signal(signal),
        _ => ExitCode::Component,
    }
}

/// Runs a session that was opened to its end and tells how it went.
pub(super) fn to_its_end(batch: Batch<'_>) -> Result<ExitCode, Error> {
    let Batch { instance, session, agent, place, parallel, timeout, signals, reporter } = batch;
    let path = place.path;
    let (summary, stop) = run::run(Batch {
        instance,
        session,
        agent,
        place,
        parallel,
        timeout,
        signals: &mut *signals,
        reporter: &mut *reporter,
    });
    if let Some(summary) = &summary {
        reporter.closed(summary);
    }
    // A signal that comes now, or came while the session was closed, ends the wait for a reader; one
    // who reads is not cut short by it.
    output::settle(LAST_READING);
    let mut given_up = None;
    output::finish(|| match signals.take() {
        None => false,
        Some(Stopping::Suspend) => {
            run::suspend_ourselves();
            false
        }
        Some(Stopping::End(signal)) => {
            given_up = Some(signal);
            true
        }
    });
    if let Some(signal) = given_up {
        return Ok(ExitCode::Signal(signal));
    }
    match (stop, summary) {
        (Some(Stop::Component(error)), _) => Err(Error::Component(error)),
        (Some(Stop::Storage(failure)), _) => Err(Error::Storage(path, failure)),
        (Some(Stop::Signal(signal)), _) => Ok(ExitCode::Signal(signal)),
        (None, Some(summary)) => Ok(exit_code(&summary)),
        (None, None) => Ok(ExitCode::Failure),
    }
}

fn exit_code(summary: &Summary) -> ExitCode {
    let all_well =
        summary.failed.is_empty() && summary.blocked.is_empty() && summary.invalid.is_empty();
    if all_well { ExitCode::Success } else { ExitCode::Failure }
}

fn print_forecast(forecast: &Forecast, context: &Context) {
    let output = context.output;
    match &forecast.resumes {
        Some(session) => output.note(Tone::Plain, &format!("would resume session {session}")),
        None => output.note(Tone::Plain, "would start a new session"),
    }
    for item in &forecast.queue {
        output.result(&format!("run      {item}"));
    }
    for blocked in &forecast.blocked {
        output.result(&format!("blocked  {}: {}", blocked.item, blocked.reason));
    }
    for invalid in &forecast.invalid {
        output.result(&format!("invalid  {}: {}", invalid.item, invalid.error));
    }
    output.note(
        Tone::Plain,
        &format!(
            "{} to run, {} done or failed before; nothing was changed",
            forecast.queue.len(),
            forecast.settled
        ),
    );
}
