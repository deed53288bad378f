//! Files of a running session that are removed while it runs.

use super::*;
use crate::doctor;

/// The files that are removed.
const REMOVED: [&[&str]; 5] = [
    &["runs"],
    &["runs", layout::PROGRESS],
    &["runs", layout::PROGRESS, layout::LOCK],
    &[layout::PROGRESS, layout::LOCK],
    &[layout::LOCK],
];

fn remove(machine: &Machine, paths: &[&str]) {
    paths.iter().for_each(|path| machine.delete_all(path));
}

/// Runs the steps of a batch; before the step `at` files are removed, and after the step `until` the
/// process is killed. Returns the items that were started, and their logs.
fn run_and_remove(
    machine: &Rc<Machine>,
    removed: &[&str],
    at: usize,
    until: usize,
) -> Vec<(String, String)> {
    let process = machine.process(1);
    let (mut session, _) = open(host(&process), &options()).unwrap();
    let mut started = Vec::new();
    let mut reports = Vec::new();
    for step in 0..until {
        if step == at {
            remove(machine, removed);
        }
        let step = session.advance(host(&process), &reports, 1).unwrap();
        started.extend(step.start.iter().map(|it| (it.item.clone(), it.launch.log.clone())));
        reports = step.start.iter().map(|it| ended(it, Outcome::Completed)).collect();
        machine.clock.set(machine.clock.get() + 400);
        if step.finished {
            session.close(host(&process), CloseReason::Ended).unwrap();
            break;
        }
    }
    machine.kill(1);
    started
}

#[test]
fn a_batch_whose_files_are_removed_continues_and_loses_nothing() {
    for removed in REMOVED {
        for at in 0..4 {
            let machine = machine(&THREE);
            let started = run_and_remove(&machine, removed, at, 20);
            let ids: Vec<&str> = started.iter().map(|(id, _)| id.as_str()).collect();
            assert_eq!(ids, THREE, "{removed:?} at {at}");
            assert!(THREE.iter().all(|id| machine.state_of(id) == "done"), "{removed:?} at {at}");
            let says_so = machine.said("They were written again from memory");
            assert_eq!(says_so, removed.contains(&"runs"), "{removed:?} at {at}");
        }
    }
}

#[test]
fn a_batch_that_is_killed_after_its_files_were_removed_resumes() {
    for removed in REMOVED {
        for at in 0..3 {
            for until in at + 1..5 {
                for power_fails in [false, true] {
                    let context = format!("{removed:?} at {at}, killed after {until}");
                    let mut machine = machine(&THREE);
                    let mut started = run_and_remove(&machine, removed, at, until);
                    if power_fails {
                        machine = machine.power_loss(|| 1);
                    }
                    // The report about the last one was never acknowledged.
                    let acknowledged: Vec<String> =
                        started.iter().rev().skip(1).map(|(id, _)| id.clone()).collect();
                    let process = machine.process(2);
                    run(&process, &options(), |attempt| {
                        assert!(!acknowledged.contains(&attempt.item), "{context}");
                        started.push((attempt.item.clone(), attempt.launch.log.clone()));
                        Outcome::Completed
                    });
                    let logs: std::collections::HashSet<_> = started.iter().collect();
                    assert_eq!(logs.len(), started.len(), "{started:?}: {context}");
                    assert!(THREE.iter().all(|id| machine.state_of(id) == "done"), "{context}");
                }
            }
        }
    }
}

#[test]
fn a_removed_lock_file_still_excludes_other_processes() {
    for removed in REMOVED.into_iter().filter(|removed| removed.contains(&layout::LOCK)) {
        let machine = machine(&THREE);
        let process = machine.process(1);
        let (mut session, _) = open(host(&process), &options()).unwrap();
        let step = session.advance(host(&process), &[], 1).unwrap();
        remove(&machine, removed);
        let other = machine.process(2);
        let refused = open(host(&other), &Options { take_over: true, ..options() });
        assert!(matches!(refused, Err(OpenError::Busy(_))), "{removed:?}");
        assert!(matches!(fix(host(&other)), Err(doctor::RepairError::Busy(_))));
        // The lock file is created again, and names its holder.
        machine.clock.set(machine.clock.get() + 1_000);
        let reports = [ended(&step.start[0], Outcome::Completed)];
        session.advance(host(&process), &reports, 1).unwrap();
        match open(host(&other), &options()) {
            Err(OpenError::Busy(holder)) => assert_eq!(holder.pid, Some(1), "{removed:?}"),
            other => panic!("{other:?}"),
        }
    }
}
