//! The progress of a feature through its phases: `{feature}/progress.json`.
//!
//! Other tools and agents write this file as well. A change therefore touches only what it is about, and preserves
//! everything else verbatim, in its order.

mod abort;
mod approval;
mod consistency;
mod create;
mod document;
mod feedback;
mod legal;
mod metrics;
mod moves;
mod number;
mod resume;
pub(crate) mod running;
mod store;
mod summary;
#[cfg(test)]
mod tests;
mod text;
mod unique;

pub(crate) use abort::requires_removal;
pub use abort::{abort, confirm_cleanup, plan_abort};
pub(crate) use consistency::contradictions;
pub use create::create;
pub use document::{Document, PhaseStatus};
pub use feedback::iterate;
pub use metrics::record;
pub use moves::move_phase;
pub(crate) use resume::own_path;
pub use resume::resume;
pub(crate) use store::{DOCUMENT_LIMIT, ids, load, locked, newest_valid, progress_file};
pub use store::{DocumentError, list, read, resolve};
pub use summary::summarize;

use crate::bindings::exports::wreckit::batch::feature::FeatureError;
use crate::io::host::Failure;

impl From<Failure> for FeatureError {
    fn from(failure: Failure) -> Self {
        FeatureError::Storage(failure.into())
    }
}
