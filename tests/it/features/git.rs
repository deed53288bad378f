//! Worktrees.

use std::process::Command;

use serde_json::json;

use super::*;
use crate::environment::{Ran, Repository};

pub(super) fn git(repository: &Repository, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@example.com"])
        .args(arguments)
        .current_dir(repository.root())
        .output()
        .expect("git runs");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A feature with a linked worktree that has a commit, a change and a new file; `None` without git.
pub(super) fn in_a_worktree() -> Option<(Repository, String, String)> {
    if Command::new("git").arg("--version").output().is_err() {
        eprintln!("git is not here: not tested");
        return None;
    }
    let repository = Repository::empty();
    git(&repository, &["init", "-q", "."]);
    repository.write("code", "before");
    git(&repository, &["add", "code"]);
    git(&repository, &["commit", "-q", "-m", "before"]);
    git(&repository, &["worktree", "add", "-q", "trees/export"]);
    let made = well(&repository, &["new", "Asset Export", "--worktree", "trees/export"]);
    let id = made.stdout.trim().to_owned();
    well(&repository, &["start", &id, "brainstorming"]);
    repository.write("trees/export/code", "after");
    git(&repository, &["-C", "trees/export", "commit", "-q", "-a", "-m", "the work"]);
    repository.write("trees/export/code", "more");
    repository.write("trees/export/new", "new");
    let head = git(&repository, &["-C", "trees/export", "rev-parse", "HEAD"]);
    Some((repository, id, head))
}

pub(super) fn abort(repository: &Repository, id: &str, cleanup: &str, more: &[&str]) -> Ran {
    let arguments = ["feature", "abort", id, "--reason", "user_request", "--cleanup", cleanup];
    repository.run(&[&arguments[..], more].concat())
}

#[test]
fn keeping_the_artifacts_removes_the_worktree_alone() {
    let Some((repository, id, head)) = in_a_worktree() else { return };
    let before = git(&repository, &["rev-parse", "HEAD"]);
    assert_eq!(document(&repository, &id)["worktree"]["pre_feature_commit"], json!(before));
    let refused = abort(&repository, &id, "keep_artifacts", &[]);
    assert_eq!(refused.code, Some(2));
    assert!(
        refused.stderr.contains("loses its uncommitted changes:")
            && refused.stderr.contains("?? new"),
        "{}",
        refused.stderr
    );
    assert!(repository.exists("trees/export/new"), "the user was not asked");
    assert_eq!(document(&repository, &id)["status"], "in_progress");

    let done = abort(&repository, &id, "keep_artifacts", &["--yes"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(!repository.exists("trees/export"));
    assert_eq!(repository.read("code"), "before");
    let info = &document(&repository, &id)["abort_info"];
    assert_eq!(
        (&info["pre_abort_commit"], &info["cleanup_performed"], &info["can_resume"]),
        (&json!(head), &json!(true), &json!(false))
    );
    assert_eq!(git(&repository, &["rev-parse", "export"]), head, "the branch stays");
    assert_eq!(abort(&repository, &id, "keep_artifacts", &["--yes"]).code, Some(1), "twice");
}

#[test]
fn a_rollback_brings_the_worktree_back_and_touches_nothing_else() {
    let Some((repository, id, head)) = in_a_worktree() else { return };
    repository.write("mine", "not committed");
    let done = abort(&repository, &id, "rollback", &["--yes"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stderr.contains("the work"), "the commits that go are shown: {}", done.stderr);
    assert_eq!(repository.read("trees/export/code"), "before");
    assert!(!repository.exists("trees/export/new") && repository.exists("mine"));
    assert_eq!(document(&repository, &id)["abort_info"]["pre_abort_commit"], json!(head));
}

#[test]
fn a_full_cleanup_removes_the_worktree_and_the_directory() {
    let Some((repository, id, _)) = in_a_worktree() else { return };
    let made = well(&repository, &["new", "Another", "--worktree", "trees/export"]);
    assert_eq!(made.stderr, "");
    let other = made.stdout.trim().to_owned();
    let done = abort(&repository, &id, "full_cleanup", &["--yes"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let shared = format!("this is also the worktree of {other}");
    assert!(done.stderr.contains(&shared), "{}", done.stderr);
    let made = well(&repository, &["new", "A third", "--worktree", "trees/export"]);
    assert!(made.stderr.contains("there is no worktree at "), "{}", made.stderr);
    assert!(!repository.exists("trees/export") && !repository.exists(&format!("{FEATURES}/{id}")));
    assert!(
        repository.exists(&format!("{FEATURES}/{other}/progress.json"))
            && repository.exists("code")
    );
}

/// Whatever a document says is a worktree: only one that git knows as a linked one is touched.
#[test]
fn what_is_no_linked_worktree_is_never_touched() {
    let Some((repository, id, _)) = in_a_worktree() else { return };
    repository.write("elsewhere/precious", "mine");
    let path = format!("{FEATURES}/{id}/progress.json");
    for worktree in [".", "elsewhere", "/", "..", &repository.root().display().to_string()] {
        let mut changed = document(&repository, &id);
        changed["worktree"]["path"] = json!(worktree);
        repository.write(&path, &changed.to_string());
        for cleanup in ["keep_artifacts", "rollback", "full_cleanup"] {
            let refused = abort(&repository, &id, cleanup, &["--yes"]);
            assert_eq!(refused.code, Some(1), "{worktree}: {}", refused.stderr);
            assert!(refused.stderr.contains("not a linked worktree"), "{}", refused.stderr);
        }
        assert_eq!(repository.read(&path), changed.to_string());
    }
    let mut changed = document(&repository, &id);
    changed["worktree"] = json!({"path": "trees/export", "pre_feature_commit": "--force"});
    repository.write(&path, &changed.to_string());
    assert_eq!(abort(&repository, &id, "rollback", &["--yes"]).code, Some(1));
    assert_eq!(repository.read("trees/export/code"), "more");
    assert_eq!(repository.read("elsewhere/precious"), "mine");
}
