//! A batch against a disk in memory.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::capabilities::Liveness;
use crate::layout;
use crate::memory::{Change, Machine, Node, Process};
use crate::{doctor, runs};

const DAY: u64 = 24 * 60 * 60 * 1000;

fn options() -> Options {
    Options { parallel: 1, limit_wait: 60_000, ..Options::default() }
}

/// A machine with these items, all to do.
fn machine(items: &[&str]) -> Rc<Machine> {
    let machine = Machine::new();
    for id in items {
        machine.item(id, "idea", &[]);
    }
    machine
}

fn tree(process: &Process) -> Tree<'_> {
    Tree::new(process)
}

fn ended(attempt: &Attempt, outcome: Outcome) -> Report {
    Report::Ended(Ended {
        item: attempt.item.clone(),
        attempt: attempt.number,
        outcome,
        exit_code: None,
        signal: None,
        duration: 1,
    })
}

/// Runs a session to its end; `work` is the agent.
fn finish(
    process: &Process,
    session: &mut Session,
    mut work: impl FnMut(&Attempt) -> Outcome,
) -> Summary {
    let mut reports = Vec::new();
    loop {
        let step = session.advance(tree(process), &reports, 8).unwrap();
        reports = step.start.iter().map(|attempt| ended(attempt, work(attempt))).collect();
        if step.finished {
            return session.close(tree(process), CloseReason::Ended).unwrap();
        }
        if reports.is_empty() {
            let machine = &process.machine;
            machine.clock.set(machine.clock.get() + step.wake_after);
        }
    }
}

fn run(process: &Process, options: &Options, work: impl FnMut(&Attempt) -> Outcome) -> Summary {
    let (mut session, _) = open(tree(process), options).unwrap();
    finish(process, &mut session, work)
}

/// Starts a batch, completes `done` items, and is killed with the next one in hand.
fn interrupted(machine: &Rc<Machine>, done: usize) {
    let process = machine.process(100);
    let (mut session, _) = open(tree(&process), &options()).unwrap();
    let mut reports = Vec::new();
    for _ in 0..=done {
        let step = session.advance(tree(&process), &reports, 1).unwrap();
        reports = step.start.iter().map(|attempt| ended(attempt, Outcome::Completed)).collect();
    }
    machine.kill(100);
}

fn progress(machine: &Machine) -> Value {
    serde_json::from_str(&machine.text(layout::PROGRESS).expect("a progress file")).unwrap()
}

fn ids(list: &[(String, String)]) -> Vec<&str> {
    list.iter().map(|(id, _)| id.as_str()).collect()
}

const THREE: [&str; 3] = ["001-a", "002-b", "003-c"];

