//! Backups: whatever is changed, removed or set aside, in the layout of the existing tool.
//!
//! `backups/{id}/manifest.json` names the files; each stands in the same directory under its path
//! from `.wreckit`, with the time at which it was last modified.

mod keeper;
mod left;
mod manifest;
mod pending;
mod restore;
#[cfg(test)]
mod tests;

pub use keeper::{Cause, Keeper};
pub use manifest::{Backup, File, Operation};
pub use pending::{Pending, finish, finish_restoration, read as pending};
pub use restore::{Restored, restore};

use std::collections::HashSet;

use crate::formats::layout;
use crate::io::capabilities::Kind;
use crate::io::tree::{Failure, Tree};

/// So many backups are kept.
const KEPT: usize = 10;
/// The reason of a backup that is made before a feature is changed.
pub const FEATURE: &str = "feature";
/// The reason of a backup of what a run sets aside.
pub const RUN: &str = "run";
/// The reason of a backup that `doctor --fix` makes.
pub const FIX: &str = "doctor-fix";
/// A larger file cannot be copied; it can still be moved.
const FILE_LIMIT: u64 = 96 << 20;

/// Why a backup cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unusable {
    /// There is none of that name.
    Unknown,
    /// Its manifest is damaged; how.
    Invalid(String),
    /// These files are not what was left when it was made: somebody has changed them since.
    Changed(Vec<String>),
    /// A file could not be read or written.
    Storage(Failure),
}

impl From<Failure> for Unusable {
    fn from(failure: Failure) -> Self {
        Unusable::Storage(failure)
    }
}

/// Moves a file into a new backup: in one step it is kept and gone. Works for what cannot be read,
/// too: a FIFO, a link, a file without permission. Returns the backup's id; `None` if there was nothing
/// to move.
pub fn set_aside(
    tree: Tree<'_>,
    reason: &'static str,
    path: &str,
    code: &str,
) -> Result<Option<String>, Failure> {
    let keeper = Keeper::new(tree, reason);
    keeper.because(Cause::new(code, None));
    keeper.tree().remove(path)?;
    keeper.finish()
}

/// Copies a file into a new backup, before it is changed. Returns the backup's id; `None` if there was
/// nothing to copy.
pub fn copy(
    tree: Tree<'_>,
    reason: &'static str,
    path: &str,
    code: &str,
) -> Result<Option<String>, Failure> {
    let keeper = Keeper::new(tree, reason);
    if tree.stat(path)?.is_some() {
        keeper.keep(&[(path.to_owned(), Cause::new(code, None))])?;
    }
    keeper.finish()
}

/// Every backup that can be used, the newest first.
pub fn all(tree: Tree<'_>) -> Result<Vec<Backup>, Failure> {
    let mut backups = Vec::new();
    for id in names(tree)? {
        if let Ok(backup) = manifest::read(tree, &id) {
            backups.push(backup);
        }
    }
    Ok(backups)
}

/// A backup.
pub fn read(tree: Tree<'_>, id: &str) -> Result<Backup, Unusable> {
    manifest::read(tree, id)
}

/// Whether there is a backup of this name that can be used.
pub fn check(tree: Tree<'_>, id: &str) -> Result<(), Unusable> {
    manifest::read(tree, id).map(drop)
}

/// Where a backup has a file.
pub fn place_of(tree: Tree<'_>, backup: &Backup, file: &File) -> String {
    format!("{}/{}", directory(tree, &backup.id), file.stored)
}

/// What no backup is of and nothing is restored over: the locks and the backups.
fn is_ours(tree: Tree<'_>, path: &str) -> bool {
    let first = path.split('/').next().unwrap_or_default();
    tree.place().kept_out.contains(&first)
}

/// The directory of a backup.
fn directory(tree: Tree<'_>, id: &str) -> String {
    format!("{}/{id}", tree.place().backups)
}

/// The names of the backups, the newest first: they are times, so their order is that of time.
fn names(tree: Tree<'_>) -> Result<Vec<String>, Failure> {
    let entries = tree.list(tree.place().backups)?;
    let directories = entries.into_iter().filter(|entry| entry.kind == Kind::Directory);
    Ok(directories
        .map(|entry| entry.name)
        .filter(|name| layout::is_safe_name(name))
        .rev()
        .collect())
}

/// Backups that are counted together.
#[derive(Debug, PartialEq, Eq)]
enum Group {
    Feature,
    Restored,
    Other,
}

