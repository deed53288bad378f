//! Undoing a repair, and what stands against it.

use std::collections::HashSet;

use super::{RepairError, locked, owner};
use crate::backup::{self, Backup, Restored, Unusable};
use crate::journal::{self, EventKind};
use crate::layout;
use crate::progress;
use crate::runs;
use crate::settle::Outcome;
use crate::time::Timestamp;
use crate::tree::{Failure, Tree};

/// Puts every file of a backup back.
pub fn restore(tree: Tree<'_>, id: &str) -> Result<Restored, RepairError> {
    // A backup that is none is refused before anything is touched, the lock included.
    backup::check(tree, id).map_err(RepairError::Backup)?;
    locked(tree, || {
        // The existing tool, or a batch on another machine: neither asks for the lock.
        if let Some(holder) = owner(tree, &progress::find(tree)) {
            return Err(RepairError::Busy(Box::new(holder)));
        }
        let backup = backup::read(tree, id).map_err(RepairError::Backup)?;
        let lost = lost_results(tree, &backup)?;
        if !lost.is_empty() {
            return Err(RepairError::Backup(Unusable::Changed(lost)));
        }
        backup::restore(tree, id).map_err(RepairError::Backup)
    })
}

/// The items' files of a backup that have changed since, though it cannot be seen: their items have
/// completed or failed, and that is not in the file yet; or a session has recorded that its results
/// are in the file, where a repair had put them before it was cut off. What a repair settled itself is
/// part of the backup and does not count.
fn lost_results(tree: Tree<'_>, backup: &Backup) -> Result<Vec<String>, Failure> {
    let paths = || backup.files.iter().map(|file| &file.path).chain(&backup.created);
    let is_of_backup = |directory: &str| {
        let inside = format!("{directory}/");
        paths().any(|path| path.starts_with(&inside))
    };
    let mut items = HashSet::new();
    for saved in runs::open_sessions(tree)? {
        if !is_of_backup(&saved.directory) {
            items.extend(saved.unsynced.into_iter().map(|outcome| outcome.item));
        }
    }
    let made_at = Timestamp::parse(&backup.created_at);
    for run in runs::all(tree)? {
        if !is_of_backup(&run.directory) && run.last.map(|event| event.time) >= made_at {
            brought(tree, &run.directory, made_at, &mut items)?;
        }
    }
    let items: HashSet<String> = items.iter().map(|item| layout::item_file(item)).collect();
    Ok(paths().filter(|path| items.contains(*path)).cloned().collect())
}

/// The items whose results a session has brought into their files, as it recorded then or later.
fn brought(
    tree: Tree<'_>,
    run: &str,
    since: Option<Timestamp>,
    items: &mut HashSet<String>,
) -> Result<(), Failure> {
    let mut results: Vec<Outcome> = Vec::new();
    journal::read(tree, run, 0, |event| match event.kind {
        EventKind::Synced => {
            let results = results.drain(..).map(|outcome| outcome.item);
            match Some(event.time) >= since {
                true => items.extend(results),
                false => drop(results),
            }
        }
        _ => results.extend(Outcome::of(&event)),
    })?;
    Ok(())
}
