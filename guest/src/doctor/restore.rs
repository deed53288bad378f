//! Restoring a backup of `.wreckit`, and what prevents it.

use std::collections::{HashMap, HashSet};

use super::{locked, owner};
use crate::backup::{self, Manifest};
use crate::bindings::exports::wreckit::batch::doctor::{RepairError, Restoration};
use crate::formats::item::{self, Change};
use crate::formats::journal::{self, EventKind};
use crate::formats::progress;
use crate::formats::result::ItemResult;
use crate::io::host::{Failure, Host};
use crate::io::layout;
use crate::session::runs;

/// Restores every file of a backup.
pub fn restore(host: Host<'_>, id: &str) -> Result<Restoration, RepairError> {
    // An invalid backup is refused before anything is changed, including the lock.
    backup::read(host, id)?;
    locked(host, false, || {
        // The existing tool, or a batch on another machine, does not hold the lock.
        if let Some(holder) = owner(host, &progress::find(host)) {
            return Err(RepairError::Busy(holder));
        }
        match backup::finish_restore(host)? {
            Some((completed, restoration)) if completed == id => return Ok(restoration),
            _ => {}
        }
        let lost = lost_results(host, &backup::read(host, id)?)?;
        match lost.is_empty() {
            true => Ok(backup::restore(host, id)?),
            false => Err(RepairError::Changed(lost)),
        }
    })
}

/// The files in a backup whose restore would forget a completion that a journal contains.
///
/// A restore also removes the journal segments that the fix wrote. A result that only those segments record as
/// synced is applied to its file again by the next run. So is every result that is not synced, if the restored file
/// accepts it. The completion would be forgotten if the file does not accept it, because its state was another one
/// then, or if a session has recorded that the result is in the file.
fn lost_results(host: Host<'_>, manifest: &Manifest) -> Result<Vec<String>, Failure> {
    let mut results = Results::default();
    for run in runs::all(host)? {
        results.read(host, &run.directory, &manifest.created)?;
    }
    let mut lost = Vec::new();
    for file in &manifest.files {
        let copy = manifest.path_of(host, file);
        // An interrupted backup has no copy of a file that was not changed.
        let Some(item) = item_of(&file.path).filter(|_| matches!(host.stat(&copy), Ok(Some(_))))
        else {
            continue;
        };
        if results.would_be_lost(host, item, &copy) {
            lost.push(file.path.clone());
        }
    }
    Ok(lost)
}

/// The item whose `item.json` is at a path.
fn item_of(path: &str) -> Option<&str> {
    let item = path.strip_prefix(layout::ITEMS)?.strip_prefix('/')?.strip_suffix("/item.json")?;
    (!item.contains('/')).then_some(item)
}

/// The results in the journals.
#[derive(Debug, Default)]
struct Results {
    /// The changes of each item that may not be in its file yet, in order.
    unsynced: HashMap<String, Vec<Change>>,
    /// The items of which a completion is recorded as being in the file.
    synced: HashSet<String>,
}

impl Results {
    /// Reads a journal without some of its segments.
    fn read(&mut self, host: Host<'_>, directory: &str, without: &[String]) -> Result<(), Failure> {
        let mut pending: Vec<ItemResult> = Vec::new();
        journal::read_without(host, directory, without, |event| match event.kind {
            Some(EventKind::Synced) => {
                let completed = pending.drain(..).filter_map(|outcome| outcome.completed());
                self.synced.extend(completed);
            }
            _ => pending.extend(ItemResult::of(&event)),
        })?;
        for outcome in pending {
            self.unsynced.entry(outcome.item).or_default().push(outcome.change);
        }
        Ok(())
    }

    /// Whether the completion of an item would be forgotten if its file were replaced by `copy`.
    fn would_be_lost(&self, host: Host<'_>, item: &str, copy: &str) -> bool {
        // A file that cannot be read accepts no result.
        let before = item::read_at(host, item, copy).ok();
        let unsynced = self.unsynced.get(item);
        match unsynced.filter(|changes| changes.iter().any(Change::completes)) {
            Some(changes) => {
                let changes: Vec<&Change> = changes.iter().collect();
                before.is_none_or(|before| before.after(&changes, host.now()).state != item::DONE)
            }
            None => {
                self.synced.contains(item)
                    && item::read(host, item).is_ok_and(|now| now.state == item::DONE)
                    && before.is_none_or(|before| before.state != item::DONE)
            }
        }
    }
}
