//! A batch against a disk in memory.

mod chaos;
mod crashes;
mod durability;
mod endings;
mod phases;
mod removed;
mod resuming;
mod running;

use std::rc::Rc;

use serde_json::Value;

use super::*;
use crate::doctor;
use crate::formats::layout;
use crate::io::memory::{Machine, Process};
use crate::io::time::Timestamp;
use crate::session::leftovers::Termination;

pub(super) const DAY: u64 = 24 * 60 * 60 * 1000;

pub(super) fn options() -> Options {
    Options { parallel: 1, limit_wait: 60_000, ..Options::default() }
}

/// A machine with these items, all to do.
pub(super) fn machine(items: &[&str]) -> Rc<Machine> {
    let machine = Machine::new();
    for id in items {
        machine.item(id, "idea", &[]);
    }
    machine
}

/// Opens a session, and waits until leftover processes have exited.
pub(crate) fn open(host: Host<'_>, options: &Options) -> Result<(Session, Opening), OpenError> {
    let mut termination = Termination::default();
    loop {
        match super::open(host, options, &mut termination) {
            Err(OpenError::Terminating(_)) => {}
            opened => return opened,
        }
    }
}

/// Fixes what `doctor` finds, and waits until leftover processes have exited.
pub(crate) fn fix(host: Host<'_>) -> Result<doctor::FixReport, doctor::RepairError> {
    let mut termination = Termination::default();
    loop {
        match doctor::fix(host, &mut termination) {
            Err(doctor::RepairError::Terminating(_)) => {}
            fixed => return fixed,
        }
    }
}

pub(super) fn host(process: &Process) -> Host<'_> {
    Host::new(process)
}

pub(super) fn ended(attempt: &Attempt, outcome: Outcome) -> Report {
    Report::Ended(Ended {
        item: attempt.item.clone(),
        attempt: attempt.number,
        outcome,
        exit_code: None,
        signal: None,
        duration: 1,
        output: None,
    })
}

/// Runs a session to its end; `work` is the agent.
pub(super) fn finish(
    process: &Process,
    session: &mut Session,
    mut work: impl FnMut(&Attempt) -> Outcome,
) -> Summary {
    let mut reports = Vec::new();
    loop {
        let step = session.advance(host(process), &reports, 8).unwrap();
        reports = step.start.iter().map(|attempt| ended(attempt, work(attempt))).collect();
        if step.finished {
            return session.close(host(process), CloseReason::Ended).unwrap();
        }
        if reports.is_empty() {
            let machine = &process.machine;
            machine.clock.set(machine.clock.get() + step.wake_after);
        }
    }
}

pub(super) fn run(
    process: &Process,
    options: &Options,
    work: impl FnMut(&Attempt) -> Outcome,
) -> Summary {
    let (mut session, _) = open(host(process), options).unwrap();
    finish(process, &mut session, work)
}

/// Starts a batch, completes `done` items, and is killed with the next one in hand.
pub(super) fn interrupted(machine: &Rc<Machine>, done: usize) {
    let process = machine.process(100);
    let (mut session, _) = open(host(&process), &options()).unwrap();
    let mut reports = Vec::new();
    for _ in 0..=done {
        let step = session.advance(host(&process), &reports, 1).unwrap();
        reports = step.start.iter().map(|attempt| ended(attempt, Outcome::Completed)).collect();
    }
    machine.kill(100);
}

pub(super) fn progress(machine: &Machine) -> Value {
    serde_json::from_str(&machine.text(layout::PROGRESS).expect("a progress file")).unwrap()
}

pub(super) fn ids(list: &[(String, String)]) -> Vec<&str> {
    list.iter().map(|(id, _)| id.as_str()).collect()
}

pub(super) const THREE: [&str; 3] = ["001-a", "002-b", "003-c"];
