//! Phases that need the approval of a person before the next one starts.

use serde_json::{Map, Value, json};

use super::document::{PhaseStatus, status_of};

/// The field of a phase that is false until a person approves it. A phase without it needs no approval.
pub(super) const APPROVED: &str = "approved";
/// The field of a phase that is blocked only because its approval is missing.
pub(super) const AWAITING: &str = "awaiting_approval";

/// Whether a phase needs approval and does not have it.
pub(super) fn is_wanted(phase: &Map<String, Value>) -> bool {
    phase.get(APPROVED) == Some(&json!(false))
}

/// Whether a phase has been approved.
pub(super) fn is_given(phase: &Map<String, Value>) -> bool {
    phase.get(APPROVED) == Some(&json!(true))
}

/// Whether a phase has done its work and only its approval is missing.
pub(super) fn is_awaited(phase: &Map<String, Value>) -> bool {
    status_of(phase) == PhaseStatus::Blocked && phase.get(AWAITING) == Some(&json!(true))
}

/// Records that a phase no longer waits for approval.
pub(super) fn clear_awaiting(phase: &mut Map<String, Value>) {
    if phase.shift_remove(AWAITING).is_some() {
        phase.shift_remove("reason");
    }
}
