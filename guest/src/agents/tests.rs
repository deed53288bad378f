mod outcomes;

use regex_lite::Regex;

use super::*;
use crate::bindings::exports::wreckit::batch::feature::Field;
use crate::bindings::exports::wreckit::batch::session::{
    Ended, Ending, Launch, NotStarted, StartFailure, StopCause, Worker, WorkingDirectory,
};
use crate::bindings::wreckit::batch::terminator::Variable;
use crate::io::host::Host;
use crate::io::layout;
use crate::io::memory::Machine;

fn options(agent: AgentChoice) -> Options {
    Options {
        items: Vec::new(),
        agent,
        no_resume: false,
        retry_failed: false,
        take_over: false,
        parallel: 1,
        single: false,
        timeout: None,
        limit_wait: None,
        retries: 0,
        max_failures: 0,
        max_iterations: None,
        lookahead: 0,
        repository: "/r".to_owned(),
    }
}

fn field(name: &str, value: &str) -> Field {
    Field { name: name.to_owned(), value: value.to_owned() }
}

fn create(agent: &str, prompts: &[(&str, &str)], set: PromptSet<'_>) -> Result<Agent, Vec<String>> {
    let mut fields = vec![field("config.json", &format!(r#"{{"agent": {agent}}}"#))];
    fields.extend(prompts.iter().map(|(name, text)| field(name, text)));
    Agent::new(Source::Contents(&fields), &options(AgentChoice::Configured), set)
        .map_err(|problems| problems.into_iter().map(|problem| problem.message).collect())
}

fn agent(agent: &str) -> Agent {
    create(agent, &[], PromptSet::Items).unwrap()
}

const COMMAND: &str = r#"{"kind": "command", "command": "a", "args": ["{id}: {title}", "{dir}", "{root}", "{phase}"]}"#;
const PROCESS: &str =
    r#"{"kind": "process", "command": "a", "args": ["{id}"], "completion_signal": "DONE"}"#;
const COMPONENT: &str = r#"{"kind": "wasm", "component": "a.wasm", "args": ["{dir}"]}"#;

fn call<'c>(host: Host<'c>, phase: &'c str, marker: &'c [Variable]) -> CallContext<'c> {
    CallContext {
        host,
        session: "s",
        item: "001-a",
        attempt: 3,
        number: 1,
        phase,
        story: None,
        title: "<A> & \"B\"",
        overview: "",
        section: None,
        branch: None,
        directory: "items/001-a",
        log: "runs/s/001-a.3.log",
        repository: "/r",
        marker,
        feature: None,
    }
}

fn in_feature<'c>(host: Host<'c>, worktree: Option<&'c str>) -> CallContext<'c> {
    let feature = Some(FeatureContext { id: "export_1", worktree });
    let call = call(host, "testing", &[]);
    CallContext { item: "testing", directory: "export_1", feature, ..call }
}

fn variable<'l>(launch: &'l Launch, name: &str) -> Option<&'l str> {
    let mut variables = launch.environment.iter().filter(|variable| variable.name == name);
    let value = variables.next().map(|variable| &*variable.value);
    assert!(variables.next().is_none(), "{name} once");
    value
}

#[test]
fn a_command_runs_in_the_repository_with_its_placeholders_expanded() {
    let machine = Machine::new();
    let process = machine.process(1);
    let marker = [Variable { name: "WRECKIT_ROOT".to_owned(), value: "m".to_owned() }];
    let call = call(Host::new(&process), "run", &marker);
    let launch = agent(COMMAND).launch(&call).unwrap();
    let Worker::Command(command) = &launch.worker else { panic!("{launch:?}") };
    assert_eq!((&*command.program, command.directory), ("a", WorkingDirectory::Repository));
    assert_eq!(command.arguments, ["001-a: <A> & \"B\"", "/r/.wreckit/items/001-a", "/r", "run"]);
    assert_eq!(command.input, None);
    assert_eq!((launch.watch_output, launch.append_log), (false, false));
    assert_eq!((launch.timeout, &*launch.log), (Some(3_600_000), "runs/s/001-a.3.log"));
    for (name, value) in [
        ("WRECKIT_ROOT", "m"),
        ("WRECKIT_ITEM_ID", "001-a"),
        ("WRECKIT_ATTEMPT", "3"),
        ("WRECKIT_ITEM_DIR", "/r/.wreckit/items/001-a"),
        ("WRECKIT_SESSION_ID", "s"),
        ("WRECKIT_REPOSITORY", "/r"),
        ("WRECKIT_TITLE", "<A> & \"B\""),
        ("WRECKIT_OVERVIEW", ""),
        ("WRECKIT_PHASE", "run"),
        ("WRECKIT_STORY", ""),
    ] {
        assert_eq!(variable(&launch, name), Some(value), "{name}");
    }
    assert_eq!(variable(&launch, "WRECKIT_FEATURE_ID"), None);
}

