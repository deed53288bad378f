use std::rc::Rc;

use serde_json::{Value, json};

use super::*;
use crate::backup::Keeper;
use crate::bindings::exports::wreckit::batch::session::{Call, CloseReason, Report, Summary};
use crate::formats::layout;
use crate::io::capabilities::FileSystem;
use crate::io::memory::{Machine, Process, leftover};
use crate::session::tests::{Outcome, ended, fix, open, options};

mod interrupted;

fn host(process: &Process) -> Host<'_> {
    Host::new(process)
}

/// Two items and everything that a sound repository has.
fn machine() -> Rc<Machine> {
    let machine = Machine::new();
    machine.put("config.json", r#"{"agent": {"kind": "mock"}}"#);
    machine.put("prompts/plan.md", "");
    for id in ["001-a", "002-b", "003-c"] {
        machine.item(id, "idea", &[]);
    }
    machine
}

fn codes(found: &[Diagnostic]) -> Vec<Code> {
    found.iter().map(|finding| finding.code).collect()
}

fn run(process: &Process, ran: &mut Vec<String>, until: usize) -> Option<Summary> {
    let (mut session, _) = open(host(process), &options()).unwrap();
    let mut reports = Vec::new();
    loop {
        let step = session.advance(host(process), &reports, 1).unwrap();
        if step.finished {
            return Some(session.close(host(process), CloseReason::Ended).unwrap());
        }
        if ran.len() == until {
            return None;
        }
        reports = step.start.iter().map(|attempt| completed(attempt, ran)).collect();
    }
}

fn completed(call: &Call, ran: &mut Vec<String>) -> Report {
    ran.push(call.item.clone());
    ended(call, Outcome::Completed)
}

/// A batch that was killed with one item completed and the next one in hand.
fn killed() -> (Rc<Machine>, Vec<String>) {
    let machine = machine();
    let mut ran = Vec::new();
    assert!(run(&machine.process(1), &mut ran, 1).is_none());
    machine.kill(1);
    (machine, ran)
}

/// Everything but the backups and the lock.
fn state(machine: &Machine) -> Vec<(String, Option<String>)> {
    let paths = machine.paths().into_iter();
    let is_kept_out = |path: &String| {
        path.starts_with("backups") || path == layout::LOCK || path.starts_with("batch.owner.")
    };
    let paths = paths.filter(|path| !is_kept_out(path));
    paths.map(|path| (path.clone(), machine.text(&path))).collect()
}

#[test]
fn a_sound_repository_has_no_findings() {
    let machine = machine();
    let process = machine.process(1);
    assert_eq!(diagnose(host(&process)), []);
    let before = state(&machine);
    let treatment = fix(host(&process)).unwrap();
    assert_eq!((treatment.fixes, treatment.backup), (Vec::new(), None));
    assert_eq!(state(&machine), before);
}

/// A damaged progress file with a good journal is rebuilt; a second repair leaves it alone, the next
/// run goes on with it, and only then it is like any other.
#[test]
fn a_rebuilt_progress_file_waits_for_the_next_run() {
    let (machine, mut ran) = killed();
    machine.put(layout::PROGRESS, "{");
    let process = machine.process(2);
    assert_eq!(codes(&diagnose(host(&process))), [Code::BatchProgressCorrupt]);
    let treatment = fix(host(&process)).unwrap();
    assert!(treatment.fixes[0].message.starts_with("Rebuilt"), "{:?}", treatment.fixes);
    assert_eq!(treatment.left, []);
    let rebuilt = machine.text(layout::PROGRESS);
    assert_eq!(fix(host(&process)).unwrap().fixes, [], "a second repair finds nothing to do");
    assert_eq!(machine.text(layout::PROGRESS), rebuilt);

    assert!(run(&process, &mut ran, 2).is_none());
    machine.kill(2);
    assert_eq!(codes(&diagnose(host(&machine.process(3)))), [Code::StaleBatchProgress]);
    machine.kill(3);
    assert!(run(&machine.process(4), &mut ran, 9).is_some());
    assert_eq!(ran, ["001-a", "002-b", "003-c"]);
}

/// One that would be too old to go on with is not rebuilt: its results go into the items.
#[test]
fn an_old_session_behind_a_damaged_file_is_settled() {
    let (machine, _) = killed();
    machine.put(layout::PROGRESS, "");
    machine.clock.set(machine.clock.get() + 2 * resume::STALE_AFTER);
    let process = machine.process(2);
    let treatment = fix(host(&process)).unwrap();
    assert!(treatment.fixes[0].message.starts_with("Removed"), "{:?}", treatment.fixes);
    assert_eq!(machine.state_of("001-a"), "done");
    assert_eq!(fix(host(&process)).unwrap().fixes, []);
}

/// What a repair has settled and a restoration has brought back completes once all the same.
#[test]
fn a_repair_that_is_undone_forgets_no_completion() {
    let (machine, mut ran) = killed();
    let process = machine.process(2);
    let before = state(&machine);
    let treatment = fix(host(&process)).unwrap();
    assert_eq!(machine.state_of("001-a"), "done", "the completion was settled");
    restore(host(&process), &treatment.backup.unwrap()).unwrap();
    assert_eq!(state(&machine), before);
    machine.kill(2);
    assert!(run(&machine.process(3), &mut ran, 9).is_some());
    machine.kill(3);
    assert!(run(&machine.process(4), &mut ran, 9).is_some());
    assert_eq!(ran, ["001-a", "002-b", "003-c"]);
}

/// The power fails at every moment of a restoration: what completed stays completed, whether the
/// restoration is repeated or not.
#[test]
fn a_restoration_that_is_cut_off_anywhere_forgets_no_completion() {
    let mended = || {
        let (machine, ran) = killed();
        let process = machine.process(2);
        let backup = fix(host(&process)).unwrap().backup.unwrap();
        machine.kill(2);
        // From here on the power may fail.
        let machine = machine.power_loss(|| 0);
        (machine, ran, backup)
    };
    let (whole, _, backup) = mended();
    restore(host(&whole.process(3)), &backup).unwrap();
    let total = whole.operations().len();
    assert!(total > 8, "{total}");
    for until in 0..=total {
        for is_repeated in [false, true] {
            let (machine, mut ran, backup) = mended();
            machine.power_until.set(until);
            let _ = restore(host(&machine.process(3)), &backup);
            let machine = machine.power_loss(|| until);
            if is_repeated {
                restore(host(&machine.process(4)), &backup).unwrap();
                machine.kill(4);
            }
            for pid in [5, 6] {
                assert!(run(&machine.process(pid), &mut ran, 9).is_some());
                machine.kill(pid);
            }
            assert_eq!(ran, ["001-a", "002-b", "003-c"], "after {until} of {total}, {is_repeated}");
        }
    }
}

/// The power fails at every moment of a repair, then the batch goes on, to its end or not; whatever is
/// restored then, in whatever order: what completed stays completed.
#[test]
fn no_restoration_of_a_repair_that_was_cut_off_forgets_a_completion() {
    let (whole, _) = killed();
    fix(host(&whole.process(2))).unwrap();
    let total = whole.operations().len();
    for until in 0..=total {
        for (until_item, newest_first) in [(2, true), (2, false), (9, true), (9, false)] {
            let (machine, mut ran) = killed();
            machine.power_until.set(until);
            let _ = fix(host(&machine.process(2)));
            let machine = machine.power_loss(|| until);
            run(&machine.process(3), &mut ran, until_item);
            machine.kill(3);
            let mut backups = backup::all(host(&machine.process(4))).unwrap();
            if !newest_first {
                backups.reverse();
            }
            for backup in backups {
                let _ = restore(host(&machine.process(4)), &backup.id);
            }
            machine.kill(4);
            for pid in [5, 6] {
                assert!(run(&machine.process(pid), &mut ran, 9).is_some());
                machine.kill(pid);
            }
            assert_eq!(ran, ["001-a", "002-b", "003-c"], "after {until} of {total}, {until_item}");
        }
    }
}

/// The existing tool knows nothing of the lock; its progress file names it.
#[test]
fn nothing_is_mended_beside_an_owner_that_may_live() {
    let machine = machine();
    machine.put("index.json", "{");
    machine.put("items/001-a/item.json.0123456789ab.tmp", "half");
    let time = host(&machine.process(9)).now().to_string();
    let progress = json!({
        "schema_version": 1, "session_id": "s", "pid": 7, "started_at": time,
        "updated_at": time, "parallel": 1, "queued_items": [], "current_item": null,
        "completed": [], "failed": [], "skipped": [],
    });
    machine.put(layout::PROGRESS, progress.to_string());
    let owner = machine.process(7);
    let process = machine.process(2);
    assert_eq!(codes(&diagnose(host(&process))), [Code::IndexStale]);
    let treatment = fix(host(&process)).unwrap();
    assert!(!treatment.fixes[0].fixed);
    assert!(treatment.fixes[0].message.contains("pid 7"), "{:?}", treatment.fixes);
    assert_eq!(machine.text("index.json").as_deref(), Some("{"));
    machine.kill(owner.pid);
    let found = diagnose(host(&process));
    assert_eq!(codes(&found), [Code::OrphanedTempFile, Code::IndexStale, Code::StaleBatchProgress]);
    let treatment = fix(host(&process)).unwrap();
    assert!(treatment.fixes.iter().all(|fix| fix.fixed), "{:?}", treatment.fixes);
    assert_eq!(treatment.left, []);
}

/// The power fails at every moment of a repair: whatever is left, another repair ends it, and what
/// completed stays completed.
#[test]
fn a_repair_that_is_cut_off_anywhere_is_repeated() {
    let sick = || {
        let (machine, ran) = killed();
        machine.put(layout::PROGRESS, "{");
        machine.item("003-c", "planned", &[]);
        machine.put("items/002-b/prd.json", r#"{"schema_version": 1, "user_stories": []}"#);
        machine.put("index.json", "[]");
        (machine, ran)
    };
    let (whole, _) = sick();
    let treatment = fix(host(&whole.process(2))).unwrap();
    assert_eq!(codes(&treatment.left), [Code::PoorStoryQuality]);
    let total = whole.operations().len();
    assert!(total > 20, "{total}");
    for until in 0..=total {
        let (machine, mut ran) = sick();
        machine.power_until.set(until);
        let _ = fix(host(&machine.process(2)));
        let machine = machine.power_loss(|| until);
        let process = machine.process(3);
        let treatment = fix(host(&process)).unwrap();
        assert_eq!(codes(&treatment.left), [Code::PoorStoryQuality], "after {until} of {total}");
        assert_eq!(fix(host(&process)).unwrap().fixes, [], "after {until} of {total}");
        machine.item("002-b", "idea", &[]);
        run(&process, &mut ran, 9);
        assert_eq!(ran, ["001-a", "002-b", "003-c"], "after {until} of {total}");
    }
}

/// Whatever was mended, one restoration undoes all of it, also what came up on the way.
#[test]
fn one_restoration_undoes_a_whole_repair() {
    let (machine, _) = killed();
    machine.item("002-b", "planned", &[]);
    machine.put("items/003-c/prd.json", r#"{"user_stories": [{"priority": 9, "title": 2.50}]}"#);
    machine.put("items/003-c/item.json.0123456789ab.tmp", "half");
    machine.put("runs/old/events.1.jsonl", "no event\n and no event\n");
    let entry = |id: &str, state: &str| json!({"id": id, "state": state, "title": format!("Title of {id}"), "more": 1});
    let items: Value = [("001-a", "idea"), ("002-b", "planned"), ("003-c", "idea")]
        .iter()
        .map(|(id, state)| entry(id, state))
        .collect();
    let index = json!({"schema_version": 1, "items": items, "generated_at": ""});
    machine.put("index.json", index.to_string());
    machine.delete("prompts/plan.md");
    machine.delete("prompts");
    let before = state(&machine);
    let process = machine.process(2);
    let found = codes(&diagnose(host(&process)));
    assert_eq!(
        found,
        [
            Code::MissingPrompts,
            Code::StateFileMismatch,
            Code::OrphanedTempFile,
            Code::PrdMissingId,
            Code::StaleBatchProgress,
            Code::JournalDamaged,
        ]
    );
    let treatment = fix(host(&process)).unwrap();
    assert!(treatment.fixes.iter().all(|fix| fix.fixed), "{:?}", treatment.fixes);
    let mended = treatment.fixes.iter().map(|fix| fix.diagnostic.code);
    let mended: std::collections::HashSet<Code> = mended.collect();
    for on_the_way in [Code::PrdMissingBranchName, Code::PrdInvalidPriority, Code::IndexStale] {
        assert!(mended.contains(&on_the_way), "{on_the_way:?}");
    }
    assert_eq!(codes(&treatment.left), [Code::InvalidPrd]);
    let index: Value = serde_json::from_str(&machine.text("index.json").unwrap()).unwrap();
    assert_eq!(index["items"][1]["state"], "idea");
    assert_eq!(index["items"][1]["more"], 1, "what nobody knows is kept");
    restore(host(&process), &treatment.backup.unwrap()).unwrap();
    assert_eq!(state(&machine), before);
}

#[test]
fn a_session_of_this_instance_is_a_batch_like_any_other() {
    let machine = machine();
    let process = machine.process(1);
    let (mut session, _) = open(host(&process), &options()).unwrap();
    assert!(matches!(fix(host(&process)), Err(RepairError::Busy(_))));
    let step = session.advance(host(&process), &[], 1).unwrap();
    assert_eq!(step.start.len(), 1, "it still has its lock and goes on");
    assert!(machine.process(2).lock_holder(layout::LOCK).unwrap().held);
}

#[test]
fn no_command_is_named_that_undoes_nothing() {
    let process = Machine::new().process(1);
    let keeper = Keeper::new(host(&process), "doctor-fix");
    let message = batch_progress::mend(&keeper).unwrap();
    assert!(!message.contains("restore"), "the file was gone already: {message}");
}

#[test]
fn a_process_that_is_found_twice_is_named_once() {
    let process = Machine::new().process(1);
    let worker = |pid| leftover(pid, Some("001-a"), true);
    let found = vec![worker(7), worker(8), worker(7)];
    let diagnostics = orphaned_agents::diagnostics(host(&process), found);
    assert_eq!(diagnostics.len(), 1);
    assert!(diagnostics[0].message.ends_with("pid 7, 8"), "{}", diagnostics[0].message);
}
