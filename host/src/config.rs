//! `.wreckit/config.json`, with `config.local.json` merged over it: the existing tool's file.

use std::io::{self, Read};
use std::path::Path;

use cap_std::fs::{Dir, File, MetadataExt};
use regex::bytes::Regex;
use serde_json::{Map, Value};

use crate::engine::feature::Price;
use crate::json;
use crate::ownership::{self, OwnershipError};
use crate::repository::STATE;

/// A larger configuration is a mistake.
const LIMIT: u64 = 1 << 20;

const FILE: &str = "config.json";
const LOCAL_FILE: &str = "config.local.json";

/// Keys that somebody knows, here or in the existing tool.
const KNOWN: [&str; 11] = [
    "schema_version",
    "base_branch",
    "branch_prefix",
    "merge_mode",
    "agent",
    "max_iterations",
    "timeout_seconds",
    "pr_checks",
    "branch_cleanup",
    "pricing",
    "doctor",
];

/// What a batch needs to know.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// The agent.
    pub(crate) agent: AgentConfig,
    /// How long a first pause lasts, in seconds.
    pub(crate) limit_wait_seconds: u64,
    /// What in an agent's output says that a limit was reached.
    pub(crate) limit_patterns: Vec<Regex>,
    /// How long a call of an agent may take, in seconds; 0: as long as it wants.
    pub(crate) timeout_seconds: u64,
    /// How often an agent is called for the stories of an item.
    pub(crate) max_iterations: u32,
    /// The branch that work starts from; for prompts.
    pub(crate) base_branch: String,
    /// What the name of an item's branch begins with; for prompts.
    pub(crate) branch_prefix: String,
    /// Keys that nobody knows.
    pub(crate) unknown: Vec<String>,
}

