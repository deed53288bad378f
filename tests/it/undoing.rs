//! Repairs, restorations and runs in every order: nothing that completed runs again, and nothing that
//! was set aside is lost.

use std::fs;
use std::process::{Child, Command};

use serde_json::{Value, json};

use crate::environment::{Repository, crash, finish};

const PROGRESS: &str = ".wreckit/batch-progress.json";
const SIX: [&str; 6] = ["001-a", "002-b", "003-c", "004-d", "005-e", "006-f"];

/// An agent that notes that it ran, and hangs at the item that the file `stop` names.
const SCRIPT: &str = r#"echo "$1" >> ran; grep -q "$1" stop && sleep 1000; true"#;

/// Runs a batch until it hangs at `item`, and kills it with its agent.
fn killed_at(repository: &Repository, item: &str) {
    repository.write("stop", item);
    let batch = repository.start(&["run"]);
    repository.until("the item that hangs", |it| it.ran().last().is_some_and(|id| id == item));
    // Its process is known by then.
    repository.until("its process", |repository| {
        repository
            .events()
            .iter()
            .any(|event| event["event"] == "phase-started" && event["item"] == item)
    });
    crash(batch);
}

fn fix(repository: &Repository) -> String {
    let ran = repository.run(&["doctor", "--fix", "--json"]);
    let report: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    report["backup_session_id"].as_str().unwrap_or_else(|| panic!("{report:#}")).to_owned()
}

fn times_run(repository: &Repository) -> Vec<(String, usize)> {
    let ran = repository.ran();
    let count = |id: &str| ran.iter().filter(|other| *other == id).count();
    SIX.iter().map(|id| ((*id).to_owned(), count(id))).filter(|(_, count)| *count > 0).collect()
}

/// Only what hung when it was killed has run twice.
fn ran_once_but_for(repository: &Repository, interrupted: &[&str]) {
    for (id, count) in times_run(repository) {
        let expected = if interrupted.contains(&id.as_str()) { 2 } else { 1 };
        assert_eq!(count, expected, "{id}: {:?}", repository.ran());
    }
}

fn to_the_end(repository: &Repository) {
    repository.write("stop", "nothing");
    for _ in 0..2 {
        let ran = repository.run(&["run"]);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    }
    assert_eq!(times_run(repository).len(), SIX.len());
}

#[test]
fn a_restoration_is_refused_once_the_session_has_gone_on() {
    let repository = Repository::new(SCRIPT, &SIX);
    killed_at(&repository, "003-c");
    let id = fix(&repository);
    assert_eq!(repository.run(&["backups", "restore", &id]).code, Some(0));
    killed_at(&repository, "005-e");
    let again = repository.run(&["backups", "restore", &id]);
    assert_eq!(again.code, Some(2), "{}", again.stdout);
    assert!(
        again.stderr.contains(
            "Not restored. These files changed since the repair, or cannot be verified: .wreckit/"
        ),
        "{}",
        again.stderr
    );
    to_the_end(&repository);
    ran_once_but_for(&repository, &["003-c", "005-e"]);
}

/// Damage in a journal hides no valid line, whichever command runs before it is fixed.
#[test]
fn what_stands_behind_damage_in_a_journal_never_runs_again() {
    let repository = Repository::new(SCRIPT, &SIX);
    killed_at(&repository, "003-c");
    let runs = fs::read_dir(repository.path(".wreckit/runs")).expect("runs");
    let run = runs.last().expect("a run").expect("a run").path();
    let journal = run.join("events.1.jsonl");
    let text = fs::read_to_string(&journal).expect("a journal");
    fs::write(
        &journal,
        text.replacen("\"event\":\"item-started\"", "\"event\";\"item-started\"", 1),
    )
    .expect("written");
    // The snapshot does not know of them.
    fs::remove_file(repository.path(PROGRESS)).expect("it is there");
    fs::write(repository.path(PROGRESS), "{").expect("written");
    killed_at(&repository, "004-d");
    fix(&repository);
    to_the_end(&repository);
    ran_once_but_for(&repository, &["003-c", "004-d"]);
}

