//! What a batch leaves that was killed, and what becomes of it.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::environment::{Repository, crash, kill, runs};

/// Starts a batch whose agent writes its number into `agent` and lives on, and kills the batch.
fn killed(script: &str) -> Repository {
    let repository = Repository::new(script, &["001-a", "002-b"]);
    let batch = repository.start(&["run"]);
    repository.until("the agent", |repository| !repository.read("agent").trim().is_empty());
    // Its start is on disk, or it is found by its environment.
    crash(batch);
    repository
}

fn orphans(repository: &Repository) -> Vec<Value> {
    let ran = repository.run(&["doctor", "--json"]);
    let report: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let found = report["diagnostics"].as_array().expect("a list").iter();
    found.filter(|finding| finding["code"] == "ORPHANED_AGENT").cloned().collect()
}

/// Fails loudly where two agents of one item run at once: each holds a lock while it lives.
const ALONE: &str = r#"exec 9> "lock.$1"; flock -n 9 || echo "two agents of $1" >> overlaps; "#;

#[test]
fn the_next_run_ends_what_is_left_before_the_item_starts_again() {
    let repository = killed(&format!("{ALONE} echo $$ > agent; sleep 100"));
    let agent = repository.read("agent").trim().to_owned();
    assert!(runs(&agent), "the kill does not reach it");
    let found = orphans(&repository);
    assert!(!found.is_empty());
    assert!(found.iter().any(|finding| {
        finding["item_id"] == "001-a" && finding["message"].as_str().unwrap_or("").contains(&agent)
    }));
    assert_eq!(found[0]["severity"], "warning");
    repository.agent(json!({"kind": "command", "command": "sh",
        "args": ["-c", format!("{ALONE} echo done >> ran"), "agent", "{id}"]}));
    let ran = repository.run(&["run"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("Ended agents that an interrupted session left running: 001-a"),
        "{}",
        ran.stderr
    );
    assert!(!runs(&agent));
    assert_eq!(repository.read("overlaps"), "");
    assert!(orphans(&repository).is_empty());
}

#[test]
fn children_of_children_in_sessions_of_their_own_are_found_too() {
    let repository = killed(
        "(setsid sh -c 'setsid sh -c \"echo \\$\\$ > deep; trap : TERM; while :; do sleep 0.05; done\" & \
          echo $$ > middle; sleep 100' &); \
         until [ -s deep ] && [ -s middle ]; do sleep 0.01; done; echo $$ > agent; sleep 100",
    );
    let left: Vec<String> = ["agent", "middle", "deep"]
        .iter()
        .map(|name| repository.read(name).trim().to_owned())
        .collect();
    assert!(left.iter().all(|pid| runs(pid)), "{left:?}");
    let ran = repository.run(&["run", "--mock-agent", "--mock-delay", "0"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(!left.iter().any(|pid| runs(pid)), "{left:?}");
}

/// The journal names it, but agents can write to the journal: that is no proof. A user's own
/// `npm run dev 2>&1 | tee log` in the repository looks just like it.
#[test]
fn one_without_an_environment_is_named_and_never_ended() {
    let repository = Repository::new("exec env -i sh -c 'echo $$ > agent; sleep 100'", &["001-a"]);
    let batch = repository.start(&["run"]);
    repository.until("its start in the journal", |repository| {
        !repository.read("agent").is_empty()
            && repository.events().iter().any(|event| event["event"] == "phase-started")
    });
    crash(batch);
    let agent = repository.read("agent").trim().to_owned();
    let found = orphans(&repository);
    assert_eq!((found.len(), &found[0]["fixable"]), (1, &Value::Bool(false)), "{found:?}");
    let mock = ["run", "--mock-agent", "--mock-delay", "0"];
    repository.run(&["doctor", "--fix"]);
    let ran = repository.run(&mock);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("are not proven to be: pid"), "{}", ran.stderr);
    assert!(ran.stderr.contains(&format!("pid {agent}")), "{}", ran.stderr);
    let ran = repository.run(&[&mock[..], &["--take-over"]].concat());
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(runs(&agent), "it is never ended");
    kill(agent.parse().expect("a number"), "KILL");
}

/// What it started has the marker: that proves whose group it is.
#[test]
fn one_without_an_environment_is_ended_with_a_marked_member_of_its_group() {
    let script = "sleep 1000 & exec env -i sh -c 'trap : TERM; echo $$ > agent; \
        while :; do sleep 0.05; done'";
    let repository = Repository::new(script, &["001-a"]);
    let batch = repository.start(&["run"]);
    repository.until("its start in the journal", |repository| {
        !repository.read("agent").is_empty()
            && repository.events().iter().any(|event| event["event"] == "phase-started")
    });
    crash(batch);
    let agent = repository.read("agent").trim().to_owned();
    assert_eq!(repository.run(&["run", "--mock-agent", "--mock-delay", "0"]).code, Some(0));
    assert!(!runs(&agent));
}

#[test]
fn doctor_ends_them_when_asked_and_next_does_without() {
    for command in [vec!["doctor", "--fix"], vec!["next", "--mock-agent", "--mock-delay", "0"]] {
        let repository = killed("echo $$ > agent; sleep 100");
        let agent = repository.read("agent").trim().to_owned();
        let ran = repository.run(&command);
        assert_eq!(ran.code, Some(0), "{command:?}: {}", ran.stderr);
        assert!(!runs(&agent), "{command:?}");
    }
}

#[test]
fn agents_of_another_repository_and_of_a_running_batch_are_left_alone() {
    let one = killed("echo $$ > agent; sleep 100");
    let agent = one.read("agent").trim().to_owned();
    let other = Repository::new("true", &["001-a"]);
    assert!(orphans(&other).is_empty());
    assert_eq!(other.run(&["run"]).code, Some(0));
    assert!(runs(&agent));
    kill(agent.parse().expect("a number"), "KILL");

    let running = Repository::new("echo $$ > agent; sleep 100", &["001-a"]);
    let batch = running.start(&["run"]);
    running.until("the agent", |repository| !repository.read("agent").trim().is_empty());
    assert!(orphans(&running).is_empty());
    assert_eq!(running.run(&["run"]).code, Some(3));
    thread::sleep(Duration::from_millis(50));
    assert!(runs(running.read("agent").trim()));
    kill(batch.id(), "INT");
    assert_eq!(crate::environment::finish(batch).code, Some(130));
}

#[test]
fn one_that_ignores_sigterm_is_killed() {
    let repository = killed("trap '' TERM; echo $$ > agent; while :; do sleep 0.05; done");
    let agent = repository.read("agent").trim().to_owned();
    let ran = repository.run(&["run", "--mock-agent", "--mock-delay", "0"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(!runs(&agent));
}
