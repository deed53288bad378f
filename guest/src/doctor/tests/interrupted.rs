//! Fixes and restorations that are cut off at every operation, by a kill or by a power loss, and what
//! every command makes of it.

use super::*;
use crate::backup;

/// What is damaged beside the session.
const PRD: &str = r#"{"schema_version": 1, "id": "003-c", "branch_name": "b", "user_stories": [
    {"id": "US-1", "title": "t", "acceptance_criteria": ["a", "b"], "priority": 9,
     "status": "pending", "notes": ""}]}"#;

/// A killed session with two completed items, and something for every part of a fix to do.
fn damaged(progress_is_corrupt: bool) -> Rc<Machine> {
    let machine = machine();
    machine.delete("prompts/plan.md");
    machine.delete("prompts");
    machine.item("004-d", "planned", &[]);
    machine.put("items/003-c/prd.json", PRD);
    machine.put("items/003-c/notes.md.0123456789ab.tmp", "half");
    let mut ran = Vec::new();
    assert!(run(&machine.process(1), &mut ran, 2).is_none());
    machine.kill(1);
    if progress_is_corrupt {
        machine.put(layout::PROGRESS, "{");
    }
    // What is on disk up to here is durable.
    machine.put("README.md", "");
    machine
}

/// How an operation is cut off.
#[derive(Debug, Clone, Copy)]
enum Crash {
    /// Before the operation, or in its middle, without its sync.
    Kill(Option<usize>),
    /// The same, and then the power fails: this much survives of what was not synced.
    PowerLoss(Option<usize>, usize),
}

const CRASHES: [Crash; 6] = [
    Crash::Kill(None),
    Crash::Kill(Some(1)),
    Crash::Kill(Some(usize::MAX)),
    Crash::PowerLoss(None, 1),
    Crash::PowerLoss(Some(usize::MAX), 0),
    Crash::PowerLoss(Some(1), 1),
];

/// Does something that is cut off at its operation `at`; the machine after that, and whether it was cut
/// off at all.
fn cut_off(
    machine: Rc<Machine>,
    at: usize,
    crash: Crash,
    work: impl Fn(&Process),
) -> (Rc<Machine>, bool) {
    let cut = match crash {
        Crash::Kill(cut) | Crash::PowerLoss(cut, _) => cut,
    };
    let start = machine.operations().len();
    machine.power_until.set(start + at);
    machine.cut.set(cut);
    work(&machine.process(50));
    let was_cut_off = machine.operations().len() >= start + at;
    machine.kill(50);
    machine.power_until.set(usize::MAX);
    machine.cut.set(None);
    let machine = match crash {
        Crash::Kill(_) => machine,
        Crash::PowerLoss(_, survives) => machine.power_loss(|| survives),
    };
    (machine, was_cut_off)
}

/// Runs everything that remains: what completed before must not be among it.
fn runs_only_the_rest(machine: &Rc<Machine>, context: &str) {
    for pid in [60, 61] {
        let mut ran = Vec::new();
        run(&machine.process(pid), &mut ran, usize::MAX);
        machine.kill(pid);
        let again = ran.iter().any(|id| ["001-a", "002-b"].contains(&id.as_str()));
        assert!(!again, "{ran:?}: {context}");
    }
    for id in ["001-a", "002-b", "003-c", "004-d"] {
        assert_eq!(machine.state_of(id), "done", "{id}: {context}");
    }
}

fn restore_newest(machine: &Rc<Machine>, pid: u64, context: &str) {
    let process = machine.process(pid);
    let newest =
        backup::all(host(&process)).unwrap().into_iter().find(|it| it.reason == backup::FIX);
    if let Some(newest) = newest {
        let restored = restore(host(&process), &newest.id);
        assert!(restored.is_ok(), "{restored:?}: {context}");
    }
    machine.kill(pid);
}

fn fix_all(process: &Process) {
    let _ = fix(host(process));
}

/// Does something at every operation of a piece of work, until it is not cut off any more.
fn at_every_operation(
    start: impl Fn() -> Rc<Machine>,
    work: impl Fn(&Process),
    check: impl Fn(Rc<Machine>, &str),
) {
    for crash in CRASHES {
        for at in 0.. {
            assert!(at < 1000, "it does not end");
            let (machine, was_cut_off) = cut_off(start(), at, crash, &work);
            check(machine, &format!("cut off at {at}, {crash:?}"));
            if !was_cut_off {
                break;
            }
        }
    }
}

