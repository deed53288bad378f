//! Worktrees that are not what a document says, and repositories that want to run code.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::git::{abort, git, in_a_worktree};
use super::*;
use crate::environment::finish;

const CLEANUPS: [&str; 3] = ["rollback", "keep_artifacts", "full_cleanup"];

/// Everything that a cleanup of the wrong directory would change.
fn state(repository: &Repository, directories: &[&str]) -> Vec<String> {
    let mut state = vec![git(repository, &["rev-parse", "HEAD"]), repository.read("code")];
    for directory in directories {
        for file in ["code", "new", "ignored", ".git", ".git/HEAD", ".git/refs/heads/master"] {
            state.push(repository.read(&format!("{directory}/{file}")));
        }
    }
    state
}

/// Each cleanup is refused, changes nothing, and the feature goes on.
fn refuses_every_cleanup(repository: &Repository, id: &str, directories: &[&str], why: &str) {
    repository.write("code", "not committed");
    let before = (state(repository, directories), document(repository, id));
    for cleanup in CLEANUPS {
        let refused = abort(repository, id, cleanup, &["--yes"]);
        assert_eq!(refused.code, Some(1), "{cleanup}: {}{}", refused.stdout, refused.stderr);
        assert!(refused.stderr.contains(why), "{cleanup}: {}", refused.stderr);
        assert!(refused.stderr.contains("git worktree repair"), "{}", refused.stderr);
    }
    assert_eq!((state(repository, directories), document(repository, id)), before);
}

/// And no agent is started there.
fn starts_no_agent(repository: &Repository, id: &str) {
    let ran = repository.root().join("ran").display().to_string();
    agent(repository, &format!("pwd >> {ran}"));
    let refused = repository.run(&["feature", "run", id, "--yes"]);
    assert_eq!(refused.code, Some(1), "{}{}", refused.stdout, refused.stderr);
    assert!(refused.stderr.contains("no agent is started: "), "{}", refused.stderr);
    assert!(refused.stderr.contains("git worktree add"), "{}", refused.stderr);
    assert_eq!(repository.ran(), [""; 0]);
}

/// Git would find the main repository above it.
#[test]
fn a_worktree_without_its_link_is_left_alone_and_so_is_the_repository() {
    let Some((repository, id, _)) = in_a_worktree() else { return };
    repository.write("more", "a second commit");
    git(&repository, &["add", "more"]);
    git(&repository, &["commit", "-q", "-m", "more"]);
    fs::remove_file(repository.path("trees/export/.git")).expect("a link");
    refuses_every_cleanup(&repository, &id, &["trees/export"], "it has no `.git` file");
    starts_no_agent(&repository, &id);
}

#[test]
fn a_worktree_whose_link_leads_to_a_clone_is_left_alone_and_so_is_the_clone() {
    let Some((repository, id, _)) = in_a_worktree() else { return };
    git(&repository, &["clone", "-q", ".", "clone"]);
    let clone = repository.path("clone/.git").display().to_string();
    repository.write("trees/export/.git", &format!("gitdir: {clone}\n"));
    let directories = ["trees/export", "clone"];
    refuses_every_cleanup(&repository, &id, &directories, "not a linked worktree");
    starts_no_agent(&repository, &id);
}

#[test]
fn a_clone_in_the_place_of_a_worktree_is_left_alone() {
    let Some((repository, id, _)) = in_a_worktree() else { return };
    fs::remove_dir_all(repository.path("trees/export")).expect("a worktree");
    git(&repository, &["clone", "-q", ".", "trees/export"]);
    repository.write("trees/export/new", "untracked");
    refuses_every_cleanup(&repository, &id, &["trees/export"], "its `.git` is not a regular file");
    starts_no_agent(&repository, &id);
}

/// A worktree of the same repository, but not the one that is at the path by git's account.
#[test]
fn a_link_to_the_record_of_another_worktree_is_refused() {
    let Some((repository, id, _)) = in_a_worktree() else { return };
    git(&repository, &["worktree", "add", "-q", "trees/other"]);
    let link = repository.read("trees/other/.git");
    repository.write("trees/export/.git", &link);
    let directories = ["trees/export", "trees/other"];
    refuses_every_cleanup(&repository, &id, &directories, "links to");
    starts_no_agent(&repository, &id);
}

