//! The progress of one feature through its phases: `{feature}/progress.json`.
//!
//! The format belongs to many hands (agents write it, too), so a change touches only what it is
//! about: everything else stays as it is, in its order.

mod abort;
mod approval;
mod create;
pub mod doctor;
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
mod unique;

pub use abort::{Cleanup, Reason, abort, cleaned};
pub use create::{New, Worktree, create};
pub use document::{Document, PhaseStatus};
pub use feedback::{Iteration, Verdict, iterate};
pub use metrics::{Measurements, Price, Validation, record};
pub use moves::{Details, Move, make_move};
pub use resume::resume;
pub use store::{Entry, list, read, resolve};
pub use summary::summary;

use crate::bindings::exports::wreckit::batch::session::Holder;
use crate::io::host::Failure;
use crate::session::select::Unresolved;

/// Why nothing was changed or told.
#[derive(Debug, Clone, PartialEq)]
pub enum FeatureError {
    /// Somebody else changes a feature at this moment, or runs one.
    Busy(Box<Holder>),
    /// No feature, or more than one, is meant by this.
    Unknown(Unresolved),
    /// What was given makes no sense; why.
    Invalid(String),
    /// That cannot be done in the state that the feature is in.
    Illegal {
        /// Why.
        message: String,
        /// What can be done.
        legal: Vec<String>,
    },
    /// The file is damaged; how, and where.
    Corrupt(String),
    /// A file could not be read or written.
    Storage(Failure),
}

impl From<Failure> for FeatureError {
    fn from(failure: Failure) -> Self {
        FeatureError::Storage(failure)
    }
}

/// What a change came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Changed {
    /// The feature.
    pub id: String,
    /// What happened, for a person.
    pub message: String,
    /// The document as it is now, as JSON.
    pub document: String,
}
