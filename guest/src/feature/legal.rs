//! The moves that are legal in the current state of a feature, for error messages.

use super::approval;
use super::document::{Document, PhaseStatus, status_of};
use crate::bindings::exports::wreckit::batch::feature::{FeatureError, IllegalMove};

/// The error for a move that is not legal now, with those that are.
pub(super) fn illegal(document: &Document, message: impl Into<String>) -> FeatureError {
    FeatureError::Illegal(IllegalMove { message: message.into(), legal: moves(document) })
}

/// Refuses a change of an aborted feature: it can only be reopened.
pub(super) fn refuse_if_aborted(document: &Document) -> Result<(), FeatureError> {
    match document.is_aborted() {
        true => Err(illegal(document, "the feature was aborted")),
        false => Ok(()),
    }
}

/// Whether a phase with this status can be started.
pub(super) fn may_start(status: &PhaseStatus) -> bool {
    !matches!(status, PhaseStatus::Complete | PhaseStatus::InProgress)
}

/// The legal moves, as on the command line.
fn moves(document: &Document) -> Vec<String> {
    if document.is_aborted() {
        let resumable = document.resumable_phase().into_iter();
        return resumable.map(|phase| format!("start {phase}")).collect();
    }
    let working = document.in_status(&PhaseStatus::InProgress);
    let awaited = document.phases().filter(|(_, phase)| approval::is_awaited(phase));
    let mut legal: Vec<String> =
        awaited.map(|(name, _)| format!("complete {name} --set approved=true")).collect();
    legal.extend(
        working
            .iter()
            .flat_map(|phase| ["complete", "block", "fail"].map(|step| format!("{step} {phase}"))),
    );
    if working.is_empty() {
        let startable = document.phases().filter(|(_, phase)| may_start(&status_of(phase)));
        legal.extend(startable.map(|(name, _)| format!("start {name}")));
    }
    legal
}
