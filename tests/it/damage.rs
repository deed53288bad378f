//! A progress file that is damaged in every way: the right finding, no panic, no hang, and the next
//! run starts.

use std::os::unix::fs::symlink;
use std::process::Command;

use serde_json::{Value, json};

use crate::environment::Repository;

const PROGRESS: &str = ".wreckit/batch-progress.json";

fn valid() -> Value {
    json!({
        "schema_version": 1, "session_id": "7e6e3dab-f73a-48cd-8f11-8b038187222e", "pid": 4_194_305,
        "started_at": "2026-01-26T18:45:44.705Z", "updated_at": "2026-01-26T18:46:11.465Z",
        "parallel": 1, "queued_items": ["001-a"], "current_item": null, "completed": [],
        "failed": [], "skipped": [],
    })
}

fn repository() -> Repository {
    Repository::new("true", &["001-a"])
}

fn findings(repository: &Repository) -> Vec<Value> {
    let ran = repository.run(&["doctor", "--json"]);
    let report: Value =
        serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{}", ran.stderr));
    report["diagnostics"].as_array().expect("a list").clone()
}

/// The one finding about a damaged file; then a run deals with it, or `doctor --fix` does.
fn is_corrupt(damage: impl Fn(&Repository), severity: &str, words: &[&str]) {
    let damaged = repository();
    damage(&damaged);
    let found = findings(&damaged);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0]["code"], "BATCH_PROGRESS_CORRUPT");
    assert_eq!((&found[0]["severity"], &found[0]["fixable"]), (&json!(severity), &json!(true)));
    let message = found[0]["message"].as_str().expect("a message");
    for word in words {
        assert!(message.contains(word), "{word:?} is not in {message:?}");
    }
    let status = damaged.run(&["status"]);
    assert_eq!(status.code, Some(0), "{}", status.stderr);
    assert!(status.stderr.contains(message), "{}", status.stderr);

    let ran = damaged.run(&["run"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("warning: ") && ran.stderr.contains("backups restore"),
        "{}",
        ran.stderr
    );
    assert_eq!(damaged.state("001-a"), "done");

    let damaged = repository();
    damage(&damaged);
    let fixed = damaged.run(&["doctor", "--fix", "--json"]);
    assert_eq!(fixed.code, Some(0), "{}", fixed.stderr);
    let report: Value = serde_json::from_str(&fixed.stdout).expect("JSON");
    assert_eq!(report["fixes"][0]["fixed"], true, "{report}");
    assert_eq!(report["fixes"][0]["backup"]["path"], PROGRESS);
    assert!(!damaged.exists(PROGRESS));
    assert_eq!(findings(&damaged), Vec::<Value>::new(), "a second look finds nothing");
    let id = report["backup_session_id"].as_str().expect("an id");
    let restored = damaged.run(&["backups", "restore", id]);
    assert_eq!(restored.code, Some(0), "{}", restored.stderr);
    assert_eq!(findings(&damaged), found, "as it was before");
}

#[test]
fn every_required_field_missing_or_of_a_wrong_type() {
    let wrong = json!({
        "schema_version": [2, "1", 1.5], "session_id": [1, "", null], "pid": [0, -1, 1.5, "1", null],
        "started_at": [1, "yesterday", null], "updated_at": [1, "", "2026-13-01T00:00:00Z"],
        "parallel": [0, -1, "1", 0.5], "queued_items": [{}, [1], "001-a", null],
        "current_item": [1, []], "completed": [{}, [null]], "failed": ["", [[]]], "skipped": [0, [{}]],
        "healing_attempts": [-1, "0"], "last_healing_at": [0], "in_flight": [{}, [1]],
        "errors": [[], {"001-a": 1}], "owner": [1, {"host": 1}, {"released": "no"}],
        "journal": [[], {"events": "1"}, {"events": -1}],
    });
    for (field, values) in wrong.as_object().expect("an object") {
        let mut documents: Vec<Value> = Vec::new();
        for value in values.as_array().expect("a list") {
            let mut document = valid();
            document[field] = value.clone();
            documents.push(document);
        }
        if let Some(required) = valid().as_object_mut()
            && required.shift_remove(field).is_some()
        {
            documents.push(Value::Object(required.clone()));
        }
        for document in documents {
            let damaged = repository();
            damaged.write(PROGRESS, &document.to_string());
            let found = findings(&damaged);
            let message = found[0]["message"].as_str().expect("a message");
            assert_eq!(found[0]["code"], "BATCH_PROGRESS_CORRUPT", "{document}");
            assert!(message.starts_with("batch-progress.json is invalid: "), "{message}");
            assert!(message.contains(&format!("`{field}` must be")), "{message}");
        }
    }
}

#[test]
fn one_field_is_dealt_with_by_run_and_by_doctor() {
    let mut document = valid();
    document["pid"] = json!(-1);
    let text = document.to_string();
    is_corrupt(|repository| repository.write(PROGRESS, &text), "warning", &["`pid`", "found -1"]);
}

#[test]
fn an_empty_file_and_invalid_json() {
    let deep = "[".repeat(200 << 10);
    for text in ["", "{", "null", "[]", "nonsense", deep.as_str(), "{\"schema_version\": 1}}"] {
        is_corrupt(
            |repository| repository.write(PROGRESS, text),
            "warning",
            &["batch-progress.json"],
        );
    }
}

