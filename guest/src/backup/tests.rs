use serde_json::json;

use super::*;
use crate::io::capabilities::Capabilities;
use crate::io::capabilities::FileSystem;
use crate::io::memory::{Machine, Node, Process};

fn host(process: &Process) -> Host<'_> {
    Host::new(process)
}

#[test]
fn the_last_ten_are_kept_and_the_new_one_whatever_the_clock_says() {
    let machine = Machine::new();
    let process = machine.process(1);
    for number in 0..12 {
        machine.put("batch-progress.json", format!("{number}"));
        set_aside(host(&process), RUN, "batch-progress.json", "CODE").unwrap();
    }
    assert_eq!(all(host(&process)).unwrap().len(), 10);
    machine.put("backups/9000-not-a-backup/notes.txt", "mine");
    // Cut off before it had a manifest.
    machine.put("backups/2026-11-20T21-02-22-735Z/left.jsonl", "");
    machine.clock.set(1_000_000);
    machine.put("batch-progress.json", "precious");
    let id = set_aside(host(&process), RUN, "batch-progress.json", "CODE").unwrap().unwrap();
    assert_eq!(restore(host(&process), &id).unwrap().files, ["batch-progress.json"]);
    assert_eq!(machine.text("batch-progress.json").as_deref(), Some("precious"));
    assert_eq!(all(host(&process)).unwrap().len(), 11, "what a restoration keeps counts by itself");
    assert!(machine.text("backups/9000-not-a-backup/notes.txt").is_some());
    assert_eq!(machine.text("backups/2026-11-20T21-02-22-735Z/left.jsonl"), None);
}

#[test]
fn what_someone_else_keeps_among_backups_stays() {
    let machine = Machine::new();
    let process = machine.process(1);
    let set_aside = |number: usize| {
        machine.put("batch-progress.json", format!("{number}"));
        set_aside(host(&process), RUN, "batch-progress.json", "CODE").unwrap().unwrap()
    };
    let first = set_aside(0);
    // Their own file in a backup, and a copy of a backup under another name.
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

/// Whatever is done through a keeper, a restoration undoes it, and restoring what that kept does it
/// again.
#[test]
fn every_change_is_undone_and_done_again() {
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

    let keeper = Keeper::new(host(&process), "doctor-fix");
    keeper.because(Cause::new("CODE", Some("001-a")));
    keeper.host().write("items/changed", b"new".to_vec()).unwrap();
    keeper.host().write("items/changed", b"newer".to_vec()).unwrap();
    keeper.host().append("items/appended", b" and more", true).unwrap();
    keeper.host().remove("items/removed").unwrap();
    keeper.host().remove("items/fifo").unwrap();
    keeper.host().create_directory("made/deep").unwrap();
    keeper.host().write("made/deep/file", b"made".to_vec()).unwrap();
    let id = keeper.finish().unwrap().unwrap();
    let after = state();
    assert_ne!(after, before);

    let restored = restore(host(&process), &id).unwrap();
    assert_eq!(state(), before);
    assert_eq!(restored.files, ["items/changed", "items/appended", "items/removed", "items/fifo"]);
    assert_eq!(restored.removed, ["made/deep/file", "made/deep", "made"]);
    let modified = process.stat("items/changed").unwrap().modified;
    assert_eq!(modified, 1_234_567, "results are settled by this time");

    restore(host(&process), &restored.backup.unwrap()).unwrap();
    let without_directories = |state: Vec<(Option<String>, String)>| {
        state.into_iter().filter(|(text, _)| text.is_some()).collect::<Vec<_>>()
    };
    assert_eq!(without_directories(state()), without_directories(after));
}

/// A directory on another file system moves into a backup part by part, and back. Cut off at any
/// moment, what was moved comes back.
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
        let keeper = Keeper::new(host(&process), "doctor-fix");
        let removed = keeper.host().remove("items/001-a");
        machine.power_until.set(usize::MAX);
        if removed.is_ok() {
            assert!(!machine.paths().iter().any(|path| path.starts_with("items/001-a")));
        }
        if let Some(id) = keeper.id()
            && manifest::read(host(&process), &id).is_ok()
        {
            restore(host(&process), &id).unwrap();
        }
        assert_eq!(contents(), before, "cut off after {power} operations");
        if removed.is_ok() {
            assert!(process.stat("items/001-a/empty").is_ok(), "an empty directory comes back");
            return;
        }
    }
    panic!("it was never removed");
}

