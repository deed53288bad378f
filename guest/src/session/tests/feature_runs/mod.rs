//! Running the phases of a feature, against a machine in memory.

mod crashes;

use std::rc::Rc;

use serde_json::{Map, Value, json};

use super::super::open_feature;
use super::{Outcome, ended, options};
use crate::bindings::exports::wreckit::batch::batch::Options;
use crate::bindings::exports::wreckit::batch::feature::{
    Details, FeatureError, Field, PhaseMove as Move, RunOptions,
};
use crate::bindings::exports::wreckit::batch::session::{
    Call, CloseReason, Opening, Origin, Summary,
};
use crate::feature::{move_phase, resume};
use crate::io::host::Host;
use crate::io::layout::FEATURES;
use crate::io::memory::{Machine, Process, process};
use crate::session::Session;
use crate::session::leftovers::Termination;

const ID: &str = "asset-export_20260301_081500";
const FILE: &str = "asset-export_20260301_081500/progress.json";

fn host(process: &Process) -> Host<'_> {
    Host::with_layout(process, &FEATURES)
}

/// A machine whose disk has a feature with these phases.
fn machine(phases: &[(&str, &str)]) -> Rc<Machine> {
    with(&least(phases))
}

fn with(document: &Value) -> Rc<Machine> {
    let machine = Machine::new();
    machine.clock.set(1_900_000_000_000);
    machine.put(FILE, document.to_string());
    machine
}

/// The least that a document needs.
fn least(phases: &[(&str, &str)]) -> Value {
    let phases: Map<String, Value> = phases
        .iter()
        .map(|(name, status)| ((*name).to_owned(), json!({"status": status})))
        .collect();
    json!({
        "feature_id": ID, "feature_name": "Asset Export", "created": "2026-03-01T08:15:00Z",
        "updated": "2026-03-01T08:15:00Z", "current_phase": "planning", "status": "in_progress",
        "phases": phases,
    })
}

fn document(machine: &Machine) -> Value {
    serde_json::from_str(&machine.text(FILE).expect("a file")).expect("JSON")
}

fn run_options() -> RunOptions {
    RunOptions {
        session: options(),
        agent_name: "agent".to_owned(),
        approve: Vec::new(),
        approve_all: false,
        worktree: None,
        configuration: Vec::new(),
    }
}

fn retrying(retries: u32) -> RunOptions {
    RunOptions { session: Options { retries, ..options() }, ..run_options() }
}

fn approving(phase: &str) -> RunOptions {
    RunOptions { approve: vec![phase.to_owned()], ..run_options() }
}

/// The moves that are legal instead of one that was refused.
fn legal_moves<T: std::fmt::Debug>(result: Result<T, FeatureError>) -> Vec<String> {
    match result {
        Err(FeatureError::Illegal(illegal)) => illegal.legal,
        other => panic!("{other:?}"),
    }
}

/// Opens a run, and waits until leftover processes have exited.
fn open(process: &Process, options: RunOptions) -> Result<(Session, Opening), FeatureError> {
    let mut termination = Termination::default();
    loop {
        match open_feature(host(process), ID, options.clone(), &mut termination) {
            Err(FeatureError::Terminating(_)) => {}
            opened => return opened,
        }
    }
}

/// Runs a feature to its end; `work` is the agent.
fn run(
    machine: &Rc<Machine>,
    options: RunOptions,
    work: impl FnMut(&str, u32) -> Outcome,
) -> Summary {
    let process = machine.process(1);
    let (mut session, _) = open(&process, options).unwrap();
    finish(&process, &mut session, work)
}

fn finish(
    process: &Process,
    session: &mut Session,
    mut work: impl FnMut(&str, u32) -> Outcome,
) -> Summary {
    let machine = &process.machine;
    let mut reports = Vec::new();
    let mut reason = CloseReason::Ended;
    loop {
        let slots = usize::from(reason == CloseReason::Ended);
        let step = session.advance(host(process), &reports, slots).unwrap();
        if step.finished || reason == CloseReason::Interrupted {
            return session.close(host(process), reason).unwrap();
        }
        let mut end = |call: &Call| {
            let outcome = work(&call.item, call.attempt);
            if outcome == Outcome::Interrupted {
                reason = CloseReason::Interrupted;
            }
            ended(call, outcome)
        };
        reports = step.start.iter().map(&mut end).collect();
        if reports.is_empty() {
            machine.clock.set(machine.clock.get() + step.wake_after);
        }
    }
}

