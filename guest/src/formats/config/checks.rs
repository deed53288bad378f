//! The values of a configuration: reads each one, and collects everything that is wrong.

use regex_lite::{Regex, RegexBuilder};
use serde_json::Value;

use super::{
    AgentConfig, Config, DEFAULT_COMPLETION_MARKER, DEFAULT_LIMIT_WAIT, DEFAULT_MAX_ITERATIONS,
    DEFAULT_TIMEOUT, File, Kind, Object, Problem, placeholders, script,
};
use crate::bindings::exports::wreckit::batch::batch::Price;
use crate::json;

/// The keys of the document that this program or the existing tool knows.
const KEYS: [&str; 12] = [
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
    "skills",
];
/// The same for `agent`.
const AGENT_KEYS: [&str; 19] = [
    "kind",
    "mode",
    "command",
    "args",
    "component",
    "completion_signal",
    "limit_patterns",
    "limit_wait_seconds",
    // Of kinds that only the existing tool can run; the local file may override one of them.
    "model",
    "max_tokens",
    "tools",
    "maxIterations",
    "aiProvider",
    "wispPath",
    "token",
    "maxVMs",
    "defaultMemory",
    "defaultCPUs",
    "timeout",
];
/// The keys of a price.
const PRICE_KEYS: [&str; 2] = ["input", "output"];

/// The kinds of agents that only the existing tool can run.
const UNSUPPORTED_KINDS: [&str; 7] =
    ["sdk", "claude_sdk", "amp_sdk", "codex_sdk", "opencode_sdk", "rlm", "sprite"];

/// The path of the agent's arguments.
const ARGS: [&str; 2] = ["agent", "args"];

/// Maximum number of problems, and of warnings, that are returned.
const MOST_PROBLEMS: usize = 100;

/// Maximum size of a compiled pattern, in bytes: matching takes time in proportion to it.
const PATTERN_SIZE: usize = 1 << 20;