/// Removes the oldest backups beyond those that are kept, and what was cut off before it became one.
/// What is in use stays, whatever its name says of its age, and so does what is no backup: a directory
/// that is not named after a time, such as a copy of one, and files that no manifest names.
///
/// What is kept of a feature before each of its changes is counted for each feature by itself, and so
/// is what restorations keep: who goes back through the backups does not lose those that come next.
fn prune(tree: Tree<'_>, in_use: &[&str]) -> Result<(), Failure> {
    let mut backups = all(tree)?;
    backups.retain(|backup| is_time(&backup.id));
    let unfinished = unfinished(tree, &backups)?;
    let group = |backup: &Backup| {
        let path = || backup.files.first().map(|file| file.path.clone());
        match backup.reason.as_str() {
            FEATURE => (Group::Feature, path()),
            restore::REASON => (Group::Restored, None),
            _ => (Group::Other, None),
        }
    };
    let newest = backups.iter().find(|backup| in_use.contains(&backup.id.as_str())).map(group);
    let backups = backups.iter().filter(|backup| Some(group(backup)) == newest);
    let old = backups
        .filter(|backup| !in_use.contains(&backup.id.as_str()))
        .skip(KEPT.saturating_sub(in_use.len()));
    for backup in old {
        remove(tree, backup)?;
    }
    for id in unfinished {
        remove_all(tree, &directory(tree, &id))?;
    }
    Ok(())
}

/// Whether a name is one that backups get.
fn is_time(name: &str) -> bool {
    name.len() == "2026-11-20T21-02-22-735Z".len()
        && name.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'T' | b'-' | b'Z'))
}

/// Directories of backups that were cut off before they had a manifest: nothing was changed then.
fn unfinished(tree: Tree<'_>, backups: &[Backup]) -> Result<Vec<String>, Failure> {
    let is_beginning = |name: &str| {
        name == left::NAME || (name.starts_with("manifest.json.") && name.ends_with(".tmp"))
    };
    let mut unfinished = Vec::new();
    for id in names(tree)? {
        if is_time(&id)
            && !backups.iter().any(|backup| backup.id == id)
            && tree.list(&directory(tree, &id))?.iter().all(|entry| is_beginning(&entry.name))
        {
            unfinished.push(id);
        }
    }
    Ok(unfinished)
}

/// Removes a backup: what its manifest names, then the manifest. Its directory goes if nothing else is
/// in it.
fn remove(tree: Tree<'_>, backup: &Backup) -> Result<(), Failure> {
    let directory = directory(tree, &backup.id);
    let stored: HashSet<&str> = backup.files.iter().map(|file| file.stored.as_str()).collect();
    let above: HashSet<&str> = stored
        .iter()
        .flat_map(|path| path.match_indices('/').map(|(end, _)| &path[..end]))
        .collect();
    let known = Known { stored, above };
    let is_empty = known.remove_in(tree, &directory, "")?;
    for name in [left::NAME, manifest::NAME] {
        tree.remove(&format!("{directory}/{name}"))?;
    }
    if is_empty { tree.remove(&directory) } else { Ok(()) }
}

/// What a backup is known to hold, from its directory.
struct Known<'b> {
    stored: HashSet<&'b str>,
    /// The directories that the stored files are in.
    above: HashSet<&'b str>,
}

impl Known<'_> {
    /// Removes what is stored below a directory of the backup, all but the files about the backup
    /// itself; false if anything else is there.
    fn remove_in(&self, tree: Tree<'_>, directory: &str, prefix: &str) -> Result<bool, Failure> {
        let mut is_empty = true;
        for entry in tree.list(directory)? {
            let path = format!("{directory}/{}", entry.name);
            let own = format!("{prefix}{}", entry.name);
            let is_copy_cut_off = layout::temporary_target(&own)
                .is_some_and(|target| self.stored.contains(target) || target == manifest::NAME);
            match entry.kind {
                Kind::Directory if self.stored.contains(own.as_str()) => remove_all(tree, &path)?,
                Kind::Directory if self.above.contains(own.as_str()) => {
                    match self.remove_in(tree, &path, &format!("{own}/"))? {
                        true => tree.remove(&path)?,
                        false => is_empty = false,
                    }
                }
                Kind::File if own == manifest::NAME || own == left::NAME => {}
                Kind::File if is_copy_cut_off => tree.remove(&path)?,
                Kind::File | Kind::Link | Kind::Other if self.stored.contains(own.as_str()) => {
                    tree.remove(&path)?;
                }
                _ => is_empty = false,
            }
        }
        Ok(is_empty)
    }
}

fn remove_all(tree: Tree<'_>, directory: &str) -> Result<(), Failure> {
    for entry in tree.list(directory)? {
        let path = format!("{directory}/{}", entry.name);
        match entry.kind {
            Kind::Directory => remove_all(tree, &path)?,
            Kind::File | Kind::Link | Kind::Other => tree.remove(&path)?,
        }
    }
    tree.remove(directory)
}
