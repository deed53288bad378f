use serde_json::json;

use super::*;
use crate::io::capabilities::FileSystem;
use crate::io::memory::{Machine, Node, Process};

fn host(process: &Process) -> Host<'_> {
    Host::new(process)
}

#[test]
fn the_last_ten_backups_and_the_new_one_are_retained_whatever_the_clock_says() {
    let machine = Machine::new();
    let process = machine.process(1);
    for number in 0..12 {
        machine.put("batch-progress.json", format!("{number}"));
        set_aside(host(&process), RUN, "batch-progress.json", "CODE").unwrap();
    }
    assert_eq!(list(host(&process)).unwrap().len(), 10);
    machine.put("backups/9000-not-a-backup/notes.txt", "mine");
    // Interrupted before they had a manifest; the second one is of an earlier build.
    machine.put("backups/2026-11-20T21-02-22-735Z/checksums.jsonl", "");
    machine.put("backups/2026-11-20T21-02-22-736Z/left.jsonl", "");
    machine.clock.set(1_000_000);
    machine.put("batch-progress.json", "precious");
    let id = set_aside(host(&process), RUN, "batch-progress.json", "CODE").unwrap().unwrap();
    assert_eq!(restore(host(&process), &id).unwrap().files, [".wreckit/batch-progress.json"]);
    assert_eq!(machine.text("batch-progress.json").as_deref(), Some("precious"));
    assert_eq!(list(host(&process)).unwrap().len(), 11, "restores are counted separately");
    assert!(machine.text("backups/9000-not-a-backup/notes.txt").is_some());
    assert_eq!(machine.text("backups/2026-11-20T21-02-22-735Z/checksums.jsonl"), None);
    assert_eq!(machine.text("backups/2026-11-20T21-02-22-736Z/left.jsonl"), None);
}

#[test]
fn foreign_files_among_backups_are_not_removed() {
    let machine = Machine::new();
    let process = machine.process(1);
    let set_aside = |number: usize| {
        machine.put("batch-progress.json", format!("{number}"));
        set_aside(host(&process), RUN, "batch-progress.json", "CODE").unwrap().unwrap()
    };
    let first = set_aside(0);
    // A file of someone else in a backup, and a copy of a backup under another name.
    let manifest = machine.text(&format!("backups/{first}/manifest.json")).unwrap();
    for directory in [first.as_str(), "a-copy"] {
        machine.put(&format!("backups/{directory}/manifest.json"), &*manifest);
        machine.put(&format!("backups/{directory}/batch-progress.json"), "0");
        machine.put(&format!("backups/{directory}/notes/todo.txt"), "mine");
    }
    for number in 1..14 {
        set_aside(number);
    }
    let stays = |path: &str| machine.text(&format!("backups/{path}")).is_some();
    assert!(stays(&format!("{first}/notes/todo.txt")));
    assert!(!stays(&format!("{first}/batch-progress.json")));
    assert!(!stays(&format!("{first}/manifest.json")));
    for name in ["manifest.json", "batch-progress.json", "notes/todo.txt"] {
        assert!(stays(&format!("a-copy/{name}")), "{name}");
    }
}