#[test]
fn a_run_runs_every_phase_in_order_and_retries_a_failed_one() {
    let machine = machine(&[("planning", "pending"), ("testing", "pending")]);
    let mut called = Vec::new();
    let summary = run(&machine, run_options(), |phase, number| {
        called.push((phase.to_owned(), number));
        let status = document(&machine)["phases"][phase]["status"].clone();
        assert_eq!(status, "in_progress", "the status is on disk before the agent starts");
        if phase == "testing" { Outcome::Failed("no".to_owned()) } else { Outcome::Completed }
    });
    assert_eq!(summary.failed[0].item, "testing");
    assert_eq!(
        document(&machine)["phases"]["testing"]["reason"],
        "the agent could not be started: no"
    );
    let summary = run(&machine, retrying(1), |phase, number| {
        called.push((phase.to_owned(), number));
        if number == 1 { Outcome::TimedOut(5) } else { Outcome::Completed }
    });
    assert_eq!(
        (summary.completed, summary.skipped),
        (vec!["testing".to_owned()], vec!["planning".to_owned()])
    );
    let call = |phase: &str, number| (phase.to_owned(), number);
    assert_eq!(
        called,
        [call("planning", 1), call("testing", 1), call("testing", 1), call("testing", 2)]
    );
    assert_eq!(document(&machine)["status"], "complete");
}

#[test]
fn a_phase_that_needs_approval_waits_for_a_person_and_does_not_run_again() {
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
        let summary = go(run_options());
        assert_eq!(summary.blocked.len(), 1);
        assert!(summary.blocked[0].reason.contains("--approve planning"), "{:?}", summary.blocked);
        assert_eq!(summary.awaiting_approval.as_deref(), Some("planning"));
        assert!(summary.resumable);
    }
    let approved = approving("planning");
    assert_eq!(go(approved).completed, ["planning", "testing"]);
    assert_eq!(called, ["planning", "testing"]);
    let after = document(&machine);
    assert_eq!(after["phases"]["planning"]["approved"], true);
    assert_eq!(after["phases"]["planning"].get("awaiting_approval"), None);
    assert_eq!(after["metadata"]["human_checkpoints"], 1);

    let machine = with(&waiting);
    let all = RunOptions { approve_all: true, ..run_options() };
    assert_eq!(run(&machine, all, |_, _| Outcome::Completed).completed.len(), 2);
    let unknown = approving("nonsense");
    let result = open(&with(&waiting).process(1), unknown);
    assert!(matches!(result, Err(FeatureError::Invalid(_))));
}

