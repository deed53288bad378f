//! `wreckit-host run`

use std::num::NonZeroU32;
use std::time::Duration;

use clap::value_parser;

use super::Context;
use super::demo::Demo;
use super::error::Error;
use super::exit_code::ExitCode;
use crate::agents::{Agent, Place};
use crate::config::{AgentConfig, Config};
use crate::engine::Instance;
use crate::engine::batch::{Forecast, Options, Summary};
use crate::output::Tone;
use crate::repository::Repository;
use crate::run::{self, Human, Json, Reporter, Signals, Stop};

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
    /// Go on with a session whose owner is not proven to have ended
    #[arg(long)]
    take_over: bool,
    /// How many items run at once
    #[arg(long, value_name = "N", default_value = "1")]
    parallel: NonZeroU32,
    /// Only show what would run
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    agent: AgentArgs,
    /// What to put on standard output
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,
    /// Run a throw-away copy of the quickstart with the mock agent
    #[arg(long, conflicts_with_all = ["items", "no_resume", "retry_failed", "take_over"])]
    demo: bool,
}

/// In milliseconds.
const A_DAY: u64 = 24 * 60 * 60 * 1000;

/// Which agent, for the commands that run one.
#[derive(Debug, clap::Args)]
pub(super) struct AgentArgs {
    /// Use an agent that does nothing and succeeds
    #[arg(long)]
    mock_agent: bool,
    /// How long the mock agent takes for an item, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 500, value_parser = value_parser!(u64).range(..=A_DAY))]
    mock_delay: u64,
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
    run_in(&context.repository()?, args, context, "wreckit-host run".to_owned())
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
        format!("wreckit-host --cwd {place} run --mock-agent"),
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
    let (agent, limit_wait) = args.agent.agent(repository, context, args.demo)?;
    let options = Options {
        items: args.items.clone(),
        no_resume: args.no_resume,
        retry_failed: args.retry_failed,
        take_over: args.take_over,
        parallel: args.parallel.get(),
        mock: agent.is_mock(),
        single: false,
        limit_wait,
    };
    let mut instance = context.instance(repository)?;
    if args.dry_run {
        let forecast = context.call(&mut instance, |instance| {
            run::patiently(|| instance.preview(&options), run::holder_of_open)
        })??;
        print_forecast(&forecast, context);
        return Ok(ExitCode::Success);
    }
    let resume = if agent.is_mock() && !resume.ends_with("--mock-agent") {
        format!("{resume} --mock-agent")
    } else {
        resume
    };
    let mut reporter: Box<dyn Reporter> = match args.format {
        Format::Human => Box::new(Human::new(context.output, resume)),
        Format::Json => Box::new(Json::new(context.output)),
    };
    run_session(&mut instance, repository, &agent, &options, reporter.as_mut(), context)
}

impl AgentArgs {
    /// The agent that is asked for, and how long a first pause lasts in milliseconds.
    pub(super) fn agent(
        &self,
        repository: &Repository,
        context: &Context,
        mock: bool,
    ) -> Result<(Agent, u64), Error> {
        let delay = Duration::from_millis(self.mock_delay);
        if self.mock_agent || mock {
            // Whatever the configuration says, even if it is damaged: nothing of it is needed.
            return Ok((
                Agent::new(&AgentConfig::Mock, &repository.root, delay)?,
                DEFAULT_LIMIT_WAIT,
            ));
        }
        let config = Config::read(&repository.state)?;
        for key in &config.unknown {
            context.output.detail(&format!("config.json: nobody knows `{key}`; it is ignored"));
        }
        let agent = Agent::new(&config.agent, &repository.root, delay)?;
        Ok((agent, config.limit_wait_seconds.saturating_mul(1000)))
    }
}

/// The mock agent never asks for a pause.
const DEFAULT_LIMIT_WAIT: u64 = 60_000;

/// Opens a session, runs it to its end and tells how it went.
pub(super) fn run_session(
    instance: &mut Instance,
    repository: &Repository,
    agent: &Agent,
    options: &Options,
    reporter: &mut dyn Reporter,
    context: &Context,
) -> Result<ExitCode, Error> {
    let marker = repository.marker().map_err(|error| Error::failed(&error))?;
    // From before the lock is taken: a signal at any later moment is one of the batch's.
    let mut signals = Signals::new().map_err(|error| Error::failed(&error))?;
    let opening = context.call(instance, |instance| {
        run::patiently(|| instance.open(options), run::holder_of_open)
    })??;
    reporter.opened(&opening);
    // The rest of it names every item: that is not kept for hours.
    let session = opening.session;
    let place = Place {
        root: &repository.root,
        state: &repository.state,
        session: &session,
        marker: &marker,
    };
    let parallel = options.parallel as usize;
    let (summary, stop) = run::run(instance, agent, &place, parallel, &mut signals, reporter);
    if let Some(summary) = &summary {
        reporter.closed(summary);
    }
    match (stop, summary) {
        (Some(Stop::Component(error)), _) => Err(Error::Component(error)),
        (Some(Stop::Storage(failure)), _) => Err(Error::Storage(failure)),
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
