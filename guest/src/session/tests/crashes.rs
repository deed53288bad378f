//! Crashes at any moment.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

/// How a session continues after a crash.
#[derive(Debug, Clone, Copy)]
enum Way {
    Resume,
    Afresh,
    Delete,
    Doctor,
    DamageAndDoctor,
}

/// Runs a batch until the machine fails. Returns whether it ended.
fn run_until_it_dies(
    process: &Process,
    options: &Options,
    acknowledged: &mut HashSet<String>,
    logs: &mut HashSet<String>,
) -> bool {
    let Ok((mut session, _)) = open(host(process), options) else { return false };
    let mut reports = Vec::new();
    loop {
        let Ok(step) = session.advance(host(process), &reports, 8) else { return false };
        for report in &reports {
            let Report::Ended(ended) = report else { continue };
            acknowledged.insert(ended.item.clone());
        }
        for attempt in &step.start {
            assert!(!acknowledged.contains(&attempt.item), "{} ran twice", attempt.item);
            assert!(logs.insert(attempt.launch.log.clone()), "{} twice", attempt.launch.log);
        }
        reports = step.start.iter().map(|attempt| ended(attempt, Outcome::Completed)).collect();
        // Time passes, so that results are applied in between.
        process.machine.clock.set(process.machine.clock.get() + 700);
        if step.finished {
            return session.close(host(process), CloseReason::Ended).is_ok();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Power losses and kills at any moment, with sessions resumed or abandoned in every way: what was acknowledged
    /// as completed never runs again, no two attempts of an item have the same number, and in the end every item is
    /// done.
    #[test]
    fn nothing_acknowledged_is_lost(
        crashes in proptest::collection::vec(
            (0usize..40, any::<bool>(), any::<Option<u8>>(), any::<u64>(), 0u8..5), 0..6,
        ),
        parallel in 1u32..4,
    ) {
        let items = ["001-a", "002-b", "003-c", "004-d", "005-e", "006-f"];
        let mut machine = machine(&items);
        machine.item("003-c", "idea", &["001-a", "002-b"]);
        machine.item("006-f", "idea", &["003-c"]);
        let mut acknowledged: HashSet<String> = HashSet::new();
        let mut logs: HashSet<String> = HashSet::new();
        let mut way = Way::Resume;
        let mut pid = 10;
        let mut crashes = crashes.into_iter();
        loop {
            pid += 1;
            let crash = crashes.next();
            let process = machine.process(pid);
            match way {
                Way::Delete => machine.delete(layout::PROGRESS),
                Way::Doctor => {
                    fix(host(&process)).unwrap();
                }
                Way::DamageAndDoctor => {
                    machine.put(layout::PROGRESS, "{");
                    fix(host(&process)).unwrap();
                }
                Way::Resume | Way::Afresh => {}
            }
            let written = machine.operations().len();
            machine.power_until.set(crash.map_or(usize::MAX, |(after, ..)| written + after));
            machine.cut.set(crash.and_then(|(_, _, cut, ..)| cut).map(usize::from));
            let options = Options { parallel, no_resume: matches!(way, Way::Afresh), ..options() };
            let ended = run_until_it_dies(&process, &options, &mut acknowledged, &mut logs);
            let Some((_, power, _, seed, next)) = crash else {
                prop_assert!(ended);
                break;
            };
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
            way = [Way::Resume, Way::Afresh, Way::Delete, Way::Doctor, Way::DamageAndDoctor]
                [usize::from(next)];
        }
        for id in items {
            prop_assert_eq!(machine.state_of(id), "done", "{}", id);
        }
    }
}
