//! Agents that do what agents should not.

use std::fs;
use std::os::unix::process::CommandExt;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::environment::{Repository, finish, kill, runs};

fn failure(repository: &Repository) -> Value {
    let failed: Vec<Value> =
        repository.events().into_iter().filter(|event| event["event"] == "item-failed").collect();
    assert_eq!(failed.len(), 1);
    failed[0].clone()
}

#[test]
fn one_that_never_reads_its_input() {
    let repository = Repository::new("", &["001-a"]);
    repository.write(".wreckit/prompts/research.md", &"x".repeat(300 << 10));
    let script = "sleep 0.3; echo found > research.md; echo DONE; exit 1";
    repository.agent(json!({"kind": "process", "command": "sh", "args": ["-c", script],
        "completion_signal": "DONE"}));
    let ran = repository.run(&["run", "--timeout", "20"]);
    assert_eq!(ran.code, Some(1));
    assert_eq!(failure(&repository)["error"], "the agent exited with code 1");
}

#[test]
fn one_that_reads_all_of_a_long_prompt() {
    let repository = Repository::new("", &["001-a"]);
    repository.write(".wreckit/prompts/research.md", &"x".repeat(300 << 10));
    let script = "wc -c; exit 1";
    repository.agent(json!({"kind": "process", "command": "sh", "args": ["-c", script]}));
    assert_eq!(repository.run(&["run"]).code, Some(1));
    assert_eq!(failure(&repository)["output"], (300 << 10).to_string());
}

