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
use crate::io::host::{Failure, Host};

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
#[derive(Debug, Clone, PartialEq)]
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
    host: Host<'_>,
    reason: &'static str,
    path: &str,
    code: &str,
) -> Result<Option<String>, Failure> {
    let keeper = Keeper::new(host, reason);
    keeper.because(Cause::new(code, None));
    keeper.host().remove(path)?;
    keeper.finish()
}

/// Copies a file into a new backup, before it is changed. Returns the backup's id; `None` if there was
/// nothing to copy.
pub fn copy(
    host: Host<'_>,
    reason: &'static str,
    path: &str,
    code: &str,
) -> Result<Option<String>, Failure> {
    let keeper = Keeper::new(host, reason);
    if host.stat(path)?.is_some() {
        keeper.keep(&[(path.to_owned(), Cause::new(code, None))])?;
    }
    keeper.finish()
}

/// Every backup that can be used, the newest first.
pub fn all(host: Host<'_>) -> Result<Vec<Backup>, Failure> {
    let mut backups = Vec::new();
    for id in names(host)? {
        if let Ok(backup) = manifest::read(host, &id) {
            backups.push(backup);
        }
    }
    Ok(backups)
}

/// A backup.
pub fn read(host: Host<'_>, id: &str) -> Result<Backup, Unusable> {
    manifest::read(host, id)
}

/// Whether there is a backup of this name that can be used.
pub fn check(host: Host<'_>, id: &str) -> Result<(), Unusable> {
    manifest::read(host, id).map(drop)
}

/// Where a backup has a file.
pub fn place_of(host: Host<'_>, backup: &Backup, file: &File) -> String {
    format!("{}/{}", directory(host, &backup.id), file.stored)
}

/// What no backup is of and nothing is restored over: the locks and the backups.
fn is_ours(host: Host<'_>, path: &str) -> bool {
    let first = path.split('/').next().unwrap_or_default();
    host.layout().kept_out.contains(&first)
}

/// The directory of a backup.
fn directory(host: Host<'_>, id: &str) -> String {
    format!("{}/{id}", host.layout().backups)
}

/// The names of the backups, the newest first: they are times, so their order is that of time.
fn names(host: Host<'_>) -> Result<Vec<String>, Failure> {
    let entries = host.list(host.layout().backups)?;
    let directories = entries.into_iter().filter(|entry| entry.kind == Kind::Directory);
    Ok(directories
        .map(|entry| entry.name)
        .filter(|name| layout::is_safe_name(name))
        .rev()
        .collect())
}

/// Backups that are counted together.
#[derive(Debug, PartialEq)]
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
fn prune(host: Host<'_>, in_use: &[&str]) -> Result<(), Failure> {
    let mut backups = all(host)?;
    backups.retain(|backup| is_time(&backup.id));
    let unfinished = unfinished(host, &backups)?;
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
        remove(host, backup)?;
    }
    for id in unfinished {
        remove_all(host, &directory(host, &id))?;
    }
    Ok(())
}

/// Whether a name is one that backups get.
fn is_time(name: &str) -> bool {
    name.len() == "2026-11-20T21-02-22-735Z".len()
        && name.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'T' | b'-' | b'Z'))
}

/// Directories of backups that were cut off before they had a manifest: nothing was changed then.
fn unfinished(host: Host<'_>, backups: &[Backup]) -> Result<Vec<String>, Failure> {
    let is_beginning = |name: &str| {
        name == left::NAME || (name.starts_with("manifest.json.") && name.ends_with(".tmp"))
    };
    let mut unfinished = Vec::new();
    for id in names(host)? {
        if is_time(&id)
            && !backups.iter().any(|backup| backup.id == id)
            && host.list(&directory(host, &id))?.iter().all(|entry| is_beginning(&entry.name))
        {
            unfinished.push(id);
        }
    }
    Ok(unfinished)
}

/// Removes a backup: what its manifest names, then the manifest. Its directory goes if nothing else is
/// in it.
fn remove(host: Host<'_>, backup: &Backup) -> Result<(), Failure> {
    let directory = directory(host, &backup.id);
    let stored: HashSet<&str> = backup.files.iter().map(|file| file.stored.as_str()).collect();
    let above: HashSet<&str> = stored
        .iter()
        .flat_map(|path| path.match_indices('/').map(|(end, _)| &path[..end]))
        .collect();
    let known = Known { stored, above };
    let is_empty = known.remove_in(host, &directory, "")?;
    for name in [left::NAME, manifest::NAME] {
        host.remove(&format!("{directory}/{name}"))?;
    }
    if is_empty { host.remove(&directory) } else { Ok(()) }
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
    fn remove_in(&self, host: Host<'_>, directory: &str, prefix: &str) -> Result<bool, Failure> {
        let mut is_empty = true;
        for entry in host.list(directory)? {
            let path = format!("{directory}/{}", entry.name);
            let own = format!("{prefix}{}", entry.name);
            let is_copy_cut_off = layout::temporary_target(&own)
                .is_some_and(|target| self.stored.contains(target) || target == manifest::NAME);
            match entry.kind {
                Kind::Directory if self.stored.contains(own.as_str()) => remove_all(host, &path)?,
                Kind::Directory if self.above.contains(own.as_str()) => {
                    match self.remove_in(host, &path, &format!("{own}/"))? {
                        true => host.remove(&path)?,
                        false => is_empty = false,
                    }
                }
                Kind::File if own == manifest::NAME || own == left::NAME => {}
                Kind::File if is_copy_cut_off => host.remove(&path)?,
                Kind::File | Kind::Link | Kind::Other if self.stored.contains(own.as_str()) => {
                    host.remove(&path)?;
                }
                _ => is_empty = false,
            }
        }
        Ok(is_empty)
    }
}

fn remove_all(host: Host<'_>, directory: &str) -> Result<(), Failure> {
    for entry in host.list(directory)? {
        let path = format!("{directory}/{}", entry.name);
        match entry.kind {
            Kind::Directory => remove_all(host, &path)?,
            Kind::File | Kind::Link | Kind::Other => host.remove(&path)?,
        }
    }
    host.remove(directory)
}
