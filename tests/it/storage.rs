//! A disk that is full, and a directory that may not be written to, in the middle of a batch.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::environment::{Ran, Repository, finish, program, unprivileged};

/// The batch of `repository` with a small file system of its own in place of `.wreckit`, which is
/// gone when the batch ends: so it is brought out into `after`. `None`, and said so, where no file
/// system can be mounted.
fn on_a_small_disk(repository: &Repository, kilobytes: u32, then: &str) -> Option<Ran> {
    let script = format!(
        "mount -t tmpfs -o size={kilobytes}k tmpfs disk && cp -r .wreckit disk/ && cd disk && {then}"
    );
    fs::create_dir(repository.path("disk")).expect("a directory");
    let child = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
        .current_dir(repository.root())
        .env("PROGRAM", program())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let ran = child.map(finish).ok().filter(|ran| !ran.stderr.contains("unshare:"));
    let ran = ran.filter(|ran| !ran.stderr.contains("mount:"));
    if ran.is_none() {
        eprintln!("no file system can be mounted here: not tested");
    }
    ran
}

#[test]
fn a_full_disk_starts_nothing_more_and_the_batch_resumes_when_there_is_room() {
    // The second item fills the disk; the third must not start.
    // Slow enough for its result to be due in a file when it is reported.
    let script = "echo \"$1\" >> ../ran; case $1 in 002*) \
        cat /dev/zero > filler 2> /dev/null; sleep 1.2; exit 0;; esac";
    let repository = Repository::new(script, &["001-a", "002-b", "003-c", "004-d"]);
    let then = "\"$PROGRAM\" run --progress none; echo \"code $?\"; cp ../ran ../ran-before; rm filler; \
        \"$PROGRAM\" run --progress none; echo \"code $?\"; cat .wreckit/items/*/item.json > ../items";
    let Some(ran) = on_a_small_disk(&repository, 400, then) else { return };
    assert!(ran.stdout.contains("code 1") && ran.stdout.contains("code 0"), "{}", ran.stdout);
    assert!(ran.stderr.contains("No space left on device"), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("error: cannot ") && ran.stderr.contains(" .wreckit/"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("hint: No results were lost."), "{}", ran.stderr);
    let before = repository.read("ran-before");
    assert!(!before.contains("003-c"), "nothing starts on a full disk: {before}");
    let all: Vec<String> = repository.ran();
    assert_eq!(all.iter().filter(|line| *line == "001-a").count(), 1, "{all:?}");
    assert_eq!(repository.read("items").matches("\"state\": \"done\"").count(), 4);
}

#[test]
fn a_full_disk_is_not_asked_again_at_every_word_of_an_agent() {
    let script = "case $1 in 001*) for i in 1 2 3 4 5 6; do echo $i; sleep 0.25; done;; \
        002*) cat /dev/zero > filler 2> /dev/null; head -c 8000 /dev/zero | tr '\\0' x; exit 1;; esac";
    let repository = Repository::new(script, &["001-a", "002-b"]);
    let then = "\"$PROGRAM\" run --progress none --parallel 2; ls .wreckit/runs/* | grep -c events";
    let Some(ran) = on_a_small_disk(&repository, 400, then) else { return };
    let segments: usize =
        ran.stdout.trim().lines().last().expect("a line").parse().expect("a number");
    assert!(segments < 8, "{segments}: {}", ran.stderr);
}

#[test]
fn a_directory_without_permission_in_mid_run_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let repository = Repository::new(
        "echo \"$1\" >> ran; case $1 in 001*) until [ -e go ]; do sleep 0.02; done;; esac",
        &["001-a", "002-b"],
    );
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    };
    let Some(batch) = unprivileged(&repository, &["run", "--progress", "none"]) else { return };
    repository.until("the agent", |repository| repository.ran().len() == 1);
    let runs = repository.path(".wreckit/runs");
    let session = fs::read_dir(&runs).expect("runs").flatten().next().expect("a session").path();
    // The journal is there already: it is what may not be written to.
    for file in fs::read_dir(&session).expect("files").flatten() {
        mode(&file.path(), 0o444);
    }
    mode(&session, 0o555);
    repository.write("go", "");
    let ran = finish(batch);
    for file in fs::read_dir(&session).expect("files").flatten() {
        mode(&file.path(), 0o644);
    }
    mode(&session, 0o755);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("error: cannot append to .wreckit/runs/"), "{}", ran.stderr);
    assert!(ran.stderr.contains("Permission denied"), "{}", ran.stderr);
    assert_eq!(repository.ran(), ["001-a"], "nothing more was started");
    let batch = unprivileged(&repository, &["run", "--progress", "none"]).expect("as before");
    let ran = finish(batch);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
}