#[test]
fn invalid_utf_8() {
    let damage = |repository: &Repository| {
        std::fs::write(repository.path(PROGRESS), b"{\"session_id\": \"\xff\xfe\"}")
            .expect("a file");
    };
    is_corrupt(damage, "warning", &["has invalid JSON"]);
}

#[test]
fn a_fifo_does_not_block() {
    let damage = |repository: &Repository| {
        let made = Command::new("mkfifo").arg(repository.path(PROGRESS)).status();
        assert!(made.expect("mkfifo runs").success());
    };
    is_corrupt(damage, "error", &["Failed to read batch-progress.json: ", "FIFO"]);
}

#[test]
fn a_link_that_leads_out_is_not_followed() {
    let outside = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(outside.path(), valid().to_string()).expect("a file");
    let damage = |repository: &Repository| {
        symlink(outside.path(), repository.path(PROGRESS)).expect("a link");
    };
    is_corrupt(damage, "error", &["Failed to read batch-progress.json: ", "leads out"]);
    assert_eq!(std::fs::read_to_string(outside.path()).expect("a file"), valid().to_string());
}

#[test]
fn a_directory_in_its_place() {
    let damage = |repository: &Repository| repository.write(&format!("{PROGRESS}/inside"), "kept");
    is_corrupt(damage, "error", &["Failed to read batch-progress.json: ", "directory"]);
}

#[test]
fn a_damaged_file_is_rebuilt_from_its_journal() {
    let script = r#"case $1 in 003*) sleep 100;; esac; echo "done $1" >> ran"#;
    let repository = Repository::new(script, &["001-a", "002-b", "003-c"]);
    let batch = repository.start(&["run"]);
    repository.until("two completions", |repository| {
        repository.events().iter().filter(|event| event["event"] == "item-completed").count() == 2
    });
    crate::environment::crash(batch);
    let session = repository.json(PROGRESS)["session_id"].clone();
    let half = repository.read(PROGRESS);
    repository.write(PROGRESS, &half[..half.len() / 2]);

    let fixed = repository.run(&["doctor", "--fix"]);
    assert!(
        fixed.stdout.contains("Rebuilt batch-progress.json from its journal"),
        "{}",
        fixed.stdout
    );
    let progress = repository.json(PROGRESS);
    assert_eq!(
        (&progress["session_id"], &progress["completed"]),
        (&session, &json!(["001-a", "002-b"]))
    );

    repository.write(PROGRESS, "{");
    repository.agent(json!({"kind": "command", "command": "sh", "args": ["-c", "echo \"done $1\" >> ran", "a", "{id}"]}));
    let ran = repository.run(&["run"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stderr.contains("rebuilt from its journal"), "{}", ran.stderr);
    assert_eq!(repository.ran(), ["done 001-a", "done 002-b", "done 003-c"]);
}

#[test]
fn pids_of_every_kind_without_an_owner() {
    // Long ended, reused by an older process (this one), beyond what a pid can be.
    for pid in
        [json!(4_194_303), json!(4_194_305), json!(99_999_999_999_u64), json!(std::process::id())]
    {
        let repository = repository();
        let mut document = valid();
        document["pid"] = pid.clone();
        repository.write(PROGRESS, &document.to_string());
        let found = findings(&repository);
        assert_eq!(found[0]["code"], "STALE_BATCH_PROGRESS", "{pid}");
        let message = found[0]["message"].as_str().expect("a message");
        assert!(
            message.starts_with("batch-progress.json is stale (older than 24 hours)"),
            "{message}"
        );
        assert!(message.contains("0 completed, 0 failed, 1 remaining"), "{message}");
        let ran = repository.run(&["run"]);
        assert_eq!(ran.code, Some(0), "{pid}: {}", ran.stderr);
        assert!(ran.stderr.contains("stale"), "{}", ran.stderr);
    }
}

#[test]
fn doctor_leaves_a_running_batch_alone() {
    let repository =
        Repository::new("echo started >> ran; until [ -e go ]; do sleep 0.01; done", &["001-a"]);
    repository.write(PROGRESS, "damaged");
    assert_eq!(repository.run(&["doctor", "--fix"]).code, Some(0));
    let batch = repository.start(&["run"]);
    repository.until("the agent", |repository| !repository.ran().is_empty());
    assert_eq!(findings(&repository), Vec::<Value>::new());
    let fix = repository.run(&["doctor", "--fix"]);
    assert_eq!(fix.code, Some(3), "{}", fix.stderr);
    assert!(repository.exists(PROGRESS));
    let listed = repository.run(&["backups", "list"]).stdout;
    let restore = repository.run(&["backups", "restore", listed.split(' ').next().expect("an id")]);
    assert_eq!(restore.code, Some(3), "{}", restore.stderr);
    assert_eq!(repository.run(&["run"]).code, Some(3));
    assert_eq!(repository.run(&["next"]).code, Some(3));
    repository.write("go", "");
    assert_eq!(crate::environment::finish(batch).code, Some(0));
}