/// A restore undoes every change made through a `BackupFs`, and restoring the backup of the restore makes it again.
#[test]
fn every_change_can_be_undone_and_redone() {
    let machine = Machine::new();
    let process = machine.process(1);
    for name in ["changed", "appended", "removed", "untouched"] {
        machine.put(&format!("items/{name}"), format!("old {name}"));
    }
    machine.put_node("items/fifo", Node::Other);
    machine.set_modified("items/changed", 1_234_567);
    let state = || {
        let paths = machine.paths().into_iter();
        let paths = paths.filter(|path| !path.starts_with("backups"));
        paths.map(|path| (machine.text(&path), path)).collect::<Vec<_>>()
    };
    let before = state();

    let fs = BackupFs::new(host(&process), "doctor-fix");
    fs.set_reason(Reason::new("CODE", Some("001-a")));
    fs.host().write("items/changed", b"new".to_vec()).unwrap();
    fs.host().write("items/changed", b"newer".to_vec()).unwrap();
    fs.host().append("items/appended", b" and more", true).unwrap();
    fs.host().remove("items/removed").unwrap();
    fs.host().remove("items/fifo").unwrap();
    fs.host().create_directory("made/deep").unwrap();
    fs.host().write("made/deep/file", b"made".to_vec()).unwrap();
    let id = fs.finish().unwrap().unwrap();
    let after = state();
    assert_ne!(after, before);

    let restored = restore(host(&process), &id).unwrap();
    assert_eq!(state(), before);
    let in_repository = |names: &[&str]| {
        names.iter().map(|name| format!(".wreckit/{name}")).collect::<Vec<String>>()
    };
    let files = ["items/changed", "items/appended", "items/removed", "items/fifo"];
    assert_eq!(restored.files, in_repository(&files));
    assert_eq!(restored.removed, in_repository(&["made/deep/file", "made/deep", "made"]));
    let modified = process.stat("items/changed").unwrap().modified;
    assert_eq!(modified, 1_234_567, "the modification time is restored as well");

    restore(host(&process), &restored.backup.unwrap()).unwrap();
    let without_directories = |state: Vec<(Option<String>, String)>| {
        state.into_iter().filter(|(text, _)| text.is_some()).collect::<Vec<_>>()
    };
    assert_eq!(without_directories(state()), without_directories(after));
}

/// A directory on another file system moves into a backup part by part, and back. After an interruption at any
/// moment, a restore moves back what was moved.
#[test]
fn a_directory_on_another_file_system_is_removed_and_restored() {
    for power in 0..40 {
        let machine = Machine::new();
        let process = machine.process(1);
        for name in ["a", "b", "deep/c"] {
            machine.put(&format!("items/001-a/{name}"), name);
        }
        machine.put_node("items/001-a/empty", Node::Directory);
        machine.mount.replace(Some("items/".to_owned()));
        let contents =
            || ["a", "b", "deep/c"].map(|name| machine.text(&format!("items/001-a/{name}")));
        let before = contents();

        machine.power_until.set(power);
        let fs = BackupFs::new(host(&process), "doctor-fix");
        let removed = fs.host().remove("items/001-a");
        machine.power_until.set(usize::MAX);
        if removed.is_ok() {
            assert!(!machine.paths().iter().any(|path| path.starts_with("items/001-a")));
        }
        if let Some(id) = fs.id()
            && read(host(&process), &id).is_ok()
        {
            restore(host(&process), &id).unwrap();
        }
        assert_eq!(contents(), before, "interrupted after {power} operations");
        if removed.is_ok() {
            assert!(process.stat("items/001-a/empty").is_ok(), "an empty directory comes back");
            return;
        }
    }
    panic!("it was never removed");
}

/// A file that a run set aside is restored over a later one, which is backed up in turn. A file that a fix changed is
/// not, and neither is one whose checksum is unknown.
#[test]
fn later_changes_are_only_overwritten_where_that_is_the_purpose() {
    let machine = Machine::new();
    let process = machine.process(1);
    let text = || machine.text("file").unwrap();
    machine.put("file", "damaged");
    let id = copy(host(&process), RUN, "file", "CODE").unwrap().unwrap();
    machine.put("file", "rebuilt");
    let restored = restore(host(&process), &id).unwrap();
    assert_eq!(
        (text(), restored.files.as_slice()),
        ("damaged".to_owned(), &[".wreckit/file".to_owned()][..])
    );
    let back = restored.backup.unwrap();
    assert_eq!(restore(host(&process), &back).unwrap().files, [".wreckit/file"]);
    assert_eq!(text(), "rebuilt");

    let fs = BackupFs::new(host(&process), "doctor-fix");
    fs.host().write("file", b"fixed".to_vec()).unwrap();
    let id = fs.finish().unwrap().unwrap();
    let checksums = format!("backups/{id}/checksums.jsonl");
    let lines = machine.text(&checksums).unwrap();
    machine.put(&checksums, "");
    let refused = Err(Unusable::Changed(vec!["file".to_owned()]));
    assert_eq!(restore(host(&process), &id), refused, "its checksum is unknown");
    // The name that earlier builds used.
    machine.delete(&checksums);
    machine.put(&format!("backups/{id}/left.jsonl"), lines);
    machine.put("file", "changed");
    assert_eq!(restore(host(&process), &id), refused);
    machine.put("file", "fixed");
    assert_eq!(restore(host(&process), &id).unwrap().files, [".wreckit/file"]);
    assert_eq!(text(), "rebuilt");
}