/// The agent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum AgentConfig {
    /// `command`: a program, once per item.
    Command {
        /// The program, by path or by name.
        command: String,
        /// Its arguments, with placeholders.
        args: Vec<String>,
    },
    /// `process`: a program, once per phase and story.
    Process {
        /// The program, by path or by name.
        command: String,
        /// Its arguments, as they are.
        args: Vec<String>,
        /// What it prints when its work is complete.
        completion_signal: String,
    },
    /// `wasm`: a component, once per item.
    Wasm {
        /// Its file, from the repository's root.
        component: String,
        /// Its arguments, with placeholders.
        args: Vec<String>,
    },
    /// `mock`: nothing.
    Mock,
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("there is no .wreckit/{FILE}, so there is no agent to run")]
    Missing,
    #[error("cannot read .wreckit/{file}: {error}")]
    Unreadable { file: &'static str, error: io::Error },
    #[error(".wreckit/{file} has invalid JSON: {error}")]
    NotJson { file: &'static str, error: serde_json::Error },
    #[error(".wreckit/{FILE} is invalid: {0}")]
    Invalid(String),
    #[error(transparent)]
    Ownership(#[from] OwnershipError),
    #[error("agent kind `{kind}` cannot be run by wreckit-host")]
    Unsupported { kind: String },
}

impl ConfigError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> String {
        match self {
            ConfigError::Ownership(error) => error.hint().unwrap_or_default(),
            ConfigError::Missing => {
                "`wreckit-host init` makes one; `--mock-agent` needs none".to_owned()
            }
            ConfigError::Unsupported { kind } => format!(
                "set agent.kind to `command` and let it start your agent's command line, for instance\n\
                 {{\"kind\": \"command\", \"command\": \"{}\", \"args\": [\"-p\", \"Work on {{id}}: {{title}}\"]}}\n\
                 (`wreckit run {{id}}` works as well); in .wreckit/{LOCAL_FILE} it applies to you alone",
                if kind.starts_with("claude") { "claude" } else { "your-agent" }
            ),
            ConfigError::Unreadable { .. }
            | ConfigError::NotJson { .. }
            | ConfigError::Invalid(_) => {
                "mend the file, or run with `--mock-agent` to leave it alone".to_owned()
            }
        }
    }
}

impl Config {
    /// Reads both files of the repository at `root`, whose `.wreckit` is `state`.
    pub(crate) fn read(state: &Dir, root: &Path) -> Result<Self, ConfigError> {
        let mut document = read_object(state, root, FILE)?.ok_or(ConfigError::Missing)?;
        if let Some(local) = read_object(state, root, LOCAL_FILE)? {
            merge(&mut document, local);
        }
        Config::from_document(&document)
    }

    fn from_document(document: &Map<String, Value>) -> Result<Self, ConfigError> {
        let Some(agent) = document.get("agent") else {
            return Err(invalid("`agent` is missing"));
        };
        let Value::Object(agent) = agent else {
            return Err(invalid("`agent` must be an object"));
        };
        let max_iterations = integer(document, "max_iterations", 1, MAX_ITERATIONS)?;
        let limit_wait_seconds = integer(agent, "limit_wait_seconds", 1, LIMIT_WAIT_SECONDS)
            .map_err(|_| invalid("`agent.limit_wait_seconds` must be an integer of at least 1"))?;
        let unknown =
            document.keys().filter(|key| !KNOWN.contains(&key.as_str())).cloned().collect();
        Ok(Config {
            agent: AgentConfig::from_object(agent)?,
            limit_wait_seconds,
            limit_patterns: limit_patterns(agent)?,
            timeout_seconds: integer(document, "timeout_seconds", 0, TIMEOUT_SECONDS)?,
            max_iterations: u32::try_from(max_iterations).unwrap_or(u32::MAX),
            base_branch: text(document, "base_branch", "main")?,
            branch_prefix: text(document, "branch_prefix", "wreckit/")?,
            unknown,
        })
    }
}

/// What models cost, by `pricing`: `{model: {"input": dollars, "output": dollars}}`, for a million
/// tokens. A configuration that is damaged otherwise is no hindrance.
pub(crate) fn prices(state: &Dir, root: &Path) -> Result<Vec<Price>, ConfigError> {
    let mut document = read_object(state, root, FILE)?.unwrap_or_default();
    if let Some(local) = read_object(state, root, LOCAL_FILE)? {
        merge(&mut document, local);
    }
    let Some(pricing) = document.get("pricing") else { return Ok(Vec::new()) };
    let price = |(model, price): (&String, &Value)| {
        let dollars = |key: &str| price.get(key)?.as_f64().filter(|dollars| *dollars >= 0.0);
        let (input, output) = dollars("input").zip(dollars("output"))?;
        Some(Price { model: model.clone(), input, output })
    };
    let prices = pricing.as_object().map(|models| models.iter().map(price).collect());
    prices.flatten().ok_or_else(|| {
        invalid("`pricing` must be an object of models, each with `input` and `output`: dollars for a million tokens")
    })
}

/// A first pause lasts a minute.
pub(crate) const LIMIT_WAIT_SECONDS: u64 = 60;
/// The defaults of the existing tool.
const TIMEOUT_SECONDS: u64 = 3600;
const MAX_ITERATIONS: u64 = 100;
const COMPLETION_SIGNAL: &str = "<promise>COMPLETE</promise>";

impl AgentConfig {
    fn from_object(agent: &Map<String, Value>) -> Result<Self, ConfigError> {
        // `kind` wins over the older `mode`.
        let kind = match (agent.get("kind"), agent.get("mode")) {
            (Some(Value::String(kind)), _) | (None, Some(Value::String(kind))) => kind.as_str(),
            (Some(_), _) => return Err(invalid("`agent.kind` must be a string")),
            (None, _) => return Err(invalid("`agent.kind` is missing")),
        };
        match kind {
            "mock" => Ok(AgentConfig::Mock),
            "command" => Ok(AgentConfig::Command {
                command: not_empty(agent, "command")?,
                args: args(agent)?,
            }),
            "process" => Ok(AgentConfig::Process {
                command: not_empty(agent, "command")?,
                args: args(agent)?,
                completion_signal: match agent.contains_key("completion_signal") {
                    true => not_empty(agent, "completion_signal")?,
                    false => COMPLETION_SIGNAL.to_owned(),
                },
            }),
            "wasm" => Ok(AgentConfig::Wasm {
                component: not_empty(agent, "component")?,
                args: args(agent)?,
            }),
            "sdk" | "claude_sdk" | "amp_sdk" | "codex_sdk" | "opencode_sdk" | "rlm" | "sprite" => {
                Err(ConfigError::Unsupported { kind: kind.to_owned() })
            }
            other => Err(invalid(&format!(
                "`agent.kind` must be `process`, `command`, `wasm` or `mock`, found {other:?}"
            ))),
        }
    }
}

fn not_empty(agent: &Map<String, Value>, key: &str) -> Result<String, ConfigError> {
    match agent.get(key) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
        _ => Err(invalid(&format!("`agent.{key}` must be a string that is not empty"))),
    }
}

