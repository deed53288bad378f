//! A batch: opening a session, advancing it, closing it, and looking at it from outside.

mod checkpoint;
mod close;
mod ending;
pub mod ledger;
pub mod leftovers;
mod open;
mod plan;
mod protocol;
pub mod queue;
mod recreate;
pub mod resume;
pub mod runs;
pub mod saved;
pub mod select;
mod session;
pub mod settle;
mod starting;
mod status;
#[cfg(test)]
pub(crate) mod tests;

pub use close::{CloseReason, Summary};
pub use open::{OpenError, Opening, Origin, Preview, open, preview};
pub use protocol::{Attempt, Counts, Ended, Outcome, Report, Started, Step};
pub use session::{Session, SessionError};
pub use status::{ItemStanding, ItemStatus, Status, status};

use crate::formats::json;
use crate::formats::layout;
use crate::io::host::{Failure, Host};

/// How to run; see `batch.options` in the WIT package.
#[derive(Debug, Clone, PartialEq, Default)]
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
pub fn read_progress(host: Host<'_>) -> Option<String> {
    match crate::formats::progress::find(host) {
        crate::formats::progress::Found::Valid(progress) => {
            String::from_utf8(json::pretty(&*progress)).ok()
        }
        _ => None,
    }
}

/// Removes `batch-progress.json`. Not an error if there is none.
pub fn clear_progress(host: Host<'_>) -> Result<(), Failure> {
    crate::formats::progress::clear(host)
}

/// Why no item was added.
#[derive(Debug, Clone, PartialEq)]
pub enum AddError {
    /// Another process is adding items.
    Busy,
    /// A file could not be read or written.
    Storage(Failure),
}

impl From<Failure> for AddError {
    fn from(failure: Failure) -> Self {
        AddError::Storage(failure)
    }
}

/// Makes one new item of each title. A batch may run meanwhile; another `add` may not, or both would
/// give the same number.
pub fn add(host: Host<'_>, titles: &[String]) -> Result<Vec<String>, AddError> {
    host.create_directory(layout::ITEMS)?;
    // Where directories cannot be locked, a number may be given twice, and nothing worse.
    if host.lock(layout::ITEMS, b"").is_ok_and(|state| state.held) {
        return Err(AddError::Busy);
    }
    let added: Result<Vec<String>, Failure> =
        titles.iter().map(|title| crate::formats::item::add(host, title)).collect();
    host.unlock(layout::ITEMS).map_err(host.failed("unlock", layout::ITEMS))?;
    Ok(added?)
}
