//! What a session asks of an agent: how a call is launched, and what its end means.

mod arguments;
mod launch;
mod outcome;
mod output;
mod prompt;
mod template;
#[cfg(test)]
mod tests;

pub use launch::{CallContext, FeatureContext};
pub use outcome::Outcome;
pub use output::Watcher;
pub use prompt::{DEFAULTS as DEFAULT_PROMPTS, PromptSet, file as prompt_file};

use regex_lite::Regex;

use self::prompt::Prompts;
use crate::bindings::exports::wreckit::batch::batch::{AgentChoice, ConfigurationProblem, Options};
use crate::formats::config::{
    self, AgentConfig, Config, DEFAULT_LIMIT_WAIT, DEFAULT_MAX_ITERATIONS, Source,
};

/// How long a call of the mock agent takes, in milliseconds, if the options do not say.
const MOCK_DELAY: u64 = 500;

/// The agent of a session.
#[derive(Debug)]
pub struct Agent {
    kind: Kind,
    /// How long a call may take, in milliseconds.
    timeout: Option<u64>,
    limit_wait: u64,
    max_iterations: u32,
    limit_patterns: Vec<Regex>,
    phase_warning: Option<ConfigurationProblem>,
}

#[derive(Debug)]
enum Kind {
    /// A program, once per item.
    Command { program: String, args: Vec<String> },
    /// A program, once per phase and story, with a prompt.
    Process { program: String, args: Vec<String>, prompts: Box<Prompts>, marker: String },
    /// A WebAssembly component, once per item.
    Component { file: String, args: Vec<String> },
    /// Nothing: waits this long and succeeds.
    Mock { delay: u64 },
    /// A worker of the embedder.
    Custom,
}

impl Agent {
    /// Creates the agent that the options choose. A mock or custom agent does not need a configuration,
    /// and ignores it. Otherwise the configuration and the prompts are read and checked now, so that a
    /// session does not start in vain.
    pub fn new(
        source: Source<'_>,
        options: &Options,
        prompts: PromptSet<'_>,
    ) -> Result<Self, Vec<ConfigurationProblem>> {
        match options.agent {
            AgentChoice::Configured => Agent::configured(source, options, prompts),
            AgentChoice::Mock(delay) => Ok(Agent::unconfigured(Kind::Mock { delay }, options)),
            AgentChoice::Custom => Ok(Agent::unconfigured(Kind::Custom, options)),
        }
    }

    fn configured(
        source: Source<'_>,
        options: &Options,
        set: PromptSet<'_>,
    ) -> Result<Self, Vec<ConfigurationProblem>> {
        let config = Config::read(source)?;
        let phase_warning = match set {
            PromptSet::Items => None,
            PromptSet::Feature(_) => config::missing_phase_argument(&config.agent).map(Into::into),
        };
        let kind = match config.agent {
            AgentConfig::Command { program, args } => Kind::Command { program, args },
            AgentConfig::Process { program, args, completion_marker } => Kind::Process {
                program,
                args,
                prompts: Box::new(Prompts::read(
                    source,
                    set,
                    config.base_branch,
                    config.branch_prefix,
                )?),
                marker: completion_marker,
            },
            AgentConfig::Component { file, args } => Kind::Component { file, args },
            AgentConfig::Mock => Kind::Mock { delay: MOCK_DELAY },
        };
        Ok(Agent {
            timeout: timeout(&kind, options.timeout.unwrap_or(config.timeout)),
            kind,
            limit_wait: options.limit_wait.unwrap_or(config.limit_wait),
            max_iterations: options.max_iterations.unwrap_or(config.max_iterations),
            limit_patterns: config.limit_patterns,
            phase_warning,
        })
    }

    fn unconfigured(kind: Kind, options: &Options) -> Self {
        Agent {
            timeout: timeout(&kind, options.timeout.unwrap_or(0)),
            kind,
            limit_wait: options.limit_wait.unwrap_or(DEFAULT_LIMIT_WAIT),
            max_iterations: options.max_iterations.unwrap_or(DEFAULT_MAX_ITERATIONS),
            limit_patterns: Vec::new(),
            phase_warning: None,
        }
    }

    /// Whether it is called for each phase of an item.
    pub fn has_phases(&self) -> bool {
        matches!(self.kind, Kind::Process { .. })
    }

    /// Whether it is the mock agent, whose results change no `item.json`.
    pub fn is_mock(&self) -> bool {
        matches!(self.kind, Kind::Mock { .. })
    }

    /// How long the first pause lasts, in milliseconds: the options', or as configured.
    pub fn limit_wait(&self) -> u64 {
        self.limit_wait
    }

    /// Maximum number of calls of an attempt in the phase `implement`: the options', or as configured.
    pub fn max_iterations(&self) -> u32 {
        self.max_iterations
    }

    /// A warning for a run of a feature whose agent does not receive its phase. `settings` does not have it,
    /// because it does not matter for items.
    pub fn phase_warning(&self) -> Option<&ConfigurationProblem> {
        self.phase_warning.as_ref()
    }

    /// Returns what watches the output of a call; `None` if nothing in it matters. Create one for each
    /// call, feed it every byte, and pass it to [`Agent::outcome`].
    pub fn watcher(&self) -> Option<Watcher> {
        let marker = match &self.kind {
            Kind::Process { marker, .. } => Some(marker.as_str()),
            _ => None,
        };
        self.watches().then(|| Watcher::new(marker, self.limit_patterns.clone()))
    }

    fn watches(&self) -> bool {
        matches!(self.kind, Kind::Process { .. }) || !self.limit_patterns.is_empty()
    }
}

/// The time limit of a call. The mock agent has none: its duration is configured.
fn timeout(kind: &Kind, milliseconds: u64) -> Option<u64> {
    let is_mock = matches!(kind, Kind::Mock { .. });
    Some(milliseconds).filter(|milliseconds| *milliseconds > 0 && !is_mock)
}
