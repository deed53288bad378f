use std::rc::Rc;

use serde_json::{Value, json};

use super::*;
use crate::backup::BackupFs;
use crate::bindings::exports::wreckit::batch::session::{Call, CloseReason, Report, Summary};
use crate::io::capabilities::FileSystem;
use crate::io::layout;
use crate::io::memory::{Machine, Process, leftover};
use crate::session::tests::{Outcome, ended, fix, open, options};

mod interrupted;

fn host(process: &Process) -> Host<'_> {
    Host::new(process)
}

/// Three items, and everything else that a valid repository has.
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
    found.iter().map(code).collect()
}

/// The code of a diagnostic.
fn code(diagnostic: &Diagnostic) -> Code {
    let codes = Code::ALL.iter().copied();
    codes.into_iter().find(|code| code.name() == diagnostic.code).unwrap()
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

/// A batch that was killed with one item completed and the next one in flight.
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
    let is_excluded = |path: &String| {
        path.starts_with("backups") || path == layout::LOCK || path.starts_with("batch.owner.")
    };
    let paths = paths.filter(|path| !is_excluded(path));
    paths.map(|path| (path.clone(), machine.text(&path))).collect()
}

#[test]
fn a_valid_repository_has_no_findings() {
    let machine = machine();
    let process = machine.process(1);
    assert_eq!(diagnose(host(&process)), []);
    let before = state(&machine);
    let report = fix(host(&process)).unwrap();
    assert_eq!((report.fixes, report.backup), (Vec::new(), None));
    assert_eq!(state(&machine), before);
}

/// A damaged progress file with a valid journal is rebuilt. A second fix leaves it alone, the next run resumes it, and
/// from then on it is like any other.
#[test]
fn a_rebuilt_progress_file_waits_for_the_next_run() {
    let (machine, mut ran) = killed();
    machine.put(layout::PROGRESS, "{");
    let process = machine.process(2);
    assert_eq!(codes(&diagnose(host(&process))), [Code::BatchProgressCorrupt]);
    let report = fix(host(&process)).unwrap();
    assert!(report.fixes[0].message.starts_with("Rebuilt"), "{:?}", report.fixes);
    assert_eq!(report.remaining, []);
    let rebuilt = machine.text(layout::PROGRESS);
    assert_eq!(fix(host(&process)).unwrap().fixes, [], "a second fix finds nothing to do");
    assert_eq!(machine.text(layout::PROGRESS), rebuilt);

    assert!(run(&process, &mut ran, 2).is_none());
    machine.kill(2);
    assert_eq!(codes(&diagnose(host(&machine.process(3)))), [Code::StaleBatchProgress]);
    machine.kill(3);
    assert!(run(&machine.process(4), &mut ran, 9).is_some());
    assert_eq!(ran, ["001-a", "002-b", "003-c"]);
}

/// A session that is too old to be resumed is not rebuilt: its results are saved to the items.
#[test]
fn the_results_of_an_old_session_with_a_damaged_file_are_saved() {
    let (machine, _) = killed();
    machine.put(layout::PROGRESS, "");
    machine.clock.set(machine.clock.get() + 2 * resume::STALE_AFTER);
    let process = machine.process(2);
    let report = fix(host(&process)).unwrap();
    assert!(report.fixes[0].message.starts_with("Removed"), "{:?}", report.fixes);
    assert_eq!(machine.state_of("001-a"), "done");
    assert_eq!(fix(host(&process)).unwrap().fixes, []);
}

/// An item whose result a fix saved and a restore took back does not run again.
#[test]
fn undoing_a_fix_forgets_no_completion() {
    let (machine, mut ran) = killed();
    let process = machine.process(2);
    let before = state(&machine);
    let report = fix(host(&process)).unwrap();
    assert_eq!(machine.state_of("001-a"), "done", "the result was saved");
    restore(host(&process), &report.backup.unwrap()).unwrap();
    assert_eq!(state(&machine), before);
    machine.kill(2);
    assert!(run(&machine.process(3), &mut ran, 9).is_some());
    machine.kill(3);
    assert!(run(&machine.process(4), &mut ran, 9).is_some());
    assert_eq!(ran, ["001-a", "002-b", "003-c"]);
}

