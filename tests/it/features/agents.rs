//! `feature run`.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::git::in_a_worktree;
use super::*;
use crate::environment::{crash, finish, kill, runs};

#[test]
fn a_run_calls_the_agent_for_each_phase_and_waits_for_a_person_where_one_is_wanted() {
    let repository = repository();
    agent(
        &repository,
        r#"echo "$1 $2 $3 $WRECKIT_FEATURE_ID $WRECKIT_PHASE" >> ran; echo working"#,
    );
    let id = new(&repository, &[]);
    let ran = repository.run(&["feature", "run", &id]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(
        ran.stdout.contains("blocked  brainstorming: waiting for your approval"),
        "{}",
        ran.stdout
    );
    let next = format!(
        "brainstorming is waiting for your approval. Read `wreckit-host feature resume {id}`, then continue with: wreckit-host feature run {id} --approve brainstorming"
    );
    assert!(ran.stderr.trim_end().ends_with(&next), "{}", ran.stderr);
    let told = well(&repository, &["resume", &id]).stdout;
    assert!(told.contains(&format!("feature run {id} --approve brainstorming")), "{told}");
    let ran = repository.run(&["feature", "run", &id, "--approve", "brainstorming"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stdout.contains("blocked  planning"), "{}", ran.stdout);
    let ran = repository.run(&["feature", "run", &id, "--yes"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stdout.contains("complete (5 of 5 phases complete)"), "{}", ran.stdout);
    let directory = repository.path(FEATURES).join(&id).display().to_string();
    let expected: Vec<String> =
        ["brainstorming", "planning", "architecture", "implementation", "testing"]
            .map(|phase| format!("{id} {phase} {directory} {id} {phase}"))
            .into();
    assert_eq!(repository.ran(), expected, "each once");
    assert_eq!(log_of(&repository, "testing.1.log").as_deref(), Some("working\n"));
    assert_eq!(document(&repository, &id)["metadata"]["human_checkpoints"], 2);
}

/// The content of the newest log with this name, of whichever session.
fn log_of(repository: &Repository, name: &str) -> Option<String> {
    let sessions = std::fs::read_dir(repository.path(FEATURES).join(".runs")).ok()?;
    let logs = sessions.flatten().map(|session| session.path().join(name));
    let log = logs
        .filter(|log| log.exists())
        .max_by_key(|log| log.metadata().and_then(|metadata| metadata.modified()).ok())?;
    std::fs::read_to_string(log).ok()
}

/// What `init` writes is for items: an agent of a feature has to be told its phase.
#[test]
fn an_agent_that_is_not_told_its_phase_is_warned_of() {
    let repository = repository();
    repository.agent(json!({"kind": "command", "command": "true", "args": ["work on {id}"]}));
    let id = new(&repository, &["testing"]);
    let ran = well(&repository, &["run", &id]);
    assert!(ran.stderr.contains("add {phase} to agent.args"), "{}", ran.stderr);
    agent(&repository, "true");
    let id = new(&repository, &["testing"]);
    assert!(!well(&repository, &["run", &id]).stderr.contains("{phase}"));
}

#[test]
fn a_failed_phase_is_named_with_its_log_and_tried_again_by_the_next_run() {
    let repository = repository();
    agent(&repository, "echo on $2; [ $2 != testing ] || [ -e good ] || exit 4");
    let id = new(&repository, &["planning", "testing"]);
    // The name of a usual phase wants no approval unless its field says so.
    well(&repository, &["start", &id, "planning", "--set", "approved=true"]);
    let ran = repository.run(&["feature", "run", &id]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    let log = format!("Log: {FEATURES}/.runs/");
    assert!(
        ran.stderr.contains("the agent exited with code 4")
            && ran.stderr.contains(&log)
            && ran.stderr.contains("/testing.1.log"),
        "{}",
        ran.stderr
    );
    assert_eq!(document(&repository, &id)["phases"]["testing"]["status"], "failed");
    repository.write("good", "");
    let ran = repository.run(&["feature", "run", &id, "--json"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let last: Value =
        serde_json::from_str(ran.stdout.lines().last().expect("a line")).expect("JSON");
    assert_eq!(
        (&last["event"], &last["completed"]),
        (&json!("batch-finished"), &json!(["testing"]))
    );
    assert_eq!(log_of(&repository, "testing.1.log").as_deref(), Some("on testing\n"));
}

#[test]
fn a_phase_goes_on_after_an_interruption_and_after_a_kill() {
    let repository = repository();
    agent(
        &repository,
        r#"echo "$2" >> ran; echo $$ > pid; [ -e go ] || { [ $2 = planning ] || sleep 1000; }"#,
    );
    let id = new(&repository, &["planning", "testing"]);
    well(&repository, &["start", &id, "planning", "--set", "approved=true"]);
    let run = repository.start(&["feature", "run", &id]);
    repository.until("the second phase", |repository| repository.ran().len() == 2);
    assert_eq!(repository.run(&["feature", "run", &id]).code, Some(3), "one at a time");
    kill(run.id(), "INT");
    let ran = finish(run);
    assert_eq!(ran.code, Some(130), "{}", ran.stderr);
    assert!(
        ran.stderr.contains(&format!("Continue with: wreckit-host feature run {id}")),
        "{}",
        ran.stderr
    );
    assert_eq!(document(&repository, &id)["phases"]["testing"]["status"], "in_progress");

    let run = repository.start(&["feature", "run", &id]);
    repository.until("the second phase again", |repository| repository.ran().len() == 3);
    repository.until("its pid", |repository| runs(repository.read("pid").trim()));
    let left = repository.read("pid").trim().to_owned();
    crash(run);
    assert!(runs(&left), "its agent goes on");
    repository.write("go", "");
    let ran = repository.run(&["feature", "run", &id]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("Ended agents that an interrupted session left running"),
        "{}",
        ran.stderr
    );
    assert!(!runs(&left));
    assert_eq!(repository.ran(), ["planning", "testing", "testing", "testing"]);
    assert_eq!(document(&repository, &id)["status"], "complete");
}

#[test]
fn a_process_agent_gets_the_prompt_of_its_phase_and_proves_its_end() {
    let repository = repository();
    let script = "cat > prompt.$WRECKIT_PHASE; echo '<promise>COMPLETE</promise>'";
    repository.agent(json!({"kind": "process", "command": "sh", "args": ["-c", script]}));
    repository.write(".wreckit/prompts/testing.md", "Test {{title}} ({{phase}}) with {{design}}");
    let id = new(&repository, &["planning", "testing"]);
    repository.write(&format!("{FEATURES}/{id}/design.md"), "the design");
    let ran = repository.run(&["feature", "run", &id, "--yes"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let prompt = repository.read("prompt.planning");
    for words in ["**planning**", &id, "Asset Export", "the design", "<promise>COMPLETE</promise>"]
    {
        assert!(prompt.contains(words), "{words}: {prompt}");
    }
    assert!(!prompt.contains("{{"), "{prompt}");
    assert_eq!(repository.read("prompt.testing"), "Test Asset Export (testing) with the design");
    repository.agent(json!({"kind": "process", "command": "sh", "args": ["-c", "true"]}));
    let silent = new(&repository, &["testing"]);
    let ran = repository.run(&["feature", "run", &silent]);
    assert!(ran.stderr.contains("without printing its completion marker"), "{}", ran.stderr);
}

#[test]
fn an_agent_works_in_the_worktree_and_reports_while_it_runs() {
    let Some((repository, id, _)) = in_a_worktree() else { return };
    let program = crate::environment::program().display().to_string();
    fs::create_dir(repository.path(".wreckit")).expect("a directory");
    let script = format!(
        "pwd >> {}/ran; {program} feature record $WRECKIT_FEATURE_ID --agents 1 --tokens $WRECKIT_PHASE=10,20",
        repository.root().display()
    );
    agent(&repository, &script);
    let ran = repository.run(&["feature", "run", &id, "--yes"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let place: PathBuf = repository.path("trees/export").canonicalize().expect("a directory");
    assert_eq!(repository.ran(), vec![place.display().to_string(); 5]);
    let metrics = &document(&repository, &id)["metrics"];
    // Five by the run, and one more by each of them.
    assert_eq!(metrics["orchestration"]["total_agents_spawned"], 10);
    assert_eq!(metrics["orchestration"]["sequential_executions"], 5);
    assert_eq!(document(&repository, &id)["metadata"]["agents_spawned"], 5);
    assert_eq!(metrics["tokens"]["estimated_total_tokens"], 150, "counted, not estimated");
}

/// What an agent says of its own phase stands, however it ends then.
#[test]
fn an_agent_that_moves_its_phase_and_fails_has_moved_it() {
    let repository = repository();
    let program = crate::environment::program().display().to_string();
    let run = |moves: &str| {
        agent(&repository, &format!("echo x >> ran; {program} feature {moves}; exit 1"));
        let id = new(&repository, &["planning", "testing"]);
        let ran = repository.run(&["feature", "run", &id, "--yes", "--retries", "2"]);
        (id, ran)
    };
    let (id, ran) = run("complete $1 $2");
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(document(&repository, &id)["status"], "complete");
    let again = repository.run(&["feature", "run", &id]);
    assert_eq!(again.code, Some(0), "there is nothing left to do: {}", again.stderr);
    let before = repository.ran().len();
    let (id, ran) = run("block $1 $2 --reason needkey");
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stdout.contains("blocked  planning: needkey"), "{}", ran.stdout);
    assert_eq!(document(&repository, &id)["phases"]["planning"]["status"], "blocked");
    let (_, ran) = run("fail $1 $2 --reason broken");
    assert!(ran.stdout.contains("failed   planning: broken"), "{}", ran.stdout);
    assert_eq!(repository.ran().len(), before + 2, "neither is tried again");
}

#[test]
fn nothing_is_cleaned_up_under_an_agent_and_an_abort_ends_a_run() {
    let repository = repository();
    agent(&repository, "echo x >> ran; until [ -e go ]; do sleep 0.02; done");
    let id = new(&repository, &["planning", "testing"]);
    let run = repository.start(&["feature", "run", &id, "--yes"]);
    repository.until("the agent", |repository| repository.ran().len() == 1);
    let arguments = ["feature", "abort", &id, "--reason", "user_request", "--yes", "--cleanup"];
    let refused = repository.run(&[&arguments[..], &["full_cleanup"]].concat());
    assert_eq!(refused.code, Some(3), "{}", refused.stdout);
    assert!(
        refused.stderr.contains("is using the features of this repository"),
        "{}",
        refused.stderr
    );
    assert_eq!(document(&repository, &id)["status"], "in_progress");
    let kept = repository.run(&[&arguments[..], &["keep_everything"]].concat());
    assert_eq!(kept.code, Some(0), "{}", kept.stderr);
    repository.write("go", "");
    let ran = finish(run);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(!ran.stderr.to_lowercase().contains("continue with"), "{}", ran.stderr);
    assert_eq!(document(&repository, &id)["status"], "aborted");
    assert_eq!(repository.ran().len(), 1, "nothing more was started");
}

#[test]
fn doctor_finds_and_ends_what_a_killed_run_left() {
    let repository = repository();
    agent(&repository, "echo $$ > pid; sleep 1000");
    let id = new(&repository, &["planning"]);
    let run = repository.start(&["feature", "run", &id]);
    repository.until("the agent", |repository| runs(repository.read("pid").trim()));
    assert!(
        !repository.run(&["doctor"]).stdout.contains("ORPHANED_AGENT"),
        "it is not reported as orphaned"
    );
    crash(run);
    let left = repository.read("pid").trim().to_owned();
    let found = repository.run(&["doctor"]).stdout;
    assert!(found.contains("ORPHANED_AGENT planning:") && found.contains(&left), "{found}");
    assert_eq!(repository.run(&["doctor", "--fix"]).code, Some(0));
    assert!(!runs(&left));
    assert_eq!(repository.run(&["doctor"]).stdout, "nothing found\n");
}
