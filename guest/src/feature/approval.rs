//! Phases whose outcome a person looks at before the next one begins.

use serde_json::{Map, Value, json};

use super::FeatureError;
use super::document::{Document, PhaseStatus, status_of};
use super::moves::{self, Details, Move};
use crate::time::Timestamp;

/// The field of a phase: false until a person has approved what it left. A phase without it wants no
/// approval.
pub(super) const APPROVED: &str = "approved";
/// The field of a phase that is blocked because of that, and of nothing else.
const AWAITING: &str = "awaiting_approval";

/// What a phase says that waits for a person.
pub(super) fn waits(phase: &str) -> String {
    format!("it waits for approval: --approve {phase}")
}

pub(super) fn is_wanted(phase: &Map<String, Value>) -> bool {
    phase.get(APPROVED) == Some(&json!(false))
}

pub(super) fn is_given(phase: &Map<String, Value>) -> bool {
    phase.get(APPROVED) == Some(&json!(true))
}

/// Its agent is done; it is blocked until a person has looked.
pub(super) fn is_awaited(phase: &Map<String, Value>) -> bool {
    status_of(phase) == PhaseStatus::Blocked && phase.get(AWAITING) == Some(&json!(true))
}

/// The phase whose approval is missing before the next one can begin: one that waits for it, or the
/// one before, which was completed without.
pub(super) fn missing(document: &Document) -> Option<&str> {
    if !document.in_status(&PhaseStatus::InProgress).is_empty() {
        return None;
    }
    let next = document.next_phase()?;
    if document.phase(next).is_some_and(is_awaited) {
        return Some(next);
    }
    let (before, phase) = document.phases().take_while(|(name, _)| *name != next).last()?;
    is_wanted(phase).then_some(before)
}

/// Whether these words approve the phase that they move.
pub(super) fn is_said(details: &Details) -> bool {
    let mut approvals = details.set.iter().filter(|(key, _)| key == APPROVED);
    approvals.next_back().is_some_and(|(_, value)| value.trim() == "true")
}

/// Nothing is waited for any more.
pub(super) fn settle(phase: &mut Map<String, Value>) {
    if phase.shift_remove(AWAITING).is_some() {
        phase.shift_remove("reason");
    }
}

/// The agent of a phase is done: the phase waits for a person.
pub(super) fn await_it(
    document: &mut Document,
    phase: &str,
    now: Timestamp,
) -> Result<String, FeatureError> {
    let details = Details { reason: Some(waits(phase)), ..Details::default() };
    let done = moves::apply(document, phase, Move::Block, &details, now)?;
    if let Some(fields) = document.phase_mut(phase) {
        fields.insert(AWAITING.to_owned(), json!(true));
    }
    Ok(done)
}

/// A person approves a phase that was completed without.
pub(super) fn give(document: &mut Document, phase: &str) -> Result<String, FeatureError> {
    if let Some(fields) = document.phase_mut(phase) {
        fields.insert(APPROVED.to_owned(), json!(true));
    }
    super::number::count(document.part_mut("metadata")?, "human_checkpoints", 1)?;
    Ok(format!("approved {phase}"))
}
