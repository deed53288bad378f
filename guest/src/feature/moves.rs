//! Moving phases: start, complete, block, fail.

use serde_json::{Map, Value, json};

use super::document::{COMPLETE, Document, PhaseStatus, list_in, time_in};
use super::store::change;
use super::{Changed, FeatureError, abort, approval, legal, metrics, number};
use crate::formats::json;
use crate::io::host::Host;
use crate::io::time::Timestamp;

/// What is done with a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    /// Work on it begins, again perhaps.
    Start,
    /// It is done.
    Complete,
    /// Something outside of it has to happen first.
    Block,
    /// It did not succeed.
    Fail,
}

/// What is said along with a move.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Details {
    /// Fields of the phase and their values, as JSON text.
    pub set: Vec<(String, String)>,
    /// Artifacts by name, with their paths from the repository's root.
    pub artifacts: Vec<(String, String)>,
    /// Decisions, added to those of the phase.
    pub decisions: Vec<String>,
    /// Why.
    pub reason: Option<String>,
}

/// Fields of a phase that moves set; nobody sets them by hand.
const OWN_FIELDS: [&str; 4] = ["status", "started_at", "completed_at", "duration_minutes"];

/// Moves a phase of a feature.
pub fn make_move(
    host: Host<'_>,
    feature: &str,
    phase: &str,
    step: Move,
    details: &Details,
) -> Result<Changed, FeatureError> {
    let now = host.now();
    change(host, feature, |document| apply(document, phase, step, details, now))
}

/// The move itself; what happened, for a person.
pub(super) fn apply(
    document: &mut Document,
    phase: &str,
    step: Move,
    details: &Details,
    now: Timestamp,
) -> Result<String, FeatureError> {
    let Some(status) = document.phase_status(phase) else {
        return Err(document.no_phase(phase));
    };
    check(document, phase, &status, step, details)?;
    note(document, phase, details)?;
    let done = match step {
        Move::Start => start(document, phase, now),
        Move::Complete => complete(document, phase, now),
        Move::Block => stop(document, phase, &PhaseStatus::Blocked, details, now),
        Move::Fail => stop(document, phase, &PhaseStatus::Failed, details, now),
    }?;
    if let (Some(reason), Some(fields)) = (&details.reason, document.phase_mut(phase)) {
        fields.insert("reason".to_owned(), json!(reason));
    }
    Ok(done)
}

fn check(
    document: &Document,
    phase: &str,
    status: &PhaseStatus,
    step: Move,
    details: &Details,
) -> Result<(), FeatureError> {
    let illegal = |message: String| Err(legal::illegal(document, message));
    if document.is_aborted() {
        return match (step, document.resumable_phase()) {
            (Move::Start, Some(resumable)) if resumable == phase => Ok(()),
            (_, Some(resumable)) => illegal(format!(
                "the feature was aborted; it goes on with {resumable}, and nothing else"
            )),
            (_, None) => illegal("the feature was aborted and cannot go on".to_owned()),
        };
    }
    let is = |what: &str| format!("{phase} {}: it cannot be {what}", in_words(status));
    let awaits = document.phase(phase).is_some_and(approval::is_awaited);
    match (step, status) {
        (Move::Start, status) if legal::may_start(status) => {
            match document.in_status(&PhaseStatus::InProgress).first() {
                Some(other) => illegal(format!(
                    "{phase} cannot be started while {other} is in progress: one phase at a time"
                )),
                None => Ok(()),
            }
        }
        (Move::Start, _) => illegal(is("started")),
        (Move::Complete | Move::Block | Move::Fail, PhaseStatus::InProgress)
        | (Move::Fail, PhaseStatus::Blocked) => Ok(()),
        (Move::Complete, _) if awaits => match is_approved_by(details) {
            true => Ok(()),
            false => illegal(format!("{phase} waits for the approval of a person")),
        },
        (Move::Complete, PhaseStatus::Pending) => {
            illegal(format!("{phase} was never started: it cannot be completed"))
        }
        (Move::Complete, _) => illegal(is("completed")),
        (Move::Block, _) => illegal(is("blocked")),
        (Move::Fail, _) => illegal(is("failed")),
    }
}

/// Whether these words approve the phase that they move.
fn is_approved_by(details: &Details) -> bool {
    let mut approvals = details.set.iter().filter(|(key, _)| key == approval::APPROVED);
    approvals.next_back().is_some_and(|(_, value)| value.trim() == "true")
}

/// `is blocked`, `has failed`.
fn in_words(status: &PhaseStatus) -> String {
    match status {
        PhaseStatus::Failed => "has failed".to_owned(),
        status => format!("is {}", status.name()),
    }
}

