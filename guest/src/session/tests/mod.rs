//! Sessions on a machine in memory.

mod chaos;
mod crashes;
mod durability;
mod endings;
mod feature_runs;
mod idle;
mod lookahead;
mod phases;
mod removed;
mod resuming;
mod running;
mod status;

use std::rc::Rc;

use serde_json::Value;

use super::add::add;
use super::*;
use crate::bindings::exports::wreckit::batch::batch::{
    AddError, AgentChoice, BlockedItem, FailedItem, ItemState as BatchState, OpenError, Options,
};
use crate::bindings::exports::wreckit::batch::session::{
    Call, CloseReason, Ended, Ending, NotStarted, Opening, Origin, Report, SessionError,
    StartFailure, Started, StopCause, Summary,
};
use crate::doctor;
use crate::io::layout;
use crate::io::memory::{Machine, Process};
use crate::session::leftovers::Termination;
use crate::time::Timestamp;

pub(super) const DAY: u64 = 24 * 60 * 60 * 1000;

/// How the agent of a test ends a call.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    Completed,
    Failed(String),
    /// After this many seconds.
    TimedOut(u64),
    Interrupted,
    Paused,
    OutOfResources(String),
    Lost(String),
}

/// What the agent of [`phased`](phases::phased) prints when it is done.
const MARKER: &str = "<promise>COMPLETE</promise>";

pub(crate) fn options() -> Options {
    Options { agent: AgentChoice::Custom, limit_wait: Some(60_000), ..Options::default() }
}

/// A machine with these items, none of them done.
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

pub(crate) fn ended(call: &Call, outcome: Outcome) -> Report {
    let not_started = |failure, reason| Ending::NotStarted(NotStarted { failure, reason });
    let (ending, stopped) = match outcome {
        Outcome::Completed => (Ending::Exited(0), None),
        Outcome::Failed(reason) => (not_started(StartFailure::Failed, reason), None),
        Outcome::TimedOut(_) => (Ending::Signaled(15), Some(StopCause::Timeout)),
        Outcome::Interrupted => (Ending::Signaled(15), Some(StopCause::Interrupt)),
        Outcome::Paused => (Ending::Exited(75), None),
        Outcome::OutOfResources(reason) => {
            (not_started(StartFailure::OutOfResources, reason), None)
        }
        Outcome::Lost(reason) => (Ending::Lost(reason), None),
    };
    let duration = 1;
    let (item, attempt) = (call.item.clone(), call.attempt);
    Report::Ended(Ended { item, attempt, ending, stopped, duration, output: None })
}

/// The same for an agent whose output the session watches.
pub(crate) fn ended_in(session: &mut Session, call: &Call, outcome: Outcome) -> Report {
    if outcome == Outcome::Completed && call.launch.watch_output {
        session.output(&call.item, call.attempt, MARKER.as_bytes());
    }
    ended(call, outcome)
}

/// Runs a session to its end; `work` is the agent.
pub(super) fn finish(
    process: &Process,
    session: &mut Session,
    mut work: impl FnMut(&Call) -> Outcome,
) -> Summary {
    let mut reports = Vec::new();
    loop {
        let step = session.advance(host(process), &reports, 8).unwrap();
        reports = step
            .start
            .iter()
            .map(|call| {
                let outcome = work(call);
                ended_in(session, call, outcome)
            })
            .collect();
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
    work: impl FnMut(&Call) -> Outcome,
) -> Summary {
    let (mut session, _) = open(host(process), options).unwrap();
    finish(process, &mut session, work)
}

/// Starts a batch, completes `done` items, and is killed with the next one in flight.
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

/// An event as the journal has it.
pub(super) fn line(event: &crate::bindings::exports::wreckit::batch::session::Event) -> Value {
    serde_json::from_str(&event.line).unwrap()
}

/// The strings in a field of an event.
pub(super) fn strings(
    event: &crate::bindings::exports::wreckit::batch::session::Event,
    key: &str,
) -> Vec<String> {
    serde_json::from_value(line(event)[key].clone()).unwrap_or_default()
}

pub(super) fn progress(machine: &Machine) -> Value {
    serde_json::from_str(&machine.text(layout::PROGRESS).expect("a progress file")).unwrap()
}

pub(super) fn ids(list: &[FailedItem]) -> Vec<&str> {
    list.iter().map(|failed| failed.item.as_str()).collect()
}

pub(super) fn blocked_ids(list: &[BlockedItem]) -> Vec<&str> {
    list.iter().map(|blocked| blocked.item.as_str()).collect()
}

pub(super) const THREE: [&str; 3] = ["001-a", "002-b", "003-c"];
