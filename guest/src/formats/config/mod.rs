//! `config.json` with `config.local.json` merged into it: how agents run.
//!
//! Sessions, `settings` and `doctor` read the configuration here, so that they agree on what is valid.

mod checks;
mod placeholders;
mod problem;
mod script;
mod source;
#[cfg(test)]
mod tests;

pub use placeholders::{Placeholder, missing_phase_argument};
pub use problem::{File, Kind, Problem};
pub use source::Source;

use regex_lite::Regex;
use serde_json::{Map, Value};

use self::checks::Checks;
use crate::bindings::exports::wreckit::batch::batch::{
    AgentKind, Configuration, ConfigurationProblem, Price,
};
use crate::json;

/// Maximum size of a configuration file, in bytes. A larger one is a mistake.
const LIMIT: u64 = 1 << 20;

/// How long the first pause lasts by default, in milliseconds.
pub const DEFAULT_LIMIT_WAIT: u64 = 60_000;
/// How long a call may take by default, in milliseconds; from the existing tool.
const DEFAULT_TIMEOUT: u64 = 3_600_000;
/// How many calls an attempt may make in the phase `implement` by default; from the existing tool.
pub const DEFAULT_MAX_ITERATIONS: u32 = 100;
/// The default completion marker, from the existing tool.
const DEFAULT_COMPLETION_MARKER: &str = "<promise>COMPLETE</promise>";

/// The configuration of a repository.
#[derive(Debug, Clone)]
pub struct Config {
    /// The agent.
    pub agent: AgentConfig,
    /// How long the first pause lasts, in milliseconds.
    pub limit_wait: u64,
    /// Regular expressions for lines of output that say that a limit was reached.
    pub limit_patterns: Vec<Regex>,
    /// How long a call may take, in milliseconds; 0 for no limit.
    pub timeout: u64,
    /// Maximum number of calls of an attempt in the phase `implement`.
    pub max_iterations: u32,
    /// The branch that branches of items start from.
    pub base_branch: String,
    /// What the names of branches of items start with.
    pub branch_prefix: String,
    /// Prices that take precedence over those that the component knows.
    pub prices: Vec<Price>,
    /// Problems that do not prevent a run.
    pub warnings: Vec<Problem>,
}

/// The agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentConfig {
    /// `command`: a program that is started once per item.
    Command {
        /// The program, by path or by name.
        program: String,
        /// Its arguments, with placeholders.
        args: Vec<String>,
    },
    /// `process`: a program that is started once per phase and story.
    Process {
        /// The program, by path or by name.
        program: String,
        /// Its arguments, without placeholders.
        args: Vec<String>,
        /// What it prints when its work is complete.
        completion_marker: String,
    },
    /// `wasm`: a WebAssembly component that is started once per item.
    Component {
        /// Its file, relative to the root of the repository.
        file: String,
        /// Its arguments, with placeholders.
        args: Vec<String>,
    },
    /// `mock`: no agent.
    Mock,
}

/// Why the configuration cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Everything that is wrong with it; never empty.
    pub problems: Vec<Problem>,
    /// Problems that do not prevent a run.
    pub warnings: Vec<Problem>,
    /// Whether `config.local.json` was merged into it.
    pub merged: bool,
}

impl From<ConfigError> for Vec<ConfigurationProblem> {
    fn from(error: ConfigError) -> Self {
        error.problems.into_iter().map(Into::into).collect()
    }
}

impl Config {
    /// Reads both files.
    pub fn read(source: Source<'_>) -> Result<Self, ConfigError> {
        let (document, local) = read_documents(source, true).map_err(|problems| ConfigError {
            problems,
            warnings: Vec::new(),
            merged: false,
        })?;
        let mut checks = Checks::new(&document, local.as_ref());
        let config = checks.config();
        let (problems, warnings) = checks.finish();
        match config {
            Some(config) if problems.is_empty() => Ok(Config { warnings, ..config }),
            _ => Err(ConfigError { problems, warnings, merged: local.is_some() }),
        }
    }

    /// The part of the configuration that the WIT package exposes.
    pub fn to_configuration(&self) -> Configuration {
        Configuration {
            agent: match &self.agent {
                AgentConfig::Command { program, .. } => AgentKind::Command(program.clone()),
                AgentConfig::Process { program, .. } => AgentKind::Process(program.clone()),
                AgentConfig::Component { file, .. } => AgentKind::Component(file.clone()),
                AgentConfig::Mock => AgentKind::Mock,
            },
            timeout: self.timeout,
            limit_wait: self.limit_wait,
            max_iterations: self.max_iterations,
            base_branch: self.base_branch.clone(),
            branch_prefix: self.branch_prefix.clone(),
            prices: self.prices.clone(),
            warnings: self.warnings.iter().cloned().map(Into::into).collect(),
        }
    }
}

/// Returns the value of `batch.settings`.
pub fn settings(source: Source<'_>) -> Result<Configuration, Vec<ConfigurationProblem>> {
    Ok(Config::read(source)?.to_configuration())
}

/// Returns the configured prices. Needs no configuration, and ignores problems with other keys.
pub fn prices(source: Source<'_>) -> Result<Vec<Price>, Vec<ConfigurationProblem>> {
    let convert = |problems: Vec<Problem>| problems.into_iter().map(Into::into).collect::<Vec<_>>();
    let (document, local) = read_documents(source, false).map_err(convert)?;
    let mut checks = Checks::new(&document, local.as_ref());
    let prices = checks.prices();
    match checks.finish() {
        (problems, _) if problems.is_empty() => Ok(prices),
        (problems, _) => Err(convert(problems)),
    }
}

type Object = Map<String, Value>;

/// Reads the merged document and, for the origin of its values, `config.local.json` by itself.
fn read_documents(
    source: Source<'_>,
    required: bool,
) -> Result<(Object, Option<Object>), Vec<Problem>> {
    let problem = |kind, text: &str| Problem {
        kind,
        file: File::Shared,
        key: String::new(),
        text: text.to_owned(),
    };
    match (read_object(source, File::Shared), read_object(source, File::Local)) {
        (Ok(None), _) if required => Err(vec![problem(Kind::Missing, "")]),
        (Ok(shared), Ok(local)) => {
            let mut document = shared.unwrap_or_default();
            if let Some(local) = &local {
                merge(&mut document, local.clone());
            }
            Ok((document, local))
        }
        (shared, local) => Err(shared.err().into_iter().chain(local.err()).collect()),
    }
}

fn read_object(source: Source<'_>, file: File) -> Result<Option<Object>, Problem> {
    let problem = |kind, text| Problem { kind, file, key: String::new(), text };
    let bytes = source.read(file.name(), LIMIT);
    let Some(bytes) = bytes.map_err(|error| problem(Kind::Unreadable, error))? else {
        return Ok(None);
    };
    match json::parse(&bytes).map_err(|error| problem(Kind::InvalidJson, error))? {
        Value::Object(object) => Ok(Some(object)),
        _ => Err(problem(Kind::Invalid, "the document must be an object".to_owned())),
    }
}

/// Merges objects key by key; replaces anything else.
fn merge(base: &mut Object, over: Object) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Object(base)), Value::Object(over)) => merge(base, over),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}
