//! Cleanups that are cut off, at each moment, and are repeated.

use std::fs;

use super::git::{abort, git, in_a_worktree};
use super::*;

/// What a full cleanup leaves when it is killed between two removals: fewer and fewer documents, then
/// none, then an empty directory.
#[test]
fn a_full_cleanup_that_is_killed_is_finished_by_the_same_command() {
    let repository = repository();
    let id = new(&repository, &["planning"]);
    let directory = format!("{FEATURES}/{id}");
    let done = abort(&repository, &id, "full_cleanup", &["--yes"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let backups = fs::read_dir(repository.path(&format!("{FEATURES}/.backups"))).expect("backups");
    let aborted = backups
        .flatten()
        .map(|entry| entry.path().join("after").join(&id).join("progress.json"))
        .find_map(|path| fs::read_to_string(path).ok())
        .expect("the document as the abort left it");
    let all = ["design.md", "logs/planning.1.log", "plan.md", "progress.json"];
    for removed in 0..=all.len() {
        fs::create_dir_all(repository.path(&directory)).expect("a directory");
        for file in &all[removed..] {
            let text = if *file == "progress.json" { aborted.as_str() } else { "text" };
            repository.write(&format!("{directory}/{file}"), text);
        }
        let found = repository.run(&["doctor"]);
        assert!(found.stdout.contains("the same `abort` tries again"), "{}", found.stdout);
        // What doctor can do does not bring it back.
        assert_eq!(repository.run(&["doctor", "--fix"]).code, Some(0));
        assert_eq!(repository.exists(&format!("{directory}/progress.json")), removed < all.len());
        let again = abort(&repository, &id, "full_cleanup", &["--yes"]);
        assert_eq!(again.code, Some(0), "{removed} removed: {}", again.stderr);
        assert!(!repository.exists(&directory), "{removed} removed");
        assert_eq!(repository.run(&["doctor"]).stdout, "nothing found\n");
    }
}

/// The same for the worktree: its files, then its link, then the directory, then git's record of it.
#[test]
fn a_removal_of_a_worktree_that_is_killed_is_finished_by_the_same_command() {
    for removed in 0..=4 {
        let Some((repository, id, head)) = in_a_worktree() else { return };
        let tree = repository.path("trees/export");
        for file in ["code", "new", ".git"].iter().take(removed) {
            fs::remove_file(tree.join(file)).expect("a file");
        }
        if removed == 4 {
            fs::remove_dir(&tree).expect("an empty directory");
        }
        let done = abort(&repository, &id, "keep_artifacts", &["--yes"]);
        assert_eq!(done.code, Some(0), "{removed} removed: {}", done.stderr);
        assert!(!repository.exists("trees/export"), "{removed} removed");
        let listed = git(&repository, &["worktree", "list"]);
        assert_eq!(listed.lines().count(), 1, "{removed} removed: {listed}");
        assert_eq!(git(&repository, &["rev-parse", "export"]), head, "the branch stays");
        assert_eq!(repository.read("code"), "before");
    }
}

/// Git refuses this, and so it is refused before anything is recorded or removed.
#[test]
fn a_locked_worktree_is_not_removed() {
    let Some((repository, id, _)) = in_a_worktree() else { return };
    git(&repository, &["worktree", "lock", "trees/export"]);
    let refused = abort(&repository, &id, "keep_artifacts", &["--yes"]);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(refused.stderr.contains("`git worktree unlock` it first"), "{}", refused.stderr);
    assert!(repository.exists("trees/export/new"));
    assert_eq!(document(&repository, &id)["status"], "in_progress");
    git(&repository, &["worktree", "unlock", "trees/export"]);
    assert_eq!(abort(&repository, &id, "keep_artifacts", &["--yes"]).code, Some(0));
}