#[test]
fn every_item_becomes_done_and_the_progress_file_goes() {
    let machine = machine(&THREE);
    let process = machine.process(1);
    let summary = run(&process, &options(), |_| Outcome::Completed);
    assert_eq!(summary.completed, THREE);
    assert!(!summary.resumable);
    assert!(THREE.iter().all(|id| machine.state_of(id) == "done"));
    assert_eq!(machine.text(layout::PROGRESS), None);
    let last = serde_json::to_value(summary.events.last()).unwrap();
    assert_eq!(last["event"], "batch-finished");
    assert_eq!(last["completed"], json!(THREE));
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
fn a_killed_batch_goes_on_where_it_stopped_with_what_was_in_hand_first() {
    let machine = machine(&THREE);
    interrupted(&machine, 1);
    let process = machine.process(2);
    let (mut session, opening) = open(tree(&process), &options()).unwrap();
    assert_eq!(opening.origin, Origin::Resumed);
    assert_eq!(opening.session, progress(&machine)["session_id"]);
    let mut started = Vec::new();
    let summary = finish(&process, &mut session, |attempt| {
        started.push((attempt.item.clone(), attempt.number));
        Outcome::Completed
    });
    assert_eq!(started, [("002-b".to_owned(), 2), ("003-c".to_owned(), 1)]);
    assert_eq!(summary.completed, THREE);
}

#[test]
fn the_intent_is_on_disk_before_the_agent_starts_and_the_result_before_it_counts() {
    let machine = machine(&THREE[..2]);
    let process = machine.process(1);
    let (mut session, _) = open(tree(&process), &options()).unwrap();
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
    let step = session.advance(tree(&process), &[], 1).unwrap();
    assert_eq!(step.start[0].item, "001-a");
    assert!(has("item-started", "001-a"));
    let syncs = machine.operations().iter().filter(|operation| operation.durable).count();
    let step =
        session.advance(tree(&process), &[ended(&step.start[0], Outcome::Completed)], 1).unwrap();
    assert_eq!(step.counts.completed, 1);
    assert!(has("item-completed", "001-a") && has("item-started", "002-b"));
    let after = machine.operations().iter().filter(|operation| operation.durable).count();
    assert_eq!(after - syncs, 1, "one sync for the result and the next intent");
}

#[test]
fn unknown_fields_of_every_file_survive_in_their_order() {
    let machine = machine(&THREE);
    interrupted(&machine, 1);
    let mut document = progress(&machine);
    document["zebra"] = json!({"b": 1, "a": [2.50, null]});
    document["apple"] = json!("kept");
    document["owner"]["shoe"] = json!(44);
    machine.put(layout::PROGRESS, document.to_string());
    let process = machine.process(2);
    let _session = open(tree(&process), &options()).unwrap();
    let text = machine.text(layout::PROGRESS).unwrap();
    let document = progress(&machine);
    let keys: Vec<&String> = document.as_object().unwrap().keys().collect();
    assert_eq!(keys[keys.len() - 2..], ["zebra", "apple"]);
    assert!(text.contains("\"b\": 1,\n    \"a\""), "{text}");
    assert!(machine.text("items/001-a/item.json").unwrap().contains("\"kept\": 2.5"));
}

#[test]
fn failed_items_are_left_alone_unless_they_are_asked_for() {
    let machine = machine(&THREE);
    let process = machine.process(1);
    let (mut session, _) = open(tree(&process), &options()).unwrap();
    let step = session.advance(tree(&process), &[], 1).unwrap();
    let failed = ended(&step.start[0], Outcome::Failed("it broke".to_owned()));
    session.advance(tree(&process), &[failed], 1).unwrap();
    let summary = session.close(tree(&process), CloseReason::Interrupted).unwrap();
    assert_eq!(summary.failed, [("001-a".to_owned(), "it broke".to_owned())]);
    assert_eq!(progress(&machine)["errors"], json!({"001-a": "it broke"}));
    assert!(machine.text("items/001-a/item.json").unwrap().contains("it broke"));

    let mut again = Vec::new();
    let (mut session, _) = open(tree(&process), &options()).unwrap();
    let step = session.advance(tree(&process), &[], 8).unwrap();
    again.extend(step.start.iter().map(|attempt| attempt.item.clone()));
    session.close(tree(&process), CloseReason::Interrupted).unwrap();
    assert_eq!(again, ["002-b"]);

    let retry = Options { retry_failed: true, ..options() };
    let mut started = Vec::new();
    let summary = run(&process, &retry, |attempt| {
        started.push((attempt.item.clone(), attempt.number));
        Outcome::Completed
    });
    assert_eq!(
        started,
        [("002-b".to_owned(), 3), ("001-a".to_owned(), 2), ("003-c".to_owned(), 1)]
    );
    assert_eq!(summary.completed.len(), 3);
    assert!(machine.text("items/001-a/item.json").unwrap().contains("\"last_error\": null"));
}

#[test]
fn a_clean_stop_is_released_and_resumes_from_anywhere() {
    let machine = machine(&THREE);
    let process = machine.process(1);
    let (mut session, _) = open(tree(&process), &options()).unwrap();
    session.advance(tree(&process), &[], 1).unwrap();
    session.close(tree(&process), CloseReason::Interrupted).unwrap();
    assert_eq!(progress(&machine)["owner"]["released"], true);
    assert_eq!(progress(&machine)["in_flight"], json!(["001-a"]));
    machine.unknown.borrow_mut().push(1);
    let other = machine.process(2);
    assert_eq!(open(tree(&other), &options()).unwrap().1.origin, Origin::Resumed);
}

#[test]
fn an_owner_that_runs_or_cannot_be_seen_is_not_robbed_unless_asked() {
    for liveness in [Liveness::Running, Liveness::Unknown] {
        let machine = machine(&THREE);
        interrupted(&machine, 1);
        match liveness {
            Liveness::Unknown => machine.unknown.borrow_mut().push(100),
            _ => machine.running.borrow_mut().push(100),
        }
        let process = machine.process(2);
        let before = machine.operations().len();
        for options in [options(), Options { no_resume: true, ..options() }] {
            let Err(OpenError::Busy(holder)) = open(tree(&process), &options) else { panic!() };
            assert_eq!((holder.pid, holder.liveness), (Some(100), Some(liveness)));
            assert!(!holder.locked && !holder.momentary);
        }
        assert_eq!(machine.operations().len(), before, "nothing was changed");
        let take_over = Options { take_over: true, ..options() };
        assert_eq!(open(tree(&process), &take_over).unwrap().1.origin, Origin::Resumed);
    }
}

#[test]
fn a_second_batch_is_told_who_holds_the_lock() {
    let machine = machine(&THREE);
    let (one, two) = (machine.process(1), machine.process(2));
    let (_session, opening) = open(tree(&one), &options()).unwrap();
    let take_over = Options { take_over: true, ..options() };
    for options in [options(), take_over] {
        let Err(OpenError::Busy(holder)) = open(tree(&two), &options) else { panic!() };
        assert_eq!(holder.session, Some(opening.session.clone()));
        assert_eq!(holder.pid, Some(1));
        assert!(holder.locked && !holder.momentary);
    }
    machine.running.borrow_mut().retain(|pid| *pid != 1);
    let Err(OpenError::Busy(holder)) = open(tree(&two), &options()) else { panic!() };
    assert!(holder.momentary, "its holder is dead: a child has the lock, which passes");
}

#[test]
fn after_a_day_to_the_millisecond_it_still_resumes() {
    for (age, origin) in [(DAY, Origin::Resumed), (DAY + 1, Origin::Fresh)] {
        let machine = machine(&THREE);
        interrupted(&machine, 1);
        let written = machine.process(3);
        let events = runs::all(tree(&written)).unwrap();
        let last = events[0].last.as_ref().unwrap().time;
        machine.clock.set(last.as_millis() + age);
        let process = machine.process(2);
        // The journal knows of a later life than the snapshot: that one counts.
        let mut document = progress(&machine);
        document["updated_at"] = json!(last.to_string());
        machine.put(layout::PROGRESS, document.to_string());
        let (_, opening) = open(tree(&process), &options()).unwrap();
        assert_eq!(opening.origin, origin, "{age}");
        assert_eq!(machine.said("older than 24 hours"), origin == Origin::Fresh);
    }
}

/// However a session is left, what completed in it does not run again.
#[test]
fn a_session_that_is_left_forgets_no_completion() {
    /// What happens to the repository before the next run, and the options of that.
    type Leave = fn(&Rc<Machine>) -> Options;
    let ways: [(&str, Leave); 5] = [
        ("stale", |machine| {
            machine.clock.set(machine.clock.get() + 2 * DAY);
            options()
        }),
        ("--no-resume", |_| Options { no_resume: true, ..options() }),
        ("doctor --fix", |machine| {
            let treatment = doctor::fix(Tree::new(&machine.process(50))).unwrap();
            assert!(treatment.fixes.iter().all(|fix| fix.fixed) && treatment.left.is_empty());
            machine.kill(50);
            options()
        }),
        ("deleted", |machine| {
            machine.delete(layout::PROGRESS);
            options()
        }),
        ("damaged", |machine| {
            machine.put(layout::PROGRESS, "{");
            options()
        }),
    ];
    for (name, leave) in ways {
        let machine = machine(&THREE);
        interrupted(&machine, 2);
        assert_eq!(machine.state_of("002-b"), "idea", "the file trails the journal");
        let options = leave(&machine);
        let process = machine.process(2);
        let mut started = Vec::new();
        run(&process, &options, |attempt| {
            started.push(attempt.item.clone());
            Outcome::Completed
        });
        assert_eq!(started, ["003-c"], "{name}");
        assert!(THREE.iter().all(|id| machine.state_of(id) == "done"), "{name}");
    }
}

#[test]
fn a_file_that_was_changed_since_the_completion_stays_as_it_is() {
    let machine = machine(&THREE);
    interrupted(&machine, 2);
    machine.clock.set(machine.clock.get() + 1000);
    machine.item("001-a", "planned", &[]);
    machine.delete(layout::PROGRESS);
    let process = machine.process(2);
    let mut started = Vec::new();
    run(&process, &options(), |attempt| {
        started.push(attempt.item.clone());
        Outcome::Completed
    });
    assert_eq!(started, ["001-a", "003-c"], "somebody wants 001-a again");
}

#[test]
fn the_mock_agent_changes_no_item_and_leaves_nothing_to_settle() {
    let machine = machine(&THREE);
    let mock = Options { mock: true, ..options() };
    let process = machine.process(1);
    run(&process, &mock, |_| Outcome::Completed);
    assert!(THREE.iter().all(|id| machine.state_of(id) == "idea"));
    let (mut session, _) = open(tree(&process), &mock).unwrap();
    let step = session.advance(tree(&process), &[], 1).unwrap();
    session.advance(tree(&process), &[ended(&step.start[0], Outcome::Completed)], 1).unwrap();
    drop(session);
    machine.kill(1);
    machine.delete(layout::PROGRESS);
    let process = machine.process(2);
    assert_eq!(run(&process, &options(), |_| Outcome::Completed).completed, THREE);
}

#[test]
fn an_agent_that_moved_the_state_itself_is_not_overruled() {
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
fn what_depends_on_a_failure_is_blocked_named_and_kept_for_later() {
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
        summary.blocked.iter().map(|(id, reason)| (id.as_str(), reason.as_str())).collect();
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
fn only_the_chosen_items_run_and_the_rest_of_a_resumed_queue_stays() {
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
    assert!(matches!(open(tree(&process), &unknown), Err(OpenError::Unresolved(_))));
    assert_eq!(machine.operations().len(), before);
}

#[test]
fn new_items_join_a_resumed_queue_and_gone_ones_are_reported() {
    let machine = machine(&THREE);
    interrupted(&machine, 0);
    machine.item("004-new", "idea", &[]);
    machine.delete("items/002-b/item.json");
    machine.delete("items/002-b");
    let process = machine.process(2);
    let summary = run(&process, &options(), |_| Outcome::Completed);
    assert_eq!(summary.completed, ["001-a", "003-c", "004-new"]);
    assert!(machine.said("002-b was queued, but its directory is gone"));
    assert!(!summary.resumable);
}

#[test]
fn next_runs_one_item_and_leaves_the_progress_file_alone() {
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

#[test]
fn a_pause_starts_nothing_waits_longer_each_time_and_tries_the_same_item() {
    let machine = machine(&THREE);
    let process = machine.process(1);
    let (mut session, _) = open(tree(&process), &options()).unwrap();
    let mut reports = Vec::new();
    for (number, wait) in [60_000, 120_000, 240_000].into_iter().enumerate() {
        let step = session.advance(tree(&process), &reports, 1).unwrap();
        assert_eq!(
            (step.start[0].item.as_str(), step.start[0].number),
            ("001-a", number as u32 + 1)
        );
        let paused = ended(&step.start[0], Outcome::Paused("limit".to_owned()));
        let step = session.advance(tree(&process), &[paused], 1).unwrap();
        assert!(step.start.is_empty() && !step.finished);
        let until = machine.clock.get() + wait;
        machine.clock.set(until - 10);
        assert!(session.advance(tree(&process), &[], 1).unwrap().start.is_empty(), "{wait}");
        machine.clock.set(until);
        reports = Vec::new();
    }
}

#[test]
fn a_full_disk_starts_nothing_and_loses_nothing() {
    let machine = machine(&THREE);
    let process = machine.process(1);
    let (mut session, _) = open(tree(&process), &options()).unwrap();
    let step = session.advance(tree(&process), &[], 1).unwrap();
    machine.full.set(true);
    let done = [ended(&step.start[0], Outcome::Completed)];
    let failure = session.advance(tree(&process), &done, 1).unwrap_err();
    assert!(failure.to_string().contains("No space left on device"), "{failure}");
    assert!(failure.to_string().contains("events.1.jsonl"), "{failure}");
    machine.full.set(false);
    let step = session.advance(tree(&process), &[], 1).unwrap();
    assert_eq!((step.counts.completed, step.start[0].item.as_str()), (1, "002-b"));
    drop(session);
    machine.kill(1);
    let process = machine.process(2);
    let (_, opening) = open(tree(&process), &options()).unwrap();
    assert_eq!(opening.counts.completed, 1);
    assert!(!machine.said("damaged"), "a torn end is no damage");
}

#[test]
fn an_unknown_attempt_is_an_error() {
    let machine = machine(&THREE);
    let process = machine.process(1);
    let (mut session, _) = open(tree(&process), &options()).unwrap();
    let step = session.advance(tree(&process), &[], 1).unwrap();
    let wrong = Attempt { number: 7, ..step.start[0].clone() };
    let answer = session.advance(tree(&process), &[ended(&wrong, Outcome::Completed)], 1);
    assert!(matches!(answer, Err(SessionError::UnknownAttempt { .. })));
}

#[test]
fn damage_in_a_journal_is_reported_and_what_stands_before_it_counts() {
    let machine = machine(&THREE);
    interrupted(&machine, 2);
    machine.delete(layout::PROGRESS);
    let path = machine.paths().into_iter().find(|path| path.ends_with("events.1.jsonl")).unwrap();
    let text = machine
        .text(&path)
        .unwrap()
        .replace("\"002-b\",\"attempt\":1,\"duration", "\"002-x\",\"attempt\":1,\"duration");
    machine.put(&path, text);
    let process = machine.process(2);
    let mut started = Vec::new();
    run(&process, &options(), |attempt| {
        started.push(attempt.item.clone());
        Outcome::Completed
    });
    assert_eq!(started, ["002-b", "003-c"]);
    assert!(machine.said("is damaged at byte"));
}

#[test]
fn the_status_shows_what_the_journal_knows_beyond_the_snapshot() {
    let machine = machine(&THREE);
    interrupted(&machine, 2);
    let process = machine.process(2);
    let seen = status(tree(&process)).unwrap();
    assert_eq!((seen.counts.completed, seen.counts.left), (2, 1));
    assert_eq!(seen.owner, Some(Liveness::Exited));
    let standings: Vec<ItemStanding> = seen.items.iter().map(|item| item.standing).collect();
    assert_eq!(standings, [ItemStanding::Completed, ItemStanding::Completed, ItemStanding::Ready]);
    let session: Value = serde_json::from_str(&seen.session.unwrap()).unwrap();
    assert_eq!(session["completed"], json!(["001-a", "002-b"]));
}

#[test]
fn a_preview_changes_nothing_and_shows_what_a_run_would_do() {
    let machine = Machine::new();
    machine.item("001-a", "idea", &["002-b"]);
    machine.item("002-b", "idea", &[]);
    machine.item("003-c", "idea", &["009-x"]);
    machine.item("004-d", "done", &[]);
    let process = machine.process(1);
    let seen = preview(tree(&process), &options()).unwrap();
    assert_eq!(seen.queue, ["002-b", "001-a"]);
    assert_eq!(ids(&seen.blocked), ["003-c"]);
    assert_eq!((seen.resumes, seen.settled), (None, 1));
    assert_eq!(machine.operations(), []);
}

#[test]
fn a_session_of_another_tool_resumes_and_its_journal_alone_tells_it_whole() {
    let machine = machine(&THREE);
    let theirs = json!({
        "schema_version": 1, "session_id": "../odd name", "pid": 74412,
        "started_at": "2023-11-14T22:00:00.000Z", "updated_at": "2023-11-14T22:13:00.000Z",
        "parallel": 1, "queued_items": THREE, "current_item": "002-b",
        "completed": ["001-a"], "failed": [], "skipped": ["000-z"],
    });
    machine.put(layout::PROGRESS, theirs.to_string());
    let process = machine.process(1);
    let (_, opening) = open(tree(&process), &options()).unwrap();
    assert_eq!((opening.origin, opening.session.as_str()), (Origin::Resumed, "../odd name"));
    machine.kill(1);
    machine.put(layout::PROGRESS, "not JSON");
    let process = machine.process(2);
    let (_, opening) = open(tree(&process), &options()).unwrap();
    assert_eq!((opening.origin, opening.session.as_str()), (Origin::Rebuilt, "../odd name"));
    assert_eq!((opening.counts.completed, opening.counts.left, opening.counts.skipped), (1, 2, 1));
}

#[test]
fn what_cannot_be_read_in_place_of_the_progress_file_is_set_aside() {
    for (node, words) in [(Node::Other, "a FIFO"), (Node::Directory, "a directory")] {
        let machine = machine(&THREE);
        machine.put_node(layout::PROGRESS, node.clone());
        let process = machine.process(1);
        let (_, opening) = open(tree(&process), &options()).unwrap();
        assert_eq!(opening.origin, Origin::Fresh);
        assert!(machine.said(words), "{:?}", machine.messages);
        let kept = machine
            .paths()
            .into_iter()
            .any(|path| path.starts_with("backups/") && path.ends_with(layout::PROGRESS));
        assert!(kept);
    }
}

#[test]
fn a_result_that_cannot_be_written_is_kept_until_it_can_be() {
    let machine = machine(&THREE[..2]);
    let process = machine.process(1);
    let file = layout::item_file("001-a");
    let whole = machine.text(&file).unwrap();
    let summary = run(&process, &options(), |attempt| {
        if attempt.item == "001-a" {
            machine.put(&file, "half an agent's edi");
        }
        Outcome::Completed
    });
    assert_eq!(summary.completed, THREE[..2]);
    assert_eq!(ids(&summary.invalid), ["001-a"]);
    assert!(summary.resumable, "something is still to be written");
    // However the session is left while the file is damaged: it is not forgotten.
    let afresh = Options { no_resume: true, ..options() };
    let summary = run(&process, &afresh, |_| panic!("nothing is to run"));
    assert_eq!(ids(&summary.invalid), ["001-a"]);
    // Mended as it was before the result, by a restored backup for instance.
    machine.put(&file, whole);
    let earlier = machine.clock.get() - 1_000_000;
    machine.set_modified(&file, earlier);
    let mut again = Vec::new();
    run(&process, &options(), |attempt| {
        again.push(attempt.item.clone());
        Outcome::Completed
    });
    assert_eq!(again, [""; 0]);
    assert_eq!(machine.state_of("001-a"), "done");
}

#[test]
fn a_dependency_that_failed_and_was_done_by_hand_blocks_no_more() {
    let machine = machine(&THREE[..1]);
    machine.item("002-b", "idea", &["001-a"]);
    let process = machine.process(1);
    run(&process, &options(), |_| Outcome::Failed("no".to_owned()));
    machine.item("001-a", "done", &[]);
    let summary = run(&process, &options(), |_| Outcome::Completed);
    assert_eq!((summary.completed, summary.blocked), (vec!["002-b".to_owned()], Vec::new()));
}

#[test]
fn items_that_a_file_of_other_hands_names_outside_its_queue_are_not_dropped() {
    let machine = machine(&THREE);
    let theirs = json!({
        "schema_version": 1, "session_id": "theirs", "pid": 74412,
        "started_at": "2023-11-14T22:00:00.000Z", "updated_at": "2023-11-14T22:13:00.000Z",
        "parallel": 1, "queued_items": ["001-a"], "current_item": null, "completed": [],
        "failed": ["002-b"], "skipped": [], "in_flight": ["003-c"],
    });
    machine.put(layout::PROGRESS, theirs.to_string());
    let process = machine.process(1);
    let retry = Options { retry_failed: true, ..options() };
    let mut summary = run(&process, &retry, |_| Outcome::Completed);
    summary.completed.sort();
    assert_eq!(summary.completed, THREE);
}

#[test]
fn a_single_run_waits_for_its_paused_item() {
    let machine = machine(&THREE);
    let process = machine.process(1);
    let single = Options { single: true, ..options() };
    let mut starts = 0;
    let summary = run(&process, &single, |_| {
        starts += 1;
        if starts < 3 { Outcome::Paused("limit".to_owned()) } else { Outcome::Completed }
    });
    assert_eq!((starts, summary.completed), (3, vec!["001-a".to_owned()]));
}

#[test]
fn only_the_last_twenty_runs_are_kept() {
    let machine = machine(&THREE[..1]);
    let process = machine.process(1);
    for _ in 0..25 {
        machine.item("001-a", "idea", &[]);
        run(&process, &options(), |_| Outcome::Completed);
    }
    assert_eq!(runs::all(tree(&process)).unwrap().len(), 20);
}

/// How a session is taken up again after a crash.
#[derive(Debug, Clone, Copy)]
enum Way {
    Resume,
    Afresh,
    Delete,
    Doctor,
    DamageAndDoctor,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Power losses and kills at any moment, sessions resumed or left in every way: what was
    /// acknowledged as completed never runs again, no start of an item is numbered twice, and in
    /// the end every item is done.
    #[test]
    fn nothing_acknowledged_is_lost(
        crashes in proptest::collection::vec((0usize..40, any::<bool>(), any::<u64>(), 0u8..5), 0..6),
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
                    doctor::fix(tree(&process)).unwrap();
                }
                Way::DamageAndDoctor => {
                    machine.put(layout::PROGRESS, "{");
                    doctor::fix(tree(&process)).unwrap();
                }
                Way::Resume | Way::Afresh => {}
            }
            let written = machine.operations().len();
            machine.power_until.set(crash.map_or(usize::MAX, |(after, ..)| written + after));
            let options = Options { parallel, no_resume: matches!(way, Way::Afresh), ..options() };
            let died = (|| {
                let (mut session, _) = open(tree(&process), &options).map_err(|_| ())?;
                let mut reports = Vec::new();
                loop {
                    let step = session.advance(tree(&process), &reports, 8).map_err(|_| ())?;
                    for report in &reports {
                        let Report::Ended(ended) = report else { continue };
                        acknowledged.insert(ended.item.clone());
                    }
                    for attempt in &step.start {
                        assert!(!acknowledged.contains(&attempt.item), "{} ran twice", attempt.item);
                        assert!(logs.insert(attempt.log.clone()), "{} twice", attempt.log);
                    }
                    reports = step.start.iter().map(|attempt| ended(attempt, Outcome::Completed)).collect();
                    // Time passes, so that files are brought up to date in between.
                    machine.clock.set(machine.clock.get() + 700);
                    if step.finished {
                        return session.close(tree(&process), CloseReason::Ended).map_err(|_| ());
                    }
                }
            })();
            let Some((_, power, seed, next)) = crash else {
                prop_assert!(died.is_ok());
                break;
            };
            machine.power_until.set(usize::MAX);
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