/// A document that is being checked.
pub(super) struct Checks<'d> {
    document: &'d Object,
    local: Option<&'d Object>,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl<'d> Checks<'d> {
    /// Checks a merged document; `local` is the part that overrides the rest.
    pub(super) fn new(document: &'d Object, local: Option<&'d Object>) -> Self {
        Checks { document, local, problems: Vec::new(), warnings: Vec::new() }
    }

    /// Returns the problems and the warnings.
    pub(super) fn finish(self) -> (Vec<Problem>, Vec<Problem>) {
        (self.problems, self.warnings)
    }

    /// Reads the whole configuration; `None` if there is no usable agent in it.
    pub(super) fn config(&mut self) -> Option<Config> {
        self.value("schema_version", "1", |value| (value.as_f64() == Some(1.0)).then_some(()));
        let base_branch = self.string("base_branch");
        let branch_prefix = self.string("branch_prefix");
        self.value("merge_mode", "pr or direct", |value| {
            value.as_str().filter(|mode| ["pr", "direct"].contains(mode))
        });
        let max_iterations = self.integer("max_iterations", 1);
        let timeout = self.integer("timeout_seconds", 0);
        let prices = self.prices();
        self.warn_about_unknown_keys(&[], self.document, &KEYS);
        let agent = self.agent();
        let limit_patterns = self.limit_patterns();
        let limit_wait = self.integer("agent.limit_wait_seconds", 1);
        Some(Config {
            agent: agent?,
            limit_wait: milliseconds(limit_wait).unwrap_or(DEFAULT_LIMIT_WAIT),
            limit_patterns,
            timeout: milliseconds(timeout).unwrap_or(DEFAULT_TIMEOUT),
            max_iterations: max_iterations
                .map_or(DEFAULT_MAX_ITERATIONS, |count| u32::try_from(count).unwrap_or(u32::MAX)),
            base_branch: base_branch.unwrap_or("main").to_owned(),
            branch_prefix: branch_prefix.unwrap_or("wreckit/").to_owned(),
            prices,
            warnings: Vec::new(),
        })
    }

    /// Reads `pricing`: `{model: {"input": dollars, "output": dollars}}`, for a million tokens.
    pub(super) fn prices(&mut self) -> Vec<Price> {
        let models = self.value(
            "pricing",
            "an object of models, each with `input` and `output`: dollars for a million tokens",
            |value| {
                let models = value.as_object()?;
                let price = |(model, value): (&String, &Value)| {
                    let dollars =
                        |key: &str| value.get(key)?.as_f64().filter(|dollars| *dollars >= 0.0);
                    let (input, output) = dollars("input").zip(dollars("output"))?;
                    Some(Price { model: model.clone(), input, output })
                };
                let prices: Option<Vec<Price>> = models.iter().map(price).collect();
                Some((models, prices?))
            },
        );
        let Some((models, prices)) = models else { return Vec::new() };
        for (model, price) in models {
            if let Some(price) = price.as_object() {
                self.warn_about_unknown_keys(&["pricing", model], price, &PRICE_KEYS);
            }
        }
        prices
    }

    fn agent(&mut self) -> Option<AgentConfig> {
        let agent = match self.document.get("agent") {
            Some(Value::Object(agent)) => agent,
            Some(_) => {
                self.wrong("agent", "an object");
                return None;
            }
            None => {
                self.invalid("agent", "`agent` is missing".to_owned());
                return None;
            }
        };
        self.warn_about_unknown_keys(&["agent"], agent, &AGENT_KEYS);
        // `kind` takes precedence over the older `mode`.
        let is_legacy = agent.contains_key("mode") && !agent.contains_key("kind");
        let key = if is_legacy { "agent.mode" } else { "agent.kind" };
        match self.get(key).and_then(Value::as_str).unwrap_or_default() {
            "mock" => Some(AgentConfig::Mock),
            "command" => {
                let (program, args) = (self.text("agent.command"), self.args());
                let (program, args) = (program?, args?);
                if let Some(warning) = script::warning(&program, &args) {
                    self.warn(Kind::UnsafePlaceholder, &ARGS, warning);
                }
                self.warn_about_misspelled_placeholders(&args);
                Some(AgentConfig::Command { program, args })
            }
            "process" => {
                let (program, args) = (self.text("agent.command"), self.args());
                let marker = match self.get("agent.completion_signal") {
                    Some(_) => self.text("agent.completion_signal"),
                    None => Some(DEFAULT_COMPLETION_MARKER.to_owned()),
                };
                let (program, args, completion_marker) = (program?, args?, marker?);
                Some(AgentConfig::Process { program, args, completion_marker })
            }
            "wasm" => {
                let (file, args) = (self.text("agent.component"), self.args());
                let (file, args) = (file?, args?);
                self.warn_about_misspelled_placeholders(&args);
                Some(AgentConfig::Component { file, args })
            }
            kind if UNSUPPORTED_KINDS.contains(&kind) => {
                let text = format!("agent kind `{kind}` cannot be run by wreckit-host");
                self.problem(Kind::UnsupportedAgent, key, text);
                None
            }
            _ => {
                self.wrong(
                    key,
                    "process, command, wasm, mock, or an SDK kind of the existing tool",
                );
                None
            }
        }
    }

    fn args(&mut self) -> Option<Vec<String>> {
        match self.get("agent.args") {
            None => Some(Vec::new()),
            Some(_) => self.value("agent.args", "a list of strings", json::strings),
        }
    }

    fn limit_patterns(&mut self) -> Vec<Regex> {
        const KEY: &str = "agent.limit_patterns";
        const MUST: &str = "a list of regular expressions";
        let patterns = self.value(KEY, MUST, json::strings).unwrap_or_default();
        let mut compiled = Vec::new();
        for pattern in patterns {
            match RegexBuilder::new(&pattern).size_limit(PATTERN_SIZE).build() {
                Ok(pattern) => compiled.push(pattern),
                Err(error) => {
                    let text = format!("`{KEY}` must be {MUST}, found {pattern:?} ({error})");
                    self.invalid(KEY, text);
                }
            }
        }
        compiled
    }

    fn string(&mut self, key: &str) -> Option<&'d str> {
        self.value(key, "a string", Value::as_str)
    }

    /// A required string that is not empty.
    fn text(&mut self, key: &str) -> Option<String> {
        let text = self.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        if text.is_none() {
            self.wrong(key, "a string that is not empty");
        }
        text.map(str::to_owned)
    }

    fn integer(&mut self, key: &str, least: u64) -> Option<u64> {
        self.value(key, &format!("an integer of at least {least}"), |value| {
            json::integer(value).filter(|number| *number >= least)
        })
    }

    /// Reads an optional value. A value that `read` refuses is a problem.
    fn value<T>(
        &mut self,
        key: &str,
        must: &str,
        read: impl FnOnce(&'d Value) -> Option<T>,
    ) -> Option<T> {
        let value = read(self.get(key)?);
        if value.is_none() {
            self.wrong(key, must);
        }
        value
    }

    fn get(&self, key: &str) -> Option<&'d Value> {
        get(self.document, &key.split('.').collect::<Vec<_>>())
    }

    fn wrong(&mut self, key: &str, must: &str) {
        let found = match self.get(key) {
            None => "it is missing".to_owned(),
            Some(value) => format!("found {}", json::describe(value)),
        };
        self.invalid(key, format!("`{key}` must be {must}, {found}"));
    }

    fn invalid(&mut self, key: &str, text: String) {
        self.problem(Kind::Invalid, key, text);
    }

    fn problem(&mut self, kind: Kind, key: &str, text: String) {
        let path: Vec<&str> = key.split('.').collect();
        let problem = Problem { kind, file: self.origin(&path), key: key.to_owned(), text };
        if self.problems.len() < MOST_PROBLEMS {
            self.problems.push(problem);
        }
    }

    fn warn(&mut self, kind: Kind, path: &[&str], text: String) {
        let warning = Problem { kind, file: self.origin(path), key: path.join("."), text };
        if self.warnings.len() < MOST_PROBLEMS {
            self.warnings.push(warning);
        }
    }

    /// Returns the file that the value at a path of keys comes from.
    fn origin(&self, path: &[&str]) -> File {
        match self.local.and_then(|local| get(local, path)) {
            Some(_) => File::Local,
            None => File::Shared,
        }
    }

    fn warn_about_unknown_keys(&mut self, path: &[&str], object: &Object, known: &[&'static str]) {
        let full = |name: &str| [path, &[name]].concat().join(".");
        for name in object.keys().filter(|name| !known.contains(&name.as_str())) {
            let key = full(name);
            let text = match nearest(name, known.iter().copied()) {
                Some(likely) => {
                    format!("unknown key `{key}` ignored; did you mean `{}`?", full(likely))
                }
                None => format!("unknown key `{key}` ignored"),
            };
            self.warn(Kind::Warning, &[path, &[name]].concat(), text);
        }
    }

    fn warn_about_misspelled_placeholders(&mut self, args: &[String]) {
        for (word, likely) in placeholders::misspelled(args) {
            let text =
                format!("unknown placeholder `{word}` in `agent.args`; did you mean `{likely}`?");
            self.warn(Kind::Warning, &ARGS, text);
        }
    }
}

fn get<'d>(document: &'d Object, path: &[&str]) -> Option<&'d Value> {
    let (last, sections) = path.split_last()?;
    let mut object = document;
    for section in sections {
        object = object.get(*section)?.as_object()?;
    }
    object.get(*last)
}

fn milliseconds(seconds: Option<u64>) -> Option<u64> {
    Some(seconds?.saturating_mul(1000))
}

/// Returns the name of which a word is most likely a misspelling: at most one error per three letters.
pub(super) fn nearest<'n>(word: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    // The distance takes time in proportion to the product of the lengths.
    let word = Some(word).filter(|word| word.len() <= 64)?;
    let near = names.into_iter().map(|name| (strsim::osa_distance(word, name), name));
    let near = near.filter(|(distance, _)| distance * 3 <= word.chars().count());
    near.min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
}
