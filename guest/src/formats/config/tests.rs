use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::bindings::exports::wreckit::batch::feature::Field;
use crate::doctor::{self, Code};
use crate::io::host::Host;
use crate::io::memory::Machine;

fn fields(files: &[(&str, &str)]) -> Vec<Field> {
    let field = |(name, value): &(&str, &str)| Field {
        name: (*name).to_owned(),
        value: (*value).to_owned(),
    };
    files.iter().map(field).collect()
}

fn read(document: &Value) -> Result<Config, ConfigError> {
    Config::read(Source::Contents(&fields(&[("config.json", &document.to_string())])))
}

fn texts(problems: &[Problem]) -> Vec<&str> {
    problems.iter().map(|problem| &*problem.text).collect()
}

fn warnings(document: &Value) -> Vec<String> {
    read(document).unwrap().warnings.into_iter().map(|warning| warning.text).collect()
}

#[test]
fn a_command_agent_has_a_program_and_arguments() {
    let config =
        read(&json!({"agent": {"kind": "command", "command": "true", "args": ["{id}"]}})).unwrap();
    let args = vec!["{id}".to_owned()];
    assert_eq!(config.agent, AgentConfig::Command { program: "true".to_owned(), args });
    assert_eq!(config.warnings, []);
}

#[test]
fn the_older_mode_is_equivalent_and_missing_values_have_the_defaults_of_the_existing_tool() {
    let config = read(&json!({"agent": {"mode": "process", "command": "claude"}})).unwrap();
    assert_eq!(
        config.agent,
        AgentConfig::Process {
            program: "claude".to_owned(),
            args: Vec::new(),
            completion_marker: "<promise>COMPLETE</promise>".to_owned(),
        }
    );
    assert_eq!((config.timeout, config.max_iterations), (3_600_000, 100));
    assert_eq!(config.limit_wait, 60_000);
    assert_eq!((&*config.base_branch, &*config.branch_prefix), ("main", "wreckit/"));
}

#[test]
fn kind_takes_precedence_over_mode() {
    let agent = json!({"kind": "mock", "mode": "sdk"});
    assert_eq!(read(&json!({"agent": agent})).unwrap().agent, AgentConfig::Mock);
}

#[test]
fn settings_have_every_value() {
    let text = json!({
        "schema_version": 1, "merge_mode": "direct", "base_branch": "develop", "branch_prefix": "w/",
        "agent": {"kind": "wasm", "component": "a.wasm", "limit_wait_seconds": 5},
        "timeout_seconds": 0, "max_iterations": 99_999_999_999_u64,
        "pricing": {"m-1.5": {"input": 3, "output": 15.5}},
    });
    let files = fields(&[("config.json", &text.to_string())]);
    let settings = settings(Source::Contents(&files)).unwrap();
    assert_eq!(settings.agent, AgentKind::Component("a.wasm".to_owned()));
    assert_eq!(
        (settings.timeout, settings.limit_wait, settings.max_iterations),
        (0, 5000, u32::MAX)
    );
    assert_eq!((&*settings.base_branch, &*settings.branch_prefix), ("develop", "w/"));
    let price = Price { model: "m-1.5".to_owned(), input: 3.0, output: 15.5 };
    assert_eq!((settings.prices, settings.warnings), (vec![price], Vec::new()));
}

#[test]
fn kinds_that_only_the_existing_tool_can_run_get_a_hint() {
    for (agent, key) in [
        (json!({"kind": "claude_sdk"}), "agent.kind"),
        (json!({"mode": "sdk", "command": "claude"}), "agent.mode"),
    ] {
        let error = read(&json!({"agent": agent})).unwrap_err();
        let problems: Vec<ConfigurationProblem> = error.into();
        assert_eq!(problems[0].key, key);
        assert!(problems[0].message.contains("cannot be run by wreckit-host"), "{problems:?}");
        let hint = problems[0].hint.as_deref().unwrap();
        assert!(hint.contains("set agent.kind to `command`"), "{hint}");
        assert_eq!(hint.contains("\"command\": \"claude\""), key == "agent.kind", "{hint}");
    }
}