#[test]
fn no_agent_is_started_outside_of_the_worktrees_of_the_repository() {
    let Some((repository, id, _)) = in_a_worktree() else { return };
    let elsewhere = Repository::empty();
    let elsewhere = elsewhere.root().display().to_string();
    git(&repository, &["clone", "-q", ".", "clone"]);
    git(&repository, &["-C", "clone", "worktree", "add", "-q", "../of-the-clone"]);
    fs::create_dir(repository.path("plain")).expect("a directory");
    for worktree in ["plain", "code", "/", "..", "clone", "of-the-clone", &elsewhere] {
        let mut changed = document(&repository, &id);
        changed["worktree"]["path"] = json!(worktree);
        repository.write(&format!("{FEATURES}/{id}/progress.json"), &changed.to_string());
        starts_no_agent(&repository, &id);
    }
    let made = well(&repository, &["new", "x", "--worktree", "plain"]);
    assert!(made.stderr.contains("not a linked worktree"), "told at once: {}", made.stderr);
    let commit = &document(&repository, made.stdout.trim())["worktree"]["pre_feature_commit"];
    assert_eq!(*commit, json!(null), "that of no other repository");
}

/// A script that leaves a trace; what it does as a fsmonitor, a hook or a filter does not matter.
fn script(repository: &Repository, path: &str) -> String {
    let trace = repository.path("executed").display().to_string();
    repository.write(path, &format!("#!/bin/sh\necho $0 >> {trace}\ncat\n"));
    let path = repository.path(path);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("permissions");
    path.display().to_string()
}

