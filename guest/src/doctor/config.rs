//! MISSING_CONFIG, INVALID_CONFIG and UNSAFE_PLACEHOLDER: what `settings` says of the configuration.

use super::finding::{Code, Finding};
use crate::formats::config::{Config, ConfigError, File, Kind, Problem, Source};
use crate::io::host::Host;

pub(super) fn examine(host: Host<'_>) -> Vec<Finding> {
    let (mut found, warnings) = match Config::read(Source::Root(host)) {
        Ok(config) => (Vec::new(), config.warnings),
        Err(error) => (problems(&error), error.warnings),
    };
    let unsafe_placeholders =
        warnings.iter().filter(|warning| warning.kind == Kind::UnsafePlaceholder);
    found.extend(
        unsafe_placeholders.map(|warning| Finding::new(Code::UnsafePlaceholder, &*warning.text)),
    );
    found
}

/// One finding for each file that cannot be used, and one for all invalid values.
fn problems(error: &ConfigError) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut invalid: Vec<&Problem> = Vec::new();
    for problem in &error.problems {
        match problem.kind {
            Kind::Missing => {
                let message = format!("{} is missing", problem.file.name());
                found.push(Finding::new(Code::MissingConfig, message));
            }
            Kind::Invalid if !problem.key.is_empty() => invalid.push(problem),
            Kind::Unreadable | Kind::InvalidJson | Kind::Invalid => {
                found.push(Finding::new(Code::InvalidConfig, problem.sentence("")));
            }
            // Valid for the existing tool, whose repository this may be.
            Kind::UnsupportedAgent | Kind::Warning | Kind::UnsafePlaceholder => {}
        }
    }
    if !invalid.is_empty() {
        let name = match error.merged {
            false => File::Shared.name().to_owned(),
            true => format!("{} with {} over it", File::Shared.name(), File::Local.name()),
        };
        let message = format!("{name} is invalid: {}", list(&invalid));
        found.push(Finding::new(Code::InvalidConfig, message));
    }
    found
}

/// The problems in one line; those of `agent` last, with their keys relative to it.
fn list(problems: &[&Problem]) -> String {
    let (of_agent, others): (Vec<&Problem>, Vec<&Problem>) =
        problems.iter().copied().partition(|problem| problem.key.starts_with("agent."));
    let mut texts: Vec<String> = others.iter().map(|problem| problem.text.clone()).collect();
    if !of_agent.is_empty() {
        let of_agent = of_agent.iter().map(|problem| problem.text.replacen("`agent.", "`", 1));
        texts.push(format!("`agent`: {}", of_agent.collect::<Vec<_>>().join("; ")));
    }
    texts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::memory::Machine;

    #[test]
    fn invalid_values_are_one_finding_with_those_of_the_agent_last() {
        let machine = Machine::new();
        let process = machine.process(1);
        let messages = || -> Vec<String> {
            examine(Host::new(&process))
                .into_iter()
                .map(|finding| finding.diagnostic.message)
                .collect()
        };
        assert_eq!(messages(), ["config.json is missing"]);
        machine.put(
            "config.json",
            r#"{"agent": {"kind": "magic", "limit_wait_seconds": 0}, "merge_mode": "rebase"}"#,
        );
        let problems = "`merge_mode` must be pr or direct, found \"rebase\"; `agent`: `kind` must be process, command, \
            wasm, mock, or an SDK kind of the existing tool, found \"magic\"; `limit_wait_seconds` must be an integer \
            of at least 1, found 0";
        assert_eq!(messages(), [format!("config.json is invalid: {problems}")]);
        machine.put("config.local.json", "{}");
        let with_local = "config.json with config.local.json over it is invalid";
        assert_eq!(messages(), [format!("{with_local}: {problems}")]);
        machine.put("config.local.json", "[]");
        assert_eq!(messages(), ["config.local.json is invalid: the document must be an object"]);
    }

    #[test]
    fn an_sdk_agent_is_valid_and_a_placeholder_in_a_script_is_unsafe() {
        let machine = Machine::new();
        let process = machine.process(1);
        machine.put("config.json", r#"{"agent": {"kind": "rlm", "mode": "sdk"}, "mine": 1}"#);
        assert_eq!(examine(Host::new(&process)), []);
        machine.put(
            "config.json",
            r#"{"agent": {"kind": "command", "command": "sh", "args": ["-c", "say {title}"]}, "max_iterations": 0}"#,
        );
        let codes: Vec<Code> =
            examine(Host::new(&process)).into_iter().map(|finding| finding.code).collect();
        assert_eq!(codes, [Code::InvalidConfig, Code::UnsafePlaceholder]);
    }
}
