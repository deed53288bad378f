//! A session: opening, advancing and closing it, and its state as seen from outside.
//!
//! The session owns the queue, the journal, the ledger, retries, pauses and leftover processes. What it runs is a
//! [`Workload`](crate::workload::Workload).

pub mod add;
mod checkpoint;
mod close;
mod ending;
mod events;
pub mod ledger;
pub mod leftovers;
mod open;
mod open_feature;
mod plan;
pub mod queue;
mod recreate;
pub mod resume;
mod running;
pub mod runs;
pub mod saved;
mod start;
mod starting;
mod status;
#[cfg(test)]
pub(crate) mod tests;

pub use open::{open, preview};
pub use open_feature::open_feature;
pub use running::Session;
pub use status::status;

use crate::formats::progress::{self, Found};
use crate::io::host::{Failure, Host};
use crate::json;

/// The content of `batch-progress.json`, as JSON; `None` if it is missing or invalid.
pub fn read_progress(host: Host<'_>) -> Option<String> {
    match progress::find(host) {
        Found::Valid(progress) => String::from_utf8(json::pretty(&*progress)).ok(),
        _ => None,
    }
}

/// Removes `batch-progress.json`. Succeeds if it does not exist.
pub fn clear_progress(host: Host<'_>) -> Result<(), Failure> {
    progress::clear(host)
}
