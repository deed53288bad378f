//! Phases whose outcome a person looks at before the next one begins.

use serde_json::json;

use crate::feature::FeatureError;
use crate::feature::document::{Document, PhaseStatus};
use crate::feature::moves::{self, Details, Move};
use crate::time::Timestamp;

/// What a phase says that waits for a person.
fn waits(phase: &str) -> String {
    format!("it waits for approval: --approve {phase}")
}
/// The field of a phase that says so.
const AWAITING: &str = "awaiting_approval";

/// A phase wants approval that has the field, and has none yet.
pub(super) fn wants_approval(document: &Document, phase: &str) -> bool {
    document.phase(phase).and_then(|fields| fields.get("approved")) == Some(&json!(false))
}

pub(super) fn is_awaiting(document: &Document, phase: &str) -> bool {
    document.phase_status(phase) == Some(PhaseStatus::Blocked)
        && document.phase(phase).and_then(|fields| fields.get(AWAITING)) == Some(&json!(true))
}

pub(super) fn wait_for_approval(
    document: &mut Document,
    phase: &str,
    now: Timestamp,
) -> Result<String, FeatureError> {
    let details = Details {
        reason: Some(waits(phase)),
        set: vec![(AWAITING.to_owned(), "true".to_owned())],
        ..Details::default()
    };
    moves::apply(document, phase, Move::Block, &details, now)
}

pub(super) fn complete(
    document: &mut Document,
    phase: &str,
    agent: &str,
    now: Timestamp,
) -> Result<String, FeatureError> {
    let wanted = wants_approval(document, phase);
    if let Some(fields) = document.phase_mut(phase) {
        if wanted {
            fields.insert("approved".to_owned(), json!(true));
        }
        if !fields.contains_key("agent_used") && !fields.contains_key("agents_used") {
            fields.insert("agent_used".to_owned(), json!(agent));
        }
        fields.shift_remove(AWAITING);
        fields.shift_remove("reason");
    }
    moves::apply(document, phase, Move::Complete, &Details::default(), now)
}
