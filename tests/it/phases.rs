//! The process agent: phases, prompts, artifacts, stories.

use serde_json::{Value, json};

use crate::environment::{Repository, crash};

/// Notes what it was called with and does what is asked for.
const GOOD: &str = r#"
prompt=$(cat); echo "$prompt" > last-prompt; echo "$prompt" | head -1 >> calls
prd() { cat > prd.json <<END
{"schema_version": 1, "id": "$WRECKIT_ITEM_ID", "branch_name": "b", "user_stories": [
 {"id": "US-001", "title": "one", "acceptance_criteria": ["a", "b"], "priority": 2, "status": "$1", "notes": ""},
 {"id": "US-002", "title": "two", "acceptance_criteria": ["a", "b"], "priority": 1, "status": "$2", "notes": ""}]}
END
}
case "$prompt" in
*RESEARCH*) echo found > research.md;;
*PLAN*) echo planned > plan.md; prd pending pending;;
*US-002*) prd pending done;;
*US-001*) prd done done;;
esac
echo "<promise>COMP""LETE</promise>"
"#;

fn repository(script: &str, items: &[&str]) -> Repository {
    let repository = Repository::new("", items);
    repository.write(".wreckit/prompts/research.md", "RESEARCH {{id}} {{title}}");
    repository.write(".wreckit/prompts/plan.md", "PLAN {{id}} on {{research}}");
    repository.write(
        ".wreckit/prompts/implement.md",
        "IMPLEMENT {{story}} in {{item_path}}{{#if nothing}} NOTHING{{/if}}",
    );
    agent(&repository, script);
    repository
}

fn agent(repository: &Repository, script: &str) {
    repository.agent(json!({"kind": "process", "command": "sh", "args": ["-c", script]}));
}

fn item(repository: &Repository, file: &str) -> String {
    repository.read(&format!(".wreckit/items/001-a/{file}"))
}

fn error(repository: &Repository) -> Value {
    repository.json(".wreckit/items/001-a/item.json")["last_error"].clone()
}

