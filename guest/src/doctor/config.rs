//! MISSING_CONFIG, INVALID_CONFIG and UNSAFE_PLACEHOLDER: `config.json`, with `config.local.json` merged over it.
//!
//! The host reads the same files to run agents; a test holds the two to the same opinion.

use serde_json::{Map, Value};

use super::finding::{Code, Diagnostic};
use super::shell;
use crate::formats::json::{self, Fields};
use crate::io::capabilities::FsError;
use crate::io::host::Host;

const FILE: &str = "config.json";
const LOCAL_FILE: &str = "config.local.json";
/// A larger configuration is a mistake.
const LIMIT: u64 = 1 << 20;

/// The kinds of agents of the existing tool that only that tool can run.
const SDK_KINDS: [&str; 7] =
    ["sdk", "claude_sdk", "amp_sdk", "codex_sdk", "opencode_sdk", "rlm", "sprite"];

pub(super) fn examine(host: Host<'_>) -> Vec<Diagnostic> {
    let invalid = |message: String| vec![Diagnostic::new(Code::InvalidConfig, message)];
    let mut config = match read(host, FILE) {
        Ok(Some(config)) => config,
        Ok(None) => {
            return vec![Diagnostic::new(Code::MissingConfig, format!("{FILE} is missing"))];
        }
        Err(problem) => return invalid(problem),
    };
    let mut name = FILE.to_owned();
    match read(host, LOCAL_FILE) {
        Ok(None) => {}
        Ok(Some(local)) => {
            merge(&mut config, local);
            name = format!("{FILE} with {LOCAL_FILE} over it");
        }
        Err(problem) => return invalid(problem),
    }
    match problems(&config) {
        Some(problems) => invalid(format!("{name} is invalid: {problems}")),
        None => config.get("agent").and_then(unsafe_placeholder).into_iter().collect(),
    }
}

/// Placeholders in the script of a shell that the agent's command starts.
fn unsafe_placeholder(agent: &Value) -> Option<Diagnostic> {
    let kind = agent.get("kind").or_else(|| agent.get("mode"))?;
    let command = agent.get("command")?.as_str()?;
    if kind.as_str() != Some("command") {
        return None;
    }
    let args = json::strings(agent.get("args")?)?;
    let message = shell::warning(command, &args)?;
    Some(Diagnostic::new(Code::UnsafePlaceholder, message))
}

fn read(host: Host<'_>, file: &str) -> Result<Option<Map<String, Value>>, String> {
    let bytes = match host.read(file, LIMIT) {
        Ok(bytes) => bytes,
        Err(FsError::NotFound) => return Ok(None),
        Err(error) => return Err(format!("cannot read {file}: {error}")),
    };
    match json::parse(&bytes) {
        Ok(Value::Object(object)) => Ok(Some(object)),
        Ok(_) => Err(format!("{file} is invalid: the document must be an object")),
        Err(error) => Err(format!("{file} has invalid JSON: {error}")),
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

fn problems(config: &Map<String, Value>) -> Option<String> {
    let mut fields = Fields::new(config);
    fields.optional("schema_version", "a number", |value| value.is_number().then_some(()));
    fields.optional("base_branch", "a string", Value::as_str);
    fields.optional("branch_prefix", "a string", Value::as_str);
    fields.optional("merge_mode", "pr or direct", |value| {
        value.as_str().filter(|mode| ["pr", "direct"].contains(mode))
    });
    let at_least = |least: u64| move |value: &Value| json::integer(value).filter(|n| *n >= least);
    fields.optional("max_iterations", "an integer of at least 1", at_least(1));
    fields.optional("timeout_seconds", "an integer of at least 0", at_least(0));
    let agent = fields.required("agent", "an object", Value::as_object);
    let of_agent = agent.and_then(agent_problems);
    match (fields.problems(), of_agent) {
        (None, None) => None,
        (Some(problems), None) | (None, Some(problems)) => Some(problems),
        (Some(problems), Some(of_agent)) => Some(format!("{problems}; {of_agent}")),
    }
}

fn agent_problems(agent: &Map<String, Value>) -> Option<String> {
    let mut fields = Fields::new(agent);
    let is_text = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    let text = |value: &Value| is_text(value).then_some(());
    // `kind` wins over the older `mode`.
    let key = if agent.contains_key("kind") { "kind" } else { "mode" };
    let kind = agent.get(key).and_then(Value::as_str).unwrap_or_default();
    match kind {
        "process" | "command" => {
            fields.required("command", "a string that is not empty", text);
            fields.optional("args", "a list of strings", json::strings);
        }
        "wasm" => {
            fields.required("component", "a string that is not empty", text);
            fields.optional("args", "a list of strings", json::strings);
        }
        "mock" => {}
        kind if SDK_KINDS.contains(&kind) => {}
        _ => fields.wrong(
            if agent.contains_key("mode") { key } else { "kind" },
            "process, command, wasm, mock, or an SDK kind of the existing tool",
        ),
    }
    if kind == "process" {
        fields.optional("completion_signal", "a string that is not empty", text);
    }
    fields.optional("limit_patterns", "a list of regular expressions", json::strings);
    fields.optional("limit_wait_seconds", "an integer of at least 1", |value| {
        json::integer(value).filter(|seconds| *seconds >= 1)
    });
    fields.problems().map(|problems| format!("`agent`: {problems}"))
}
