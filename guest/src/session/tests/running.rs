//! What runs when, and what is recorded.

use std::collections::HashMap;

use serde_json::json;

use super::*;
use crate::io::memory::Change;

#[test]
fn every_item_becomes_done_and_the_progress_file_is_removed() {
    let machine = machine(&THREE);
    let process = machine.process(1);
    let summary = run(&process, &options(), |_| Outcome::Completed);
    assert_eq!(summary.completed, THREE);
    assert!(!summary.resumable);
    assert!(THREE.iter().all(|id| machine.state_of(id) == "done"));
    assert_eq!(machine.text(layout::PROGRESS), None);
    let last = line(summary.events.last().unwrap());
    assert_eq!(last["event"], "batch-finished");
    assert_eq!(last["completed"], json!(THREE));
}

#[test]
fn an_agent_that_changes_the_state_is_not_overruled() {
    let machine = machine(&THREE[..1]);
    let process = machine.process(1);
    let summary = run(&process, &options(), |_| {
        machine.item("001-a", "in_pr", &[]);
        Outcome::Completed
    });
    assert_eq!(summary.completed, ["001-a"]);
    assert_eq!(machine.state_of("001-a"), "in_pr");
}

#[test]
fn dependents_of_a_failure_are_blocked_and_remain() {
    let machine = Machine::new();
    machine.item("001-a", "idea", &[]);
    machine.item("002-b", "idea", &["001-a"]);
    machine.item("003-c", "idea", &["009-gone"]);
    machine.item("004-d", "idea", &["004-d"]);
    machine.put("items/005-e/item.json", "{}");
    machine.item("006-f", "idea", &["005-e"]);
    let process = machine.process(1);
    let summary = run(&process, &options(), |_| Outcome::Failed("no".to_owned()));
    let reasons: HashMap<&str, &str> =
        summary.blocked.iter().map(|it| (it.item.as_str(), it.reason.as_str())).collect();
    assert_eq!(reasons["002-b"], "depends on 001-a, which failed");
    assert_eq!(reasons["003-c"], "depends on 009-gone, which does not exist");
    assert_eq!(reasons["004-d"], "circular dependency: 004-d -> 004-d");
    assert!(
        reasons["006-f"]
            .starts_with("depends on 005-e, which cannot be used: item.json is invalid")
    );
    assert_eq!(ids(&summary.invalid), ["005-e"]);
    assert!(summary.resumable);
    assert_eq!(summary.remaining, ["002-b", "003-c", "004-d", "006-f"]);
    assert_eq!(progress(&machine)["owner"]["released"], true);
}

#[test]
fn pauses_start_nothing_get_longer_and_retry_the_same_item() {
    let machine = machine(&THREE);
    let process = machine.process(1);
    let (mut session, _) = open(host(&process), &options()).unwrap();
    let mut reports = Vec::new();
    for (number, wait) in [60_000, 120_000, 240_000].into_iter().enumerate() {
        let step = session.advance(host(&process), &reports, 1).unwrap();
        assert_eq!(
            (step.start[0].item.as_str(), step.start[0].attempt),
            ("001-a", number as u32 + 1)
        );
        let paused = ended(&step.start[0], Outcome::Paused);
        let step = session.advance(host(&process), &[paused], 1).unwrap();
        assert!(step.start.is_empty() && !step.finished);
        let until = machine.clock.get() + wait;
        machine.clock.set(until - 10);
        assert!(session.advance(host(&process), &[], 1).unwrap().start.is_empty(), "{wait}");
        machine.clock.set(until);
        reports = Vec::new();
    }
}

#[test]
fn a_full_disk_starts_nothing_and_loses_nothing() {
    let machine = machine(&THREE);
    let process = machine.process(1);
    let (mut session, _) = open(host(&process), &options()).unwrap();
    let step = session.advance(host(&process), &[], 1).unwrap();
    machine.full.set(true);
    let done = [ended(&step.start[0], Outcome::Completed)];
    let failure = session.advance(host(&process), &done, 1).unwrap_err();
    assert!(failure.to_string().contains("No space left on device"), "{failure}");
    assert!(failure.to_string().contains("events.1.jsonl"), "{failure}");
    machine.full.set(false);
    let step = session.advance(host(&process), &[], 1).unwrap();
    assert_eq!((step.counts.completed, step.start[0].item.as_str()), (1, "002-b"));
    drop(session);
    machine.kill(1);
    let process = machine.process(2);
    let (_, opening) = open(host(&process), &options()).unwrap();
    assert_eq!(opening.counts.completed, 1);
    assert!(!machine.said("damaged"), "a torn last line is not damage");
}

#[test]
fn an_unknown_attempt_is_an_error() {
    let machine = machine(&THREE);
    let process = machine.process(1);
    let (mut session, _) = open(host(&process), &options()).unwrap();
    let step = session.advance(host(&process), &[], 1).unwrap();
    let wrong = Call { attempt: 7, ..step.start[0].clone() };
    let answer = session.advance(host(&process), &[ended(&wrong, Outcome::Completed)], 1);
    assert!(matches!(answer, Err(SessionError::UnknownAttempt(_))));
}

#[test]
fn a_preview_changes_nothing_and_shows_what_a_run_would_do() {
    let machine = Machine::new();
    machine.item("001-a", "idea", &["002-b"]);
    machine.item("002-b", "idea", &[]);
    machine.item("003-c", "idea", &["009-x"]);
    machine.item("004-d", "done", &[]);
    let process = machine.process(1);
    let seen = preview(host(&process), &options()).unwrap();
    assert_eq!(seen.queue, ["002-b", "001-a"]);
    assert_eq!(blocked_ids(&seen.blocked), ["003-c"]);
    assert_eq!((seen.resumes, seen.finished), (None, 1));
    assert_eq!(machine.operations(), []);
}

