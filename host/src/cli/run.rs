//! `wreckit-host run`

use super::Context;
use super::agent_args::{AgentArgs, at_least_one};
use super::demo::Demo;
use super::error::{Error, Root};
use super::session::{drive, handle_signals, open};
use crate::engine::Instance;
use crate::exit_code::ExitCode;
use crate::report::output::{Tone, safe};
use crate::report::{FollowUp, Human, Json, Reporter};
use crate::repository::{Repository, STATE, check_configuration};
use crate::run::{Session, Workspace};
use crate::wit::batch::{AgentChoice, Forecast, Options};
use crate::wit::session::CloseReason;

/// Run every item that is not done
///
/// Continues an interrupted run where it stopped.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Run only these items: id, number without leading zeros, or unambiguous prefix
    #[arg(value_name = "ITEM")]
    items: Vec<String>,
    /// Start fresh batch run, ignoring saved progress
    #[arg(long)]
    no_resume: bool,
    /// Include previously failed items when resuming
    #[arg(long)]
    retry_failed: bool,
    /// Continue a session although its process may still be running, for example on another machine
    #[arg(long)]
    take_over: bool,
    /// Run up to N items at the same time (default: 1)
    #[arg(long, value_name = "N", value_parser = at_least_one::<u32>)]
    parallel: Option<u32>,
    /// Show what would run, and run nothing
    #[arg(long)]
    dry_run: bool,
    /// Start no more items after N have failed
    #[arg(long, value_name = "N", value_parser = at_least_one::<u32>)]
    max_failures: Option<u32>,
    #[command(flatten)]
    agent: AgentArgs,
    /// What to print on standard output
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,
    /// Run a temporary copy of the quickstart with the mock agent
    #[arg(long, conflicts_with_all = ["items", "no_resume", "retry_failed", "take_over"])]
    demo: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum Format {
    /// A summary for a person
    #[default]
    Human,
    /// The journal's events, one per line
    Json,
}

pub(super) fn main(args: &Args, context: &Context) -> Result<ExitCode, Error> {
    if args.demo {
        return demo(args, context);
    }
    run_in(&context.repository()?, args, context, &format!("{} run", context.program()))
}

fn demo(args: &Args, context: &Context) -> Result<ExitCode, Error> {
    let demo = Demo::new().map_err(Error::unexpected("cannot create the demo"))?;
    let place = demo.root().display().to_string();
    context.output.note(Tone::Plain, &format!("a copy of the quickstart is in {place}"));
    let repository = Repository::open(demo.root())?;
    let command = format!("wreckit-host --cwd {} run", safe::word(demo.root()));
    let result = run_in(&repository, args, context, &command);
    // A demo that was interrupted can be resumed; one that ended is removed.
    if matches!(result, Ok(ExitCode::Signal(_))) {
        demo.keep();
    }
    result
}

fn run_in(
    repository: &Repository,
    args: &Args,
    context: &Context,
    command: &str,
) -> Result<ExitCode, Error> {
    let mut instance = context.instance(repository)?;
    // Every mistake is found before anything is changed.
    let (agent, _) = args.agent.choose(repository, &mut instance, context, args.demo)?;
    let screen = args.agent.screen(context)?;
    let defaults = context.call(&mut instance, Instance::default_options)?;
    let options = Options { agent, ..args.options(defaults, repository) };
    if args.dry_run {
        let forecast =
            context.call_retrying(&mut instance, None, |instance| instance.preview(&options))??;
        print_forecast(&forecast, context);
        return Ok(ExitCode::Success);
    }
    let follow_up = args.follow_up(command);
    let mut reporter: Box<dyn Reporter> = match args.format {
        Format::Human => Box::new(Human::new(context.output, screen, follow_up, STATE)),
        Format::Json => Box::new(Json::new(context.output, follow_up)),
    };
    run_session(&mut instance, repository, &options, reporter.as_mut(), context)
}

impl Args {
    fn options(&self, defaults: Options, repository: &Repository) -> Options {
        let options = self.agent.options(defaults, &repository.root);
        Options {
            items: self.items.clone(),
            no_resume: self.no_resume,
            retry_failed: self.retry_failed,
            take_over: self.take_over,
            parallel: self.parallel.unwrap_or(options.parallel),
            max_failures: self.max_failures.unwrap_or(options.max_failures),
            ..options
        }
    }

    /// Returns the commands that continue the session. `command` is this one without its flags.
    fn follow_up(&self, command: &str) -> FollowUp {
        let mut flags = String::new();
        if let Some(parallel) = self.parallel.filter(|parallel| *parallel > 1) {
            flags.push_str(&format!(" --parallel {parallel}"));
        }
        if let Some(failures) = self.max_failures {
            flags.push_str(&format!(" --max-failures {failures}"));
        }
        flags.push_str(&self.agent.repeated(self.demo));
        for item in &self.items {
            flags.push_str(&format!(" {}", safe::word(item)));
        }
        FollowUp {
            resume: format!("{command}{flags}"),
            retry: Some(format!("{command} --retry-failed{flags}")),
            review: None,
        }
    }
}

/// Opens a session of a batch and runs it to its end.
pub(super) fn run_session(
    instance: &mut Instance,
    repository: &Repository,
    options: &Options,
    reporter: &mut dyn Reporter,
    context: &Context,
) -> Result<ExitCode, Error> {
    let mut signals = handle_signals(instance)?;
    let opened = open(instance, &mut signals, context, |instance| instance.open(options))?;
    let opening = match opened {
        Ok(opening) => opening,
        Err(code) => return Ok(code),
    };
    // The component has read the configuration again, so its owner is checked again.
    if options.agent == AgentChoice::Configured
        && let Err(error) = check_configuration(repository)
    {
        // A failure to close loses nothing: the next run resumes the session.
        let _ = context.call(instance, |instance| instance.close(CloseReason::Ended))?;
        return Err(error.into());
    }
    reporter.opened(&opening);
    // Its events name every item, and are not kept for hours.
    drop(opening);
    let workspace = Workspace {
        root: &repository.root,
        state: &repository.state,
        path: STATE,
        worktree: None,
        show_output: context.output.verbose,
    };
    let session = Session {
        instance,
        workspace: &workspace,
        parallel: options.parallel as usize,
        signals: &mut signals,
        reporter,
    };
    drive(session, Root::Batch)
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
            "{} to run, {} already done or failed; nothing was changed",
            forecast.queue.len(),
            forecast.finished
        ),
    );
}
