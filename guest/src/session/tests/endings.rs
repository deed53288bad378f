//! How attempts end: retries, pauses, failures and leftover processes.

use serde_json::json;

use super::*;
use crate::doctor;
use crate::io::memory::leftover;

fn events(machine: &Machine, kind: &str) -> Vec<Value> {
    let mut segments: Vec<String> =
        machine.paths().into_iter().filter(|path| path.ends_with(".jsonl")).collect();
    segments.sort();
    let lines: Vec<String> = segments.iter().filter_map(|path| machine.text(path)).collect();
    let events = lines.iter().flat_map(|text| text.lines());
    let events = events.map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.filter(|event| event["event"] == kind).collect()
}

#[test]
fn failures_are_retried_with_backoff_and_every_attempt_is_recorded() {
    let machine = machine(&THREE[..2]);
    let process = machine.process(1);
    let options = Options { retries: 8, timeout: Some(7_000), ..options() };
    let mut starts = Vec::new();
    let summary = run(&process, &options, |attempt| {
        if attempt.item == "002-b" {
            return Outcome::Completed;
        }
        starts.push(machine.clock.get());
        if starts.len() < 9 { Outcome::TimedOut(7) } else { Outcome::Completed }
    });
    assert_eq!(summary.completed, ["002-b", "001-a"], "other items run in the meantime");
    let waits: Vec<u64> =
        starts.windows(2).map(|pair| (pair[1] - pair[0]).div_euclid(1000)).collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    let retries = events(&machine, "item-retrying");
    assert_eq!(retries.len(), 8);
    assert_eq!(
        (&retries[0]["error"], &retries[0]["reason"], &retries[7]["attempt"]),
        (&json!("timed out after 7 s"), &json!("timed-out"), &json!(8))
    );
    assert_eq!(machine.state_of("001-a"), "done");
}

#[test]
fn retries_run_out() {
    let machine = Machine::new();
    machine.item("001-a", "idea", &[]);
    machine.item("002-b", "idea", &["001-a"]);
    let process = machine.process(1);
    let options = Options { retries: 1, ..options() };
    let mut calls = 0;
    let summary = run(&process, &options, |_| {
        calls += 1;
        Outcome::Failed(format!("no {calls}"))
    });
    assert_eq!(calls, 2);
    assert_eq!(
        (ids(&summary.failed), &*summary.failed[0].error),
        (vec!["001-a"], "the agent could not be started: no 2")
    );
    assert_eq!(blocked_ids(&summary.blocked), ["002-b"]);
}

#[test]
fn a_single_run_retries_its_item() {
    let machine = machine(&THREE);
    let process = machine.process(1);
    let mut items = Vec::new();
    let options = Options { single: true, retries: 1, ..options() };
    run(&process, &options, |attempt| {
        items.push(attempt.item.clone());
        Outcome::Failed("no".to_owned())
    });
    assert_eq!(items, ["001-a", "001-a"]);
}

#[test]
fn a_failure_is_recorded_with_its_details() {
    let machine = machine(&THREE[..1]);
    let process = machine.process(1);
    let (mut session, opening) = open(host(&process), &options()).unwrap();
    let step = session.advance(host(&process), &[], 1).unwrap();
    let report = Report::Ended(Ended {
        item: "001-a".to_owned(),
        attempt: 1,
        ending: Ending::Exited(3),
        stopped: None,
        duration: 42,
        output: Some("last words".to_owned()),
    });
    session.advance(host(&process), &[report], 1).unwrap();
    let failed = &events(&machine, "item-failed")[0];
    assert_eq!(failed["log"], json!(format!("runs/{}/001-a.1.log", opening.session)));
    assert_eq!(failed["log"], json!(step.start[0].launch.log));
    for (key, value) in [
        ("attempt", json!(1)),
        ("exit_code", json!(3)),
        ("duration_ms", json!(42)),
        ("output", json!("last words")),
        ("error", json!("the agent exited with code 3")),
    ] {
        assert_eq!(failed[key], value, "{key}");
    }
}

