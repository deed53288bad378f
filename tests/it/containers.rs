//! Several paths to one repository: other PID namespaces, other mounts, copies.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::environment::{Ran, Repository, crash, finish, kill, program, runs};

/// Fails loudly where two agents of one item run at once: each holds a lock while it lives.
const ALONE: &str = r#"exec 9> "lock.$1"; flock -n 9 || echo "two agents of $1" >> overlaps; "#;

/// A command in a PID namespace of its own, which ends with the child; `None`, and said so, where there
/// can be none.
fn container(repository: &Repository, command: &[&str]) -> Option<Command> {
    let unshare = || {
        let mut unshare = Command::new("unshare");
        unshare.args(["--pid", "--fork", "--mount-proc", "--kill-child"]);
        unshare
    };
    let works = unshare().arg("true").stderr(Stdio::null()).status();
    if !works.is_ok_and(|status| status.success()) {
        eprintln!("no PID namespace can be made here: not tested");
        return None;
    }
    let mut unshare = unshare();
    unshare
        .args(command)
        .current_dir(repository.root())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Some(unshare)
}

fn in_container(repository: &Repository, arguments: &[&str]) -> Ran {
    let program = program().to_str().expect("a path");
    let command = container(repository, &[&[program], arguments].concat());
    finish(command.expect("as before").spawn().expect("unshare starts"))
}

