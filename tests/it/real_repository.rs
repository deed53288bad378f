//! The work directory of a real project, with what real agents made of it.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::environment::{Repository, workspace};

/// Beside the repository, where its tests and CI find it.
fn fixture() -> PathBuf {
    workspace().join("../shared/fixtures/real-repo")
}

fn copy() -> Option<Repository> {
    if !fixture().is_dir() {
        eprintln!("the fixture is not here: nothing is tested");
        return None;
    }
    Some(Repository::copy_of(&fixture()))
}

#[test]
fn its_sdk_agent_is_refused_with_what_to_use_instead() {
    let Some(repository) = copy() else { return };
    let before = repository.everything();
    let ran = repository.run(&["run"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("`rlm`") && ran.stderr.contains("`command`"), "{}", ran.stderr);
    assert_eq!(repository.everything(), before);
}

#[test]
fn a_batch_over_it_runs_every_open_item_once_and_ends_right() {
    let Some(repository) = copy() else { return };
    let local = json!({"agent": {"kind": "command", "command": "sh", "args": ["-c", "echo $1 >> ran", "agent", "{id}"]}});
    repository.write(".wreckit/config.local.json", &local.to_string());
    let all: Value =
        serde_json::from_str(&repository.run(&["status", "--json"]).stdout).expect("JSON");
    let open: Vec<String> = all["items"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|item| item["status"] != "completed")
        .map(|item| item["id"].as_str().expect("an id").to_owned())
        .collect();
    assert_eq!(all["items"].as_array().expect("a list").len(), 75);
    assert_eq!(open.len(), 33, "{open:?}");

    let ran = repository.run(&["run", "--parallel", "2", "--format", "json"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let last: Value =
        serde_json::from_str(ran.stdout.lines().last().expect("a line")).expect("JSON");
    assert_eq!(last["skipped"].as_array().expect("a list").len(), 75 - 33);
    assert_eq!((&last["invalid"], &last["remaining"]), (&json!([]), &json!([])));
    let mut once = repository.ran();
    once.sort();
    assert_eq!(once, open);
    // 050 waits for 049, 051 for 050, and so on.
    let order = repository.ran();
    let place = |prefix: &str| order.iter().position(|id| id.starts_with(prefix)).expect("it ran");
    assert!(
        ["049", "050", "051", "052", "053"].windows(2).all(|pair| place(pair[0]) < place(pair[1]))
    );
    // Unknown fields are still in the files, and what was done was not touched.
    let item = repository.json(".wreckit/items/095-improve-type-safety/item.json");
    assert_eq!((&item["state"], &item["section"]), (&json!("done"), &json!("technical-debt")));
    let untouched =
        ".wreckit/items/004-fix-plan-template-to-match-validator-requirements/item.json";
    let original = std::fs::read_to_string(fixture().join(untouched)).expect("a file");
    assert_eq!(repository.read(untouched), original);
}

/// Compared by hand with its files: these nine, and nothing else.
#[test]
fn what_doctor_finds_in_it_is_right() {
    let Some(repository) = copy() else { return };
    let findings = |arguments: &[&str]| -> Vec<(String, String)> {
        let ran = repository.run(arguments);
        let report: Value = serde_json::from_str(&ran.stdout).expect("JSON");
        let found = report["diagnostics"].as_array().expect("a list");
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let number = |id: &Value| id.as_str().expect("an id")[..3].to_owned();
        found.iter().map(|it| (number(&it["item_id"]), text(&it["code"]))).collect()
    };
    let expected = [
        // Its ten stories are done.
        ("041", "STATE_FILE_MISMATCH"),
        // Five stories without criteria and notes.
        ("048", "INVALID_PRD"),
        ("064", "ORPHANED_TEMP_FILE"),
        // Sixteen stories.
        ("064", "POOR_STORY_QUALITY"),
        // One criterion in a story each.
        ("076", "POOR_STORY_QUALITY"),
        ("077", "POOR_STORY_QUALITY"),
        // In review, `pr_url` is null.
        ("092", "STATE_FILE_MISMATCH"),
        // Seven stories without notes.
        ("093", "INVALID_PRD"),
        ("094", "POOR_STORY_QUALITY"),
    ];
    let owned = |expected: &[(&str, &str)]| -> Vec<(String, String)> {
        expected.iter().map(|(id, code)| ((*id).to_owned(), (*code).to_owned())).collect()
    };
    assert_eq!(findings(&["doctor", "--json"]), owned(&expected));

    let before = repository.everything();
    let ran = repository.run(&["doctor", "--fix", "--json"]);
    let report: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!((report["fixes"].as_array().expect("a list").len(), ran.code), (1, Some(1)));
    let left: Vec<_> =
        expected.into_iter().filter(|(_, code)| *code != "ORPHANED_TEMP_FILE").collect();
    assert_eq!(findings(&["doctor", "--json", "--fix"]), owned(&left));
    let id = report["backup_session_id"].as_str().expect("an id");
    assert_eq!(repository.run(&["backups", "restore", id]).code, Some(0));
    let mut after = repository.everything();
    after.retain(|(path, _)| {
        !path.starts_with(repository.path(".wreckit/backups"))
            && *path != repository.path(".wreckit/batch.lock")
            && !path.to_string_lossy().contains("/batch.owner.")
    });
    assert_eq!(after, before);
}