/// Whoever completes a phase that needs approval, nothing runs after it until it is approved.
#[test]
fn approval_depends_on_the_field_and_not_on_who_moves_the_phase() {
    let mut pending = least(&[("planning", "pending"), ("testing", "pending")]);
    pending["phases"]["planning"]["approved"] = json!(false);
    let wait = |machine: &Rc<Machine>| {
        let summary = run(machine, run_options(), |_, _| Outcome::Completed);
        assert_eq!(summary.awaiting_approval.as_deref(), Some("planning"));
    };
    let by_hand = |machine: &Rc<Machine>, step: Move, set: &[(&str, &str)]| {
        let set = set
            .iter()
            .map(|(name, value)| Field { name: (*name).to_owned(), value: (*value).to_owned() });
        let details = Details { set: set.collect(), ..Details::default() };
        move_phase(host(&machine.process(1)), ID, "planning", step, &details)
    };

    // A person approves the work of an agent with a move.
    let machine = with(&pending);
    wait(&machine);
    assert!(
        legal_moves(by_hand(&machine, Move::Complete, &[]))
            .contains(&"complete planning --set approved=true".to_owned())
    );
    by_hand(&machine, Move::Complete, &[("approved", "true")]).unwrap();
    let planning = document(&machine)["phases"]["planning"].clone();
    assert_eq!((planning.get("awaiting_approval"), planning.get("reason")), (None, None));
    assert_eq!(run(&machine, run_options(), |_, _| Outcome::Completed).completed, ["testing"]);

    // The agent completes the phase itself.
    let machine = with(&pending);
    by_hand(&machine, Move::Start, &[]).unwrap();
    assert!(by_hand(&machine, Move::Complete, &[]).unwrap().message.contains("not approved"));
    wait(&machine);
    let approved = approving("planning");
    assert_eq!(
        run(&machine, approved, |_, _| Outcome::Completed).completed,
        ["planning", "testing"]
    );
    let after = document(&machine);
    assert_eq!(
        (&after["phases"]["planning"]["approved"], &after["status"]),
        (&json!(true), &json!("complete"))
    );

    // Restarted, and blocked by something else: it no longer waits for approval.
    let machine = with(&pending);
    wait(&machine);
    by_hand(&machine, Move::Start, &[]).unwrap();
    by_hand(&machine, Move::Block, &[]).unwrap();
    let view = resume(host(&machine.process(1)), ID).unwrap();
    let view: Value = serde_json::from_str(&view.json).unwrap();
    assert_eq!(view["next"]["move"], "start");
    let nonsense = by_hand(&machine, Move::Start, &[("approved", "\"yes\"")]);
    assert!(matches!(nonsense, Err(FeatureError::Invalid(_))), "{nonsense:?}");
}

#[test]
fn an_interrupted_or_killed_run_resumes_at_its_phase() {
    let machine = machine(&[("planning", "pending"), ("testing", "pending")]);
    let summary = run(&machine, run_options(), |phase, _| match phase {
        "testing" => Outcome::Interrupted,
        _ => Outcome::Completed,
    });
    assert_eq!((summary.remaining, summary.resumable), (vec!["testing".to_owned()], true));
    // Killed while its agent is running.
    let process = machine.process(7);
    let (mut killed, _) = open(&process, run_options()).unwrap();
    assert_eq!(killed.advance(host(&process), &[], 1).unwrap().start[0].item, "testing");
    let other = open(&machine.process(8), run_options());
    assert!(matches!(other, Err(FeatureError::Busy(holder)) if !holder.transient));
    machine.kill(7);
    let summary = run(&machine, run_options(), |_, _| Outcome::Completed);
    assert_eq!(summary.completed, ["planning", "testing"], "those of the whole session");
}

#[test]
fn a_limit_pauses_the_run_and_fails_nothing() {
    let machine = with(&least(&[("planning", "pending")]));
    let started = machine.clock.get();
    let mut calls = 0;
    let summary = run(&machine, run_options(), |_, _| {
        calls += 1;
        if calls < 3 { Outcome::Paused } else { Outcome::Completed }
    });
    assert_eq!((summary.completed.len(), calls), (1, 3));
    assert!(machine.clock.get() - started >= 180_000, "a minute, then two");
}

#[test]
fn changes_of_the_document_by_agents_and_people_count() {
    let machine =
        with(&least(&[("planning", "pending"), ("testing", "pending"), ("review", "pending")]));
    let process = machine.process(2);
    // The agent completes its own phase, and blocks the next one.
    let summary = run(&machine, run_options(), |phase, _| {
        let step = if phase == "planning" { Move::Complete } else { Move::Block };
        let details = Details { reason: Some("no key".to_owned()), ..Details::default() };
        move_phase(host(&process), ID, phase, step, &details).unwrap();
        Outcome::Completed
    });
    assert_eq!(summary.completed, ["planning"]);
    let blocked = &summary.blocked[..];
    assert!(
        matches!(blocked, [it] if it.item == "testing" && it.reason == "no key"),
        "{blocked:?}"
    );
    // An agent damages the document: the run ends and reports it.
    let summary = run(&machine, run_options(), |_, _| {
        machine.put(FILE, "{");
        Outcome::Completed
    });
    assert!(summary.failed[0].error.contains("invalid JSON"), "{:?}", summary.failed);
}
