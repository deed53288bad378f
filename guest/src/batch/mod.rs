//! A batch: opening a session, advancing it, closing it, and looking at it from outside.

mod checkpoint;
mod close;
mod ending;
mod open;
mod plan;
mod protocol;
mod recreate;
mod session;
mod starting;
mod status;
#[cfg(test)]
mod tests;

pub use close::{CloseReason, Summary};
pub use open::{OpenError, Opening, Origin, Preview, open, preview};
pub use protocol::{Attempt, Counts, Ended, Outcome, Report, Started, Step};
pub use session::{Session, SessionError};
pub use status::{ItemStanding, ItemStatus, Status, status};

use crate::json;
use crate::tree::{Failure, Tree};

/// How to run; see `batch.options` in the WIT package.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// The items to run; empty: all.
    pub items: Vec<String>,
    /// Leave a saved session.
    pub no_resume: bool,
    /// Run again what failed.
    pub retry_failed: bool,
    /// Go on in spite of an owner that may still run.
    pub take_over: bool,
    /// How many items may be in hand at once.
    pub parallel: u32,
    /// The agent is the mock one.
    pub mock: bool,
    /// Run one ready item and leave the progress file alone.
    pub single: bool,
    /// How long a first pause lasts, in milliseconds.
    pub limit_wait: u64,
    /// How often an item that failed is tried again.
    pub retries: u32,
    /// After so many failed items nothing more is started; 0: however many.
    pub max_failures: u32,
    /// Items go through phases.
    pub phases: bool,
    /// How often an attempt may call an agent in the phase `implement`.
    pub max_iterations: u32,
}

/// `batch-progress.json` as it stands, as JSON; `None` if it is missing or invalid.
pub fn read_progress(tree: Tree<'_>) -> Option<String> {
    match crate::progress::find(tree) {
        crate::progress::Found::Valid(progress) => String::from_utf8(json::pretty(&*progress)).ok(),
        _ => None,
    }
}

/// Removes `batch-progress.json`. Not an error if there is none.
pub fn clear_progress(tree: Tree<'_>) -> Result<(), Failure> {
    crate::progress::clear(tree)
}

/// Makes one new item of each title.
pub fn add(tree: Tree<'_>, titles: &[String]) -> Result<Vec<String>, Failure> {
    titles.iter().map(|title| crate::items::add(tree, title)).collect()
}
