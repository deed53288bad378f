//! Undoing a repair, and what prevents it.

use std::collections::{HashMap, HashSet};

use super::{RepairError, locked, owner};
use crate::backup::{self, Backup, Restored, Unusable};
use crate::formats::item::{self, Change};
use crate::formats::journal::{self, EventKind};
use crate::formats::layout;
use crate::formats::progress;
use crate::io::host::{Failure, Host};
use crate::session::runs;
use crate::workload::results::ItemResult;

/// Puts every file of a backup back.
pub fn restore(host: Host<'_>, id: &str) -> Result<Restored, RepairError> {
    // A backup that is none is refused before anything is touched, the lock included.
    backup::check(host, id).map_err(RepairError::Backup)?;
    locked(host, false, || {
        // The existing tool, or a batch on another machine: neither asks for the lock.
        if let Some(holder) = owner(host, &progress::find(host)) {
            return Err(RepairError::Busy(Box::new(holder)));
        }
        match backup::finish_restoration(host)? {
            Some((completed, restored)) if completed == id => return Ok(restored),
            _ => {}
        }
        let backup = backup::read(host, id).map_err(RepairError::Backup)?;
        let lost = lost_results(host, &backup)?;
        if !lost.is_empty() {
            return Err(RepairError::Backup(Unusable::Changed(lost)));
        }
        backup::restore(host, id).map_err(RepairError::Backup)
    })
}

/// The items' files of a backup whose restoration would take back a completion that a journal has.
///
/// A restoration also removes the journal segments that the repair wrote: a result that only they call
/// synced is brought into its file again by the next run. So is every other one, if the file as it was
/// takes it; if it does not (its state was another one then), or if a session has recorded that the
/// result is in the file, the completion would be forgotten.
fn lost_results(host: Host<'_>, backup: &Backup) -> Result<Vec<String>, Failure> {
    let mut results = Results::default();
    for run in runs::all(host)? {
        results.read(host, &run.directory, &backup.created)?;
    }
    let mut lost = Vec::new();
    for file in &backup.files {
        let copy = backup::place_of(host, backup, file);
        // A backup that was cut off has no copy of what was not changed.
        let Some(item) = item_of(&file.path).filter(|_| matches!(host.stat(&copy), Ok(Some(_))))
        else {
            continue;
        };
        // What cannot be read takes no result.
        let before = item::read_at(host, item, &copy).ok();
        let unsynced =
            results.unsynced.get(item).filter(|changes| changes.iter().any(Change::completes));
        let forgets = match unsynced {
            Some(changes) => {
                let changes: Vec<&Change> = changes.iter().collect();
                before.is_none_or(|before| before.after(&changes, host.now()).state != item::DONE)
            }
            None => {
                results.synced.contains(item)
                    && item::read(host, item).is_ok_and(|now| now.state == item::DONE)
                    && before.is_none_or(|before| before.state != item::DONE)
            }
        };
        if forgets {
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

/// What the journals say of items.
#[derive(Debug, Default)]
struct Results {
    /// Changes that may not be in the item's file yet, in their order.
    unsynced: HashMap<String, Vec<Change>>,
    /// Items of which a completion is recorded as being in the file.
    synced: HashSet<String>,
}

impl Results {
    /// Reads a journal without these segments.
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
}