#[test]
fn a_process_runs_in_its_item_with_a_prompt_and_literal_arguments() {
    let machine = Machine::new();
    machine.put("items/001-a/research.md", "found {{id}}");
    let process = machine.process(1);
    let prompts = [("prompts/plan.md", "{{research}}, {{branch_name}} ({{base_branch}})")];
    let agent = create(PROCESS, &prompts, PromptSet::Items).unwrap();
    let call = CallContext { number: 2, ..call(Host::new(&process), "plan", &[]) };
    let launch = agent.launch(&call).unwrap();
    let Worker::Command(command) = &launch.worker else { panic!("{launch:?}") };
    assert_eq!((command.directory, &*command.arguments[0]), (WorkingDirectory::Item, "{id}"));
    assert_eq!(command.input.as_deref(), Some("found {{id}}, wreckit/001-a (main)"));
    assert!(launch.watch_output && launch.append_log && agent.has_phases());
}

#[test]
fn a_component_has_its_items_directory_as_its_root() {
    let machine = Machine::new();
    let process = machine.process(1);
    let launch = agent(COMPONENT).launch(&call(Host::new(&process), "run", &[])).unwrap();
    let Worker::Component(component) = &launch.worker else { panic!("{launch:?}") };
    assert_eq!((&*component.file, &*component.arguments[0]), ("a.wasm", "/r/.wreckit/items/001-a"));
    assert_eq!(variable(&launch, "WRECKIT_ITEM_DIR"), Some("/"));
    assert_eq!(variable(&launch, "WRECKIT_REPOSITORY"), Some("/r"));
}

#[test]
fn agents_of_a_feature_work_where_its_code_is_and_know_the_feature() {
    let machine = Machine::new();
    machine.put("export_1/design.md", "the design");
    let process = machine.process(1);
    let host = Host::with_layout(&process, &layout::FEATURES);
    let phases = ["testing".to_owned()];
    let set = PromptSet::Feature(&phases);
    let call = in_feature(host, Some("/r/trees/export"));
    let directory = "/r/.claude/.output/features/export_1";

    let launch = create(COMMAND, &[], set).unwrap().launch(&call).unwrap();
    let Worker::Command(command) = &launch.worker else { panic!("{launch:?}") };
    assert_eq!(command.directory, WorkingDirectory::Worktree);
    assert_eq!(command.arguments, ["export_1: <A> & \"B\"", directory, "/r", "testing"]);
    assert_eq!(variable(&launch, "WRECKIT_ITEM_ID"), Some("testing"));
    assert_eq!(variable(&launch, "WRECKIT_FEATURE_ID"), Some("export_1"));
    assert_eq!(variable(&launch, "WRECKIT_ITEM_DIR"), Some(directory));

    let agent = create(PROCESS, &[], set).unwrap();
    let launch = agent.launch(&call).unwrap();
    let Worker::Command(command) = &launch.worker else { panic!("{launch:?}") };
    assert_eq!(command.directory, WorkingDirectory::Worktree);
    let prompt = command.input.as_deref().unwrap();
    for words in ["**testing**", "export_1", "the design", "DONE", "`/r/trees/export`"] {
        assert!(prompt.contains(words), "{words}: {prompt}");
    }
    assert!(!prompt.contains("{{"), "{prompt}");
    let launch = agent.launch(&in_feature(host, None)).unwrap();
    let Worker::Command(command) = &launch.worker else { panic!("{launch:?}") };
    assert!(command.input.as_deref().unwrap().contains("The repository is `/r`"));
}

