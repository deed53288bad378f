//! Taking a feature through its phases.

use std::rc::Rc;

use serde_json::json;

use super::*;
use crate::io::memory::Machine;
use crate::session::{CloseReason, Ended, Outcome, Report};

fn ended(phase: &str, number: u32, outcome: Outcome) -> Report {
    Report::Ended(Ended {
        item: phase.to_owned(),
        attempt: number,
        outcome,
        exit_code: None,
        signal: None,
        duration: 1,
        output: Some("words".to_owned()),
    })
}

/// Runs a feature; `work` is the agent.
fn run(
    machine: &Rc<Machine>,
    options: RunOptions,
    mut work: impl FnMut(&str, u32) -> Outcome,
) -> crate::session::Summary {
    let process = machine.process(1);
    let (mut run, _) = open_run(host(&process), ID, options).unwrap();
    let mut reports = Vec::new();
    loop {
        let step = run.advance(host(&process), &reports, 1).unwrap();
        if step.finished {
            return run.close(host(&process), CloseReason::Ended).unwrap();
        }
        reports = step
            .start
            .iter()
            .map(|attempt| {
                ended(&attempt.item, attempt.number, work(&attempt.item, attempt.number))
            })
            .collect();
        if reports.is_empty() {
            machine.clock.set(machine.clock.get() + step.wake_after);
        }
        for attempt in &step.start {
            machine.put(&attempt.log, "said");
        }
    }
}

#[test]
fn a_run_takes_every_phase_in_its_order_and_a_failed_one_again() {
    let machine = with(&least(&[("planning", "pending"), ("testing", "pending")]));
    let mut called = Vec::new();
    let summary = run(&machine, RunOptions::default(), |phase, number| {
        called.push((phase.to_owned(), number));
        let status = document(&machine)["phases"][phase]["status"].clone();
        assert_eq!(status, "in_progress", "that is on disk before its agent starts");
        if phase == "testing" { Outcome::Failed("no".to_owned()) } else { Outcome::Completed }
    });
    assert_eq!(summary.failed, [("testing".to_owned(), "no".to_owned())]);
    assert_eq!(document(&machine)["phases"]["testing"]["reason"], "no");
    let summary =
        run(&machine, RunOptions { retries: 1, ..RunOptions::default() }, |phase, number| {
            called.push((phase.to_owned(), number));
            if number == 2 { Outcome::TimedOut(5) } else { Outcome::Completed }
        });
    assert_eq!(
        (summary.completed, summary.skipped),
        (vec!["testing".to_owned()], vec!["planning".to_owned()])
    );
    let call = |phase: &str, number| (phase.to_owned(), number);
    assert_eq!(
        called,
        [call("planning", 1), call("testing", 1), call("testing", 2), call("testing", 3)]
    );
    assert_eq!(document(&machine)["status"], "complete");
}

#[test]
fn a_phase_that_wants_approval_waits_for_a_person_and_is_not_called_again() {
    let mut waiting = least(&[("planning", "pending"), ("testing", "pending")]);
    waiting["phases"]["planning"]["approved"] = json!(false);
    let machine = with(&waiting);
    let mut called = Vec::new();
    let mut go = |options: RunOptions| {
        run(&machine, options, |phase, _| {
            called.push(phase.to_owned());
            Outcome::Completed
        })
    };
    for _ in 0..2 {
        let summary = go(RunOptions::default());
        assert_eq!(summary.blocked.len(), 1);
        assert!(summary.blocked[0].1.contains("--approve planning"), "{:?}", summary.blocked);
        assert_eq!(summary.awaits.as_deref(), Some("planning"));
        assert!(summary.resumable);
    }
    let approved = RunOptions { approve: vec!["planning".to_owned()], ..RunOptions::default() };
    assert_eq!(go(approved).completed, ["planning", "testing"]);
    assert_eq!(called, ["planning", "testing"]);
    let after = document(&machine);
    assert_eq!(after["phases"]["planning"]["approved"], true);
    assert_eq!(after["phases"]["planning"].get("awaiting_approval"), None);
    assert_eq!(after["metadata"]["human_checkpoints"], 1);

    let machine = with(&waiting);
    let all = RunOptions { approve_all: true, ..RunOptions::default() };
    assert_eq!(run(&machine, all, |_, _| Outcome::Completed).completed.len(), 2);
    let unknown = RunOptions { approve: vec!["nonsense".to_owned()], ..RunOptions::default() };
    let result = open_run(host(&with(&waiting).process(1)), ID, unknown);
    assert!(matches!(result, Err(FeatureError::Invalid(_))));
}

