//! Killing a batch and going on.

use std::collections::HashMap;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::environment::{Ran, Repository, crash, finish, kill, runs};

/// Says in `ran` that it started, waits for the file `go`, says in `ran` that it is done.
const WAITS: &str =
    r#"echo "start $1" >> ran; until [ -e go ]; do sleep 0.01; done; echo "done $1" >> ran"#;
const AT_ONCE: &str = r#"echo "done $1" >> ran"#;
const ITEMS: [&str; 5] = ["001-a", "002-b", "003-c", "004-d", "005-e"];

fn done_once(repository: &Repository, items: &[&str]) {
    let mut count: HashMap<String, usize> = HashMap::new();
    for line in repository.ran().iter().filter(|line| line.starts_with("done")) {
        *count.entry(line.clone()).or_default() += 1;
    }
    for item in items {
        assert_eq!(count.get(&format!("done {item}")), Some(&1), "{item}: {count:?}");
        assert_eq!(repository.state(item), "done", "{item}");
    }
}

fn completed(repository: &Repository, item: &str) -> bool {
    repository
        .events()
        .iter()
        .any(|event| event["event"] == "item-completed" && event["item"] == item)
}

fn has_said(repository: &Repository, line: &str) -> bool {
    repository.ran().iter().any(|said| said == line)
}

fn last_event(ran: &Ran) -> Value {
    serde_json::from_str(ran.stdout.lines().last().expect("an event")).expect("JSON")
}

