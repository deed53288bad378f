//! Crashes of a feature run at any moment: what was acknowledged stays complete and never runs again, and the run
//! ends with every phase complete.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::bindings::exports::wreckit::batch::session::Report;
use crate::doctor::RepairError;
use crate::doctor::features;

const PHASES: [&str; 3] = ["planning", "implementation", "testing"];

fn fresh() -> Rc<Machine> {
    let mut document = least(&PHASES.map(|name| (name, "pending")));
    document["phases"]["implementation"]["approved"] = json!(false);
    with(&document)
}

/// Options of a run whose phases are all approved.
fn approved() -> RunOptions {
    RunOptions { approve_all: true, ..run_options() }
}

/// Opens a run and advances it until the machine fails. Returns the phases whose completion was acknowledged.
/// `check` sees every call that is handed out.
fn run_until_it_dies(process: &Process, mut check: impl FnMut(&str, &str)) -> HashSet<String> {
    let mut acknowledged = HashSet::new();
    let Ok((mut session, _)) = open(process, approved()) else { return acknowledged };
    let mut reports: Vec<Report> = Vec::new();
    while let Ok(step) = session.advance(host(process), &reports, 1) {
        acknowledged.extend(reports.iter().filter_map(|report| match report {
            Report::Ended(ended) => Some(ended.item.clone()),
            Report::Started(_) => None,
        }));
        for call in &step.start {
            assert!(!acknowledged.contains(&call.item), "{} runs again", call.item);
            check(&call.item, &call.launch.log);
        }
        reports = step.start.iter().map(|call| ended(call, Outcome::Completed)).collect();
        process.machine.clock.set(process.machine.clock.get() + 700);
        if step.finished {
            let _ = session.close(host(process), CloseReason::Ended);
            break;
        }
    }
    acknowledged
}

fn assert_all_complete(machine: &Machine, context: &str) {
    let document = document(machine);
    for phase in PHASES {
        assert_eq!(document["phases"][phase]["status"], "complete", "{phase}: {context}");
    }
    assert_eq!(document["status"], "complete", "{context}");
}

/// The operations of a run without a crash.
fn operations_of_a_run() -> usize {
    let machine = fresh();
    run_until_it_dies(&machine.process(1), |_, _| {});
    machine.operations().len()
}