/// A clone can contain a bare repository, with a configuration that git would obey.
#[test]
fn a_bare_repository_in_a_clone_runs_nothing() {
    let Some((repository, _, _)) = in_a_worktree() else { return };
    let program = script(&repository, "monitor");
    git(&repository, &["init", "-q", "--bare", "vendor"]);
    let vendor = repository.path("vendor").display().to_string();
    for (key, value) in
        [("core.bare", "false"), ("core.worktree", &*vendor), ("core.fsmonitor", &program)]
    {
        git(&repository, &["--git-dir", "vendor", "config", key, value]);
    }
    git(&repository, &["-C", "vendor", "-c", "core.fsmonitor=false", "add", "config"]);
    git(&repository, &["-C", "vendor", "-c", "core.fsmonitor=false", "commit", "-q", "-m", "x"]);
    let commit = git(&repository, &["-C", "vendor", "rev-parse", "HEAD"]);
    // Records of worktrees are files like any other.
    repository.write("vendor/worktrees/w/gitdir", &format!("{vendor}/w/.git\n"));
    repository.write("vendor/worktrees/w/commondir", "../..\n");
    repository.write("vendor/worktrees/w/HEAD", &format!("{commit}\n"));
    repository.write("vendor/w/file", "x");
    fs::create_dir_all(repository.path("vendor/.claude")).expect("a directory");
    let made = repository.run(&["--cwd", &vendor, "feature", "new", "x", "--worktree", "w"]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let id = made.stdout.trim();
    let path = format!("vendor/{FEATURES}/{id}/progress.json");
    let mut changed = repository.json(&path);
    changed["worktree"]["pre_feature_commit"] = json!(commit);
    repository.write(&path, &changed.to_string());
    for cleanup in CLEANUPS {
        let arguments = ["--cwd", &vendor, "feature", "abort", id, "--reason", "user_request"];
        let ran = repository.run(&[&arguments[..], &["--cleanup", cleanup, "--yes"]].concat());
        assert_eq!(ran.code, Some(1), "{cleanup}: {}", ran.stderr);
    }
    repository.run(&["--cwd", &vendor, "feature", "run", id, "--mock-agent"]);
    assert_eq!(repository.read("executed"), "", "nothing in the clone was executed");
}

/// Before the question nothing of the repository's own configuration runs, and after it only what git
/// needs in order to write files.
#[test]
fn a_look_at_a_worktree_runs_no_monitor_no_hook_and_no_filter() {
    let Some((repository, id, _)) = in_a_worktree() else { return };
    let program = script(&repository, "program");
    for hook in ["post-index-change", "post-checkout", "reference-transaction"] {
        script(&repository, &format!(".git/hooks/{hook}"));
    }
    for key in ["core.fsmonitor", "filter.a.b.clean", "core.pager", "gpg.program"] {
        git(&repository, &["config", key, &program]);
    }
    git(&repository, &["config", "filter.a.b.smudge", "cat"]);
    git(&repository, &["config", "filter.a.b.required", "true"]);
    repository.write(".git/info/attributes", "code filter=a.b\n");
    repository.write("executed", "");
    // As a hook of another repository that runs this program passes it on.
    let other = repository.path("other/.git").display().to_string();
    let run = |more: &[&str]| {
        let arguments = ["feature", "abort", &id, "--reason", "user_request", "--cleanup"];
        let mut command = repository.command(&[&arguments[..], &["rollback"], more].concat());
        for name in ["GIT_DIR", "GIT_COMMON_DIR", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"] {
            command.env(name, &other);
        }
        command.env("GIT_CONFIG_PARAMETERS", format!("'core.fsmonitor={program}'"));
        finish(command.spawn().expect("the program starts"))
    };
    let refused = run(&[]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains(" M code") && refused.stderr.contains("?? new"));
    assert_eq!(repository.read("executed"), "", "the user was not asked yet");
    let done = run(&["--yes"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(repository.read("trees/export/code"), "before");
    assert_eq!(repository.read("executed"), "", "a clean filter and hooks are not needed");
}

/// An empty entry of `PATH` is the working directory.
#[test]
fn a_file_git_in_a_clone_is_not_taken_for_git() {
    let Some((repository, id, head)) = in_a_worktree() else { return };
    script(&repository, "git");
    script(&repository, "trees/export/git");
    let path = std::env::var("PATH").expect("a path");
    let arguments = ["feature", "abort", &id, "--reason", "user_request"];
    let mut command = repository.command(&arguments);
    command.env("PATH", format!(":.:{path}"));
    let ran = finish(command.spawn().expect("the program starts"));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(repository.read("executed"), "");
    assert_eq!(document(&repository, &id)["abort_info"]["pre_abort_commit"], json!(head));
}

/// A directory does not become a worktree by saying so itself.
#[test]
fn features_of_a_repository_that_does_not_know_the_directory_are_not_found() {
    let Some((repository, id, _)) = in_a_worktree() else { return };
    let link = repository.read("trees/export/.git");
    let elsewhere = Repository::empty();
    elsewhere.write(".git", &link);
    let listed = well(&elsewhere, &["list"]);
    assert_eq!(listed.stdout, "no features\n");
    let worktree = repository.path("trees/export").display().to_string();
    assert!(well(&repository, &["--cwd", &worktree, "list"]).stdout.contains(&id));
}

#[test]
fn a_fifo_in_the_place_of_git_blocks_nothing() {
    let repository = Repository::empty();
    let fifo = repository.path(".git").display().to_string();
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo runs").success());
    let id = well(&repository, &["new", "x", "--worktree", "."]).stdout.trim().to_owned();
    fs::remove_dir_all(repository.path(".claude")).expect("a directory");
    assert_eq!(well(&repository, &["list"]).stdout, "no features\n", "without {id}");
    let Some((repository, id, _)) = in_a_worktree() else { return };
    fs::remove_file(repository.path("trees/export/.git")).expect("a link");
    let fifo = repository.path("trees/export/.git").display().to_string();
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo runs").success());
    let refused = abort(&repository, &id, "rollback", &["--yes"]);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(refused.stderr.contains("not a regular file"), "{}", refused.stderr);
}

#[test]
fn a_device_in_the_place_of_git_is_not_read() {
    let repository = Repository::empty();
    symlink("/dev/zero", repository.path(".git")).expect("a link");
    let child = repository.start(&["feature", "list"]);
    // Its memory, in KiB, while it runs.
    let status = format!("/proc/{}/status", child.id());
    let measured = thread::spawn(move || {
        let mut most = 0;
        while let Ok(text) = fs::read_to_string(&status) {
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let Some(used) = line.and_then(|it| it.trim().split(' ').next()?.parse().ok()) else {
                break;
            };
            most = most.max(used);
            thread::sleep(Duration::from_millis(1));
        }
        most
    });
    let ran = finish(child);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "no features\n"), "{}", ran.stderr);
    let most: u64 = measured.join().expect("the thread ends");
    assert!(most < 256 << 10, "{most} KiB");
}
