//! Phases whose outcome a person looks at before the next one begins.

use serde_json::{Map, Value, json};

use super::document::{PhaseStatus, status_of};

/// The field of a phase: false until a person has approved what it left. A phase without it wants no
/// approval.
pub(super) const APPROVED: &str = "approved";
/// The field of a phase that is blocked because of that, and of nothing else.
pub(super) const AWAITING: &str = "awaiting_approval";

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

/// Nothing is waited for any more.
pub(super) fn settle(phase: &mut Map<String, Value>) {
    if phase.shift_remove(AWAITING).is_some() {
        phase.shift_remove("reason");
    }
}
