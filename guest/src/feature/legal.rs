//! What can be done with a feature now, for who tried something else.

use super::document::{Document, PhaseStatus, status_of};
use super::{FeatureError, approval};

/// That cannot be done in the state that the feature is in; what can be.
pub(super) fn illegal(document: &Document, message: impl Into<String>) -> FeatureError {
    FeatureError::Illegal { message: message.into(), legal: moves(document) }
}

/// Nothing is done with an aborted feature, but for starting it again.
pub(super) fn refuse_if_aborted(document: &Document) -> Result<(), FeatureError> {
    match document.is_aborted() {
        true => Err(illegal(document, "the feature was aborted")),
        false => Ok(()),
    }
}

/// Whether a phase can be started, as far as it is concerned itself.
pub(super) fn may_start(status: &PhaseStatus) -> bool {
    !matches!(status, PhaseStatus::Complete | PhaseStatus::InProgress)
}

/// The moves of phases that are legal, as words of the command line.
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