#[test]
fn a_fix_that_is_cut_off_anywhere_can_be_undone() {
    for is_corrupt in [false, true] {
        let before = state(&damaged(is_corrupt));
        at_every_operation(
            || damaged(is_corrupt),
            fix_all,
            |machine, context| {
                restore_newest(&machine, 51, context);
                assert_eq!(state(&machine), before, "{context}");
                runs_only_the_rest(&machine, context);
            },
        );
    }
}

#[test]
fn a_fix_that_is_cut_off_anywhere_is_finished_by_the_next_and_undone_in_one_step() {
    for is_corrupt in [false, true] {
        let before = state(&damaged(is_corrupt));
        let whole = damaged(is_corrupt);
        fix_all(&whole.process(50));
        let paths = |machine: &Machine| {
            let paths = state(machine).into_iter().map(|(path, _)| path);
            paths.filter(|path| !path.starts_with("runs")).collect::<Vec<_>>()
        };
        at_every_operation(
            || damaged(is_corrupt),
            fix_all,
            |machine, context| {
                let process = machine.process(51);
                let is_found = codes(&diagnose(host(&process))).contains(&Code::RepairInterrupted);
                assert_eq!(is_found, backup::pending(host(&process)).unwrap().is_some());
                let treatment = fix(host(&process)).unwrap();
                machine.kill(51);
                let left = treatment.left.iter().filter(|left| left.fixable);
                assert_eq!(left.count(), 0, "{:?}: {context}", treatment.left);
                assert_eq!(paths(&machine), paths(&whole), "{context}");
                assert!(backup::pending(host(&process)).unwrap().is_none(), "{context}");
                restore_newest(&machine, 52, context);
                assert_eq!(state(&machine), before, "{context}");
                runs_only_the_rest(&machine, context);
            },
        );
    }
}

#[test]
fn a_run_after_a_fix_that_was_cut_off_forgets_no_completion() {
    for is_corrupt in [false, true] {
        at_every_operation(
            || damaged(is_corrupt),
            fix_all,
            |machine, context| runs_only_the_rest(&machine, context),
        );
    }
}

#[test]
fn a_restoration_that_is_cut_off_anywhere_is_completed_by_whatever_comes_next() {
    for is_corrupt in [false, true] {
        let before = state(&damaged(is_corrupt));
        let fixed = || {
            let machine = damaged(is_corrupt);
            fix_all(&machine.process(49));
            machine.kill(49);
            machine.put("README.md", "");
            machine
        };
        let restores = |process: &Process| {
            let newest = backup::all(host(process)).unwrap().remove(0);
            let _ = restore(host(process), &newest.id);
        };
        at_every_operation(fixed, restores, |machine, context| {
            runs_only_the_rest(&machine, context);
        });
        at_every_operation(fixed, restores, |machine, context| {
            restore_newest(&machine, 51, context);
            assert_eq!(state(&machine), before, "{context}");
        });
        at_every_operation(fixed, restores, |machine, context| {
            let treatment = fix(host(&machine.process(51))).unwrap();
            machine.kill(51);
            assert!(treatment.left.iter().all(|left| !left.fixable), "{context}");
            runs_only_the_rest(&machine, context);
        });
    }
}

#[test]
fn a_file_that_was_changed_while_a_restoration_was_cut_off_stays_as_it_is() {
    let begun = |operations: usize| {
        let machine = damaged(false);
        fix_all(&machine.process(49));
        machine.kill(49);
        let process = machine.process(50);
        let newest = backup::all(host(&process)).unwrap().remove(0);
        machine.power_until.set(machine.operations().len() + operations);
        let _ = restore(host(&process), &newest.id);
        machine.kill(50);
        machine.power_until.set(usize::MAX);
        let is_begun = backup::pending(host(&process)).unwrap().is_some();
        is_begun.then_some(machine)
    };
    let machine = (0..100).find_map(begun).expect("a restoration that was begun");
    machine.put("items/003-c/prd.json", "my own");
    restore_newest(&machine, 51, "");
    assert_eq!(machine.text("items/003-c/prd.json").as_deref(), Some("my own"));
    assert!(machine.said("prd.json was changed while the restore was interrupted"));
}