#[test]
fn one_that_writes_a_gigabyte() {
    let script = "echo first; head -c 1000000000 /dev/zero | tr '\\0' 'x'; echo; echo last; exit 3";
    let repository = Repository::new(script, &["001-a"]);
    let ran = repository.run(&["run"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    let failed = failure(&repository);
    let output = failed["output"].as_str().expect("text");
    assert!(output.ends_with("\nlast") && output.len() < 10_000, "{} bytes", output.len());
    let log = repository.path(&format!(".wreckit/{}", failed["log"].as_str().expect("a path")));
    assert!(fs::metadata(&log).expect("a log").len() <= (64 << 20) + 1000);
    let text = String::from_utf8_lossy(&fs::read(&log).expect("a log")).into_owned();
    assert!(text.starts_with("first\nxxx") && text.ends_with("x\nlast\n"));
    assert!(text.contains("bytes were dropped here]"));
}

#[test]
fn one_that_double_forks_into_a_session_of_its_own() {
    let script = "(setsid sh -c 'echo $$ > daemon; trap \"\" TERM; while :; do sleep 0.1; done' &) ; \
        until [ -s daemon ]; do sleep 0.01; done";
    let repository = Repository::new(script, &["001-a"]);
    let ran = repository.run(&["run"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(!runs(repository.read("daemon").trim()), "the daemon was ended with the item");
}

#[test]
fn one_whose_daemon_has_cleared_its_environment() {
    let script = "(env -i setsid sh -c 'echo $$ > daemon; exec sleep 100' &) ; \
        until [ -s daemon ]; do sleep 0.01; done";
    let repository = Repository::new(script, &["001-a"]);
    assert_eq!(repository.run(&["run"]).code, Some(0));
    assert!(!runs(repository.read("daemon").trim()), "it was ended with the batch");
}

#[test]
fn one_that_closes_its_output_and_lives_on() {
    let script = "exec > /dev/null 2>&1; sleep 0.3; echo done >> ran";
    let repository = Repository::new(script, &["001-a"]);
    assert_eq!(repository.run(&["run"]).code, Some(0));
    assert_eq!(repository.ran(), ["done"], "it was waited for");
}

#[test]
fn one_that_leaves_a_child_with_its_output() {
    let repository = Repository::new("sleep 100 & echo $! > child; echo out", &["001-a"]);
    let started = Instant::now();
    assert_eq!(repository.run(&["run"]).code, Some(0));
    assert!(started.elapsed() < Duration::from_secs(30), "the end of the stream is not waited for");
    assert!(!runs(repository.read("child").trim()));
}

#[test]
fn one_that_exits_at_once_and_one_that_is_killed_from_outside() {
    let repository = Repository::new("kill -9 $$", &["001-a"]);
    assert_eq!(repository.run(&["run"]).code, Some(1));
    assert_eq!(failure(&repository)["error"], "the agent was ended by signal 9 (SIGKILL)");
    assert_eq!(failure(&repository)["signal"], 9);
    let repository = Repository::new("exit 200", &["001-a"]);
    assert_eq!(repository.run(&["run"]).code, Some(1));
    assert_eq!(failure(&repository)["exit_code"], 200);
}

#[test]
fn one_that_is_not_executable() {
    let repository = Repository::new("", &["001-a"]);
    repository.write("agent.sh", "#!/bin/sh\ntrue\n");
    repository.agent(json!({"kind": "command", "command": "./agent.sh"}));
    let ran = repository.run(&["run"]);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(ran.stderr.contains("./agent.sh") && ran.stderr.contains("hint: "), "{}", ran.stderr);
    assert!(!repository.exists(".wreckit/batch-progress.json"));
}

#[test]
fn one_that_vanishes_while_it_runs() {
    use std::os::unix::fs::PermissionsExt;
    let repository = Repository::new("", &["001-a", "002-b"]);
    repository.write("agent.sh", "#!/bin/sh\nrm -f agent.sh\n");
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(repository.path("agent.sh"), mode).expect("a mode");
    repository.agent(json!({"kind": "command", "command": "./agent.sh"}));
    let ran = repository.run(&["run"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stdout.contains("1 completed, 1 failed"), "{}", ran.stdout);
    assert!(ran.stdout.contains("002-b: the agent could not be started"), "{}", ran.stdout);
}

#[test]
fn one_that_removes_its_item() {
    let repository = Repository::new("rm -rf .wreckit/items/$1; exit 1", &["001-a", "002-b"]);
    let ran = repository.run(&["run", "--retries", "1"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("item.json is missing"), "{}", ran.stderr);
}

#[test]
fn one_that_ignores_sigterm_and_its_children_too() {
    let script = "trap '' TERM; sh -c 'trap \"\" TERM; echo $$ > child; while :; do sleep 0.05; done' & \
        echo $$ > leader; while :; do sleep 0.05; done";
    let repository = Repository::new(script, &["001-a"]);
    let batch = repository.start(&["run"]);
    repository.until("both", |repository| {
        !repository.read("leader").is_empty() && !repository.read("child").is_empty()
    });
    kill(batch.id(), "TERM");
    let started = Instant::now();
    let ran = finish(batch);
    assert_eq!(ran.code, Some(143), "{}", ran.stderr);
    assert!(started.elapsed() >= Duration::from_secs(9), "10 s after SIGTERM");
    for process in ["leader", "child"] {
        assert!(!runs(repository.read(process).trim()), "{process}");
    }
}

#[test]
fn one_that_asks_for_a_password_at_the_terminal() {
    // `setsid --ctty` gives the program a terminal of its own, made by `script`.
    let repository = Repository::new("read secret < /dev/tty; echo got it", &["001-a"]);
    let program = crate::environment::program().display().to_string();
    let ran = std::process::Command::new("script")
        .args(["-qec", &format!("{program} run --no-tui"), "/dev/null"])
        .current_dir(repository.root())
        .stdin(std::process::Stdio::null())
        .output();
    let Ok(ran) = ran else {
        eprintln!("script is not here: not tested");
        return;
    };
    assert_eq!(ran.status.code(), Some(1), "{}", String::from_utf8_lossy(&ran.stdout));
    let error = failure(&repository)["error"].clone();
    assert!(
        error.as_str().is_some_and(|error| error.contains("terminal (a password?)")),
        "{error}"
    );
}

#[test]
fn one_that_orphans_children_while_it_works_leaves_no_zombies() {
    let script = "i=0; while [ $i -lt 100 ]; do (sleep 0.01 &); i=$((i+1)); done; sleep 2; \
        ps -o stat= --ppid $PPID | grep -c Z > zombies; true";
    let repository = Repository::new(script, &["001-a"]);
    assert_eq!(repository.run(&["run"]).code, Some(0));
    let zombies: usize = repository.read("zombies").trim().parse().expect("a number");
    assert!(zombies < 20, "{zombies}");
}

#[test]
fn a_reader_that_reads_nothing_does_not_delay_a_timeout() {
    let repository = Repository::new("yes", &["001-a"]);
    let mut batch = repository.start(&["run", "-v", "--timeout", "1"]);
    repository.until("the failure", |repository| {
        repository.events().iter().any(|event| event["reason"] == "timed-out")
    });
    // Its output is not read, and it still ends.
    let started = Instant::now();
    while batch.try_wait().expect("it can be waited for").is_none() {
        assert!(started.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn one_whose_daemons_outlive_one_another() {
    let deep = "trap '' TERM; setsid sh -c \"trap '' TERM; setsid sh -c 'trap : TERM; sleep 77' & sleep 77\" & sleep 77";
    let script = "trap '' TERM; setsid sh -c \"$DEEP\" & echo $$ > agent; sleep 0.3; sleep 77";
    let repository = Repository::new(script, &["001-a"]);
    let mut command = repository.command(&["run"]);
    let batch = command.env("DEEP", deep).spawn().expect("the program starts");
    repository.until("the agent", |repository| !repository.read("agent").is_empty());
    std::thread::sleep(Duration::from_millis(300));
    kill(batch.id(), "INT");
    std::thread::sleep(Duration::from_millis(100));
    let started = Instant::now();
    kill(batch.id(), "INT");
    assert_eq!(finish(batch).code, Some(130));
    // Each of them would take 2 s of its own.
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
}

#[test]
fn one_whose_log_may_not_grow_any_more() {
    let repository = Repository::new("head -c 3000000 /dev/zero | tr '\\0' x; exit 5", &["001-a"]);
    let program = crate::environment::program().display().to_string();
    let ran = std::process::Command::new("sh")
        .args(["-c", &format!("ulimit -f 1000; exec {program} run")])
        .current_dir(repository.root())
        .output()
        .expect("sh runs");
    assert_eq!(ran.status.code(), Some(1), "{}", String::from_utf8_lossy(&ran.stderr));
    let words = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert_eq!(words.matches("the log of 001-a is incomplete").count(), 1, "{words}");
    assert_eq!(failure(&repository)["error"], "the agent exited with code 5");
}

#[test]
fn what_was_there_before_the_batch_is_none_of_its_business() {
    let repository = Repository::new("true", &["001-a"]);
    let program = crate::environment::program().display().to_string();
    let script = format!("sleep 30 > /dev/null 2>&1 & echo $! > mine; exec {program} run");
    let ran = std::process::Command::new("sh")
        .args(["-c", &script])
        .current_dir(repository.root())
        .output()
        .expect("sh runs");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let mine = repository.read("mine");
    assert!(runs(mine.trim()), "it was ended");
    kill(mine.trim().parse().expect("a number"), "KILL");
}

#[test]
fn one_without_an_environment_does_not_overlap_its_own_retry() {
    let script = "[ -s loop ] && kill -0 $(cat loop) 2>/dev/null && echo overlap >> ran; \
        env -i PATH=\"$PATH\" setsid sh -c 'echo $$ > loop; exec sleep 100' & \
        until [ -s loop ]; do sleep 0.01; done; sleep 0.3; exit 1";
    let repository = Repository::new(script, &["001-a"]);
    assert_eq!(repository.run(&["run", "--retries", "1"]).code, Some(1));
    assert_eq!(repository.ran(), Vec::<String>::new());
}

#[test]
fn a_stopped_batch_stops_its_agents_and_its_timers() {
    let script = "echo $$ > leader; i=0; while [ $i -lt 12 ]; do sleep 0.1; i=$((i+1)); done; echo done >> ran";
    let repository = Repository::new(script, &["001-a"]);
    // In its own process group, as a shell with job control starts it: otherwise it could not be continued.
    let mut command = repository.command(&["run", "--timeout", "3"]);
    let batch = command.process_group(0).spawn().expect("the program starts");
    repository.until("the agent", |repository| !repository.read("leader").is_empty());
    let state = |process: &str| {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").and_then(|(_, fields)| fields.chars().next())
    };
    kill(batch.id(), "TSTP");
    let (host, agent) = (batch.id().to_string(), repository.read("leader").trim().to_owned());
    repository.until("a stop", |_| state(&host) == Some('T') && state(&agent) == Some('T'));
    // Longer than the agent may take.
    std::thread::sleep(Duration::from_secs(4));
    kill(batch.id(), "CONT");
    let ran = finish(batch);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(repository.ran(), ["done"]);
}
