//! `backups/pending.json`: a change of several files that is in progress. It is written before the first file
//! changes and removed after the last one, so that the next command can complete what a crash interrupted.

use serde_json::{Value, json};

use super::fs::BackupFs;
use super::restore::{self, Plan};
use super::{Unusable, manifest};
use crate::bindings::exports::wreckit::batch::doctor::Restoration;
use crate::io::capabilities::{FsError, Level};
use crate::io::host::{Failure, Host};
use crate::json;

/// Maximum size in bytes. The paths of 100,000 files take about 10 MiB.
const LIMIT: u64 = 96 << 20;

/// A change in progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pending {
    /// `doctor --fix`.
    Fix {
        /// Its backup.
        backup: String,
    },
    /// The restore of a backup.
    Restore {
        /// The backup that is restored.
        backup: String,
        /// The backup of what the restore replaces.
        saved_in: String,
        /// What is restored and removed.
        plan: Plan,
    },
}

fn file(host: Host<'_>) -> String {
    format!("{}/pending.json", host.layout().backups)
}

/// Records that a change begins, durably.
pub(super) fn write(host: Host<'_>, pending: &Pending) -> Result<(), Failure> {
    let document = match pending {
        Pending::Fix { backup } => {
            json!({"schema_version": 1, "operation": "fix", "backup": backup})
        }
        // `put_back` is the name that every build has written.
        Pending::Restore { backup, saved_in, plan } => json!({
            "schema_version": 1, "operation": "restore", "backup": backup, "saved_in": saved_in,
            "put_back": plan.restore, "remove": plan.remove,
        }),
    };
    host.write(&file(host), json::pretty(&document))
}

/// Records that the change is complete.
pub(super) fn clear(host: Host<'_>) -> Result<(), Failure> {
    host.remove(&file(host))
}

/// Reads the change that was interrupted, if any. Its contents are checked against the backup when they are used.
/// An invalid file is ignored.
pub fn read(host: Host<'_>) -> Result<Option<Pending>, Failure> {
    let path = file(host);
    let bytes = match host.read(&path, LIMIT) {
        Ok(bytes) => bytes,
        // Where no backup can be, nothing was interrupted.
        Err(FsError::NotFound | FsError::Outside | FsError::WrongKind(_)) => return Ok(None),
        Err(error) => return Err(host.failed("read", &path)(error)),
    };
    let document = json::parse_up_to(&bytes, json::MANY_VALUES).unwrap_or_default();
    let pending = from_json(&document);
    if pending.is_none() {
        let file = format!("{}{path}", host.layout().prefix);
        host.log(Level::Warning, &format!("{file} is invalid and is ignored"));
    }
    Ok(pending)
}

fn from_json(document: &Value) -> Option<Pending> {
    let text = |key: &str| Some(document.get(key)?.as_str()?.to_owned());
    let paths = |key: &str| json::strings(document.get(key)?);
    match document.get("operation")?.as_str()? {
        "fix" => Some(Pending::Fix { backup: text("backup")? }),
        "restore" => Some(Pending::Restore {
            backup: text("backup")?,
            saved_in: text("saved_in")?,
            plan: Plan { restore: paths("put_back")?, remove: paths("remove")? },
        }),
        _ => None,
    }
}

/// Finishes what a crash interrupted, before anything else is changed: completes a restore, rolls back a fix.
/// Returns whether there was anything to finish. The lock is held.
pub fn finish(host: Host<'_>) -> Result<bool, Failure> {
    match read(host)? {
        None => return Ok(false),
        Some(Pending::Fix { backup }) => roll_back(host, &backup)?,
        Some(Pending::Restore { backup, saved_in, plan }) => {
            complete(host, &backup, &saved_in, &plan)?;
        }
    }
    Ok(true)
}

/// Completes a restore that a crash interrupted. Returns its backup and what it did. An interrupted fix is
/// continued by the next `--fix`.
pub fn finish_restore(host: Host<'_>) -> Result<Option<(String, Restoration)>, Failure> {
    let Some(Pending::Restore { backup, saved_in, plan }) = read(host)? else { return Ok(None) };
    let restoration = complete(host, &backup, &saved_in, &plan)?;
    Ok(restoration.map(|restoration| (backup, restoration)))
}

fn complete(
    host: Host<'_>,
    id: &str,
    saved_in: &str,
    plan: &Plan,
) -> Result<Option<Restoration>, Failure> {
    let opened = manifest::read(host, id)
        .and_then(|manifest| Ok((manifest, BackupFs::reopen(host, restore::PURPOSE, saved_in)?)));
    match opened {
        Ok((manifest, fs)) => {
            let restoration = restore::carry_out(host, &fs, &manifest, plan)?;
            let message = format!("Completed the interrupted restore of backup {id}");
            host.log(Level::Warning, &message);
            Ok(Some(restoration))
        }
        Err(Unusable::Storage(failure)) => Err(failure),
        Err(Unusable::Unknown | Unusable::Invalid(_) | Unusable::Changed(_)) => {
            let message = format!(
                "The restore of backup {id} was interrupted and cannot be completed: its files are missing or damaged"
            );
            host.log(Level::Warning, &message);
            clear(host)?;
            Ok(None)
        }
    }
}

fn roll_back(host: Host<'_>, id: &str) -> Result<(), Failure> {
    let message = match restore::restore(host, id) {
        Ok(_) => format!(
            "Rolled back an interrupted `doctor --fix` (backup {id}).\n\
             To repair again: wreckit-host doctor --fix"
        ),
        Err(Unusable::Storage(failure)) => return Err(failure),
        Err(Unusable::Changed(paths)) => format!(
            "An interrupted `doctor --fix` was not rolled back, because files have changed since: {}.\n\
             The files that it replaced are in {}{}/{id}",
            paths.join(", "),
            host.layout().prefix,
            host.layout().backups,
        ),
        // Nothing is changed before it is backed up.
        Err(Unusable::Unknown | Unusable::Invalid(_)) => return clear(host),
    };
    host.log(Level::Warning, &message);
    clear(host)
}
