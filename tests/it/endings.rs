//! How attempts end, and what is made of it.

use serde_json::{Value, json};

use crate::environment::{Ran, Repository};

fn shell(script: &str) -> Value {
    json!({"kind": "command", "command": "sh", "args": ["-c", script, "agent", "{id}"]})
}

fn events(repository: &Repository, kind: &str) -> Vec<Value> {
    repository.events().into_iter().filter(|event| event["event"] == kind).collect()
}

fn succeeds(ran: &Ran) {
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
}

#[test]
fn an_agent_that_takes_too_long_is_ended_and_named() {
    let repository = Repository::new("echo at work; sleep 100 & sleep 100", &["001-a"]);
    let ran = repository.run(&["run", "--timeout", "1"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("failed  001-a ("), "{}", ran.stderr);
    assert!(ran.stdout.contains("failed   001-a: timed out after 1 s"), "{}", ran.stdout);
    let failed = &events(&repository, "item-failed")[0];
    assert_eq!((&failed["reason"], &failed["signal"]), (&json!("timed-out"), &json!(15)));
    assert_eq!(failed["output"], "at work");
    let item = repository.json(".wreckit/items/001-a/item.json");
    assert_eq!(item["last_error"], "timed out after 1 s");
}

#[test]
fn the_time_may_be_configured_and_an_agent_that_ignores_sigterm_is_killed() {
    let repository = Repository::new("", &["001-a"]);
    let agent = shell("trap '' TERM; while :; do sleep 0.1; done");
    repository.write(
        ".wreckit/config.json",
        &json!({"schema_version": 1, "agent": agent, "timeout_seconds": 1}).to_string(),
    );
    let started = std::time::Instant::now();
    assert_eq!(repository.run(&["run"]).code, Some(1));
    assert!(started.elapsed().as_secs() >= 6, "5 s after SIGTERM");
    let failed = &events(&repository, "item-failed")[0];
    assert_eq!((&failed["reason"], &failed["signal"]), (&json!("timed-out"), &json!(9)));
}

#[test]
fn a_failure_is_tried_again_and_every_try_has_its_log() {
    let script =
        r#"echo "try" >> ran; echo "this is try $WRECKIT_ATTEMPT"; [ "$(wc -l < ran)" = 3 ]"#;
    let repository = Repository::new(script, &["001-a"]);
    let ran = repository.run(&["run", "--retries", "2"]);
    succeeds(&ran);
    assert_eq!(repository.ran().len(), 3);
    let retries = events(&repository, "item-retrying");
    assert_eq!(retries.len(), 2);
    for (index, retry) in retries.iter().enumerate() {
        assert_eq!((&retry["attempt"], &retry["exit_code"]), (&json!(index + 1), &json!(1)));
        assert_eq!(retry["output"], json!(format!("this is try {}", index + 1)));
        let log = retry["log"].as_str().expect("a path");
        let text = repository.read(&format!(".wreckit/{log}"));
        assert_eq!(text, format!("this is try {}\n", index + 1));
    }
    assert!(ran.stderr.contains("Retrying in 1 s\n"), "{}", ran.stderr);
    let failed_for_good = repository.run(&["run", "--retries", "2"]);
    succeeds(&failed_for_good);
}

#[test]
fn after_enough_failures_nothing_more_starts() {
    let repository = Repository::new("exit 1", &["001-a", "002-b", "003-c", "004-d"]);
    let ran = repository.run(&["run", "--max-failures", "2"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stdout.contains("0 completed, 2 failed, 2 remaining"), "{}", ran.stdout);
    let last = ran.stderr.lines().last().expect("a line");
    assert_eq!(last, "hint: Continue with: wreckit-host run --max-failures 2");
    repository.agent(shell("true"));
    succeeds(&repository.run(&["run", "--retry-failed"]));
}

#[test]
fn exit_code_75_and_a_limit_in_the_output_pause_the_batch_and_fail_no_item() {
    for (words, code) in [("", 75), ("Error: usage limit reached", 1)] {
        let script = format!(
            "echo run >> ran; [ $(wc -l < ran) -ge 2 ] || {{ echo '{words}'; exit {code}; }}"
        );
        let repository = Repository::new("", &["001-a"]);
        let mut agent = shell(&script);
        agent["limit_wait_seconds"] = json!(1);
        agent["limit_patterns"] = json!(["(?i)usage LIMIT"]);
        repository.agent(agent);
        let ran = repository.run(&["run"]);
        succeeds(&ran);
        assert!(
            ran.stderr.contains("Paused until ") && ran.stderr.contains(" (1 s)\n"),
            "{}",
            ran.stderr
        );
        let paused = &events(&repository, "batch-paused")[0];
        assert_eq!((&paused["exit_code"], &paused["attempt"]), (&json!(code), &json!(1)));
        assert!(paused["reason"].as_str().expect("words").contains(words));
        assert_eq!(events(&repository, "batch-resumed").len(), 1);
        assert_eq!(events(&repository, "item-failed").len(), 0);
        assert_eq!(repository.json(".wreckit/items/001-a/item.json")["last_error"], Value::Null);
    }
}

#[test]
fn a_failed_dependency_blocks_and_a_retry_revives_what_waited() {
    for parallel in ["1", "4"] {
        let repository =
            Repository::new(r#"echo "$1" >> ran; case $1 in 001*) exit 1;; esac"#, &[]);
        repository.item("001-a", &[]);
        repository.item("002-b", &["001-a"]);
        repository.item("003-c", &["003-c"]);
        repository.item("004-d", &["005-e"]);
        repository.item("005-e", &["004-d"]);
        repository.item("006-f", &["099-missing"]);
        repository.item("007-g", &["006-f"]);
        let ran = repository.run(&["run", "--parallel", parallel]);
        assert_eq!(ran.code, Some(1));
        for line in [
            "failed   001-a: the agent exited with code 1",
            "blocked  002-b: depends on 001-a, which failed",
            "blocked  003-c: circular dependency: 003-c -> 003-c",
            "blocked  004-d: circular dependency: 004-d -> 005-e -> 004-d",
            "blocked  006-f: depends on 099-missing, which does not exist",
            "blocked  007-g: depends on 006-f, which is blocked",
        ] {
            assert!(ran.stdout.contains(line), "{line}: {}", ran.stdout);
        }
        repository.agent(shell(r#"echo "$1" >> ran"#));
        repository.item("099-missing", &[]);
        let ran = repository.run(&["run", "--parallel", parallel, "--retry-failed"]);
        assert!(ran.stdout.contains("5 completed"), "{}", ran.stdout);
        assert_eq!(ran.code, Some(1), "the cycles remain");
    }
}

#[test]
fn the_events_tell_the_whole_picture_of_a_resume() {
    let repository = Repository::new("case $1 in 002*) exit 75;; 001*) exit 1;; esac", &[]);
    for id in ["001-a", "002-b", "003-c"] {
        repository.item(id, &[]);
    }
    let batch = repository.start(&["run", "--parallel", "2"]);
    repository.until("a pause", |repository| !events(repository, "batch-paused").is_empty());
    crate::environment::kill(batch.id(), "INT");
    assert_eq!(crate::environment::finish(batch).code, Some(130));
    repository.agent(shell("true"));
    let ran = repository.run(&["run", "--format", "json"]);
    let first: Value =
        serde_json::from_str(ran.stdout.lines().next().expect("a line")).expect("JSON");
    assert_eq!(first["event"], "batch-started");
    assert_eq!(first["queue"], json!(["001-a", "002-b", "003-c"]));
    assert_eq!((&first["failed"], &first["in_flight"]), (&json!(["001-a"]), &json!(["002-b"])));
    // The journal has it once, not twice.
    let started = events(&repository, "batch-started");
    assert_eq!(started[1]["queue"], json!([]));
}

#[test]
fn output_is_shown_on_demand_and_never_raw() {
    let script = r#"printf '\033[31mred\033[0m \007bell \377\n'; printf 'no end'"#;
    let repository = Repository::new(script, &["001-a"]);
    let ran = repository.run(&["run", "-v"]);
    succeeds(&ran);
    assert!(ran.stderr.contains("[001-a] red bell"), "{:?}", ran.stderr);
    assert!(ran.stderr.contains("[001-a] no end"), "{:?}", ran.stderr);
    assert!(!ran.stderr.contains('\u{1b}') && !ran.stderr.contains('\u{7}'), "{:?}", ran.stderr);
    let repository = Repository::new(script, &["001-a"]);
    let ran = repository.run(&["run"]);
    assert!(!ran.stderr.contains("bell"), "{:?}", ran.stderr);
}

#[test]
fn progress_is_as_loud_as_it_is_asked_to_be() {
    let repository = Repository::new("true", &["001-a", "002-b"]);
    let quiet = repository.run(&["run", "001", "--progress", "none"]);
    assert_eq!((quiet.code, &*quiet.stderr), (Some(0), ""));
    let mut command = repository.command(&["run"]);
    command.env("WRECKIT_PROGRESS", "nonsense");
    let wrong = crate::environment::finish(command.spawn().expect("it starts"));
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.stderr.contains("WRECKIT_PROGRESS must be auto, bar, plain or none"));
    // Without a terminal there is no bar, whatever is asked for.
    let plain = repository.run(&["run", "--progress", "bar"]);
    assert!(plain.stderr.contains("start   002-b"), "{}", plain.stderr);
    assert_eq!(repository.run(&["run", "--no-tui", "--progress", "bar"]).code, Some(2));
    let minutes = repository.run(&["run", "--timeout", "5m"]);
    assert!(minutes.stderr.contains("must be a whole number"), "{}", minutes.stderr);
    let endless = repository.run(&["run", "--timeout", "18446744073709551615"]);
    assert_eq!(endless.code, Some(0), "{}", endless.stderr);
    for wrong in
        [["--timeout", "0"], ["--timeout", "x"], ["--retries", "-1"], ["--max-failures", "0"]]
    {
        assert_eq!(repository.run(&["run", wrong[0], wrong[1]]).code, Some(2), "{wrong:?}");
    }
}