/// What a run set aside can be brought back, also while another session has taken its place.
#[test]
fn what_a_run_set_aside_comes_back_over_what_took_its_place() {
    let repository = Repository::new(SCRIPT, &SIX);
    killed_at(&repository, "002-b");
    let before = repository.read(PROGRESS);
    repository.write("stop", "003-c");
    let batch = repository.start(&["run", "--no-resume"]);
    repository.until("the item that hangs", |it| it.ran().last().is_some_and(|id| id == "003-c"));
    crash(batch);
    let listed = repository.run(&["backups", "list"]).stdout;
    let id = listed.split(' ').next().expect("an id");
    let restored = repository.run(&["backups", "restore", id]);
    assert_eq!(restored.code, Some(0), "{}", restored.stderr);
    assert_eq!(repository.read(PROGRESS), before);
    to_the_end(&repository);
    ran_once_but_for(&repository, &["002-b", "003-c"]);
}

#[test]
fn a_fix_applies_the_results_of_open_sessions_before_it_changes_items() {
    let repository = Repository::new(SCRIPT, &SIX);
    for id in SIX {
        let path = format!(".wreckit/items/{id}/item.json");
        let researched = repository.read(&path).replace("\"idea\"", "\"researched\"");
        repository.write(&path, &researched);
    }
    killed_at(&repository, "004-d");
    fs::remove_file(repository.path(PROGRESS)).expect("it is there");
    let id = fix(&repository);
    assert_eq!(repository.state("001-a"), "done");
    assert_eq!(repository.state("005-e"), "idea");
    assert_eq!(repository.run(&["backups", "restore", &id]).code, Some(0));
    assert_eq!(repository.state("001-a"), "researched");
    fix(&repository);
    to_the_end(&repository);
    ran_once_but_for(&repository, &["004-d"]);
}

#[test]
fn a_state_that_was_fixed_and_then_done_is_not_restored() {
    let repository = Repository::new(SCRIPT, &SIX[..2]);
    let path = ".wreckit/items/001-a/item.json";
    let researched = repository.read(path).replace("\"idea\"", "\"researched\"");
    repository.write(path, &researched);
    let id = fix(&repository);
    killed_at(&repository, "002-b");
    // Completed, though not in its file yet.
    let restored = repository.run(&["backups", "restore", &id]);
    assert_eq!(restored.code, Some(2), "{}", restored.stdout);
    assert!(restored.stderr.contains(path), "{}", restored.stderr);
    repository.write("stop", "nothing");
    assert_eq!(repository.run(&["run"]).code, Some(0));
    assert_eq!(repository.state("001-a"), "done");
    assert_eq!(repository.run(&["run"]).code, Some(0));
    ran_once_but_for(&repository, &["002-b"]);
}

#[test]
fn who_goes_back_through_the_backups_loses_none_of_them() {
    let repository = Repository::new(SCRIPT, &["001-a"]);
    let junk: Vec<String> = (0..10).map(|number| format!("junk {number}")).collect();
    let mut backups = Vec::new();
    for junk in &junk {
        repository.write(PROGRESS, junk);
        backups.push(fix(&repository));
    }
    for (id, junk) in backups.iter().zip(&junk).rev() {
        let restored = repository.run(&["backups", "restore", id]);
        assert_eq!(restored.code, Some(0), "{}", restored.stderr);
        assert_eq!(repository.read(PROGRESS), *junk);
        // What stands there now was not left by the repair before.
        fs::remove_file(repository.path(PROGRESS)).expect("it is there");
    }
}

#[test]
fn a_repair_that_was_killed_and_repeated_is_undone_in_two_steps() {
    let repository = Repository::new(SCRIPT, &["001-a"]);
    let temporary = |number: usize| format!(".wreckit/items/001-a/x.{number:012x}.tmp");
    for number in 0..400 {
        repository.write(&temporary(number), "half");
    }
    let count = || (0..400).filter(|number| repository.exists(&temporary(*number))).count();
    let repair = repository.start(&["doctor", "--fix"]);
    repository.until("a part of the repair", |repository| !repository.exists(&temporary(0)));
    crash(repair);
    let left = count();
    if left > 0 {
        fix(&repository);
    }
    assert_eq!(count(), 0);
    let listed = repository.run(&["backups", "list"]).stdout;
    for line in listed.lines() {
        let id = line.split(' ').next().expect("an id");
        let restored = repository.run(&["backups", "restore", id]);
        assert_eq!(restored.code, Some(0), "{}", restored.stderr);
    }
    assert_eq!(count(), 400, "everything is back");
}

