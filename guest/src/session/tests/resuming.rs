//! Resuming a session, or abandoning it.

use serde_json::json;

use super::*;
use crate::doctor;
use crate::io::capabilities::ProcessStatus;
use crate::io::memory::Node;
use crate::session::runs;

#[test]
fn a_killed_batch_resumes_with_the_items_in_flight_first() {
    let machine = machine(&THREE);
    interrupted(&machine, 1);
    let process = machine.process(2);
    let (mut session, opening) = open(host(&process), &options()).unwrap();
    assert_eq!(opening.origin, Origin::Resumed);
    assert_eq!(opening.session, progress(&machine)["session_id"]);
    let mut started = Vec::new();
    let summary = finish(&process, &mut session, |attempt| {
        started.push((attempt.item.clone(), attempt.attempt));
        Outcome::Completed
    });
    assert_eq!(started, [("002-b".to_owned(), 2), ("003-c".to_owned(), 1)]);
    assert_eq!(summary.completed, THREE);
}

#[test]
fn unknown_fields_of_every_file_are_preserved_in_order() {
    let machine = machine(&THREE);
    interrupted(&machine, 1);
    let mut document = progress(&machine);
    document["zebra"] = json!({"b": 1, "a": [2.50, null]});
    document["apple"] = json!("preserved");
    document["owner"]["shoe"] = json!(44);
    machine.put(layout::PROGRESS, document.to_string());
    let process = machine.process(2);
    let _session = open(host(&process), &options()).unwrap();
    let text = machine.text(layout::PROGRESS).unwrap();
    let document = progress(&machine);
    let keys: Vec<&String> = document.as_object().unwrap().keys().collect();
    assert_eq!(keys[keys.len() - 2..], ["zebra", "apple"]);
    assert!(text.contains("\"b\": 1,\n    \"a\""), "{text}");
    assert!(machine.text("items/001-a/item.json").unwrap().contains("\"extra\": 2.5"));
}

