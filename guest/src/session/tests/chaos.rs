//! Everything at once: failures, timeouts, pauses, retries, limits, phases, dependencies, a disk that
//! is full now and then.

use std::collections::HashSet;

use proptest::prelude::*;

use super::phases::{phased, work};
use super::*;

/// How a call ends. A successful one with phases produces its artifacts.
fn outcome(machine: &Machine, attempt: &Call, how: u8) -> Outcome {
    match how % 8 {
        0 => Outcome::Failed("no".to_owned()),
        1 => Outcome::TimedOut(1),
        2 => Outcome::Paused,
        // It produces no artifacts: in a phase that is a failure.
        3 => Outcome::Completed,
        _ if attempt.phase == "run" => Outcome::Completed,
        _ => work(machine, attempt),
    }
}

const ITEMS: [&str; 6] = ["001-a", "002-b", "003-c", "004-d", "005-e", "006-f"];

/// A machine with items that depend on each other by these indices.
fn dependent_items(edges: &[(usize, usize)]) -> Rc<Machine> {
    let machine = Machine::new();
    for (index, id) in ITEMS.iter().enumerate() {
        let on = edges.iter().filter(|(from, _)| *from == index);
        let on: Vec<&str> = on.map(|(_, on)| ITEMS[*on]).collect();
        machine.item(id, "idea", &on);
    }
    machine
}

/// Checks that each item has exactly one result.
fn check(machine: &Machine, summary: &Summary) -> Result<(), TestCaseError> {
    let completed: HashSet<&String> = summary.completed.iter().collect();
    prop_assert_eq!(completed.len(), summary.completed.len(), "an item completed twice");
    let failed: HashSet<&String> = summary.failed.iter().map(|it| &it.item).collect();
    let remaining: HashSet<&String> = summary.remaining.iter().collect();
    prop_assert_eq!(completed.len() + failed.len() + remaining.len(), ITEMS.len());
    for id in &summary.completed {
        prop_assert_eq!(machine.state_of(id), "done", "{}", id);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Every batch ends; no item is in flight twice; each has exactly one result; and what a full disk refused is
    /// retried and not lost.
    #[test]
    fn every_batch_ends(
        edges in proptest::collection::vec((0usize..6, 0usize..6), 0..8),
        how in proptest::collection::vec(any::<u8>(), 1..40),
        full in proptest::collection::vec(any::<bool>(), 1..20),
        (parallel, retries, max_failures) in (1u32..4, 0u32..3, 0u32..3),
        (has_phases, single) in (any::<bool>(), any::<bool>()),
    ) {
        let machine = dependent_items(&edges);
        let process = machine.process(1);
        let options = Options {
            parallel,
            retries,
            max_failures,
            single,
            ..if has_phases { phased(&machine) } else { options() }
        };
        let (mut session, _) = open(host(&process), &options).unwrap();
        let (mut how, mut full) = (how.iter().cycle(), full.iter().cycle());
        let mut in_flight: HashSet<String> = HashSet::new();
        let mut reports = Vec::new();
        let mut running: Vec<Call> = Vec::new();
        let mut steps = 0;
        let summary = loop {
            steps += 1;
            prop_assert!(steps < 5_000, "it does not end");
            // Late in the test, pauses and full disks no longer occur.
            let is_late = steps > 500;
            machine.full.set(*full.next().unwrap() && !is_late);
            let slots = (parallel as usize).saturating_sub(running.len());
            let step = session.advance(host(&process), &std::mem::take(&mut reports), slots);
            let Ok(step) = step else {
                machine.clock.set(machine.clock.get() + 1_000);
                continue;
            };
            prop_assert!(step.start.len() <= slots);
            for attempt in step.start {
                prop_assert!(in_flight.insert(attempt.item.clone()), "{} twice", attempt.item);
                running.push(attempt);
            }
            if step.finished {
                prop_assert!(running.is_empty());
                machine.full.set(false);
                break session.close(host(&process), CloseReason::Ended).unwrap();
            }
            // One of them ends; time passes.
            if !running.is_empty() {
                let attempt = running.remove(0);
                in_flight.remove(&attempt.item);
                let how = if is_late { 7 } else { *how.next().unwrap() };
                reports.push(ended(&attempt, outcome(&machine, &attempt, how)));
            }
            machine.clock.set(machine.clock.get() + step.wake_after.clamp(1, 61_000));
        };
        check(&machine, &summary)?;
        if max_failures == 0 && !single {
            prop_assert_eq!(blocked_ids(&summary.blocked), summary.remaining, "what remains is blocked");
        }
        prop_assert!(max_failures == 0 || summary.failed.len() <= (max_failures + parallel) as usize);
        prop_assert!(!single || summary.completed.len() + summary.failed.len() <= 1);
    }
}