/// The power fails at every moment of a restore: what completed stays completed, whether the restore is repeated or
/// not.
#[test]
fn a_restore_that_is_interrupted_anywhere_forgets_no_completion() {
    let fixed = || {
        let (machine, ran) = killed();
        let process = machine.process(2);
        let backup = fix(host(&process)).unwrap().backup.unwrap();
        machine.kill(2);
        // From here on the power may fail.
        let machine = machine.power_loss(|| 0);
        (machine, ran, backup)
    };
    let (whole, _, backup) = fixed();
    restore(host(&whole.process(3)), &backup).unwrap();
    let total = whole.operations().len();
    assert!(total > 8, "{total}");
    for until in 0..=total {
        for is_repeated in [false, true] {
            let (machine, mut ran, backup) = fixed();
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

/// The power fails at every moment of a fix, then the batch continues, to its end or not. Whatever is restored then, in
/// whatever order, what completed stays completed.
#[test]
fn restoring_an_interrupted_fix_forgets_no_completion() {
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
            let mut backups = backup::list(host(&machine.process(4))).unwrap();
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

/// The existing tool does not take the lock; its progress file names its process.
#[test]
fn nothing_is_fixed_while_the_owner_may_be_running() {
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
    let report = fix(host(&process)).unwrap();
    assert!(!report.fixes[0].fixed);
    assert!(report.fixes[0].message.contains("pid 7"), "{:?}", report.fixes);
    assert_eq!(machine.text("index.json").as_deref(), Some("{"));
    machine.kill(owner.pid);
    let found = diagnose(host(&process));
    assert_eq!(codes(&found), [Code::OrphanedTempFile, Code::IndexStale, Code::StaleBatchProgress]);
    let report = fix(host(&process)).unwrap();
    assert!(report.fixes.iter().all(|fix| fix.fixed), "{:?}", report.fixes);
    assert_eq!(report.remaining, []);
}

/// The power fails at every moment of a fix: another fix finishes it, and what completed stays completed.
#[test]
fn a_fix_that_is_interrupted_anywhere_is_finished_by_the_next() {
    let damaged = || {
        let (machine, ran) = killed();
        machine.put(layout::PROGRESS, "{");
        machine.item("003-c", "planned", &[]);
        machine.put("items/002-b/prd.json", r#"{"schema_version": 1, "user_stories": []}"#);
        machine.put("index.json", "[]");
        (machine, ran)
    };
    let (whole, _) = damaged();
    let report = fix(host(&whole.process(2))).unwrap();
    assert_eq!(codes(&report.remaining), [Code::PoorStoryQuality]);
    let total = whole.operations().len();
    assert!(total > 20, "{total}");
    for until in 0..=total {
        let (machine, mut ran) = damaged();
        machine.power_until.set(until);
        let _ = fix(host(&machine.process(2)));
        let machine = machine.power_loss(|| until);
        let process = machine.process(3);
        let report = fix(host(&process)).unwrap();
        assert_eq!(codes(&report.remaining), [Code::PoorStoryQuality], "after {until} of {total}");
        assert_eq!(fix(host(&process)).unwrap().fixes, [], "after {until} of {total}");
        machine.item("002-b", "idea", &[]);
        run(&process, &mut ran, 9);
        assert_eq!(ran, ["001-a", "002-b", "003-c"], "after {until} of {total}");
    }
}

/// One restore undoes everything that was fixed, including what only showed up during the fix.
#[test]
fn one_restore_undoes_a_whole_fix() {
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
    let report = fix(host(&process)).unwrap();
    assert!(report.fixes.iter().all(|fix| fix.fixed), "{:?}", report.fixes);
    let fixed: Vec<Code> = report.fixes.iter().map(|fix| code(&fix.diagnostic)).collect();
    for found_later in [Code::PrdMissingBranchName, Code::PrdInvalidPriority, Code::IndexStale] {
        assert!(fixed.contains(&found_later), "{found_later:?}");
    }
    assert_eq!(codes(&report.remaining), [Code::InvalidPrd]);
    let index: Value = serde_json::from_str(&machine.text("index.json").unwrap()).unwrap();
    assert_eq!(index["items"][1]["state"], "idea");
    assert_eq!(index["items"][1]["more"], 1, "unknown fields are preserved");
    restore(host(&process), &report.backup.unwrap()).unwrap();
    assert_eq!(state(&machine), before);
}

#[test]
fn a_session_of_this_instance_excludes_a_fix_like_any_other() {
    let machine = machine();
    let process = machine.process(1);
    let (mut session, _) = open(host(&process), &options()).unwrap();
    assert!(matches!(fix(host(&process)), Err(RepairError::Busy(_))));
    let step = session.advance(host(&process), &[], 1).unwrap();
    assert_eq!(step.start.len(), 1, "it still has its lock and continues");
    assert!(machine.process(2).lock_holder(layout::LOCK).unwrap().held);
}

/// A fix that must wait for a process to exit keeps the lock until it is called again.
#[test]
fn a_fix_that_waits_for_a_process_keeps_the_lock() {
    let machine = machine();
    let (first, second) = (machine.process(1), machine.process(2));
    machine.running.borrow_mut().push(77);
    machine.marked.borrow_mut().push(leftover(77, Some("001-a"), true));
    let mut termination = Termination::default();
    let waiting = super::fix(host(&first), &mut termination);
    assert!(matches!(waiting, Err(RepairError::Terminating(_))), "{waiting:?}");
    let refused = super::fix(host(&second), &mut Termination::default());
    assert!(matches!(refused, Err(RepairError::Busy(_))), "{refused:?}");
    let report = super::fix(host(&first), &mut termination).unwrap();
    assert_eq!(codes(&report.found), [Code::OrphanedAgent]);
    assert!(report.fixes[0].fixed && report.remaining.is_empty(), "{report:?}");
    assert_eq!(fix(host(&second)).unwrap().found, [], "the lock is released");
}

#[test]
fn a_fix_that_changed_nothing_names_no_command_to_undo_it() {
    let process = Machine::new().process(1);
    let fs = BackupFs::new(host(&process), "doctor-fix");
    let message = batch_progress::fix(&fs).unwrap();
    assert!(!message.contains("restore"), "the file was gone already: {message}");
}

#[test]
fn a_process_that_is_found_twice_is_reported_once() {
    let process = Machine::new().process(1);
    let worker = |pid| leftover(pid, Some("001-a"), true);
    let found = vec![worker(7), worker(8), worker(7)];
    let findings = orphaned_agents::findings(host(&process), found);
    assert_eq!(findings.len(), 1);
    let message = &findings[0].diagnostic.message;
    assert!(message.ends_with("pid 7, 8"), "{message}");
}