#[test]
fn a_failed_dependency_that_a_person_completed_no_longer_blocks() {
    let machine = machine(&THREE[..1]);
    machine.item("002-b", "idea", &["001-a"]);
    let process = machine.process(1);
    run(&process, &options(), |_| Outcome::Failed("no".to_owned()));
    machine.item("001-a", "done", &[]);
    let summary = run(&process, &options(), |_| Outcome::Completed);
    assert_eq!((summary.completed, summary.blocked), (vec!["002-b".to_owned()], Vec::new()));
}

#[test]
fn a_single_run_waits_for_its_paused_item() {
    let machine = machine(&THREE);
    let process = machine.process(1);
    let single = Options { single: true, ..options() };
    let mut starts = 0;
    let summary = run(&process, &single, |_| {
        starts += 1;
        if starts < 3 { Outcome::Paused } else { Outcome::Completed }
    });
    assert_eq!((starts, summary.completed), (3, vec!["001-a".to_owned()]));
}

#[test]
fn the_progress_file_has_the_documented_keys_in_their_order() {
    let machine = machine(&THREE);
    interrupted(&machine, 1);
    let document = progress(&machine);
    let keys: Vec<&String> = document.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "schema_version",
            "session_id",
            "pid",
            "started_at",
            "updated_at",
            "parallel",
            "queued_items",
            "current_item",
            "completed",
            "failed",
            "skipped",
            "healing_attempts",
            "last_healing_at",
            "in_flight",
            "errors",
            "owner",
            "journal"
        ]
    );
    assert!(machine.text(layout::PROGRESS).unwrap().ends_with("}\n"));
}

#[test]
fn the_intent_is_on_disk_before_the_agent_starts_and_the_result_before_it_counts() {
    let machine = machine(&THREE[..2]);
    let process = machine.process(1);
    let (mut session, _) = open(host(&process), &options()).unwrap();
    let durable_events = || -> Vec<String> {
        let operations = machine.operations();
        let appended = operations.iter().filter_map(|operation| match &operation.change {
            Change::Append(_, text) if operation.durable => {
                Some(String::from_utf8_lossy(text).into_owned())
            }
            _ => None,
        });
        appended.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
    };
    let has = |event: &str, item: &str| {
        durable_events().iter().any(|line| line.contains(event) && line.contains(item))
    };
    let step = session.advance(host(&process), &[], 1).unwrap();
    assert_eq!(step.start[0].item, "001-a");
    assert!(has("item-started", "001-a"));
    let syncs = machine.operations().iter().filter(|operation| operation.durable).count();
    let step =
        session.advance(host(&process), &[ended(&step.start[0], Outcome::Completed)], 1).unwrap();
    assert_eq!(step.counts.completed, 1);
    assert!(has("item-completed", "001-a") && has("item-started", "002-b"));
    let after = machine.operations().iter().filter(|operation| operation.durable).count();
    assert_eq!(after - syncs, 1, "one sync for the result and the next intent");
}

#[test]
fn the_mock_agent_changes_no_item_and_leaves_no_results_to_apply() {
    let machine = machine(&THREE);
    let mock = Options { agent: AgentChoice::Mock(0), ..options() };
    let process = machine.process(1);
    run(&process, &mock, |_| Outcome::Completed);
    assert!(THREE.iter().all(|id| machine.state_of(id) == "idea"));
    let (mut session, _) = open(host(&process), &mock).unwrap();
    let step = session.advance(host(&process), &[], 1).unwrap();
    session.advance(host(&process), &[ended(&step.start[0], Outcome::Completed)], 1).unwrap();
    drop(session);
    machine.kill(1);
    machine.delete(layout::PROGRESS);
    let process = machine.process(2);
    assert_eq!(run(&process, &options(), |_| Outcome::Completed).completed, THREE);
}

#[test]
fn only_the_chosen_items_run_and_the_rest_of_a_resumed_queue_remains() {
    let machine = machine(&THREE);
    interrupted(&machine, 0);
    let process = machine.process(2);
    let chosen = Options { items: vec!["3".to_owned()], ..options() };
    let summary = run(&process, &chosen, |_| Outcome::Completed);
    assert_eq!(
        (summary.completed, summary.remaining),
        (vec!["003-c".to_owned()], vec!["001-a".to_owned(), "002-b".to_owned()])
    );
    assert!(summary.resumable);
    let unknown = Options { items: vec!["9".to_owned()], ..options() };
    let before = machine.operations().len();
    assert!(matches!(open(host(&process), &unknown), Err(OpenError::UnknownItem(_))));
    assert_eq!(machine.operations().len(), before);
}

#[test]
fn next_runs_one_item_and_does_not_change_the_progress_file() {
    let machine = machine(&THREE);
    interrupted(&machine, 1);
    let before = machine.text(layout::PROGRESS);
    let process = machine.process(2);
    let single = Options { single: true, ..options() };
    let summary = run(&process, &single, |_| Outcome::Completed);
    assert_eq!(summary.completed, ["002-b"], "001-a completed in the saved session");
    assert_eq!(machine.text(layout::PROGRESS), before);
    let summary = run(&process, &options(), |_| Outcome::Completed);
    assert_eq!(summary.completed, ["001-a", "003-c"]);
    assert_eq!(summary.skipped, ["002-b"]);
}