#[test]
fn a_batch_of_another_pid_namespace_is_not_taken_for_dead() {
    let script = format!("{ALONE} echo $$ > agent; until [ -e go ]; do sleep 0.02; done");
    let repository = Repository::new(&script, &["001-a"]);
    // The first process of the container outlives the batch, and so does the agent.
    let first = r#""$0" run & batch=$!; until [ -s agent ]; do sleep 0.02; done
        kill -9 $batch; wait $batch; touch killed; sleep 1000"#;
    let program = program().to_str().expect("a path");
    let Some(mut command) = container(&repository, &["sh", "-c", first, program]) else { return };
    let mut one = command.spawn().expect("unshare starts");
    repository.until("the kill", |repository| repository.exists("killed"));

    let ran = in_container(&repository, &["run"]);
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    assert!(ran.stderr.contains("is not visible from here"), "{}", ran.stderr);
    assert!(ran.stderr.contains("another container"), "{}", ran.stderr);
    assert!(ran.stderr.contains("run --take-over"), "{}", ran.stderr);
    assert_eq!(in_container(&repository, &["next"]).code, Some(3));
    assert_eq!(in_container(&repository, &["doctor", "--fix"]).code, Some(3));
    assert_eq!(repository.read("overlaps"), "");

    one.kill().expect("it runs");
    one.wait().expect("it ends");
    // It is still unknown from here; the user knows.
    assert_eq!(in_container(&repository, &["run"]).code, Some(3));
    repository.write("go", "");
    let ran = in_container(&repository, &["run", "--take-over"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(repository.read("overlaps"), "");
    // What a batch has released needs no further word.
    repository.item("002-b", &[]);
    assert_eq!(in_container(&repository, &["run"]).code, Some(0));
}

/// A second path to a directory, until it is dropped.
struct Mount {
    path: PathBuf,
    _place: tempfile::TempDir,
}

impl Mount {
    /// `None`, and said so, where bindfs cannot be used.
    fn of(directory: &Path) -> Option<Self> {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("mount");
        fs::create_dir(&path).expect("a directory");
        let mounted = Command::new("bindfs").arg(directory).arg(&path).output();
        if !mounted.is_ok_and(|mounted| mounted.status.success()) {
            eprintln!("bindfs is not here, or cannot mount: not tested");
            return None;
        }
        Some(Mount { path, _place: place })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.path).status();
    }
}

fn start_in(repository: &Repository, directory: &Path, arguments: &[&str]) -> Child {
    repository.command(arguments).current_dir(directory).spawn().expect("the program starts")
}

#[test]
fn two_batches_over_two_mounts_of_one_directory_run_nothing_twice() {
    let script = format!("{ALONE} sleep 0.02; echo $1 >> ran");
    let items = ["001-a", "002-b", "003-c"];
    for _ in 0..8 {
        let repository = Repository::new(&script, &items);
        let Some(mount) = Mount::of(repository.root()) else { return };
        let batches = [
            start_in(&repository, repository.root(), &["run"]),
            start_in(&repository, &mount.path, &["run"]),
        ];
        let ended = batches.map(finish);
        let words = ended.each_ref().map(|ran| (ran.code, ran.stderr.clone()));
        assert_eq!(repository.read("overlaps"), "", "{words:?}");
        let mut ran = repository.ran();
        ran.sort();
        assert_eq!(ran, items, "{words:?}");
        assert!(ended.iter().any(|ran| ran.code == Some(0)), "{words:?}");
        assert!(ended.iter().all(|ran| matches!(ran.code, Some(0 | 3))), "{words:?}");
    }
}

/// A batch that was killed while its agent worked, in `directory`; the agent.
fn killed_in(repository: &Repository, directory: &Path) -> String {
    let batch = start_in(repository, directory, &["run"]);
    repository.until("the agent", |repository| !repository.read("agent").trim().is_empty());
    crash(batch);
    repository.read("agent").trim().to_owned()
}

#[test]
fn agents_are_found_again_through_another_mount() {
    for directly in [true, false] {
        let repository = Repository::new("echo $$ > agent; sleep 1000", &["001-a"]);
        let Some(mount) = Mount::of(repository.root()) else { return };
        let (there, here) = match directly {
            true => (repository.root(), mount.path.as_path()),
            false => (mount.path.as_path(), repository.root()),
        };
        let agent = killed_in(&repository, there);
        assert!(runs(&agent));
        let arguments = ["run", "--mock-agent", "--mock-delay", "0"];
        let ran = finish(start_in(&repository, here, &arguments));
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert!(!runs(&agent), "{}", ran.stderr);
    }
}

/// A copy has the id, the journal and the owner record of the original.
#[test]
fn a_copy_never_ends_agents_of_the_original() {
    for way in ["-r", "-al"] {
        let original = Repository::new("echo $$ > agent; sleep 1000", &["001-a"]);
        let agent = killed_in(&original, original.root());
        let place = tempfile::tempdir().expect("a directory");
        let copy = place.path().join("copy");
        let copied = Command::new("cp").arg(way).arg(original.root()).arg(&copy).status();
        assert!(copied.expect("cp runs").success());
        for arguments in [&["doctor", "--fix"][..], &["run", "--mock-agent", "--mock-delay", "0"]] {
            let ran = finish(start_in(&original, &copy, arguments));
            assert_eq!(ran.code, Some(0), "{way} {arguments:?}: {}{}", ran.stdout, ran.stderr);
            assert!(runs(&agent), "{way} {arguments:?}");
        }
        assert_eq!(original.run(&["doctor", "--fix"]).code, Some(0));
        assert!(!runs(&agent), "its own repair ends it");
    }
}

#[test]
fn agents_that_an_earlier_version_started_are_still_known() {
    use std::os::unix::fs::MetadataExt;
    let repository = Repository::new("true", &["001-a"]);
    let metadata = fs::metadata(repository.path(".wreckit")).expect("it is there");
    let mut earlier = Command::new("sleep")
        .arg("1000")
        .env("WRECKIT_ROOT", format!("{}:{}", metadata.dev(), metadata.ino()))
        .spawn()
        .expect("sleep starts");
    assert_eq!(repository.run(&["run"]).code, Some(0));
    assert!(!runs(&earlier.id().to_string()));
    earlier.wait().expect("it ends");
}

/// SIGKILL does not reach a process that waits for an answer of a FUSE file system.
#[test]
fn an_agent_that_sigkill_does_not_end_fails_and_the_batch_goes_on() {
    let inner = tempfile::tempdir().expect("a directory");
    fs::write(inner.path().join("file"), "text").expect("a file");
    let Some(first) = Mount::of(inner.path()) else { return };
    let Some(second) = Mount::of(&first.path) else { return };
    let script = r#"case $1 in 001*) echo $$ > agent; exec cat "$HANGS";; esac; echo $1 >> ran"#;
    let repository = Repository::new(script, &["001-a", "002-b"]);
    repository.write(".wreckit/config.local.json", &json!({"timeout_seconds": 1}).to_string());
    let server = fuse_server(&first.path);
    kill(server, "STOP");
    let ran = finish(
        repository
            .command(&["run", "--retries", "2"])
            .env("HANGS", second.path.join("file"))
            .spawn()
            .expect("the program starts"),
    );
    let agent = repository.read("agent").trim().to_owned();
    let hangs = runs(&agent);
    // One that hangs beside it: nothing starts.
    let refused = hangs.then(|| repository.run(&["run", "--retry-failed"]));
    kill(server, "CONT");
    if !hangs {
        eprintln!("this kernel ends a process that waits for FUSE: not tested");
        return;
    }
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert_eq!(repository.ran(), ["002-b"], "{}", ran.stderr);
    assert!(ran.stderr.contains("SIGKILL does not end the agent"), "{}", ran.stderr);
    assert!(ran.stderr.contains(&format!("(pid {agent})")), "{}", ran.stderr);
    let starts = repository.events();
    let starts = starts.iter().filter(|it| it["event"] == "item-started" && it["item"] == "001-a");
    assert_eq!(starts.count(), 1, "it is not tried again");
    let refused = refused.expect("it was run");
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(refused.stderr.contains("could not be ended"), "{}", refused.stderr);
}

/// The process that answers for a mount.
fn fuse_server(mount: &Path) -> u32 {
    let processes = fs::read_dir("/proc").expect("processes").flatten();
    let is_it = |pid: &u32| {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = command.split(|byte| *byte == 0).collect();
        words.first().is_some_and(|word| word.ends_with(b"bindfs"))
            && words.contains(&mount.as_os_str().as_encoded_bytes())
    };
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    // The one that was mounted on it has it as its source, and comes later.
    pids.filter(is_it).min().expect("bindfs runs")
}
