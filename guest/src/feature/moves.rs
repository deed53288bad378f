//! Moving phases: start, complete, block, fail.

use serde_json::{Map, Value, json};

use super::document::{COMPLETE, Document, PhaseStatus, list_in, time_in};
use super::store::change;
use super::{abort, approval, legal, metrics, number};
use crate::bindings::exports::wreckit::batch::feature::{
    Details, FeatureError, Field, PhaseMove, Snapshot,
};
use crate::io::host::Host;
use crate::json;
use crate::time::Timestamp;

impl Default for Details {
    /// None.
    fn default() -> Self {
        Details { set: Vec::new(), artifacts: Vec::new(), decisions: Vec::new(), reason: None }
    }
}

/// Fields of a phase that only moves set.
const OWN_FIELDS: [&str; 4] = ["status", "started_at", "completed_at", "duration_minutes"];

/// Moves a phase of a feature.
pub fn move_phase(
    host: Host<'_>,
    feature: &str,
    phase: &str,
    step: PhaseMove,
    details: &Details,
) -> Result<Snapshot, FeatureError> {
    let now = host.now();
    change(host, feature, |document| apply(document, phase, step, details, now))
}

/// Moves a phase in a document. Returns what happened, in words.
pub(super) fn apply(
    document: &mut Document,
    phase: &str,
    step: PhaseMove,
    details: &Details,
    now: Timestamp,
) -> Result<String, FeatureError> {
    let Some(status) = document.phase_status(phase) else {
        return Err(document.unknown_phase(phase));
    };
    check(document, phase, &status, step, details)?;
    apply_details(document, phase, details)?;
    let done = match step {
        PhaseMove::Start => start(document, phase, now),
        PhaseMove::Complete => complete(document, phase, now),
        PhaseMove::Block => stop(document, phase, &PhaseStatus::Blocked, details, now),
        PhaseMove::Fail => stop(document, phase, &PhaseStatus::Failed, details, now),
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
    step: PhaseMove,
    details: &Details,
) -> Result<(), FeatureError> {
    let illegal = |message: String| Err(legal::illegal(document, message));
    if document.is_aborted() {
        return match (step, document.resumable_phase()) {
            (PhaseMove::Start, Some(resumable)) if resumable == phase => Ok(()),
            (_, Some(resumable)) => {
                illegal(format!("the feature was aborted; it can only be reopened, at {resumable}"))
            }
            (_, None) => illegal("the feature was aborted and cannot be reopened".to_owned()),
        };
    }
    match (step, status) {
        (PhaseMove::Start, status) if legal::may_start(status) => {
            match document.in_status(&PhaseStatus::InProgress).first() {
                Some(other) => illegal(format!(
                    "{phase} cannot start while {other} is in progress: one phase at a time"
                )),
                None => Ok(()),
            }
        }
        (PhaseMove::Complete | PhaseMove::Block | PhaseMove::Fail, PhaseStatus::InProgress)
        | (PhaseMove::Fail, PhaseStatus::Blocked) => Ok(()),
        (PhaseMove::Complete, _) if document.phase(phase).is_some_and(approval::is_awaited) => {
            match is_approved_by(details) {
                true => Ok(()),
                false => illegal(format!("{phase} is waiting for the approval of a person")),
            }
        }
        (step, status) => illegal(refusal(phase, step, status)),
    }
}

/// Why a phase with this status cannot be moved: `build is already blocked`.
fn refusal(phase: &str, step: PhaseMove, status: &PhaseStatus) -> String {
    let (target, participle) = match step {
        PhaseMove::Start => (PhaseStatus::InProgress, "started"),
        PhaseMove::Complete => (PhaseStatus::Complete, "completed"),
        PhaseMove::Block => (PhaseStatus::Blocked, "blocked"),
        PhaseMove::Fail => (PhaseStatus::Failed, "failed"),
    };
    match (step, status) {
        (_, status) if *status == target && target == PhaseStatus::Failed => {
            format!("{phase} has already failed")
        }
        (_, status) if *status == target => format!("{phase} is already {}", in_words(status)),
        (PhaseMove::Start, _) => format!("{phase} {}, and cannot be started again", is(status)),
        (_, PhaseStatus::Pending) => {
            format!("{phase} was never started, and cannot be {participle}")
        }
        (_, _) => format!("{phase} {}, and cannot be {participle}", is(status)),
    }
}

/// Whether the details of a move approve the phase.
fn is_approved_by(details: &Details) -> bool {
    let mut approvals = details.set.iter().filter(|field| field.name == approval::APPROVED);
    approvals.next_back().is_some_and(|field| field.value.trim() == "true")
}

/// A status as part of a sentence: `in progress`.
fn in_words(status: &PhaseStatus) -> &str {
    match status {
        PhaseStatus::InProgress => "in progress",
        status => status.name(),
    }
}

/// `is blocked`, `has failed`.
fn is(status: &PhaseStatus) -> String {
    match status {
        PhaseStatus::Failed => "has failed".to_owned(),
        status => format!("is {}", in_words(status)),
    }
}

/// Applies the details of a move.
fn apply_details(
    document: &mut Document,
    phase: &str,
    details: &Details,
) -> Result<(), FeatureError> {
    let mut values: Vec<(&str, Value)> = Vec::new();
    for Field { name: key, value: text } in &details.set {
        if OWN_FIELDS.contains(&key.as_str()) || key.is_empty() || json::is_reserved(key) {
            return Err(FeatureError::Invalid(format!(
                "`{key}` is set by the moves themselves; you can set other fields"
            )));
        }
        let value = json::parse(text.as_bytes()).map_err(|_| {
            FeatureError::Invalid(format!(
                "{key}={text} is not valid JSON: write true, 8, [\"a\"], or a string in quotes: '{key}=\"…\"'"
            ))
        })?;
        if key == approval::APPROVED && !value.is_boolean() {
            return Err(FeatureError::Invalid(format!(
                "`{key}` must be true or false, found {value}"
            )));
        }
        values.push((key.as_str(), value));
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
        for Field { name, value: path } in &details.artifacts {
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
    let is_reopened = abort::reopen(document)?;
    if let Some(fields) = document.phase_mut(phase) {
        fields.insert("status".to_owned(), json!(PhaseStatus::InProgress.name()));
        fields.insert("started_at".to_owned(), json!(now.to_string()));
        // Fields of an earlier attempt.
        approval::clear_awaiting(fields);
        for key in ["completed_at", "duration_minutes", "reason"] {
            fields.shift_remove(key);
        }
    }
    document.set("current_phase", phase);
    document.set("status", PhaseStatus::InProgress.name());
    Ok(match is_reopened {
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
    approval::clear_awaiting(fields);
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
        Some(next) => format!("completed {phase} ({duration} min){unapproved}; next: {next}"),
        None => format!("completed {phase} ({duration} min){unapproved}; the feature is complete"),
    })
}

/// The number of agents that a phase says it used.
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
        approval::clear_awaiting(fields);
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
    Ok(format!("{phase} {}{why}", is(status)))
}
