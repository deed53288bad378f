//! The flags of the commands that run agents.

use std::path::Path;

use super::Context;
use super::error::Error;
use crate::ambient;
use crate::engine::Instance;
use crate::report::output::Tone;
use crate::report::{Progress, Screen};
use crate::repository::{Repository, check_configuration};
use crate::run::{check_component, find_program};
use crate::wit::batch::{AgentChoice, AgentKind, Configuration, Options};

/// Maximum delay of the mock agent, in milliseconds.
const A_DAY: u64 = 24 * 60 * 60 * 1000;
/// How long a call of the mock agent takes by default, in milliseconds.
const MOCK_DELAY: u64 = 500;

/// Which agent to run, and how.
#[derive(Debug, clap::Args)]
pub(super) struct AgentArgs {
    /// Use an agent that does nothing and succeeds
    #[arg(long)]
    mock_agent: bool,
    /// Let each call of the mock agent take this many milliseconds (default: 500)
    #[arg(long, value_name = "MS", value_parser = mock_delay)]
    mock_delay: Option<u64>,
    /// Stop a call of an agent after this many seconds (default: `timeout_seconds` in config.json)
    #[arg(long, value_name = "SECS", value_parser = at_least_one::<u64>)]
    timeout: Option<u64>,
    /// Retry failed or timed-out items up to N times, with exponential backoff from 1 s
    #[arg(long, value_name = "N", value_parser = whole_number::<u32>)]
    retries: Option<u32>,
    /// How to show progress
    #[arg(long, value_enum, value_name = "HOW")]
    progress: Option<Progress>,
    /// Same as `--progress plain`
    #[arg(long, conflicts_with = "progress")]
    no_tui: bool,
}

impl AgentArgs {
    /// Returns the options of a run with these flags. `repository` is the root of the repository.
    pub(super) fn options(&self, defaults: Options, repository: &Path) -> Options {
        Options {
            timeout: self.timeout.map(|seconds| seconds.saturating_mul(1000)).or(defaults.timeout),
            retries: self.retries.unwrap_or(defaults.retries),
            repository: repository.to_string_lossy().into_owned(),
            ..defaults
        }
    }

    /// Returns which agent works on the items, after checking that it can be started. With `mock`, it is the
    /// mock agent whatever the flags say.
    pub(super) fn choose(
        &self,
        repository: &Repository,
        instance: &mut Instance,
        context: &Context,
        mock: bool,
    ) -> Result<(AgentChoice, Option<Configuration>), Error> {
        if self.is_mock(mock) {
            // Nothing in the configuration is needed, so that it may be damaged.
            return Ok((self.mock(), None));
        }
        let configuration = read_configuration(repository, instance, context)?;
        let choice = match (&configuration.agent, self.mock_delay) {
            (AgentKind::Mock, Some(_)) => self.mock(),
            _ => AgentChoice::Configured,
        };
        match &configuration.agent {
            AgentKind::Command(program) | AgentKind::Process(program) => {
                find_program(program, &repository.root)?;
            }
            AgentKind::Component(file) => check_component(file, &repository.root)?,
            AgentKind::Mock => {}
        }
        Ok((choice, Some(configuration)))
    }

    /// Whether the flags ask for the mock agent. With `mock` they do, whatever they say.
    pub(super) fn is_mock(&self, mock: bool) -> bool {
        self.mock_agent || mock
    }

    /// Returns the mock agent.
    pub(super) fn mock(&self) -> AgentChoice {
        AgentChoice::Mock(self.mock_delay.unwrap_or(MOCK_DELAY))
    }

    /// Returns where to show progress: as the flags say, or else the environment.
    pub(super) fn screen(&self, context: &Context) -> Result<Screen, Error> {
        let progress = match (self.progress, self.no_tui) {
            (Some(progress), _) => progress,
            (None, true) => Progress::Plain,
            (None, false) => progress_of_environment()?,
        };
        Ok(Screen::new(progress, context.output))
    }

    /// Returns these flags again, for a command that continues. With `mock`, the mock agent is used whatever
    /// the flags say.
    pub(super) fn repeated(&self, mock: bool) -> String {
        let mut words = String::new();
        if self.is_mock(mock) {
            words.push_str(" --mock-agent");
        }
        for (flag, value) in [
            ("--mock-delay", self.mock_delay),
            ("--timeout", self.timeout),
            ("--retries", self.retries.filter(|retries| *retries > 0).map(u64::from)),
        ] {
            if let Some(value) = value {
                words.push_str(&format!(" {flag} {value}"));
            }
        }
        words
    }
}

/// Reads the configuration through the component, and prints its warnings. The user must own its files.
fn read_configuration(
    repository: &Repository,
    instance: &mut Instance,
    context: &Context,
) -> Result<Configuration, Error> {
    check_configuration(repository)?;
    let configuration =
        context.call(instance, Instance::settings)?.map_err(Error::Configuration)?;
    // Again: the files may have been replaced in the meantime.
    check_configuration(repository)?;
    for warning in &configuration.warnings {
        let lines = [Some(&warning.message), warning.hint.as_ref()];
        let lines: Vec<&String> = lines.into_iter().flatten().collect();
        context.output.lines(Tone::Warning, &lines);
    }
    Ok(configuration)
}

/// Parses a number of at least 1.
pub(super) fn at_least_one<T: TryFrom<u64>>(text: &str) -> Result<T, &'static str> {
    let number: u64 = whole_number(text)?;
    if number == 0 {
        return Err("must be at least 1");
    }
    T::try_from(number).map_err(|_| "is too large")
}

/// Parses a number.
pub(super) fn whole_number<T: TryFrom<u64>>(text: &str) -> Result<T, &'static str> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number {
        return Err("must be a whole number");
    }
    let number = text.parse::<u64>().ok().and_then(|number| T::try_from(number).ok());
    number.ok_or("is too large")
}

fn mock_delay(text: &str) -> Result<u64, &'static str> {
    match whole_number(text)? {
        delay @ ..=A_DAY => Ok(delay),
        _ => Err("must be at most a day (86400000)"),
    }
}

fn progress_of_environment() -> Result<Progress, Error> {
    const NAME: &str = "WRECKIT_PROGRESS";
    let Some(value) = ambient::variable(NAME) else { return Ok(Progress::Auto) };
    let value = value.to_string_lossy();
    <Progress as clap::ValueEnum>::from_str(&value, true).map_err(|_| {
        Error::usage(format!("{NAME} must be auto, bar, plain or none, found {value:?}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_refused_with_the_reason() {
        assert_eq!(at_least_one::<u32>("7"), Ok(7));
        for (text, reason) in [
            ("0", "must be at least 1"),
            ("-1", "must be a whole number"),
            ("1.5", "must be a whole number"),
            ("+1", "must be a whole number"),
            ("", "must be a whole number"),
            ("4294967296", "is too large"),
            ("99999999999999999999", "is too large"),
        ] {
            assert_eq!(at_least_one::<u32>(text), Err(reason), "{text}");
        }
        assert_eq!(mock_delay("0"), Ok(0));
        assert!(mock_delay("86400001").is_err());
    }
}
