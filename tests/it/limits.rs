//! What happens where the system has little to give: descriptors, threads.

use std::process::{Command, Stdio};

use crate::environment::{Ran, Repository, finish, program, unprivileged};

/// Runs the program with these limits of a shell.
fn limited(repository: &Repository, limits: &str, arguments: &[&str]) -> Ran {
    let command = format!("{limits}; exec \"$0\" \"$@\"");
    let mut shell = Command::new("sh");
    shell.args(["-c", &command]).arg(program()).args(arguments).current_dir(repository.root());
    shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    finish(shell.spawn().expect("sh starts"))
}

#[test]
fn where_descriptors_are_few_fewer_agents_run_and_nothing_waits() {
    let items: Vec<String> = (1..=30).map(|number| format!("{number:03}-a")).collect();
    let items: Vec<&str> = items.iter().map(String::as_str).collect();
    let repository = Repository::new("sleep 0.3; echo $1 >> ran", &items);
    let ran = limited(&repository, "ulimit -n 72", &["run", "--parallel", "30"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stderr.contains("The system is out of resources for"), "{}", ran.stderr);
    assert_eq!(ran.stderr.matches("From now on").count(), 1, "{}", ran.stderr);
    assert_eq!(repository.ran().len(), 30);
    assert!(repository.events().iter().all(|event| event["event"] != "batch-paused"));
}

#[test]
fn a_batch_raises_its_own_limit_on_descriptors_and_not_that_of_its_agents() {
    let items: Vec<String> = (1..=40).map(|number| format!("{number:03}-a")).collect();
    let items: Vec<&str> = items.iter().map(String::as_str).collect();
    let repository = Repository::new("sleep 0.2; ulimit -Sn >> ran", &items);
    let ran = limited(&repository, "ulimit -Sn 64", &["run", "--parallel", "40"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(!ran.stderr.contains("From now on"), "{}", ran.stderr);
    assert_eq!(repository.ran(), vec!["64"; 40]);
}

#[test]
fn alone_an_agent_that_cannot_be_started_has_failed_and_it_says_why() {
    let repository = Repository::new("true", &["001-a"]);
    let ran = limited(&repository, "ulimit -n 36", &["run"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("raise the limit on open files (`ulimit -n`)"), "{}", ran.stderr);
}

#[test]
fn without_a_thread_to_be_had_it_says_so() {
    let repository = Repository::new("true", &["001-a"]);
    // Root has no limit: its rights are given up first.
    let Some(child) = unprivileged(&repository, &["--version"]) else { return };
    assert_eq!(finish(child).code, Some(0));
    let limit = ["--nproc=0", "./program", "status"];
    let mut command = match repository.exists("program") {
        true => {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "prlimit"]);
            command.args(limit);
            command
        }
        false => {
            let mut command = Command::new("prlimit");
            command.arg(limit[0]).arg(program()).arg(limit[2]);
            command
        }
    };
    command.current_dir(repository.root());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ran = finish(command.spawn().expect("it starts"));
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("cannot start a thread"), "{}", ran.stderr);
    assert!(ran.stderr.contains("ulimit -u"), "{}", ran.stderr);
}