#[test]
fn a_batch_stops_after_the_maximum_number_of_failures_and_waits_for_running_agents() {
    let machine = machine(&["001-a", "002-b", "003-c", "004-d"]);
    let process = machine.process(1);
    let options = Options { max_failures: 1, parallel: 2, ..options() };
    let (mut session, _) = open(host(&process), &options).unwrap();
    let step = session.advance(host(&process), &[], 2).unwrap();
    let failed = ended(&step.start[0], Outcome::Failed("no".to_owned()));
    let after = session.advance(host(&process), &[failed], 1).unwrap();
    assert!(after.start.is_empty() && !after.finished);
    let done = ended(&step.start[1], Outcome::Completed);
    assert!(session.advance(host(&process), &[done], 2).unwrap().finished);
    let summary = session.close(host(&process), CloseReason::Ended).unwrap();
    assert_eq!((summary.remaining.len(), summary.blocked.len()), (2, 0));
    assert!(summary.resumable);
    assert_eq!(summary.events.last().unwrap().reason.as_deref(), Some("max-failures"));
    let process = machine.process(2);
    let summary = run(&process, &options, |_| Outcome::Completed);
    assert_eq!(summary.completed.len(), 3, "failures are counted from each opening");
}

#[test]
fn several_items_that_reach_a_limit_cause_one_pause() {
    let machine = machine(&THREE);
    let process = machine.process(1);
    let options = Options { parallel: 3, ..options() };
    let (mut session, _) = open(host(&process), &options).unwrap();
    let step = session.advance(host(&process), &[], 3).unwrap();
    let paused = |attempt| ended(attempt, Outcome::Paused);
    let reports: Vec<Report> = step.start.iter().map(paused).collect();
    session.advance(host(&process), &reports, 3).unwrap();
    let untils: Vec<Value> =
        events(&machine, "batch-paused").iter().map(|event| event["until"].clone()).collect();
    assert!(untils.len() == 3 && untils.iter().all(|until| *until == untils[0]), "{untils:?}");
    machine.clock.set(machine.clock.get() + 60_000);
    assert_eq!(session.advance(host(&process), &[], 3).unwrap().start.len(), 3);
    assert_eq!(events(&machine, "batch-resumed").len(), 1);
}

#[test]
fn a_batch_that_runs_or_is_suspended_for_days_is_not_stale() {
    let machine = machine(&THREE);
    let process = machine.process(1);
    let (mut session, _) = open(host(&process), &options()).unwrap();
    session.advance(host(&process), &[], 1).unwrap();
    // The machine is suspended for longer than 24 hours.
    machine.clock.set(machine.clock.get() + 2 * DAY);
    let other = machine.process(2);
    let Err(OpenError::Busy(holder)) = open(host(&other), &options()) else { panic!() };
    assert!(holder.locked && !holder.transient);
    let found = doctor::diagnose(host(&other)).into_iter().map(|finding| finding.code);
    assert_eq!(found.collect::<Vec<_>>(), ["MISSING_CONFIG", "MISSING_PROMPTS"]);
    assert!(matches!(fix(host(&other)), Err(doctor::RepairError::Busy(_))));
    session.advance(host(&process), &[], 1).unwrap();
    let age = machine.clock.get()
        - Timestamp::parse(progress(&machine)["updated_at"].as_str().unwrap()).unwrap().as_millis();
    assert!(age < 60_000, "{age} ms");
}

/// A batch that was killed while process 77 worked on its item.
fn killed_beside_an_agent() -> Rc<Machine> {
    let machine = machine(&THREE);
    let process = machine.process(1);
    let (mut session, _) = open(host(&process), &options()).unwrap();
    let step = session.advance(host(&process), &[], 1).unwrap();
    machine.process(77);
    let started = Report::Started(Started {
        item: step.start[0].item.clone(),
        attempt: 1,
        process: crate::io::memory::process(77),
    });
    session.advance(host(&process), &[started], 0).unwrap();
    // Long enough for a snapshot that has the event already.
    machine.clock.set(machine.clock.get() + 120_000);
    session.advance(host(&process), &[], 0).unwrap();
    assert_eq!(progress(&machine)["journal"]["workers"]["001-a"]["pid"], 77);
    machine.kill(1);
    machine
}

#[test]
fn leftover_processes_are_ended_before_anything_starts() {
    let machine = killed_beside_an_agent();
    machine.marked.borrow_mut().push(leftover(78, Some("001-a"), true));
    let process = machine.process(2);
    let findings = doctor::diagnose(host(&process));
    let orphans: Vec<_> =
        findings.iter().filter(|finding| finding.code == "ORPHANED_AGENT").collect();
    assert_eq!(orphans.len(), 1);
    assert!(orphans[0].message.contains("pid 78, 77 (since 20"), "{}", orphans[0].message);
    assert_eq!(orphans[0].item_id.as_deref(), Some("001-a"));
    open(host(&process), &options()).unwrap();
    assert!(!machine.running.borrow().contains(&77));
    assert!(machine.said("001-a (pid 77), 001-a (pid 78)"));
}