#[test]
fn mock_and_custom_agents_ignore_a_damaged_configuration() {
    let fields = [field("config.json", "{")];
    let machine = Machine::new();
    let process = machine.process(1);
    let call = CallContext { repository: "", ..call(Host::new(&process), "run", &[]) };
    for (choice, worker, timeout) in [
        (AgentChoice::Mock(7), Worker::Mock(7), None),
        (AgentChoice::Custom, Worker::Custom, Some(9)),
    ] {
        let options = Options { timeout: Some(9), ..options(choice) };
        let agent = Agent::new(Source::Contents(&fields), &options, PromptSet::Items).unwrap();
        let launch = agent.launch(&call).unwrap();
        assert_eq!((launch.worker, launch.timeout), (worker, timeout));
        assert_eq!((agent.has_phases(), agent.is_mock()), (false, timeout.is_none()));
        assert!(agent.watcher().is_none() && !launch.watch_output);
        assert_eq!((agent.limit_wait(), agent.max_iterations()), (60_000, 100));
    }
    let launch = agent(r#"{"kind": "mock"}"#).launch(&call).unwrap();
    assert_eq!(variable(&launch, "WRECKIT_ITEM_DIR"), Some(".wreckit/items/001-a"));
    assert_eq!((launch.worker, launch.timeout), (Worker::Mock(500), None));
}

#[test]
fn options_override_the_configuration() {
    let config = r#"{"agent": {"kind": "command", "command": "a", "limit_wait_seconds": 2},
        "timeout_seconds": 3, "max_iterations": 4}"#;
    let fields = [field("config.json", config)];
    let values = |options: &Options| {
        let agent = Agent::new(Source::Contents(&fields), options, PromptSet::Items).unwrap();
        (agent.timeout, agent.limit_wait(), agent.max_iterations())
    };
    let configured = options(AgentChoice::Configured);
    assert_eq!(values(&configured), (Some(3000), 2000, 4));
    let options =
        Options { timeout: Some(0), limit_wait: Some(5), max_iterations: Some(6), ..configured };
    assert_eq!(values(&options), (None, 5, 6));
}

#[test]
fn a_feature_needs_an_agent_that_receives_its_phase() {
    let phases = ["testing".to_owned()];
    let warning = |agent: &str, set| create(agent, &[], set).unwrap().phase_warning().cloned();
    let uninformed = r#"{"kind": "command", "command": "a", "args": ["{id}"]}"#;
    let warned = warning(uninformed, PromptSet::Feature(&phases)).unwrap();
    assert!(warned.message.contains("add {phase} to agent.args"), "{warned:?}");
    assert_eq!(warning(uninformed, PromptSet::Items), None);
    assert_eq!(warning(COMMAND, PromptSet::Feature(&phases)), None);
}

#[test]
fn variables_and_arguments_never_contain_nul_and_variables_are_bounded() {
    let machine = Machine::new();
    let process = machine.process(1);
    let long = "ä".repeat(40_000);
    let nul = "\0".repeat(64 << 10);
    let call = CallContext {
        overview: &long,
        story: Some(&nul),
        title: "a\0b",
        ..call(Host::new(&process), "run", &[])
    };
    let launch = agent(COMMAND).launch(&call).unwrap();
    assert_eq!(variable(&launch, "WRECKIT_OVERVIEW").unwrap(), "ä".repeat(32_768));
    assert_eq!(variable(&launch, "WRECKIT_TITLE"), Some("a\u{fffd}b"));
    let story = variable(&launch, "WRECKIT_STORY").unwrap();
    assert!(story.len() <= 64 << 10 && !story.contains('\0'));
    let Worker::Command(command) = &launch.worker else { panic!("{launch:?}") };
    assert_eq!(command.arguments[0], "001-a: a\u{fffd}b");
}

fn render(template: &str) -> Result<String, Vec<String>> {
    let machine = Machine::new();
    machine.put("items/001-a/research.md", "found {{id}}");
    let process = machine.process(1);
    let agent = create(PROCESS, &[("prompts/plan.md", template)], PromptSet::Items)?;
    let call = CallContext { story: Some("US-001"), ..call(Host::new(&process), "plan", &[]) };
    let launch = agent.launch(&call).map_err(|error| vec![error])?;
    let Worker::Command(command) = launch.worker else { panic!("a command") };
    Ok(command.input.unwrap())
}

#[test]
fn values_are_inserted_verbatim() {
    for (template, rendered) in [
        ("{{id}}: {{title}}", "001-a: <A> & \"B\""),
        ("[{{unknown}}]", "[]"),
        ("[{{len}}{{eq}}{{lookup}}{{if}}{{log}}]", "[]"),
        ("{{#if overview}}A{{else}}{{{id}}}{{/if}}", "001-a"),
        ("{{#if overview}}A {{overview}}{{/if}}B", "B"),
        ("{{#if story}}{{story}}{{/if}}", "US-001"),
        ("{{#if id}}{{#if section}}a{{else}}b{{/if}}c{{else}}d{{/if}}", "bc"),
        ("a\n  {{#if id}}\n{{id}}\n{{else}}\nx\n{{/if}} \nb", "a\n001-a\nb"),
        ("{{research}}", "found {{id}}"),
        ("{{#if plan}}a{{else}}b{{/if}}{{prd}}{{progress}}", "b"),
        ("{{branch_name}} {{base_branch}} {{completion_signal}}", "wreckit/001-a main DONE"),
        ("{{item_path}} {{root}} {{phase}}", "/r/.wreckit/items/001-a /r plan"),
        ("{\"a\": {\"b\": 1}}", "{\"a\": {\"b\": 1}}"),
    ] {
        assert_eq!(render(template).as_deref(), Ok(rendered), "{template}");
    }
}