#[test]
fn a_killed_batch_goes_on_exactly_where_it_stopped() {
    // The third item waits, the others do not.
    let script =
        r#"case $1 in 003*) until [ -e go ]; do sleep 0.01; done;; esac; echo "done $1" >> ran"#;
    let repository = Repository::new(script, &ITEMS);
    let batch = repository.start(&["run"]);
    repository.until("two completions", |repository| completed(repository, "002-b"));
    crash(batch);
    let session = repository.json(".wreckit/batch-progress.json")["session_id"].clone();

    let status: Value =
        serde_json::from_str(&repository.run(&["status", "--json"]).stdout).expect("JSON");
    assert_eq!(status["owner"], "exited");
    assert_eq!(status["counts"]["completed"], 2);
    assert_eq!(status["session"]["session_id"], session);

    // What is left of the first attempt must not speak for the second one.
    repository.agent(
        json!({"kind": "command", "command": "sh", "args": ["-c", AT_ONCE, "agent", "{id}"]}),
    );
    let ran = repository.run(&["run", "--format", "json"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let last = last_event(&ran);
    assert_eq!((&last["session_id"], &last["completed"]), (&session, &json!(ITEMS)));
    assert_eq!(last["event"], "batch-finished");
    done_once(&repository, &ITEMS);
    assert!(!repository.exists(".wreckit/batch-progress.json"));
    let starts = repository.events();
    let numbers: Vec<&Value> = starts
        .iter()
        .filter(|event| event["event"] == "item-started" && event["item"] == "003-c")
        .map(|event| &event["attempt"])
        .collect();
    assert_eq!(numbers, [1, 2]);
}

#[test]
fn a_signal_ends_agents_checkpoints_and_says_how_to_continue() {
    for (signal, code) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let repository = Repository::new(WAITS, &ITEMS);
        let batch = repository.start(&["run", "--parallel", "2"]);
        repository.until("two agents", |repository| repository.ran().len() == 2);
        kill(batch.id(), signal);
        let ran = finish(batch);
        assert_eq!(ran.code, Some(code), "{signal}: {}", ran.stderr);
        assert!(ran.stderr.contains("Continue with: wreckit-host run"), "{}", ran.stderr);
        let progress = repository.json(".wreckit/batch-progress.json");
        assert_eq!(progress["in_flight"], json!(["001-a", "002-b"]));
        assert_eq!(progress["owner"]["released"], true);
        assert_eq!(progress["failed"], json!([]), "interrupted is not failed");
        repository.write("go", "");
        thread::sleep(Duration::from_millis(50));
        assert_eq!(repository.ran().len(), 2, "no agent is left");
        assert_eq!(repository.run(&["run"]).code, Some(0));
        done_once(&repository, &ITEMS);
    }
}

#[test]
fn a_second_signal_ends_what_ignores_the_first() {
    let repository = Repository::new(
        "trap '' TERM; echo start >> ran; while :; do sleep 0.05; done",
        &ITEMS[..1],
    );
    let batch = repository.start(&["run"]);
    repository.until("the agent", |repository| !repository.ran().is_empty());
    kill(batch.id(), "INT");
    thread::sleep(Duration::from_millis(200));
    kill(batch.id(), "INT");
    assert_eq!(finish(batch).code, Some(130));
    assert_eq!(repository.json(".wreckit/batch-progress.json")["in_flight"], json!(["001-a"]));
}

#[test]
fn what_an_agent_leaves_in_its_group_is_ended_with_it() {
    let repository = Repository::new("sleep 100 & echo $! > child; exit 0", &ITEMS[..1]);
    assert_eq!(repository.run(&["run"]).code, Some(0));
    let child = repository.read("child");
    assert!(!runs(child.trim()));
}

#[test]
fn a_zombie_that_is_not_reaped_delays_nothing() {
    // A daemon that left the group, and whose child in the group is dead and never waited for.
    let script = "sh -c 'sleep 0 & exec setsid sleep 100' & sleep 0.3; echo $1 >> ran";
    let repository = Repository::new(script, &ITEMS[..1]);
    let ran = repository.run(&["run"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(repository.ran(), ["001-a"]);
}

#[test]
fn nohup_is_respected() {
    let repository = Repository::new(WAITS, &ITEMS[..1]);
    let program = crate::environment::program().to_str().expect("a path").to_owned();
    let script = format!("trap '' HUP; exec {program} run");
    let mut command = std::process::Command::new("sh");
    let batch = command.args(["-c", &script]).current_dir(repository.root());
    let batch = batch.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    repository.until("the agent", |repository| !repository.ran().is_empty());
    kill(batch.id(), "HUP");
    repository.write("go", "");
    assert_eq!(finish(batch).code, Some(0));
    done_once(&repository, &ITEMS[..1]);
}

#[test]
fn of_four_starters_one_runs_and_every_item_runs_once() {
    let repository = Repository::new(WAITS, &ITEMS);
    let starters: Vec<_> = (0..4).map(|_| repository.start(&["run", "--parallel", "2"])).collect();
    repository.until("an agent", |repository| !repository.ran().is_empty());
    // The three that are refused have ended before anything could complete.
    let mut starters = starters;
    let mut refused = Vec::new();
    repository.until("three refusals", |_| true);
    while refused.len() < 3 {
        let ended = starters
            .iter_mut()
            .position(|starter| starter.try_wait().is_ok_and(|code| code.is_some()));
        match ended {
            Some(index) => refused.push(finish(starters.remove(index))),
            None => thread::sleep(Duration::from_millis(5)),
        }
    }
    let session = repository.json(".wreckit/batch-progress.json");
    for ran in refused {
        assert_eq!(ran.code, Some(3), "{}", ran.stderr);
        assert!(
            ran.stderr.contains(session["session_id"].as_str().expect("an id")),
            "{}",
            ran.stderr
        );
        assert!(ran.stderr.contains(&format!("pid {}", session["pid"])), "{}", ran.stderr);
    }
    repository.write("go", "");
    assert_eq!(finish(starters.remove(0)).code, Some(0));
    done_once(&repository, &ITEMS);
}

#[test]
fn a_session_that_is_left_in_any_way_forgets_no_completion() {
    /// What happens to the repository, and the arguments of the next run.
    type Leave = fn(&Repository) -> Vec<&'static str>;
    let ways: [(&str, Leave); 4] = [
        ("--no-resume", |_| vec!["run", "--no-resume"]),
        ("deleted by hand", |repository| {
            std::fs::remove_file(repository.path(".wreckit/batch-progress.json"))
                .expect("it is there");
            vec!["run"]
        }),
        ("doctor --fix", |repository| {
            let ran = repository.run(&["doctor", "--fix"]);
            assert_eq!(ran.code, Some(0), "{}", ran.stderr);
            assert!(
                ran.stdout.contains("Removed stale/corrupt batch-progress.json"),
                "{}",
                ran.stdout
            );
            vec!["run"]
        }),
        ("stale", |repository| {
            let mut progress = repository.json(".wreckit/batch-progress.json");
            progress["updated_at"] = json!("2026-01-01T00:00:00.000Z");
            repository.write(".wreckit/batch-progress.json", &progress.to_string());
            vec!["run"]
        }),
    ];
    for (way, leave) in ways {
        let script = r#"echo "start $1" >> ran; case $1 in 003*) [ -e go ] || sleep 100;; esac; echo "done $1" >> ran"#;
        let repository = Repository::new(script, &ITEMS);
        let batch = repository.start(&["run"]);
        repository.until("the third agent", |repository| has_said(repository, "start 003-c"));
        crash(batch);
        repository.write("go", "");
        let arguments = leave(&repository);
        let ran = repository.run(&arguments);
        assert_eq!(ran.code, Some(0), "{way}: {}", ran.stderr);
        done_once(&repository, &ITEMS);
    }
}

#[test]
fn a_second_crash_right_after_a_torn_line_loses_nothing_acknowledged_in_between() {
    let script = r#"case $1 in 002*|004*) [ -e go ] || { echo "wait $1" >> ran; sleep 100; };; esac; echo "done $1" >> ran; rm -f go"#;
    let repository = Repository::new(script, &ITEMS);
    let batch = repository.start(&["run"]);
    repository.until("the second agent", |repository| has_said(repository, "wait 002-b"));
    crash(batch);
    // The crash tore the line that was being written.
    let session = repository.json(".wreckit/batch-progress.json")["session_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let segment = format!(".wreckit/runs/{session}/events.1.jsonl");
    let torn = format!("{}{{\"seq\":99,\"time\":\"20", repository.read(&segment));
    repository.write(&segment, &torn);
    repository.write("go", "");
    let batch = repository.start(&["run"]);
    repository.until("the fourth agent", |repository| has_said(repository, "wait 004-d"));
    crash(batch);
    repository.write("go", "");
    let ran = repository.run(&["run"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(!ran.stderr.contains("damaged"), "{}", ran.stderr);
    done_once(&repository, &ITEMS);
}

#[test]
fn an_owner_of_the_existing_tool_that_runs_is_not_robbed() {
    let repository = Repository::new(AT_ONCE, &ITEMS[..1]);
    let now = String::from_utf8(
        std::process::Command::new("date")
            .args(["-u", "+%Y-%m-%dT%H:%M:%S.000Z"])
            .output()
            .expect("a date")
            .stdout,
    );
    let progress = json!({
        "schema_version": 1, "session_id": "theirs", "pid": std::process::id(),
        "started_at": "2026-01-01T00:00:00.000Z", "updated_at": now.expect("text").trim(),
        "parallel": 1, "queued_items": ["001-a"], "current_item": "001-a", "completed": [],
        "failed": [], "skipped": [], "healing_attempts": 0, "last_healing_at": null,
    });
    repository.write(".wreckit/batch-progress.json", &progress.to_string());
    let ran = repository.run(&["run"]);
    assert_eq!(ran.code, Some(3));
    assert!(
        ran.stderr.contains("session theirs") && ran.stderr.contains("--take-over"),
        "{}",
        ran.stderr
    );
    assert_eq!(repository.json(".wreckit/batch-progress.json"), progress);
    assert_eq!(repository.run(&["run", "--take-over"]).code, Some(0));
    done_once(&repository, &ITEMS[..1]);
}