fn args(agent: &Map<String, Value>) -> Result<Vec<String>, ConfigError> {
    match agent.get("args") {
        None => Ok(Vec::new()),
        Some(args) => {
            strings(args).ok_or_else(|| invalid("`agent.args` must be a list of strings"))
        }
    }
}

fn limit_patterns(agent: &Map<String, Value>) -> Result<Vec<Regex>, ConfigError> {
    let Some(patterns) = agent.get("limit_patterns") else { return Ok(Vec::new()) };
    let must = "`agent.limit_patterns` must be a list of regular expressions";
    let patterns = strings(patterns).ok_or_else(|| invalid(must))?;
    let compile = |pattern: &String| {
        // The message of the error points into the pattern over several lines.
        Regex::new(pattern).map_err(|_| invalid(&format!("{must}, found {pattern:?}")))
    };
    patterns.iter().map(compile).collect()
}

fn integer(
    object: &Map<String, Value>,
    key: &str,
    least: u64,
    default: u64,
) -> Result<u64, ConfigError> {
    match object.get(key) {
        None => Ok(default),
        Some(value) => value
            .as_u64()
            .filter(|number| *number >= least)
            .ok_or_else(|| invalid(&format!("`{key}` must be an integer of at least {least}"))),
    }
}

fn text(object: &Map<String, Value>, key: &str, default: &str) -> Result<String, ConfigError> {
    match object.get(key) {
        None => Ok(default.to_owned()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(invalid(&format!("`{key}` must be a string"))),
    }
}

fn invalid(problem: &str) -> ConfigError {
    ConfigError::Invalid(problem.to_owned())
}

fn strings(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|entry| entry.as_str().map(str::to_owned)).collect()
}

fn read_object(
    state: &Dir,
    root: &Path,
    name: &'static str,
) -> Result<Option<Map<String, Value>>, ConfigError> {
    let unreadable = |error| ConfigError::Unreadable { file: name, error };
    let file = match open_regular(state, name) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    // Asked of the open file: its name may be given to another one at any time.
    let owner = file.metadata().map_err(unreadable)?.uid();
    ownership::check(root, &root.join(STATE).join(name), owner)?;
    let text = read_bounded(file).map_err(unreadable)?;
    match json::parse(&text).map_err(|error| ConfigError::NotJson { file: name, error })? {
        Value::Object(object) => Ok(Some(object)),
        _ => Err(ConfigError::Invalid("the document must be an object".to_owned())),
    }
}

fn open_regular(state: &Dir, name: &str) -> io::Result<File> {
    match state.metadata(name)?.is_file() {
        true => state.open(name),
        false => Err(io::Error::other("it is not a regular file")),
    }
}

fn read_bounded(file: File) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.take(LIMIT + 1).read_to_end(&mut text)?;
    match text.len() as u64 > LIMIT {
        true => Err(io::Error::other("it is larger than 1 MiB")),
        false => Ok(text),
    }
}