#[test]
fn failed_items_run_again_only_on_request() {
    let machine = machine(&THREE);
    let process = machine.process(1);
    let (mut session, _) = open(host(&process), &options()).unwrap();
    let step = session.advance(host(&process), &[], 1).unwrap();
    let failed = ended(&step.start[0], Outcome::Failed("it broke".to_owned()));
    session.advance(host(&process), &[failed], 1).unwrap();
    let summary = session.close(host(&process), CloseReason::Interrupted).unwrap();
    assert_eq!(
        (ids(&summary.failed), &*summary.failed[0].error),
        (vec!["001-a"], "the agent could not be started: it broke")
    );
    assert_eq!(
        progress(&machine)["errors"],
        json!({"001-a": "the agent could not be started: it broke"})
    );
    assert!(machine.text("items/001-a/item.json").unwrap().contains("it broke"));

    let mut again = Vec::new();
    let (mut session, _) = open(host(&process), &options()).unwrap();
    let step = session.advance(host(&process), &[], 8).unwrap();
    again.extend(step.start.iter().map(|attempt| attempt.item.clone()));
    session.close(host(&process), CloseReason::Interrupted).unwrap();
    assert_eq!(again, ["002-b"]);

    let retry = Options { retry_failed: true, ..options() };
    let mut started = Vec::new();
    let summary = run(&process, &retry, |attempt| {
        started.push((attempt.item.clone(), attempt.attempt));
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
    let (mut session, _) = open(host(&process), &options()).unwrap();
    session.advance(host(&process), &[], 1).unwrap();
    session.close(host(&process), CloseReason::Interrupted).unwrap();
    assert_eq!(progress(&machine)["owner"]["released"], true);
    assert_eq!(progress(&machine)["in_flight"], json!(["001-a"]));
    machine.unknown.borrow_mut().push(1);
    let other = machine.process(2);
    assert_eq!(open(host(&other), &options()).unwrap().1.origin, Origin::Resumed);
}

#[test]
fn a_session_with_a_running_or_unknown_owner_is_only_taken_over_on_request() {
    for liveness in [ProcessStatus::Running, ProcessStatus::Unknown] {
        let machine = machine(&THREE);
        interrupted(&machine, 1);
        match liveness {
            ProcessStatus::Unknown => machine.unknown.borrow_mut().push(100),
            _ => machine.running.borrow_mut().push(100),
        }
        let process = machine.process(2);
        let before = machine.operations().len();
        for options in [options(), Options { no_resume: true, ..options() }] {
            let Err(OpenError::Busy(holder)) = open(host(&process), &options) else { panic!() };
            assert_eq!((holder.pid, holder.status), (Some(100), Some(liveness)));
            assert!(!holder.locked && !holder.transient);
        }
        assert_eq!(machine.operations().len(), before, "nothing was changed");
        let take_over = Options { take_over: true, ..options() };
        assert_eq!(open(host(&process), &take_over).unwrap().1.origin, Origin::Resumed);
    }
}

#[test]
fn a_second_batch_is_refused_with_the_holder_of_the_lock() {
    let machine = machine(&THREE);
    let (one, two) = (machine.process(1), machine.process(2));
    let (_session, opening) = open(host(&one), &options()).unwrap();
    let take_over = Options { take_over: true, ..options() };
    for options in [options(), take_over] {
        let Err(OpenError::Busy(holder)) = open(host(&two), &options) else { panic!() };
        assert_eq!(holder.session, Some(opening.session.clone()));
        assert_eq!(holder.pid, Some(1));
        assert!(holder.locked && !holder.transient);
    }
    machine.running.borrow_mut().retain(|pid| *pid != 1);
    let Err(OpenError::Busy(holder)) = open(host(&two), &options()) else { panic!() };
    assert!(
        holder.transient,
        "its holder has exited: one of its children has the lock for a moment"
    );
}

#[test]
fn a_session_resumes_for_exactly_24_hours() {
    for (age, origin) in [(DAY, Origin::Resumed), (DAY + 1, Origin::Fresh)] {
        let machine = machine(&THREE);
        interrupted(&machine, 1);
        let written = machine.process(3);
        let events = runs::all(host(&written)).unwrap();
        let last = events[0].last.as_ref().unwrap().time;
        // The clock ticks with every write, and the three of the owner record come first.
        machine.clock.set(last.as_millis() + age - 3);
        let process = machine.process(2);
        // The journal is newer than the snapshot: its time counts.
        let mut document = progress(&machine);
        document["updated_at"] = json!(last.to_string());
        machine.put(layout::PROGRESS, document.to_string());
        let (_, opening) = open(host(&process), &options()).unwrap();
        assert_eq!(opening.origin, origin, "{age}");
        assert_eq!(machine.said("older than 24 hours"), origin == Origin::Fresh);
    }
}

/// However a session is abandoned, what completed in it does not run again.
#[test]
fn an_abandoned_session_loses_no_completion() {
    /// What happens to the repository before the next run, and the options of that.
    type Abandon = fn(&Rc<Machine>) -> Options;
    let ways: [(&str, Abandon); 5] = [
        ("stale", |machine| {
            machine.clock.set(machine.clock.get() + 2 * DAY);
            options()
        }),
        ("--no-resume", |_| Options { no_resume: true, ..options() }),
        ("doctor --fix", |machine| {
            let report = fix(Host::new(&machine.process(50))).unwrap();
            assert!(report.fixes.iter().all(|fix| fix.fixed), "{:?}", report.fixes);
            assert!(report.remaining.iter().all(|it| !it.fixable), "{:?}", report.remaining);
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
    for (name, abandon) in ways {
        let machine = machine(&THREE);
        interrupted(&machine, 2);
        assert_eq!(machine.state_of("002-b"), "idea", "the file trails the journal");
        let options = abandon(&machine);
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
fn a_file_that_was_changed_since_the_completion_is_not_overwritten() {
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
    assert_eq!(started, ["001-a", "003-c"], "a person queued 001-a again");
}

/// A snapshot with results that its journal does not have, or with a wrong digit in its mark, hides no result.
#[test]
fn a_snapshot_with_a_wrong_mark_hides_no_result() {
    let valid = machine(&THREE);
    interrupted(&valid, 2);
    let text = valid.text(layout::PROGRESS).unwrap();
    let events = progress(&valid)["journal"]["events"].as_u64().unwrap();
    let with = |events: u64, keep: bool| {
        let mut document = progress(&valid);
        document["journal"]["events"] = events.into();
        document["completed"] = serde_json::json!(["001-a", "002-b"]);
        document["in_flight"] = serde_json::json!(["003-c"]);
        if !keep {
            // As an earlier build wrote it.
            document["journal"].as_object_mut().unwrap().remove("checksum");
        }
        document.to_string()
    };
    assert!(text.contains("checksum"), "{text}");
    for (wrong, keep) in [(events + 2, true), (events + 7, true), (1000, true), (1000, false)] {
        let machine = machine(&THREE);
        interrupted(&machine, 2);
        machine.put(layout::PROGRESS, with(wrong, keep));
        let diagnostics = doctor::diagnose(Host::new(&machine.process(3)));
        let codes: Vec<&str> = diagnostics.iter().map(|found| found.code.as_str()).collect();
        assert!(codes.contains(&"BATCH_PROGRESS_CORRUPT"), "{wrong} {keep}: {codes:?}");
        let mut started = Vec::new();
        run(&machine.process(2), &options(), |attempt| {
            started.push(attempt.item.clone());
            Outcome::Completed
        });
        assert_eq!(started, ["003-c"], "{wrong} {keep}");
        assert!(THREE.iter().all(|id| machine.state_of(id) == "done"), "{wrong} {keep}");
        assert!(machine.said("checked against its item.json"), "{:?}", machine.messages);

        let machine = self::machine(&THREE);
        interrupted(&machine, 2);
        machine.put(layout::PROGRESS, with(wrong, keep));
        let report = fix(Host::new(&machine.process(4))).unwrap();
        assert!(report.fixes.iter().all(|fix| fix.fixed), "{:?}", report.fixes);
        assert_eq!(machine.state_of("001-a"), "done");
        machine.kill(4);
        let summary = run(&machine.process(2), &options(), |_| Outcome::Completed);
        assert_eq!(summary.completed.len(), 3);
    }
}

/// Only the content of the file counts, not its modification time.
#[test]
fn a_touch_an_edited_title_or_a_clock_set_back_drops_no_result() {
    type Meddle = fn(&Machine, &str);
    let ways: [(&str, Meddle); 3] = [
        ("touch", |machine, file| machine.set_modified(file, u64::MAX / 2)),
        ("edited title", |machine, file| {
            let text = machine.text(file).unwrap().replace("Title of", "Better title of");
            machine.put(file, text);
            machine.set_modified(file, u64::MAX / 2);
        }),
        ("clock set back", |machine, _| machine.clock.set(machine.clock.get() - 20 * DAY)),
    ];
    for (name, meddle) in ways {
        for forget in [false, true] {
            let machine = machine(&THREE);
            interrupted(&machine, 2);
            meddle(&machine, &layout::item_file("001-a"));
            if forget {
                machine.delete(layout::PROGRESS);
            }
            let mut started = Vec::new();
            run(&machine.process(2), &options(), |attempt| {
                started.push(attempt.item.clone());
                Outcome::Completed
            });
            assert_eq!(started, ["003-c"], "{name}");
            assert!(THREE.iter().all(|id| machine.state_of(id) == "done"), "{name}");
        }
    }
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
    assert!(machine.said("002-b was queued, but it does not exist any more"));
    assert!(!summary.resumable);
}

#[test]
fn damage_in_a_journal_is_reported_and_the_lines_around_it_count() {
    let machine = machine(&THREE);
    interrupted(&machine, 2);
    machine.delete(layout::PROGRESS);
    let path = machine.paths().into_iter().find(|path| path.ends_with("events.1.jsonl")).unwrap();
    let text = machine
        .text(&path)
        .unwrap()
        .replace("\"001-a\",\"attempt\":1,\"exit_code", "\"001-x\",\"attempt\":1,\"exit_code");
    machine.put(&path, text);
    // The session is resumed with the damage, and what is written then does not hide anything.
    drop(open(host(&machine.process(2)), &options()).unwrap());
    machine.kill(2);
    assert!(machine.said("is damaged at byte"));
    let valid: String = machine
        .text(&path)
        .unwrap()
        .lines()
        .filter(|line| !line.contains("001-x"))
        .map(|line| format!("{line}\n"))
        .collect();
    machine.put(&path, valid);
    machine.delete(layout::PROGRESS);
    let mut started = Vec::new();
    run(&machine.process(3), &options(), |attempt| {
        started.push(attempt.item.clone());
        Outcome::Completed
    });
    assert_eq!(started, ["001-a", "003-c"]);
}

/// Both the progress file and the beginning of the journal are missing.
#[test]
fn a_journal_without_its_beginning_still_has_its_results() {
    let machine = machine(&THREE);
    interrupted(&machine, 2);
    machine.delete(layout::PROGRESS);
    let path = machine.paths().into_iter().find(|path| path.ends_with("events.1.jsonl")).unwrap();
    let text = machine.text(&path).unwrap().replacen("batch-started", "batch-stopped", 1);
    machine.put(&path, text);
    let mut started = Vec::new();
    run(&machine.process(2), &options(), |attempt| {
        started.push(attempt.item.clone());
        Outcome::Completed
    });
    assert_eq!(started, ["003-c"]);
}

#[test]
fn a_session_of_another_tool_resumes_and_can_be_rebuilt_from_its_journal() {
    let machine = machine(&THREE);
    let theirs = json!({
        "schema_version": 1, "session_id": "../odd name", "pid": 74412,
        "started_at": "2023-11-14T22:00:00.000Z", "updated_at": "2023-11-14T22:13:00.000Z",
        "parallel": 1, "queued_items": THREE, "current_item": "002-b",
        "completed": ["001-a"], "failed": [], "skipped": ["000-z"],
    });
    machine.put(layout::PROGRESS, theirs.to_string());
    let process = machine.process(1);
    let (_, opening) = open(host(&process), &options()).unwrap();
    assert_eq!((opening.origin, opening.session.as_str()), (Origin::Resumed, "../odd name"));
    machine.kill(1);
    machine.put(layout::PROGRESS, "not JSON");
    let process = machine.process(2);
    let (_, opening) = open(host(&process), &options()).unwrap();
    assert_eq!((opening.origin, opening.session.as_str()), (Origin::Rebuilt, "../odd name"));
    assert_eq!(
        (opening.counts.completed, opening.counts.remaining, opening.counts.skipped),
        (1, 2, 1)
    );
}

#[test]
fn an_unreadable_entry_in_place_of_the_progress_file_is_set_aside() {
    for (node, words) in [(Node::Other, "a FIFO"), (Node::Directory, "a directory")] {
        let machine = machine(&THREE);
        machine.put_node(layout::PROGRESS, node.clone());
        let process = machine.process(1);
        let (_, opening) = open(host(&process), &options()).unwrap();
        assert_eq!(opening.origin, Origin::Fresh);
        assert!(machine.said(words), "{:?}", machine.messages);
        let is_in_backup = machine
            .paths()
            .into_iter()
            .any(|path| path.starts_with("backups/") && path.ends_with(layout::PROGRESS));
        assert!(is_in_backup);
    }
}

#[test]
fn a_result_that_cannot_be_written_is_retried_until_it_can_be() {
    let machine = machine(&THREE[..2]);
    let process = machine.process(1);
    let file = layout::item_file("001-a");
    let original = machine.text(&file).unwrap();
    let summary = run(&process, &options(), |attempt| {
        if attempt.item == "001-a" {
            machine.put(&file, "half an agent's edi");
        }
        Outcome::Completed
    });
    assert_eq!(summary.completed, THREE[..2]);
    assert_eq!(ids(&summary.invalid), ["001-a"]);
    assert!(summary.resumable, "something is still to be written");
    // The result is not lost, even if the session is abandoned while the file is damaged.
    let afresh = Options { no_resume: true, ..options() };
    let summary = run(&process, &afresh, |_| panic!("nothing should run"));
    assert_eq!(ids(&summary.invalid), ["001-a"]);
    // The file is restored as it was before the result.
    machine.put(&file, original);
    let mut again = Vec::new();
    run(&process, &options(), |attempt| {
        again.push(attempt.item.clone());
        Outcome::Completed
    });
    assert_eq!(again, [""; 0]);
    assert_eq!(machine.state_of("001-a"), "done");
}

#[test]
fn items_that_another_tool_lists_outside_its_queue_are_not_dropped() {
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
fn only_the_last_twenty_sessions_are_retained() {
    let machine = machine(&THREE[..1]);
    let process = machine.process(1);
    for _ in 0..25 {
        machine.item("001-a", "idea", &[]);
        run(&process, &options(), |_| Outcome::Completed);
    }
    assert_eq!(runs::all(host(&process)).unwrap().len(), 20);
}
