//! Backups of every file that is changed, removed or set aside, in the layout of the existing tool.
//!
//! `backups/{id}/manifest.json` lists the files. The copy of a file is in the same directory, under its path
//! relative to the root of the instance, with its modification time.

mod checksums;
mod fs;
mod manifest;
mod pending;
mod prune;
mod restore;
#[cfg(test)]
mod tests;

pub use fs::{BackupFs, Reason};
pub use manifest::{File, Manifest, Operation, read};
pub use pending::{Pending, finish, finish_restore, read as pending};
pub use restore::restore;

use crate::bindings::exports::wreckit::batch::doctor::{Backup, RepairError};
use crate::io::capabilities::Kind;
use crate::io::host::{Failure, Host};
use crate::io::layout;

/// The reason of a backup that is made before a feature is changed.
pub const FEATURE: &str = "feature";
/// The reason of a backup of a file that a run sets aside.
pub const RUN: &str = "run";
/// The reason of a backup that `doctor --fix` makes.
pub const FIX: &str = "doctor-fix";
/// Maximum size in bytes of a file that can be copied. A larger one can still be moved.
const FILE_LIMIT: u64 = 96 << 20;

/// Why a backup cannot be used.
#[derive(Debug, Clone, PartialEq)]
pub enum Unusable {
    /// There is no backup with this id.
    Unknown,
    /// Its manifest is damaged; how.
    Invalid(String),
    /// These files have changed since the backup was made.
    Changed(Vec<String>),
    /// A file operation failed.
    Storage(Failure),
}

impl From<Failure> for Unusable {
    fn from(failure: Failure) -> Self {
        Unusable::Storage(failure)
    }
}

impl From<Unusable> for RepairError {
    fn from(unusable: Unusable) -> Self {
        match unusable {
            Unusable::Unknown => RepairError::UnknownBackup,
            Unusable::Invalid(problem) => RepairError::InvalidBackup(problem),
            Unusable::Changed(paths) => RepairError::Changed(paths),
            Unusable::Storage(failure) => RepairError::Storage(failure.into()),
        }
    }
}

/// Moves a file into a new backup, in one step. Also works for what cannot be read: a FIFO, a link, a file without
/// read permission. Returns the id of the backup; `None` if the file does not exist.
pub fn set_aside(
    host: Host<'_>,
    purpose: &'static str,
    path: &str,
    code: &str,
) -> Result<Option<String>, Failure> {
    let fs = BackupFs::new(host, purpose);
    fs.set_reason(Reason::new(code, None));
    fs.host().remove(path)?;
    fs.finish()
}

/// Copies a file into a new backup, before it is changed. Returns the id of the backup; `None` if the file does
/// not exist.
pub fn copy(
    host: Host<'_>,
    purpose: &'static str,
    path: &str,
    code: &str,
) -> Result<Option<String>, Failure> {
    let fs = BackupFs::new(host, purpose);
    if host.stat(path)?.is_some() {
        fs.copy_files(&[(path.to_owned(), Reason::new(code, None))])?;
    }
    fs.finish()
}

/// The backups that can be used, newest first.
pub fn list(host: Host<'_>) -> Result<Vec<Backup>, Failure> {
    Ok(manifests(host)?.into_iter().map(|manifest| manifest.into_backup(host)).collect())
}

/// The manifests of the backups that can be used, newest first.
pub fn manifests(host: Host<'_>) -> Result<Vec<Manifest>, Failure> {
    let mut manifests = Vec::new();
    for id in ids(host)? {
        if let Ok(manifest) = read(host, &id) {
            manifests.push(manifest);
        }
    }
    Ok(manifests)
}

/// Whether a path is never backed up and never restored over: the locks and the backups themselves.
fn is_excluded(host: Host<'_>, path: &str) -> bool {
    let first = path.split('/').next().unwrap_or_default();
    host.layout().excluded.contains(&first)
}

/// The directory of a backup.
fn directory(host: Host<'_>, id: &str) -> String {
    format!("{}/{id}", host.layout().backups)
}

/// The ids of the backups, newest first: an id is a time, so their order is that of time.
fn ids(host: Host<'_>) -> Result<Vec<String>, Failure> {
    let entries = host.list(host.layout().backups)?;
    let directories = entries.into_iter().filter(|entry| entry.kind == Kind::Directory);
    Ok(directories
        .map(|entry| entry.name)
        .filter(|name| layout::is_safe_name(name))
        .rev()
        .collect())
}