/// Takes in what was said along with a move.
fn note(document: &mut Document, phase: &str, details: &Details) -> Result<(), FeatureError> {
    let mut values: Vec<(&str, Value)> = Vec::new();
    for (key, text) in &details.set {
        if OWN_FIELDS.contains(&key.as_str()) || key.is_empty() || json::is_reserved(key) {
            return Err(FeatureError::Invalid(format!(
                "`{key}` is set by the moves themselves; other fields can be set"
            )));
        }
        let value = json::parse(text.as_bytes()).map_err(|_| {
            FeatureError::Invalid(format!(
                "{key}={text} is no JSON: true, 8, [\"a\"], or a text in quotes: '{key}=\"…\"'"
            ))
        })?;
        if key == approval::APPROVED && !value.is_boolean() {
            return Err(FeatureError::Invalid(format!("`{key}` is true or false, not {value}")));
        }
        values.push((key, value));
    }
    if let Some(fields) = document.phase_mut(phase) {
        for (key, value) in values {
            fields.insert(key.to_owned(), value);
        }
        if !details.decisions.is_empty() {
            list_in(fields, "decisions")?.extend(details.decisions.iter().map(|text| json!(text)));
        }
    }
    if !details.artifacts.is_empty() {
        let artifacts = document.part_mut("artifacts")?;
        for (name, path) in &details.artifacts {
            if name.is_empty() || path.is_empty() {
                return Err(FeatureError::Invalid(
                    "an artifact needs a name and a path: NAME=PATH".to_owned(),
                ));
            }
            artifacts.insert(name.clone(), json!(path));
        }
    }
    Ok(())
}

fn start(document: &mut Document, phase: &str, now: Timestamp) -> Result<String, FeatureError> {
    let again = abort::reopen(document)?;
    if let Some(fields) = document.phase_mut(phase) {
        fields.insert("status".to_owned(), json!(PhaseStatus::InProgress.name()));
        fields.insert("started_at".to_owned(), json!(now.to_string()));
        // What an earlier try left: this one has not ended.
        approval::settle(fields);
        for key in ["completed_at", "duration_minutes", "reason"] {
            fields.shift_remove(key);
        }
    }
    document.set("current_phase", phase);
    document.set("status", PhaseStatus::InProgress.name());
    Ok(match again {
        true => format!("reopened at {phase}"),
        false => format!("started {phase}"),
    })
}

fn complete(document: &mut Document, phase: &str, now: Timestamp) -> Result<String, FeatureError> {
    let Some(fields) = document.phase_mut(phase) else { return Ok(String::new()) };
    let minutes =
        time_in(fields, "started_at").map_or(0.0, |started| now.since(started) as f64 / 60_000.0);
    let duration = number::of(minutes, number::MINUTES);
    fields.insert("status".to_owned(), json!(PhaseStatus::Complete.name()));
    fields.insert("completed_at".to_owned(), json!(now.to_string()));
    fields.insert("duration_minutes".to_owned(), duration.clone());
    approval::settle(fields);
    let agents = agents(fields);
    let is_approved = approval::is_given(fields);
    let unapproved = if approval::is_wanted(fields) { ", not approved" } else { "" };

    let metadata = document.part_mut("metadata")?;
    let minutes = duration.as_f64().unwrap_or(0.0);
    number::add(metadata, "total_duration_minutes", minutes, number::MINUTES)?;
    number::count(metadata, "agents_spawned", agents)?;
    number::count(metadata, "human_checkpoints", u64::from(is_approved))?;
    metrics::estimate(document, phase, agents)?;

    let next = document.next_phase().map(str::to_owned);
    let status = if next.is_some() { PhaseStatus::InProgress.name() } else { COMPLETE };
    document.set("current_phase", next.as_deref().unwrap_or(COMPLETE));
    document.set("status", status);
    Ok(match next {
        Some(next) => format!("completed {phase} ({duration} min){unapproved}; next is {next}"),
        None => format!("completed {phase} ({duration} min){unapproved}; the feature is complete"),
    })
}

/// How many agents worked on a phase, by its own account.
fn agents(phase: &Map<String, Value>) -> u64 {
    match (phase.get("agents_used").and_then(Value::as_array), phase.get("agent_used")) {
        (Some(agents), _) => agents.len() as u64,
        (None, Some(Value::String(_))) => 1,
        _ => 0,
    }
}

fn stop(
    document: &mut Document,
    phase: &str,
    status: &PhaseStatus,
    details: &Details,
    now: Timestamp,
) -> Result<String, FeatureError> {
    if let Some(fields) = document.phase_mut(phase) {
        approval::settle(fields);
        fields.insert("status".to_owned(), json!(status.name()));
        if *status == PhaseStatus::Failed {
            let minutes = time_in(fields, "started_at")
                .map_or(0.0, |started| now.since(started) as f64 / 60_000.0);
            fields.insert("duration_minutes".to_owned(), number::of(minutes, number::MINUTES));
        }
    }
    document.set("current_phase", phase);
    document.set("status", status.name());
    let why = details.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    Ok(format!("{phase} {}{why}", in_words(status)))
}