/// Objects are merged key by key; anything else is replaced.
fn merge(base: &mut Map<String, Value>, over: Map<String, Value>) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Object(base)), Value::Object(over)) => merge(base, over),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config(document: Value) -> Result<Config, ConfigError> {
        Config::from_document(document.as_object().unwrap())
    }

    #[test]
    fn a_command_with_arguments() {
        let config =
            config(json!({"agent": {"kind": "command", "command": "true", "args": ["{id}"]}}))
                .unwrap();
        assert_eq!(
            config.agent,
            AgentConfig::Command { command: "true".to_owned(), args: vec!["{id}".to_owned()] }
        );
    }

    #[test]
    fn the_older_mode_means_the_same_and_what_is_missing_has_the_defaults_of_the_existing_tool() {
        let config = config(json!({"agent": {"mode": "process", "command": "claude"}})).unwrap();
        assert_eq!(
            config.agent,
            AgentConfig::Process {
                command: "claude".to_owned(),
                args: Vec::new(),
                completion_signal: "<promise>COMPLETE</promise>".to_owned(),
            }
        );
        assert_eq!((config.timeout_seconds, config.max_iterations), (3600, 100));
        assert_eq!((&*config.base_branch, &*config.branch_prefix), ("main", "wreckit/"));
    }

    #[test]
    fn kind_wins_over_mode() {
        let agent = json!({"kind": "mock", "mode": "sdk"});
        assert_eq!(config(json!({"agent": agent})).unwrap().agent, AgentConfig::Mock);
    }

    #[test]
    fn the_kinds_of_the_existing_tool_are_named_with_what_to_use_instead() {
        let error = config(json!({"agent": {"kind": "claude_sdk"}})).unwrap_err();
        assert!(error.to_string().contains("claude_sdk"));
        assert!(error.hint().contains("\"command\": \"claude\""));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (document, problem) in [
            (json!({}), "`agent` is missing"),
            (json!({"agent": 1}), "`agent` must be an object"),
            (json!({"agent": {}}), "`agent.kind` is missing"),
            (json!({"agent": {"kind": "x"}}), "`agent.kind` must be"),
            (json!({"agent": {"kind": "command"}}), "`agent.command` must be"),
            (
                json!({"agent": {"kind": "command", "command": "a", "args": [1]}}),
                "`agent.args` must be",
            ),
            (
                json!({"agent": {"kind": "mock", "limit_wait_seconds": 0}}),
                "`agent.limit_wait_seconds` must be",
            ),
            (
                json!({"agent": {"kind": "mock", "limit_patterns": ["a", "("]}}),
                "`agent.limit_patterns` must be a list of regular expressions, found \"(\"",
            ),
            (
                json!({"agent": {"kind": "process", "command": "a", "completion_signal": ""}}),
                "`agent.completion_signal` must be",
            ),
            (json!({"agent": {"kind": "wasm"}}), "`agent.component` must be"),
            (
                json!({"agent": {"kind": "mock"}, "max_iterations": 0}),
                "`max_iterations` must be an integer of at least 1",
            ),
            (
                json!({"agent": {"kind": "mock"}, "timeout_seconds": "1"}),
                "`timeout_seconds` must be an integer of at least 0",
            ),
        ] {
            let error = config(document.clone()).unwrap_err().to_string();
            assert!(error.contains(problem), "{document}: {error}");
        }
    }

    #[test]
    fn the_local_file_is_merged_key_by_key() {
        let mut base =
            json!({"agent": {"kind": "rlm", "model": "m"}, "a": 1}).as_object().unwrap().clone();
        let over = json!({"agent": {"kind": "mock"}, "b": 2}).as_object().unwrap().clone();
        merge(&mut base, over);
        assert_eq!(
            Value::Object(base),
            json!({"agent": {"kind": "mock", "model": "m"}, "a": 1, "b": 2})
        );
    }
}