#[test]
fn nothing_starts_while_a_leftover_process_cannot_be_ended() {
    let machine = killed_beside_an_agent();
    machine.immortal.borrow_mut().push(77);
    let process = machine.process(2);
    let Err(OpenError::Leftovers(leftovers)) = open(host(&process), &options()) else { panic!() };
    assert_eq!(leftovers[0].process.pid, 77);
    let report = fix(host(&process)).unwrap();
    let orphan = report.fixes.iter().find(|fix| fix.diagnostic.code == "ORPHANED_AGENT");
    assert!(!orphan.unwrap().fixed);
    machine.immortal.borrow_mut().clear();
    let report = fix(host(&process)).unwrap();
    assert!(report.fixes.iter().all(|fix| fix.fixed), "{:?}", report.fixes);
    open(host(&process), &options()).unwrap();
}

#[test]
fn no_process_is_ended_while_the_owner_may_be_running() {
    let machine = killed_beside_an_agent();
    machine.unknown.borrow_mut().push(1);
    let process = machine.process(2);
    assert!(matches!(open(host(&process), &options()), Err(OpenError::Busy(_))));
    assert!(machine.running.borrow().contains(&77));
}

#[test]
fn a_process_that_is_not_proven_to_be_an_agent_is_reported_and_never_ended() {
    let machine = killed_beside_an_agent();
    machine.unmarked.borrow_mut().push(77);
    let process = machine.process(2);
    let findings = doctor::diagnose(host(&process));
    let orphan = findings.iter().find(|finding| finding.code == "ORPHANED_AGENT").unwrap();
    assert!(!orphan.fixable && orphan.message.contains("nothing proves it"), "{orphan:?}");
    fix(host(&process)).unwrap();
    let Err(OpenError::Leftovers(unproven)) = open(host(&process), &options()) else { panic!() };
    assert_eq!((unproven[0].process.pid, unproven[0].proven), (77, false));
    let options = Options { take_over: true, ..options() };
    open(host(&process), &options).unwrap();
    assert!(machine.said("Not proven to be agents, and therefore not signaled: 001-a (pid 77)"));
    assert!(machine.running.borrow().contains(&77));
}

#[test]
fn a_lost_agent_fails_its_item_without_a_retry() {
    let machine = machine(&THREE);
    let process = machine.process(1);
    let options = Options { retries: 3, ..options() };
    let (mut session, _) = open(host(&process), &options).unwrap();
    let step = session.advance(host(&process), &[], 1).unwrap();
    let lost = ended(&step.start[0], Outcome::Lost("it hangs".to_owned()));
    let step = session.advance(host(&process), &[lost], 1).unwrap();
    assert_eq!(step.start[0].item, "002-b", "the batch continues");
    assert!(events(&machine, "item-retrying").is_empty());
    assert_eq!(events(&machine, "item-failed")[0]["reason"], "lost");
}

#[test]
fn fewer_agents_run_if_the_system_lacks_resources_without_a_pause() {
    let machine = machine(&["001-a", "002-b", "003-c", "004-d"]);
    let process = machine.process(1);
    let options = Options { parallel: 4, ..options() };
    let (mut session, _) = open(host(&process), &options).unwrap();
    let step = session.advance(host(&process), &[], 4).unwrap();
    assert_eq!(step.start.len(), 4);
    let not_started = |index: usize| {
        ended(&step.start[index], Outcome::OutOfResources("too many open files".to_owned()))
    };
    let next = session.advance(host(&process), &[not_started(2), not_started(3)], 2).unwrap();
    assert!(next.start.is_empty() && next.paused_until.is_none());
    assert!(machine.said("From now on, at most 2 run at once"));
    let done = ended(&step.start[0], Outcome::Completed);
    let next = session.advance(host(&process), &[done], 3).unwrap();
    assert_eq!(next.start.iter().map(|start| start.item.as_str()).collect::<Vec<_>>(), ["003-c"]);
    // With no other agent running, it is a failure.
    let done = ended(&step.start[1], Outcome::Completed);
    session.advance(host(&process), &[done], 0).unwrap();
    let alone = ended(&next.start[0], Outcome::OutOfResources("too many open files".to_owned()));
    session.advance(host(&process), &[alone], 0).unwrap();
    assert_eq!(
        events(&machine, "item-failed")[0]["error"],
        "the agent could not be started: too many open files"
    );
}