#[test]
fn a_template_error_is_named_with_its_line() {
    for (template, words) in [
        ("one\n{{#if title}}\ntwo".to_owned(), "line 2: `{{#if}}` without `{{/if}}`"),
        ("a\n{{#if id}}\n\n{{/if}}\n{{/if}}".to_owned(), "line 5: `{{/if}}` without"),
        ("{{else}}".to_owned(), "line 1: `{{else}}` without"),
        ("{{#if id}}{{else}}\n{{else}}{{/if}}".to_owned(), "line 2: `{{else}}` without"),
        ("one\n{{> plan}}".to_owned(), "line 2: `{{> plan}}` is neither"),
        ("{{lookup (a (b))}}".to_owned(), "line 1: `{{lookup (a (b))}}` is neither"),
        ("a\n\n{{id".to_owned(), "line 3: `{{` without `}}`"),
        ("{{#if id}}".repeat(20_000), "line 1: `{{#if}}` without `{{/if}}`"),
    ] {
        let errors = render(&template).unwrap_err();
        let start = format!(".wreckit/prompts/plan.md has a template error: {words}");
        assert!(errors[0].starts_with(&start), "{errors:?}");
    }
    let prompts = [("prompts/plan.md", "{{else}}"), ("prompts/research.md", "{{/if}}")];
    assert_eq!(create(PROCESS, &prompts, PromptSet::Items).unwrap_err().len(), 2, "all of them");
}

#[test]
fn a_template_of_maximum_length_is_rendered_in_linear_time() {
    let started = std::time::Instant::now();
    let count = 150_000;
    let in_a_row = "{{#if overview}}x{{/if}}".repeat(count);
    let nested = "{{#if id}}".repeat(count) + "y" + &"{{/if}}".repeat(count);
    assert_eq!(render(&in_a_row).as_deref(), Ok(""));
    assert_eq!(render(&nested).as_deref(), Ok("y"));
    // Quadratic time would be minutes.
    assert!(started.elapsed() < std::time::Duration::from_secs(20));
    let errors = render(&"x".repeat((4 << 20) + 1)).unwrap_err();
    assert_eq!(errors, ["cannot read .wreckit/prompts/plan.md: it is larger than 4 MiB"]);
}

#[test]
fn a_prompt_is_bounded_and_so_is_what_is_read_of_a_document() {
    let machine = Machine::new();
    machine.put("items/001-a/research.md", "x".repeat(5 << 20));
    let process = machine.process(1);
    let length = |template: &str| {
        let agent = create(PROCESS, &[("prompts/plan.md", template)], PromptSet::Items).unwrap();
        let launch = agent.launch(&call(Host::new(&process), "plan", &[]))?;
        let Worker::Command(command) = launch.worker else { panic!("a command") };
        Ok(command.input.unwrap().len())
    };
    assert_eq!(length("{{research}}"), Ok(4 << 20));
    assert_eq!(length(&"{{research}}".repeat(8)), Ok(32 << 20));
    let too_long = Err("its prompt is longer than 32 MiB".to_owned());
    assert_eq!(length(&"{{research}}".repeat(9)), too_long);
}

#[test]
fn the_default_prompts_name_the_marker_and_the_item() {
    let machine = Machine::new();
    let process = machine.process(1);
    for (phase, _) in DEFAULT_PROMPTS {
        let launch = agent(PROCESS).launch(&call(Host::new(&process), phase, &[])).unwrap();
        let Worker::Command(command) = launch.worker else { panic!("a command") };
        let prompt = command.input.unwrap();
        assert!(prompt.contains("DONE") && prompt.contains("001-a"), "{phase}: {prompt}");
        assert!(!prompt.contains("{{"), "{phase}: {prompt}");
    }
}

const PATTERN: &str =
    r#"{"kind": "command", "command": "a", "limit_patterns": ["(?i)usage limit"]}"#;
const BOTH: &str = r#"{"kind": "process", "command": "a", "completion_signal": "DONE", "limit_patterns": ["(?i)usage limit"]}"#;