#[test]
fn an_item_is_researched_planned_and_implemented_story_by_story() {
    let repository = repository(GOOD, &["001-a"]);
    let ran = repository.run(&["run"]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    let place = repository.root().canonicalize().expect("a path");
    let place = place.join(".wreckit/items/001-a");
    assert_eq!(
        item(&repository, "calls"),
        format!(
            "RESEARCH 001-a Title of 001-a\nPLAN 001-a on found\n\
             IMPLEMENT US-002 in {0}\nIMPLEMENT US-001 in {0}\n",
            place.display()
        )
    );
    assert_eq!(repository.state("001-a"), "done");
    let events = repository.events();
    let phases: Vec<(&Value, &Value)> = events
        .iter()
        .filter(|event| event["event"] == "phase-completed")
        .map(|event| (&event["phase"], &event["state"]))
        .collect();
    assert_eq!(
        phases,
        [
            (&json!("research"), &json!("researched")),
            (&json!("plan"), &json!("planned")),
            (&json!("implement"), &json!("implementing")),
            (&json!("implement"), &Value::Null),
        ]
    );
    assert!(ran.stderr.contains("001-a: plan"), "{}", ran.stderr);
}

#[test]
fn a_batch_killed_between_phases_resumes_at_the_next_one() {
    let waits = format!("case $(cat) in *PLAN*) touch ../../../planning; sleep 100;; esac; {GOOD}");
    // The prompt can be read once: the good agent gets it again.
    let waits = waits.replacen("$(cat)", "\"$(cat | tee prompt)\"", 1);
    let repository =
        repository(&waits.replace("prompt=$(cat)", "prompt=$(cat prompt)"), &["001-a"]);
    let batch = repository.start(&["run"]);
    repository.until("the plan", |repository| repository.exists("planning"));
    crash(batch);
    assert_eq!(repository.state("001-a"), "researched");
    agent(&repository, GOOD);
    let ran = repository.run(&["run"]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    let calls = item(&repository, "calls");
    assert_eq!(calls.matches("RESEARCH").count(), 1, "{calls}");
    assert_eq!(repository.state("001-a"), "done");
}

#[test]
fn a_phase_needs_exit_code_signal_and_artifact() {
    for (script, problem) in [
        ("cat > /dev/null; echo found > research.md", "without printing its completion marker"),
        ("echo '<promise>COMPLETE</promise>'", "research.md is missing"),
        (
            "printf x > research.md; echo '<promise>COMPLETE</promise>'",
            "research.md is empty (1 bytes)",
        ),
        (
            "echo found > research.md; echo '<promise>COMPLETE</promise>'; exit 4",
            "the agent exited with code 4",
        ),
    ] {
        let repository = repository(script, &["001-a"]);
        let ran = repository.run(&["run"]);
        assert_eq!(ran.code, Some(1), "{script}");
        let error = error(&repository);
        assert!(error.as_str().is_some_and(|error| error.contains(problem)), "{script}: {error}");
        assert_eq!(repository.state("001-a"), "idea");
    }
}

#[test]
fn stories_that_do_not_get_done_end_with_the_iterations() {
    let script = GOOD.replace("*US-002*) prd pending done", "*US-002*) true");
    let repository = repository("", &["001-a"]);
    let agent = json!({"kind": "process", "command": "sh", "args": ["-c", script]});
    let config = json!({"schema_version": 1, "agent": agent, "max_iterations": 3});
    repository.write(".wreckit/config.json", &config.to_string());
    assert_eq!(repository.run(&["run"]).code, Some(1));
    assert!(error(&repository).as_str().is_some_and(|error| error.contains("after 3 calls")));
    assert_eq!(item(&repository, "calls").matches("IMPLEMENT").count(), 3);
    assert_eq!(repository.state("001-a"), "implementing");
}

#[test]
fn our_own_prompts_serve_where_there_are_none() {
    let repository = repository("cat > ../../../prompt; exit 1", &["001-a"]);
    std::fs::remove_dir_all(repository.path(".wreckit/prompts")).expect("it goes");
    assert_eq!(repository.run(&["run"]).code, Some(1));
    let prompt = repository.read("prompt");
    assert!(prompt.contains("001-a") && prompt.contains("<promise>COMPLETE</promise>"), "{prompt}");
}

#[test]
fn a_broken_prompt_is_named_before_anything_starts() {
    let repository = repository(GOOD, &["001-a"]);
    repository.write(".wreckit/prompts/plan.md", "{{#if title}} without an end");
    let ran = repository.run(&["run"]);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(ran.stderr.contains(".wreckit/prompts/plan.md has a template error"), "{}", ran.stderr);
    assert!(!repository.exists(".wreckit/runs"));
}

#[test]
fn the_mock_agent_starts_no_process_whatever_the_configuration() {
    let repository = repository("touch ../../../started; exit 1", &["001-a"]);
    repository.write(".wreckit/prompts/plan.md", "{{#if");
    for command in ["run", "next"] {
        let ran = repository.run(&[command, "--mock-agent", "--mock-delay", "0"]);
        assert_eq!(ran.code, Some(0), "{command}: {}", ran.stderr);
    }
    assert!(!repository.exists("started"));
    assert_eq!(repository.state("001-a"), "idea");
}

#[test]
fn the_prompts_of_a_real_repository_are_taken_as_they_are() {
    let fixture = crate::environment::workspace().join("../shared/fixtures/real-repo");
    if !fixture.exists() {
        eprintln!("there is no real repository here: not tested");
        return;
    }
    let repository = Repository::copy_of(&fixture);
    repository.agent(json!({"kind": "process", "command": "sh",
        "args": ["-c", "cat > \"$WRECKIT_ITEM_DIR/prompt\"; exit 1"]}));
    let items = std::fs::read_dir(repository.path(".wreckit/items")).expect("items");
    for entry in items.flatten() {
        let _ = std::fs::remove_file(entry.path().join("research.md"));
    }
    repository.item("900-new", &[]);
    let ran = repository.run(&["run", "900"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    let prompt = repository.read(".wreckit/items/900-new/prompt");
    assert!(prompt.contains("Title of 900-new") && !prompt.contains("{{"), "{prompt}");
}