/// A copy of a repository has the journal of the original, whose agents are none of its own.
#[test]
fn a_copy_of_a_repository_with_a_running_batch_leaves_that_alone() {
    let original =
        Repository::new("echo x >> ran; until [ -e go ]; do sleep 0.02; done", &["001-a"]);
    let batch = original.start(&["run"]);
    original.until("the agent", |repository| {
        repository.events().iter().any(|event| event["event"] == "phase-started")
    });
    let copy = Repository::copy_of(original.root());
    let found = copy.run(&["doctor", "--json"]).stdout;
    assert!(!found.contains("ORPHANED_AGENT"), "{found}");
    let fixed = copy.run(&["doctor", "--fix", "--json"]).stdout;
    assert!(!fixed.contains("ORPHANED_AGENT"), "{fixed}");
    original.write("go", "");
    assert_eq!(finish(batch).code, Some(0), "its agent was left alone");
}

/// An agent of a repository that lies in another one, whose progress file is a copy of its own.
#[test]
fn agents_of_a_repository_inside_of_this_one_are_left_alone() {
    let outer = Repository::new("true", &["001-a"]);
    fs::create_dir_all(outer.path("inner/.wreckit")).expect("a directory");
    let script = "echo x >> ran; until [ -e go ]; do sleep 0.02; done";
    let config = json!({"agent": {"kind": "command", "command": "sh", "args": ["-c", script]}});
    outer.write("inner/.wreckit/config.json", &config.to_string());
    outer.write(
        "inner/.wreckit/items/001-a/item.json",
        &outer.read(".wreckit/items/001-a/item.json"),
    );
    let batch: Child = outer
        .command(&["run"])
        .current_dir(outer.path("inner"))
        .spawn()
        .expect("the program starts");
    outer.until("the inner agent", |outer| outer.exists("inner/ran"));
    let inner = outer.path("inner/.wreckit");
    outer.until("its record", |_| {
        let journals = fs::read_dir(inner.join("runs")).expect("runs").flatten();
        let mut segments = journals.map(|run| run.path().join("events.1.jsonl"));
        segments.any(|path| fs::read_to_string(path).unwrap_or_default().contains("phase-started"))
    });
    let copied = Command::new("cp")
        .arg("-r")
        .arg(inner.join("runs"))
        .arg(inner.join("batch-progress.json"))
        .arg(outer.path(".wreckit"))
        .status();
    assert!(copied.expect("cp runs").success());
    let fixed = outer.run(&["doctor", "--fix"]);
    assert!(!fixed.stdout.contains("ORPHANED_AGENT"), "{}", fixed.stdout);
    outer.write("inner/go", "");
    assert_eq!(finish(batch).code, Some(0), "its agent was left alone");
}

/// The existing tool asks for no lock: its progress file says that it works here.
#[test]
fn nothing_is_restored_while_another_process_works_on_it() {
    let repository = Repository::new("true", &["001-a"]);
    repository.write(PROGRESS, "junk");
    let id = fix(&repository);
    let mut worker = Command::new("sleep").arg("1000").spawn().expect("a process");
    let now = humantime::format_rfc3339_millis(std::time::SystemTime::now()).to_string();
    let progress = json!({
        "schema_version": 1, "session_id": "theirs", "pid": worker.id(), "started_at": now,
        "updated_at": now, "parallel": 1, "queued_items": ["001-a"], "current_item": "001-a",
        "completed": [], "failed": [], "skipped": [],
    });
    repository.write(PROGRESS, &progress.to_string());
    let restored = repository.run(&["backups", "restore", &id]);
    assert_eq!(restored.code, Some(3), "{}", restored.stdout);
    assert_eq!(repository.read(PROGRESS), progress.to_string());
    assert!(worker.kill().is_ok() && worker.wait().is_ok());
}

#[test]
fn the_backups_of_the_existing_tool_are_restored_as_before() {
    let repository = Repository::new("true", &["001-a"]);
    let manifest = json!({
        "schema_version": 1, "session_id": "2026-01-28T05-19-51-356Z",
        "created_at": "2026-01-28T05:19:51.364Z", "reason": "doctor-fix",
        "files": [{
            "original_path": ".wreckit/items/001-a/prd.json", "backup_path": "items/001-a/prd.json",
            "operation": "modified", "diagnostic_code": "PRD_INVALID_PRIORITY", "item_id": "001-a",
        }],
    });
    let place = ".wreckit/backups/2026-01-28T05-19-51-356Z";
    repository.write(&format!("{place}/manifest.json"), &manifest.to_string());
    repository.write(&format!("{place}/items/001-a/prd.json"), "theirs");
    repository.write(".wreckit/items/001-a/prd.json", "ours");
    let restored = repository.run(&["backups", "restore", "2026-01-28T05-19-51-356Z"]);
    assert_eq!(restored.code, Some(0), "{}", restored.stderr);
    assert_eq!(repository.read(".wreckit/items/001-a/prd.json"), "theirs");
}