#[test]
fn a_run_that_is_killed_at_any_operation_loses_no_acknowledged_phase() {
    for until in 0..operations_of_a_run() {
        for cut in 0..3 {
            for second in [0, 1, 2, 3, 5, 8, usize::MAX] {
                let context = format!("killed at {until}, cut {cut}, power loss after {second}");
                let machine = fresh();
                machine.power_until.set(until);
                machine.cut.set(Some(cut));
                let mut acknowledged = run_until_it_dies(&machine.process(1), |_, _| {});
                machine.kill(1);
                machine.cut.set(None);
                machine.power_until.set(machine.operations().len().saturating_add(second));
                let earlier = acknowledged.clone();
                acknowledged.extend(run_until_it_dies(&machine.process(2), |phase, _| {
                    assert!(!earlier.contains(phase), "{phase} runs again: {context}");
                }));
                let machine = machine.power_loss(|| 1);
                run_until_it_dies(&machine.process(3), |phase, _| {
                    assert!(!acknowledged.contains(phase), "{phase} runs again: {context}");
                });
                assert_all_complete(&machine, &context);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Kills and power losses in any order, with fixes in between: no acknowledged phase runs again, no two attempts
    /// share a log, and in the end every phase is complete.
    #[test]
    fn nothing_acknowledged_is_lost(
        crashes in proptest::collection::vec(
            (0usize..80, any::<bool>(), any::<Option<u8>>(), any::<u64>(), any::<bool>()), 0..6,
        ),
    ) {
        let mut machine = fresh();
        let mut acknowledged: HashSet<String> = HashSet::new();
        let mut logs: HashSet<String> = HashSet::new();
        let mut pid = 10;
        for (after, power, cut, seed, repair) in crashes {
            pid += 1;
            let process = machine.process(pid);
            if repair {
                fix(&process).unwrap();
            }
            machine.power_until.set(machine.operations().len() + after);
            machine.cut.set(cut.map(usize::from));
            let earlier = acknowledged.clone();
            acknowledged.extend(run_until_it_dies(&process, |phase, log| {
                assert!(!earlier.contains(phase), "{phase} runs again");
                assert!(logs.insert(log.to_owned()), "{log} is used twice");
            }));
            machine.power_until.set(usize::MAX);
            machine.cut.set(None);
            machine.kill(pid);
            if power {
                let mut random = seed;
                machine = machine.power_loss(|| {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (random >> 33) as usize
                });
            }
        }
        let process = machine.process(pid + 1);
        run_until_it_dies(&process, |phase, _| {
            assert!(!acknowledged.contains(phase), "{phase} runs again");
        });
        assert_all_complete(&machine, "in the end");
    }
}

fn fix(process: &Process) -> Result<(), RepairError> {
    let mut termination = Termination::default();
    loop {
        match features::fix(host(process), &mut termination) {
            Err(RepairError::Terminating(_)) => {}
            fixed => return fixed.map(drop),
        }
    }
}

#[test]
fn a_killed_run_resumes_its_session_with_the_next_attempt() {
    let machine = machine(&[("planning", "pending"), ("testing", "pending")]);
    let killed = machine.process(7);
    let (mut session, opening) = open(&killed, run_options()).unwrap();
    assert_eq!(opening.origin, Origin::Fresh);
    let step = session.advance(host(&killed), &[], 1).unwrap();
    let done = ended(&step.start[0], Outcome::Completed);
    let step = session.advance(host(&killed), &[done], 1).unwrap();
    assert_eq!((&*step.start[0].item, step.start[0].attempt), ("testing", 1));
    machine.kill(7);
    let process = machine.process(8);
    let (mut session, resumed) = open(&process, run_options()).unwrap();
    assert_eq!((resumed.origin, &resumed.session), (Origin::Resumed, &opening.session));
    assert_eq!((resumed.counts.completed, resumed.counts.in_flight), (1, 1));
    let step = session.advance(host(&process), &[], 1).unwrap();
    assert_eq!((&*step.start[0].item, step.start[0].attempt), ("testing", 2));
}

#[test]
fn a_leftover_process_of_a_killed_run_is_ended_even_without_the_marker() {
    use crate::bindings::exports::wreckit::batch::session::Started;
    let machine = machine(&[("planning", "pending")]);
    let killed = machine.process(7);
    let (mut session, _) = open(&killed, run_options()).unwrap();
    session.advance(host(&killed), &[], 1).unwrap();
    machine.process(77);
    let started = Started { item: "planning".to_owned(), attempt: 1, process: process(77) };
    session.advance(host(&killed), &[Report::Started(started)], 0).unwrap();
    machine.kill(7);
    let process = machine.process(8);
    open(&process, run_options()).unwrap();
    assert!(!machine.running.borrow().contains(&77));
    assert!(machine.said("planning (pid 77)"));
}

#[test]
fn a_run_of_one_feature_does_not_change_the_session_of_another() {
    let machine = machine(&[("planning", "pending"), ("testing", "pending")]);
    let killed = machine.process(7);
    let (mut session, opening) = open(&killed, run_options()).unwrap();
    session.advance(host(&killed), &[], 1).unwrap();
    machine.kill(7);
    let other = "other_20260301_081500";
    let text = document(&machine).to_string().replace(ID, other);
    machine.put(&format!("{other}/progress.json"), text);
    let process = machine.process(8);
    let mut termination = Termination::default();
    let (mut session, _) =
        open_feature(host(&process), other, run_options(), &mut termination).unwrap();
    finish(&process, &mut session, |_, _| Outcome::Completed);
    let (_, resumed) = open(&machine.process(9), run_options()).unwrap();
    assert_eq!((resumed.origin, resumed.session), (Origin::Resumed, opening.session));
}