/// By whatever hands it was completed, or is: nothing runs behind a phase that wants approval and has none.
#[test]
fn approval_is_a_matter_of_the_field_and_not_of_who_moves_the_phase() {
    let mut pending = least(&[("planning", "pending"), ("testing", "pending")]);
    pending["phases"]["planning"]["approved"] = json!(false);
    let wait = |machine: &Rc<Machine>| {
        let summary = run(machine, RunOptions::default(), |_, _| Outcome::Completed);
        assert_eq!(summary.awaits.as_deref(), Some("planning"));
    };
    let by_hand = |machine: &Rc<Machine>, step: Move, set: &[(&str, &str)]| {
        let set = set.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let details = Details { set: set.collect(), ..Details::default() };
        make_move(host(&machine.process(1)), ID, "planning", step, &details)
    };

    // A person approves what an agent has done, by hand.
    let machine = with(&pending);
    wait(&machine);
    assert!(
        illegal(by_hand(&machine, Move::Complete, &[]))
            .contains(&"complete planning --set approved=true".to_owned())
    );
    by_hand(&machine, Move::Complete, &[("approved", "true")]).unwrap();
    let planning = document(&machine)["phases"]["planning"].clone();
    assert_eq!((planning.get("awaiting_approval"), planning.get("reason")), (None, None));
    assert_eq!(
        run(&machine, RunOptions::default(), |_, _| Outcome::Completed).completed,
        ["testing"]
    );

    // Its agent completes it itself.
    let machine = with(&pending);
    by_hand(&machine, Move::Start, &[]).unwrap();
    assert!(by_hand(&machine, Move::Complete, &[]).unwrap().message.contains("not approved"));
    wait(&machine);
    let approved = RunOptions { approve: vec!["planning".to_owned()], ..RunOptions::default() };
    assert_eq!(run(&machine, approved, |_, _| Outcome::Completed).completed, ["testing"]);
    let after = document(&machine);
    assert_eq!(
        (&after["phases"]["planning"]["approved"], &after["status"]),
        (&json!(true), &json!("complete"))
    );

    // Started again instead, and blocked by something else: it waits for no approval any more.
    let machine = with(&pending);
    wait(&machine);
    by_hand(&machine, Move::Start, &[]).unwrap();
    by_hand(&machine, Move::Block, &[]).unwrap();
    assert_eq!(resume(host(&machine.process(1)), ID).unwrap()["next"]["move"], "start");
    let nonsense = by_hand(&machine, Move::Start, &[("approved", "\"yes\"")]);
    assert!(matches!(nonsense, Err(FeatureError::Invalid(_))), "{nonsense:?}");
}

#[test]
fn a_run_that_is_interrupted_or_killed_goes_on_at_its_phase() {
    let machine = with(&least(&[("planning", "pending"), ("testing", "pending")]));
    let summary = run(&machine, RunOptions::default(), |phase, _| match phase {
        "testing" => Outcome::Interrupted,
        _ => Outcome::Completed,
    });
    assert_eq!((summary.remaining, summary.resumable), (vec!["testing".to_owned()], true));
    // Killed with its agent at work.
    let process = machine.process(7);
    let (mut killed, _) = open_run(host(&process), ID, RunOptions::default()).unwrap();
    assert_eq!(killed.advance(host(&process), &[], 1).unwrap().start[0].item, "testing");
    let other = open_run(host(&machine.process(8)), ID, RunOptions::default());
    assert!(matches!(other, Err(FeatureError::Busy(holder)) if !holder.transient));
    machine.kill(7);
    let summary = run(&machine, RunOptions::default(), |_, _| Outcome::Completed);
    assert_eq!(summary.completed, ["testing"]);
}

#[test]
fn a_limit_pauses_the_run_and_fails_nothing() {
    let machine = with(&least(&[("planning", "pending")]));
    let started = machine.clock.get();
    let mut calls = 0;
    let options = RunOptions { limit_wait: 60_000, ..RunOptions::default() };
    let summary = run(&machine, options, |_, _| {
        calls += 1;
        if calls < 3 { Outcome::Paused("limit".to_owned()) } else { Outcome::Completed }
    });
    assert_eq!((summary.completed.len(), calls), (1, 3));
    assert!(machine.clock.get() - started >= 180_000, "a minute, then two");
}

#[test]
fn what_agents_and_others_do_to_the_document_counts() {
    let machine =
        with(&least(&[("planning", "pending"), ("testing", "pending"), ("review", "pending")]));
    let process = machine.process(2);
    // The agent completes its own phase, and blocks the next one.
    let summary = run(&machine, RunOptions::default(), |phase, _| {
        let step = if phase == "planning" { Move::Complete } else { Move::Block };
        let details = Details { reason: Some("no key".to_owned()), ..Details::default() };
        make_move(host(&process), ID, phase, step, &details).unwrap();
        Outcome::Completed
    });
    assert_eq!(summary.completed, ["planning"]);
    assert_eq!(summary.blocked, [("testing".to_owned(), "no key".to_owned())]);
    // One damages the document: the run ends and says so.
    let summary = run(&machine, RunOptions::default(), |_, _| {
        machine.put(FILE, "{");
        Outcome::Completed
    });
    assert!(summary.failed[0].1.contains("invalid JSON"), "{:?}", summary.failed);
}
