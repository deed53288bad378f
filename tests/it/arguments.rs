//! What is wrong from the start ends with exit 2, says what to do, and changes nothing.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::environment::Repository;

fn refused(repository: &Repository, arguments: &[&str], words: &[&str]) {
    let before = repository.everything();
    let ran = repository.run(arguments);
    assert_eq!(ran.code, Some(2), "{arguments:?}: {}", ran.stderr);
    for word in words {
        assert!(ran.stderr.contains(word), "{arguments:?}: {word:?} is not in {}", ran.stderr);
    }
    assert_eq!(ran.stdout, "", "{arguments:?}");
    assert_eq!(repository.everything(), before, "{arguments:?} changed something");
}

fn repository() -> Repository {
    Repository::new("true", &["001-login", "002-logout", "003-search"])
}

#[test]
fn an_unknown_or_ambiguous_item() {
    refused(&repository(), &["run", "9"], &["unknown item \"9\"", "wreckit-host status"]);
    refused(&repository(), &["run", "009-logout"], &["did you mean 002-logout"]);
    refused(
        &repository(),
        &["run", "00"],
        &["ambiguous; it matches 001-login, 002-logout, 003-search"],
    );
}

#[test]
fn no_repository_here() {
    refused(&Repository::empty(), &["run"], &["no .wreckit", "wreckit-host init"]);
    refused(&Repository::empty(), &["status"], &["no .wreckit"]);
    refused(&repository(), &["--cwd", "nowhere", "run"], &["nowhere"]);
}

#[test]
fn a_configuration_that_cannot_be_used() {
    for (config, words) in [
        ("", vec!["config.json has invalid JSON"]),
        ("[]", vec!["must be an object"]),
        ("{}", vec!["`agent` is missing"]),
        (r#"{"agent": {"kind": "command"}}"#, vec!["`agent.command`"]),
        (r#"{"agent": {"kind": "magic"}}"#, vec!["`agent.kind`", "magic"]),
        (r#"{"agent": {"kind": "rlm"}}"#, vec!["`rlm`", "set agent.kind to `command`"]),
        (
            r#"{"agent": {"kind": "command", "command": "no-such-agent"}}"#,
            vec!["no-such-agent", "not found in PATH", "--mock-agent"],
        ),
        (r#"{"agent": {"kind": "command", "command": "./notes.txt"}}"#, vec!["notes.txt"]),
    ] {
        let repository = repository();
        repository.write("notes.txt", "not a program");
        repository.write(".wreckit/config.json", config);
        refused(&repository, &["run"], &words);
        refused(&repository, &["next"], &words);
        let mocked = repository.run(&["run", "--mock-agent", "--mock-delay", "0"]);
        assert_eq!(mocked.code, Some(0), "{config}: {}", mocked.stderr);
    }
    let repository = repository();
    std::fs::remove_file(repository.path(".wreckit/config.json")).expect("it is there");
    refused(&repository, &["run"], &["no .wreckit/config.json", "wreckit-host init"]);
}

#[test]
fn a_configuration_that_cannot_be_read_or_is_not_a_file() {
    let repository = repository();
    let config = repository.path(".wreckit/config.json");
    std::fs::set_permissions(&config, PermissionsExt::from_mode(0o000)).expect("it is ours");
    if std::fs::read(&config).is_err() {
        let ran = repository.run(&["run"]);
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
        assert!(ran.stderr.contains("cannot read .wreckit/config.json"), "{}", ran.stderr);
    }
    std::fs::remove_file(&config).expect("it is ours");
    let made = std::process::Command::new("mkfifo").arg(&config).status();
    assert!(made.expect("mkfifo runs").success());
    let ran = repository.run(&["run"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("not a regular file"), "{}", ran.stderr);
}

#[test]
fn the_local_configuration_wins() {
    let repository = repository();
    repository.agent(json!({"kind": "rlm", "model": "m"}));
    repository.write(".wreckit/config.local.json", r#"{"agent": {"kind": "mock"}}"#);
    assert_eq!(repository.run(&["run", "--mock-delay", "0"]).code, Some(0));
}

#[test]
fn numbers_that_are_refused_with_the_reason() {
    for (arguments, words) in [
        (["run", "--parallel", "0"], "must be at least 1"),
        (["run", "--parallel", "two"], "must be a whole number"),
        (["run", "--timeout", "0"], "must be at least 1"),
        (["next", "--retries", "4294967296"], "is too large"),
    ] {
        refused(&repository(), &arguments, &[words]);
    }
}

/// A component that does not exist is a mistake of the user. Nothing ran, so no agents were ended.
#[test]
fn a_component_that_does_not_exist() {
    for arguments in
        [&["--component", "nowhere.wasm", "status"][..], &["--component", "nowhere.wasm", "run"]]
    {
        refused(&repository(), arguments, &["nowhere.wasm"]);
        let ran = repository().run(arguments);
        assert!(!ran.stderr.contains("agents"), "{}", ran.stderr);
    }
}

#[test]
fn flags_that_make_no_sense() {
    for arguments in [
        &["run", "--parallel", "0"][..],
        &["run", "--parallel", "-1"],
        &["run", "--parallel", "two"],
        &["run", "--format", "xml"],
        &["run", "--mock-agent", "--mock-delay", "18446744073709551615"],
        &["run", "--demo", "--no-resume"],
        &["run", "--demo", "1"],
        &["-q", "-v", "run"],
        &["frobnicate"],
        &[],
        &["add"],
        &["add", " "],
        &["backups", "restore", "../../etc"],
        &["backups", "restore", "2026-01-01T00-00-00-000Z"],
    ] {
        refused(&repository(), arguments, &[]);
    }
}
