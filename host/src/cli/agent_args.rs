//! The flags of the commands that run agents.

use std::path::Path;
use std::time::Duration;

use cap_std::fs::Dir;
use clap::value_parser;

use super::Context;
use super::error::Error;
use crate::agents::{Agent, PromptError, Prompts};
use crate::ambient;
use crate::config::{Config, ConfigError, LIMIT_WAIT_SECONDS};
use crate::engine::batch::Options;
use crate::output::Tone;
use crate::repository::Repository;
use crate::run::{Progress, Screen};

/// In milliseconds.
const A_DAY: u64 = 24 * 60 * 60 * 1000;
/// How long the mock agent takes, in milliseconds.
const MOCK_DELAY: u64 = 500;

/// Which agent, and how it is treated.
#[derive(Debug, clap::Args)]
pub(super) struct AgentArgs {
    /// Use an agent that does nothing and succeeds
    #[arg(long)]
    pub(super) mock_agent: bool,
    /// How long each call of the mock agent takes, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = MOCK_DELAY, value_parser = value_parser!(u64).range(..=A_DAY))]
    mock_delay: u64,
    /// End a call of an agent after so many seconds (default: `timeout_seconds` of config.json)
    #[arg(long, value_name = "SECS", value_parser = seconds)]
    timeout: Option<u64>,
    /// Try an item that failed or timed out again, so many times: after 1 s, then twice as late each time
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) retries: u32,
    /// How to show progress
    #[arg(long, value_enum, value_name = "HOW")]
    progress: Option<Progress>,
    /// The same as `--progress plain`
    #[arg(long, conflicts_with = "progress")]
    no_tui: bool,
}

/// The agent of a batch, and what follows from its configuration.
pub(super) struct Configured {
    pub(super) agent: Agent,
    /// How long a call may take.
    pub(super) timeout: Option<Duration>,
    /// How often an agent is called for the stories of an item.
    max_iterations: u32,
    /// How long a first pause lasts, in seconds.
    pub(super) limit_wait: u64,
}

impl Configured {
    /// The options of a batch with this agent that asks for nothing else.
    pub(super) fn options(&self, args: &AgentArgs) -> Options {
        Options {
            items: Vec::new(),
            no_resume: false,
            retry_failed: false,
            take_over: false,
            parallel: 1,
            mock: self.agent.is_mock(),
            single: false,
            limit_wait: self.limit_wait.saturating_mul(1000),
            retries: args.retries,
            max_failures: 0,
            phases: self.agent.has_phases(),
            max_iterations: self.max_iterations,
        }
    }
}

impl AgentArgs {
    /// The agent that is asked for. `mock`: the mock agent is, whatever was said.
    pub(super) fn of_items(
        &self,
        repository: &Repository,
        context: &Context,
        mock: bool,
    ) -> Result<Configured, Error> {
        let prompts = || Prompts::of_items(&repository.state);
        self.configured(&repository.root, Some(&repository.state), prompts, context, mock)
    }

    /// The same for the phases of a feature; `state` is `.wreckit`, if there is one.
    pub(super) fn of_feature(
        &self,
        root: &Path,
        state: Option<&Dir>,
        phases: &[String],
        context: &Context,
    ) -> Result<Configured, Error> {
        let prompts = || Prompts::of_feature(state, phases);
        self.configured(root, state, prompts, context, false)
    }

    fn configured(
        &self,
        root: &Path,
        state: Option<&Dir>,
        prompts: impl FnOnce() -> Result<Prompts, PromptError>,
        context: &Context,
        mock: bool,
    ) -> Result<Configured, Error> {
        let delay = Duration::from_millis(self.mock_delay);
        let timeout = self.timeout.map(Duration::from_secs);
        if self.mock_agent || mock {
            // Whatever the configuration says, even if it is damaged: nothing of it is needed.
            return Ok(Configured {
                agent: Agent::mock(delay),
                timeout: None,
                max_iterations: 1,
                limit_wait: LIMIT_WAIT_SECONDS,
            });
        }
        let config = Config::read(state.ok_or(ConfigError::Missing)?, root)?;
        for key in &config.unknown {
            context.output.detail(&format!("config.json: nobody knows `{key}`; it is ignored"));
        }
        let of_config = Some(config.timeout_seconds).filter(|seconds| *seconds > 0);
        let agent = Agent::new(&config, root, prompts, delay)?;
        if let Some(warning) = agent.warning() {
            context.output.line(Tone::Warning, &warning);
        }
        Ok(Configured {
            agent,
            timeout: timeout.or(of_config.map(Duration::from_secs)),
            max_iterations: config.max_iterations,
            limit_wait: config.limit_wait_seconds,
        })
    }

    /// Where progress is to be shown: what the flags say, else the environment.
    pub(super) fn screen(&self, context: &Context) -> Result<Screen, Error> {
        let progress = match (self.progress, self.no_tui) {
            (Some(progress), _) => progress,
            (None, true) => Progress::Plain,
            (None, false) => of_environment()?,
        };
        Ok(Screen::new(progress, context.output))
    }

    /// These flags again, for a command that goes on. `mock`: the mock agent is used, whatever was
    /// said.
    pub(super) fn repeated(&self, mock: bool) -> String {
        let is_mock = self.mock_agent || mock;
        let mut words = String::new();
        if is_mock {
            words.push_str(" --mock-agent");
        }
        if is_mock && self.mock_delay != MOCK_DELAY {
            words.push_str(&format!(" --mock-delay {}", self.mock_delay));
        }
        if let Some(timeout) = self.timeout {
            words.push_str(&format!(" --timeout {timeout}"));
        }
        if self.retries > 0 {
            words.push_str(&format!(" --retries {}", self.retries));
        }
        words
    }
}

fn seconds(text: &str) -> Result<u64, &'static str> {
    text.parse().ok().filter(|seconds| *seconds > 0).ok_or("a whole number of seconds, at least 1")
}

fn of_environment() -> Result<Progress, Error> {
    const NAME: &str = "WRECKIT_PROGRESS";
    let Some(value) = ambient::variable(NAME) else { return Ok(Progress::Auto) };
    let value = value.to_string_lossy();
    <Progress as clap::ValueEnum>::from_str(&value, true).map_err(|_| {
        Error::usage(format!("{NAME} must be auto, bar, plain or none, found {value:?}"))
    })
}