#[test]
fn nothing_is_changed_without_a_backup() {
    let machine = Machine::new();
    let process = machine.process(1);
    machine.put("items/a", "old");
    machine.put("backups", "a file where the directory should be");
    let fs = BackupFs::new(host(&process), "doctor-fix");
    for _ in 0..2 {
        fs.host().write("items/a", b"new".to_vec()).unwrap_err();
        fs.host().remove("items/a").unwrap_err();
        fs.host().append("items/a", b"new", true).unwrap_err();
    }
    assert_eq!(machine.text("items/a").as_deref(), Some("old"));
    machine.delete("backups");
    fs.host().write("items/a", b"new".to_vec()).unwrap();
    let id = fs.finish().unwrap().unwrap();
    restore(host(&process), &id).unwrap();
    assert_eq!(machine.text("items/a").as_deref(), Some("old"));
}

/// The power fails at every moment of a change: a file has its old or its new content, and a restore brings the old
/// one back.
#[test]
fn a_change_that_is_interrupted_anywhere_can_be_undone() {
    let changes = |process: &Process| -> Result<(), Failure> {
        let fs = BackupFs::new(host(process), "doctor-fix");
        let reason = || Reason::new("CODE", None);
        fs.copy_files(&[("items/a".to_owned(), reason()), ("items/b".to_owned(), reason())])?;
        fs.host().write("items/a", b"new".to_vec())?;
        fs.host().write("items/b", b"new".to_vec())?;
        fs.host().remove("items/c")?;
        fs.finish().map(drop)
    };
    let machine = || {
        let machine = Machine::new();
        for name in ["a", "b", "c"] {
            machine.put(&format!("items/{name}"), "old");
        }
        machine
    };
    let whole = machine();
    changes(&whole.process(1)).unwrap();
    let total = whole.operations().len();
    for until in 0..=total {
        let cut = machine();
        cut.power_until.set(until);
        let _ = changes(&cut.process(1));
        let machine = cut.power_loss(|| until);
        let process = machine.process(2);
        for backup in list(host(&process)).unwrap() {
            restore(host(&process), &backup.id).unwrap();
        }
        for name in ["a", "b", "c"] {
            let text = machine.text(&format!("items/{name}"));
            assert_eq!(text.as_deref(), Some("old"), "{name} after {until} of {total}");
        }
    }
}

#[test]
fn manifests_with_paths_outside_the_root_are_refused() {
    let machine = Machine::new();
    let process = machine.process(1);
    for path in ["/etc/passwd", "src/main.rs", ".wreckit/batch.lock", ".wreckit/backups/x"] {
        let manifest = |files, created| {
            json!({
                "schema_version": 1, "session_id": "b", "created_at": "", "reason": "doctor-fix",
                "files": files, "created": created,
            })
        };
        let file = json!([{
            "original_path": path, "backup_path": "x", "operation": "deleted",
            "diagnostic_code": "X", "item_id": null,
        }]);
        machine.put("backups/b/x", "x");
        for manifest in [manifest(file, json!([])), manifest(json!([]), json!([path]))] {
            machine.put("backups/b/manifest.json", manifest.to_string());
            assert!(matches!(restore(host(&process), "b"), Err(Unusable::Invalid(_))), "{path}");
        }
    }
    for id in ["", "..", "../runs", "missing", ".hidden"] {
        assert_eq!(restore(host(&process), id), Err(Unusable::Unknown), "{id}");
    }
}
