//! Files that a killed process or an agent wrote without a sync: a later power loss reverts nothing that was
//! acknowledged. Every crash is enumerated, not sampled.

use std::collections::HashSet;

use super::*;

const ITEMS: [&str; 4] = ["001-a", "002-b", "003-c", "004-d"];

/// Opens a session and advances it until the machine fails. Returns the items whose completion was acknowledged,
/// including those that an earlier process completed.
fn run_until_it_dies(process: &Process, agent: impl FnMut(&Call)) -> HashSet<String> {
    run_with(process, &Options { parallel: 2, ..options() }, agent)
}

fn run_with(process: &Process, options: &Options, mut agent: impl FnMut(&Call)) -> HashSet<String> {
    let mut acknowledged = HashSet::new();
    let Ok((mut session, opening)) = open(host(process), options) else {
        return acknowledged;
    };
    acknowledged.extend(strings(&opening.events[0], "completed"));
    let mut reports: Vec<Report> = Vec::new();
    while let Ok(step) = session.advance(host(process), &reports, 2) {
        acknowledged.extend(reports.iter().filter_map(|report| match report {
            Report::Ended(ended) => Some(ended.item.clone()),
            Report::Started(_) => None,
        }));
        step.start.iter().for_each(&mut agent);
        reports = step.start.iter().map(|attempt| ended(attempt, Outcome::Completed)).collect();
        process.machine.clock.set(process.machine.clock.get() + 700);
        if step.finished {
            let _ = session.close(host(process), CloseReason::Ended);
            break;
        }
    }
    acknowledged
}

/// Runs what remains. None of `acknowledged` may run, and in the end every item is done.
fn runs_only_the_rest(machine: &Rc<Machine>, acknowledged: &HashSet<String>, context: &str) {
    let process = machine.process(900);
    let again = |attempt: &Call| {
        assert!(!acknowledged.contains(&attempt.item), "{} runs again: {context}", attempt.item);
    };
    run_until_it_dies(&process, again);
    run_until_it_dies(&process, again);
    for id in ITEMS {
        assert_eq!(machine.state_of(id), "done", "{id}: {context}");
    }
}

/// The number of operations of a batch without a crash.
fn operations_of_a_batch() -> usize {
    let complete = machine(&ITEMS);
    run_until_it_dies(&complete.process(1), |_| {});
    complete.operations().len()
}

#[test]
fn unsynced_files_of_a_killed_process_are_synced_by_the_next_one() {
    for until in 0..operations_of_a_batch() {
        for cut in 0..4 {
            for second in [0, 1, 2, 3, 5, 8, usize::MAX] {
                let context = format!("killed at {until}, cut {cut}, power loss after {second}");
                let machine = machine(&ITEMS);
                machine.power_until.set(until);
                machine.cut.set(Some(cut));
                let mut acknowledged = run_until_it_dies(&machine.process(1), |_| {});
                machine.kill(1);
                machine.cut.set(None);
                machine.power_until.set(machine.operations().len().saturating_add(second));
                acknowledged.extend(run_until_it_dies(&machine.process(2), |attempt| {
                    assert!(!acknowledged.contains(&attempt.item), "{context}");
                }));
                let machine = machine.power_loss(|| 1);
                runs_only_the_rest(&machine, &acknowledged, &context);
            }
        }
    }
}

/// Results of the mock agent are in the journal alone.
#[test]
fn unsynced_journal_lines_of_a_killed_process_are_synced_before_they_count() {
    let options = Options { parallel: 2, agent: AgentChoice::Mock(0), ..options() };
    for until in 0..operations_of_a_batch() {
        for second in [0, 1, 2, 3, 5, 8] {
            let machine = machine(&ITEMS);
            machine.power_until.set(until);
            machine.cut.set(Some(1_000_000_007));
            let mut acknowledged = run_with(&machine.process(1), &options, |_| {});
            machine.kill(1);
            machine.cut.set(None);
            machine.power_until.set(machine.operations().len() + second);
            acknowledged.extend(run_with(&machine.process(2), &options, |_| {}));
            let machine = machine.power_loss(|| 0);
            if acknowledged.len() == ITEMS.len() {
                // The session was being closed: every mock item runs again in the next one.
                continue;
            }
            run_with(&machine.process(3), &options, |attempt| {
                let context = format!("killed at {until}, power loss after {second}");
                assert!(!acknowledged.contains(&attempt.item), "{}: {context}", attempt.item);
            });
        }
    }
}

/// On xfs such a file is empty after a power loss.
#[test]
fn unsynced_files_of_an_agent_are_synced_with_its_result() {
    for until in 0..operations_of_a_batch() + 8 {
        let machine = machine(&ITEMS);
        machine.power_until.set(until);
        let acknowledged = run_until_it_dies(&machine.process(1), |attempt| {
            let path = layout::item_file(&attempt.item);
            let text = machine.text(&path).unwrap().replace(r#""idea""#, r#""done""#);
            machine.write_without_sync(&path, text);
        });
        let machine = machine.power_loss(|| 1);
        runs_only_the_rest(&machine, &acknowledged, &format!("power loss at {until}"));
    }
}
