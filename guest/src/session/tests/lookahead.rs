//! Attempts whose intent is durable before a slot is free.

use super::*;
use crate::bindings::exports::wreckit::batch::session::StartFailure;

fn lookahead(attempts: u32) -> Options {
    Options { lookahead: attempts, ..options() }
}

fn items(calls: &[Call]) -> Vec<&str> {
    calls.iter().map(|call| call.item.as_str()).collect()
}

fn handed_back(call: &Call) -> Report {
    let failure = StartFailure::HandedBack;
    let not_started = NotStarted { failure, reason: "the session is stopping".to_owned() };
    Report::Ended(Ended {
        item: call.item.clone(),
        attempt: call.attempt,
        ending: Ending::NotStarted(not_started),
        stopped: None,
        duration: 0,
        output: None,
    })
}

#[test]
fn a_step_returns_attempts_beyond_the_free_slots() {
    let machine = machine(&["001-a", "002-b", "003-c", "004-d"]);
    let process = machine.process(1);
    let (mut session, _) = open(host(&process), &lookahead(2)).unwrap();
    let first = session.advance(host(&process), &[], 1).unwrap().start;
    assert_eq!(items(&first), ["001-a", "002-b", "003-c"]);
    // Nothing more while they wait.
    assert!(session.advance(host(&process), &[], 0).unwrap().start.is_empty());
    let done = ended(&first[0], Outcome::Completed);
    assert_eq!(items(&session.advance(host(&process), &[done], 0).unwrap().start), ["004-d"]);
}

#[test]
fn only_attempts_whose_dependencies_have_completed_are_handed_out_early() {
    let machine = machine(&["001-a", "003-c"]);
    machine.item("002-b", "idea", &["001-a"]);
    let process = machine.process(1);
    let (mut session, _) = open(host(&process), &lookahead(5)).unwrap();
    let first = session.advance(host(&process), &[], 1).unwrap().start;
    assert_eq!(items(&first), ["001-a", "003-c"]);
}

#[test]
fn attempts_that_are_handed_back_have_not_failed_and_start_again_first() {
    let machine = machine(&["001-a", "002-b", "003-c"]);
    let process = machine.process(1);
    let (mut session, _) = open(host(&process), &lookahead(1)).unwrap();
    let first = session.advance(host(&process), &[], 1).unwrap().start;
    let reports = [ended(&first[0], Outcome::Interrupted), handed_back(&first[1])];
    session.advance(host(&process), &reports, 0).unwrap();
    let summary = session.close(host(&process), CloseReason::Interrupted).unwrap();
    assert!(summary.failed.is_empty() && summary.resumable);
    let process = machine.process(2);
    let (mut session, _) = open(host(&process), &options()).unwrap();
    let next = session.advance(host(&process), &[], 3).unwrap().start;
    assert_eq!((next[0].item.as_str(), next[0].attempt), ("001-a", 2));
    let done = ended(&next[0], Outcome::Completed);
    let next = session.advance(host(&process), &[done], 1).unwrap().start;
    assert_eq!((next[0].item.as_str(), next[0].attempt), ("002-b", 2));
}

#[test]
fn a_crash_treats_them_like_any_attempt_in_flight() {
    let machine = machine(&["001-a", "002-b"]);
    let killed = machine.process(1);
    let (mut session, _) = open(host(&killed), &lookahead(1)).unwrap();
    assert_eq!(session.advance(host(&killed), &[], 1).unwrap().start.len(), 2);
    machine.kill(1);
    let process = machine.process(2);
    let (mut session, opening) = open(host(&process), &options()).unwrap();
    assert_eq!(opening.counts.in_flight, 2);
    assert_eq!(finish(&process, &mut session, |_| Outcome::Completed).completed.len(), 2);
}
