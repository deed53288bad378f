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
    // What nobody here knows is still in the files, and what was done was not touched.
    let item = repository.json(".wreckit/items/095-improve-type-safety/item.json");
    assert_eq!((&item["state"], &item["section"]), (&json!("done"), &json!("technical-debt")));
    let untouched =
        ".wreckit/items/004-fix-plan-template-to-match-validator-requirements/item.json";
    let original = std::fs::read_to_string(fixture().join(untouched)).expect("a file");
    assert_eq!(repository.read(untouched), original);
}