/// What a run set aside comes back over what came after it, which is kept in turn; what a repair
/// changed does not, and not either if it is not known what the repair left.
#[test]
fn what_was_changed_since_is_only_restored_over_where_that_is_the_purpose() {
    let machine = Machine::new();
    let process = machine.process(1);
    let text = || machine.text("file").unwrap();
    machine.put("file", "damaged");
    let id = copy(host(&process), RUN, "file", "CODE").unwrap().unwrap();
    machine.put("file", "rebuilt");
    let restored = restore(host(&process), &id).unwrap();
    assert_eq!(
        (text(), restored.files.as_slice()),
        ("damaged".to_owned(), &["file".to_owned()][..])
    );
    let back = restored.backup.unwrap();
    assert_eq!(restore(host(&process), &back).unwrap().files, ["file"]);
    assert_eq!(text(), "rebuilt");

    let keeper = Keeper::new(host(&process), "doctor-fix");
    keeper.host().write("file", b"mended".to_vec()).unwrap();
    let id = keeper.finish().unwrap().unwrap();
    let left = format!("backups/{id}/left.jsonl");
    let lines = machine.text(&left).unwrap();
    machine.put(&left, "");
    let refused = Err(Unusable::Changed(vec!["file".to_owned()]));
    assert_eq!(restore(host(&process), &id), refused, "nobody can tell");
    machine.put(&left, lines);
    machine.put("file", "changed");
    assert_eq!(restore(host(&process), &id), refused);
    machine.put("file", "mended");
    assert_eq!(restore(host(&process), &id).unwrap().files, ["file"]);
    assert_eq!(text(), "rebuilt");
}

#[test]
fn nothing_is_changed_without_a_backup() {
    let machine = Machine::new();
    let process = machine.process(1);
    machine.put("items/a", "old");
    machine.put("backups", "a file where the directory should be");
    let keeper = Keeper::new(host(&process), "doctor-fix");
    for _ in 0..2 {
        keeper.host().write("items/a", b"new".to_vec()).unwrap_err();
        keeper.host().remove("items/a").unwrap_err();
        keeper.host().append("items/a", b"new", true).unwrap_err();
    }
    assert_eq!(machine.text("items/a").as_deref(), Some("old"));
    machine.delete("backups");
    keeper.host().write("items/a", b"new".to_vec()).unwrap();
    let id = keeper.finish().unwrap().unwrap();
    restore(host(&process), &id).unwrap();
    assert_eq!(machine.text("items/a").as_deref(), Some("old"));
}

/// The power fails at every moment of a change: what is there is the old or the new content, and a
/// restoration brings the old one back.
#[test]
fn a_change_that_is_cut_off_anywhere_can_be_undone() {
    let changes = |process: &Process| -> Result<(), Failure> {
        let keeper = Keeper::new(host(process), "doctor-fix");
        let cause = || Cause::new("CODE", None);
        keeper.keep(&[("items/a".to_owned(), cause()), ("items/b".to_owned(), cause())])?;
        keeper.host().write("items/a", b"new".to_vec())?;
        keeper.host().write("items/b", b"new".to_vec())?;
        keeper.host().remove("items/c")?;
        keeper.finish().map(drop)
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
        for backup in all(host(&process)).unwrap() {
            restore(host(&process), &backup.id).unwrap();
        }
        for name in ["a", "b", "c"] {
            let text = machine.text(&format!("items/{name}"));
            assert_eq!(text.as_deref(), Some("old"), "{name} after {until} of {total}");
        }
    }
}

#[test]
fn manifests_that_would_reach_further_are_refused() {
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