#[test]
fn each_problem_names_its_key() {
    for (document, problem) in [
        (json!({}), "`agent` is missing"),
        (json!({"agent": 1}), "`agent` must be an object, found 1"),
        (json!({"agent": {}}), "`agent.kind` must be process, command, wasm, mock, or an SDK kind"),
        (json!({"agent": {"kind": "x"}}), "`agent.kind` must be"),
        (json!({"agent": {"kind": 1, "mode": "sdk"}}), "`agent.kind` must be"),
        (json!({"agent": {"mode": "x"}}), "`agent.mode` must be"),
        (
            json!({"agent": {"kind": "command"}}),
            "`agent.command` must be a string that is not empty, it is missing",
        ),
        (
            json!({"agent": {"kind": "command", "command": "a", "args": [1]}}),
            "`agent.args` must be a list of strings, found a list with 1",
        ),
        (
            json!({"agent": {"kind": "mock", "limit_wait_seconds": 0}}),
            "`agent.limit_wait_seconds` must be an integer of at least 1, found 0",
        ),
        (
            json!({"agent": {"kind": "mock", "limit_patterns": ["a", "("]}}),
            "`agent.limit_patterns` must be a list of regular expressions, found \"(\"",
        ),
        (
            json!({"agent": {"kind": "mock", "limit_patterns": ["(((a{1000}){1000}){1000}){1000}"]}}),
            "`agent.limit_patterns` must be a list of regular expressions",
        ),
        (
            json!({"agent": {"kind": "process", "command": "a", "completion_signal": ""}}),
            "`agent.completion_signal` must be a string that is not empty, found \"\"",
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
        (json!({"agent": {"kind": "mock"}, "schema_version": 2}), "`schema_version` must be 1"),
        (
            json!({"agent": {"kind": "mock"}, "merge_mode": "rebase"}),
            "`merge_mode` must be pr or direct, found \"rebase\"",
        ),
        (
            json!({"agent": {"kind": "mock"}, "pricing": {"m": {"input": -1, "output": 1}}}),
            "`pricing` must be an object of models",
        ),
    ] {
        let error = read(&document).unwrap_err();
        assert_eq!(error.problems.len(), 1, "{document}: {error:?}");
        assert!(error.problems[0].text.starts_with(problem), "{document}: {error:?}");
    }
}

#[test]
fn all_problems_are_reported_with_their_file_and_key() {
    let shared = json!({"merge_mode": 1, "max_iterations": 0, "agent": {"kind": "command"}});
    let local = json!({"max_iterations": -1, "agent": {"args": "x"}});
    let files =
        fields(&[("config.json", &shared.to_string()), ("config.local.json", &local.to_string())]);
    let error = Config::read(Source::Contents(&files)).unwrap_err();
    assert!(error.merged);
    let places: Vec<(File, &str)> =
        error.problems.iter().map(|problem| (problem.file, &*problem.key)).collect();
    assert_eq!(
        places,
        [
            (File::Shared, "merge_mode"),
            (File::Local, "max_iterations"),
            (File::Shared, "agent.command"),
            (File::Local, "agent.args"),
        ]
    );
    let problems: Vec<ConfigurationProblem> = error.into();
    assert_eq!(
        (&*problems[1].file, &*problems[1].message),
        (
            ".wreckit/config.local.json",
            ".wreckit/config.local.json is invalid: `max_iterations` must be an integer of at least 1, found -1"
        )
    );
}

#[test]
fn missing_and_invalid_files_are_reported() {
    let messages = |files: &[(&str, &str)]| -> Vec<String> {
        let error = Config::read(Source::Contents(&fields(files))).unwrap_err();
        let problems: Vec<ConfigurationProblem> = error.into();
        problems.into_iter().map(|problem| problem.message).collect()
    };
    assert_eq!(messages(&[]), [".wreckit/config.json does not exist, so no agent is configured"]);
    assert_eq!(messages(&[("config.local.json", "{}")]).len(), 1);
    let both = messages(&[("config.json", ""), ("config.local.json", "[]")]);
    assert!(both[0].starts_with(".wreckit/config.json has invalid JSON: "), "{both:?}");
    assert_eq!(both[1], ".wreckit/config.local.json is invalid: the document must be an object");
    let large = " ".repeat((1 << 20) + 1);
    assert_eq!(
        messages(&[("config.json", &large)]),
        ["cannot read .wreckit/config.json: it is larger than 1 MiB"]
    );
}

#[test]
fn files_in_a_root_and_passed_contents_are_read_alike() {
    let machine = Machine::new();
    let process = machine.process(1);
    let read = || Config::read(Source::Root(Host::new(&process)));
    let kind = |error: ConfigError| error.problems[0].kind;
    assert_eq!(kind(read().unwrap_err()), Kind::Missing);
    machine.put("config.json", " ".repeat((1 << 20) + 1));
    assert_eq!(texts(&read().unwrap_err().problems), ["it is larger than 1 MiB"]);
    machine.put("config.json", r#"{"agent": {"kind": "rlm", "model": "m"}}"#);
    assert_eq!(kind(read().unwrap_err()), Kind::UnsupportedAgent);
    machine.put("config.local.json", r#"{"agent": {"kind": "mock"}}"#);
    assert_eq!(read().unwrap().agent, AgentConfig::Mock);
}

#[test]
fn the_local_file_is_merged_key_by_key() {
    let object = |value: Value| value.as_object().unwrap().clone();
    let mut base = object(json!({"agent": {"kind": "rlm", "model": "m"}, "a": 1}));
    merge(&mut base, object(json!({"agent": {"kind": "mock"}, "b": 2})));
    assert_eq!(
        Value::Object(base),
        json!({"agent": {"kind": "mock", "model": "m"}, "a": 1, "b": 2})
    );
}

#[test]
fn unknown_keys_are_ignored_with_a_suggestion_at_every_level() {
    let document = json!({
        "timeout_second": 1, "mine": 2.5, "": 1,
        "agent": {"kind": "command", "command": "a", "arg": [], "Args": []},
        "pricing": {"a.b-1.5": {"input": 1, "output": 1, "ouput": 2}},
    });
    let mut found = warnings(&document);
    found.sort();
    assert_eq!(
        found,
        [
            "unknown key `` ignored",
            "unknown key `agent.Args` ignored; did you mean `agent.args`?",
            "unknown key `agent.arg` ignored; did you mean `agent.args`?",
            "unknown key `mine` ignored",
            "unknown key `pricing.a.b-1.5.ouput` ignored; did you mean `pricing.a.b-1.5.output`?",
            "unknown key `timeout_second` ignored; did you mean `timeout_seconds`?",
        ]
    );
}

#[test]
fn keys_of_the_existing_tool_are_known() {
    let agents = [
        json!({"kind": "mock", "mode": "sdk", "model": "m", "max_tokens": 4096, "tools": []}),
        json!({"kind": "mock", "maxIterations": 1, "aiProvider": "zai"}),
        json!({"kind": "mock", "wispPath": "", "token": "", "maxVMs": 5, "defaultMemory": "",
            "defaultCPUs": "1", "timeout": 300}),
    ];
    for agent in agents {
        let document = json!({
            "agent": agent, "pr_checks": {"x": 1}, "branch_cleanup": {}, "doctor": {}, "skills": {},
        });
        assert_eq!(warnings(&document), Vec::<String>::new(), "{document}");
    }
}

#[test]
fn unsafe_and_misspelled_placeholders_are_warned_about() {
    let agent =
        json!({"kind": "command", "command": "sh", "args": ["-c", "say {title}", "{ttle}"]});
    let found = read(&json!({"agent": agent})).unwrap().warnings;
    assert_eq!(found[0].kind, Kind::UnsafePlaceholder);
    assert!(found[0].text.starts_with("`agent.args`: `{title}` in the script of `sh -c`"));
    assert_eq!(
        found[1].sentence(".wreckit/"),
        ".wreckit/config.json: unknown placeholder `{ttle}` in `agent.args`; did you mean `{title}`?"
    );
    let agent = json!({"kind": "wasm", "component": "a", "args": ["{idd}"]});
    assert_eq!(warnings(&json!({"agent": agent})).len(), 1);
    // The arguments of a process agent have no placeholders.
    let agent = json!({"kind": "process", "command": "sh", "args": ["-c", "{title} {ttle}"]});
    assert_eq!(warnings(&json!({"agent": agent})), Vec::<String>::new());
}

#[test]
fn the_number_of_problems_and_warnings_is_bounded() {
    let patterns = vec!["("; 1000];
    let mut document = json!({"agent": {"kind": "mock", "limit_patterns": patterns}});
    for number in 0..1000 {
        document[format!("key {number}")] = json!(1);
    }
    let error = read(&document).unwrap_err();
    assert_eq!((error.problems.len(), error.warnings.len()), (100, 100));
}

#[test]
fn prices_need_no_agent() {
    let of = |files: &[(&str, &str)]| prices(Source::Contents(&fields(files)));
    assert_eq!(of(&[]), Ok(Vec::new()));
    let pricing = r#"{"pricing": {"m": {"input": 1, "output": 0}}, "agent": 1}"#;
    let price = Price { model: "m".to_owned(), input: 1.0, output: 0.0 };
    assert_eq!(of(&[("config.local.json", pricing)]), Ok(vec![price]));
    assert!(of(&[("config.json", r#"{"pricing": {"m": 1}}"#)]).is_err());
    assert!(of(&[("config.json", "{")]).is_err());
}

fn values() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!(null)),
        Just(json!("")),
        Just(json!("pr")),
        Just(json!("process")),
        Just(json!("command")),
        Just(json!("rlm")),
        Just(json!(0)),
        Just(json!(1)),
        Just(json!(1.5)),
        Just(json!([])),
        Just(json!(["a"])),
        Just(json!(["("])),
        Just(json!({})),
        Just(json!({"m": {"input": 1, "output": 1}})),
    ]
}

fn documents() -> impl Strategy<Value = Value> {
    let keys = prop_oneof![
        Just("schema_version"),
        Just("base_branch"),
        Just("merge_mode"),
        Just("max_iterations"),
        Just("timeout_seconds"),
        Just("pricing"),
        Just("agent"),
        Just("other"),
    ];
    let agent_keys = prop_oneof![
        Just("kind"),
        Just("mode"),
        Just("command"),
        Just("args"),
        Just("component"),
        Just("completion_signal"),
        Just("limit_patterns"),
        Just("limit_wait_seconds"),
    ];
    let top = proptest::collection::vec((keys, values()), 0..3);
    let agent = proptest::collection::vec((agent_keys, values()), 0..3);
    (top, agent).prop_map(|(top, agent)| {
        let mut document = json!({"agent": {"kind": "command", "command": "true"}});
        for (key, value) in agent {
            document["agent"][key] = value;
        }
        for (key, value) in top {
            document[key] = value;
        }
        document
    })
}

proptest! {
    #[test]
    fn doctor_and_settings_agree(document in documents()) {
        let machine = Machine::new();
        machine.put("config.json", document.to_string());
        let process = machine.process(1);
        let host = Host::new(&process);
        let found = doctor::diagnose(host);
        let invalid: Vec<&str> = found
            .iter()
            .filter(|finding| finding.code == Code::InvalidConfig.name())
            .map(|finding| &*finding.message)
            .collect();
        match Config::read(Source::Root(host)) {
            Ok(_) => prop_assert_eq!(invalid, Vec::<&str>::new()),
            Err(error) => {
                let is_valid = |problem: &Problem| problem.kind == Kind::UnsupportedAgent;
                prop_assert_eq!(error.problems.iter().all(is_valid), invalid.is_empty());
                for problem in error.problems.iter().filter(|problem| !is_valid(problem)) {
                    let name = problem.text.split('`').nth(1).unwrap();
                    let name = name.strip_prefix("agent.").unwrap_or(name);
                    prop_assert!(invalid[0].contains(&format!("`{name}`")), "{invalid:?}");
                }
            }
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in ".{0,40}") {
        let files = fields(&[("config.json", &text)]);
        let is_read = Config::read(Source::Contents(&files)).is_ok();
        prop_assert!(!is_read, "{text}");
    }
}
