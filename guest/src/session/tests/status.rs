//! The status of a repository, and adding items.

use serde_json::json;

use super::*;
use crate::io::capabilities::{FileSystem, LockState, ProcessStatus};

#[test]
fn the_status_includes_events_after_the_snapshot() {
    let machine = machine(&THREE);
    interrupted(&machine, 2);
    let process = machine.process(2);
    let seen = status(host(&process)).unwrap();
    assert_eq!((seen.counts.completed, seen.counts.remaining), (2, 1));
    assert_eq!(seen.owner, Some(ProcessStatus::Exited));
    let states: Vec<BatchState> = seen.items.iter().map(|item| item.batch_state).collect();
    assert_eq!(states, [BatchState::Completed, BatchState::Completed, BatchState::Ready]);
    let session: Value = serde_json::from_str(&seen.session.unwrap()).unwrap();
    assert_eq!(session["completed"], json!(["001-a", "002-b"]));
}

#[test]
fn the_status_includes_the_journal_of_a_killed_single_run() {
    let machine = machine(&THREE);
    let process = machine.process(1);
    let single = Options { single: true, ..options() };
    let (mut session, _) = open(host(&process), &single).unwrap();
    let step = session.advance(host(&process), &[], 1).unwrap();
    session.advance(host(&process), &[ended(&step.start[0], Outcome::Completed)], 1).unwrap();
    machine.kill(1);
    assert_eq!(machine.state_of("001-a"), "idea", "the file trails the journal");
    let status = status(host(&machine.process(2))).unwrap();
    let first = &status.items[0];
    assert_eq!((first.state.as_str(), first.batch_state), ("done", BatchState::Completed));
}

/// A process that adds items excludes another one that does.
#[test]
fn two_processes_that_add_items_never_use_the_same_number() {
    let machine = machine(&THREE);
    let (one, other) = (machine.process(1), machine.process(2));
    assert_eq!(one.lock(layout::ITEMS, b""), Ok(LockState { held: false, note: Vec::new() }));
    assert_eq!(add(host(&other), &["d".to_owned()]), Err(AddError::Busy));
    one.unlock(layout::ITEMS).unwrap();
    assert_eq!(add(host(&other), &["d".to_owned()]).unwrap(), ["004-d"]);
    assert_eq!(add(host(&one), &["e".to_owned(), "f".to_owned()]).unwrap(), ["005-e", "006-f"]);
}
