//! `backups/pending.json`: the change of several files that is being made. Written before the first of
//! them changes and removed after the last one, so that it tells the next command what a crash cut off.

use serde_json::{Value, json};

use super::keeper::Keeper;
use super::restore::{self, Plan, Restored};
use super::{Unusable, manifest};
use crate::formats::json;
use crate::io::capabilities::{FsError, Level};
use crate::io::host::{Failure, Host};

/// The paths of a hundred thousand files have about 10 MiB.
const LIMIT: u64 = 96 << 20;

/// A change that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pending {
    /// `doctor --fix`, whose backup this is.
    Fix {
        /// The backup.
        backup: String,
    },
    /// The restoration of a backup.
    Restore {
        /// The backup that is restored.
        backup: String,
        /// The backup of what is replaced.
        saved_in: String,
        /// What is put back and removed.
        plan: Plan,
    },
}

fn file(host: Host<'_>) -> String {
    format!("{}/pending.json", host.layout().backups)
}

/// Records what is about to be done, durably.
pub(super) fn write(host: Host<'_>, pending: &Pending) -> Result<(), Failure> {
    let document = match pending {
        Pending::Fix { backup } => {
            json!({"schema_version": 1, "operation": "fix", "backup": backup})
        }
        Pending::Restore { backup, saved_in, plan } => json!({
            "schema_version": 1, "operation": "restore", "backup": backup, "saved_in": saved_in,
            "put_back": plan.put_back, "remove": plan.remove,
        }),
    };
    host.write(&file(host), json::pretty(&document))
}

/// Records that it was done.
pub(super) fn clear(host: Host<'_>) -> Result<(), Failure> {
    host.remove(&file(host))
}

/// What was begun and not ended. Everything in the file is checked when it is used, by what the backup
/// says; a file that makes no sense is none of ours.
pub fn read(host: Host<'_>) -> Result<Option<Pending>, Failure> {
    let path = file(host);
    let bytes = match host.read(&path, LIMIT) {
        Ok(bytes) => bytes,
        // Nothing of ours can be where no backup can be.
        Err(FsError::NotFound | FsError::Outside | FsError::WrongKind(_)) => return Ok(None),
        Err(error) => return Err(host.failed("read", &path)(error)),
    };
    let document = json::parse_up_to(&bytes, json::MANY_VALUES).unwrap_or_default();
    let pending = from_json(&document);
    if pending.is_none() {
        let place = format!("{}{path}", host.layout().prefix);
        host.log(Level::Warning, &format!("{place} is invalid and is ignored"));
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
            plan: Plan { put_back: paths("put_back")?, remove: paths("remove")? },
        }),
        _ => None,
    }
}

/// Ends what a crash cut off, before anything else is changed: a restoration is completed, a fix is
/// rolled back. Returns whether there was anything to end. The lock is held.
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

/// Completes a restoration that a crash cut off; its backup and what was done. A fix is left to the
/// next `--fix`.
pub fn finish_restoration(host: Host<'_>) -> Result<Option<(String, Restored)>, Failure> {
    let Some(Pending::Restore { backup, saved_in, plan }) = read(host)? else { return Ok(None) };
    let restored = complete(host, &backup, &saved_in, &plan)?;
    Ok(restored.map(|restored| (backup, restored)))
}

fn complete(
    host: Host<'_>,
    id: &str,
    saved_in: &str,
    plan: &Plan,
) -> Result<Option<Restored>, Failure> {
    let backups = manifest::read(host, id)
        .and_then(|backup| Ok((backup, Keeper::reopen(host, restore::REASON, saved_in)?)));
    match backups {
        Ok((backup, keeper)) => {
            let restored = restore::carry_out(host, &keeper, &backup, plan)?;
            let words = format!("Completed the interrupted restore of backup {id}");
            host.log(Level::Warning, &words);
            Ok(Some(restored))
        }
        Err(Unusable::Storage(failure)) => Err(failure),
        Err(_) => {
            let words = format!(
                "The restore of backup {id} was interrupted and cannot be completed: its files are gone or damaged"
            );
            host.log(Level::Warning, &words);
            clear(host)?;
            Ok(None)
        }
    }
}

fn roll_back(host: Host<'_>, id: &str) -> Result<(), Failure> {
    let words = match restore::restore(host, id) {
        Ok(_) => format!(
            "Rolled back an interrupted `doctor --fix` (backup {id}).\n\
             To repair again: wreckit-host doctor --fix"
        ),
        Err(Unusable::Storage(failure)) => return Err(failure),
        Err(Unusable::Changed(paths)) => format!(
            "An interrupted `doctor --fix` was not rolled back, because files changed since: {}.\n\
             What it replaced is in {}{}/{id}",
            paths.join(", "),
            host.layout().prefix,
            host.layout().backups,
        ),
        // Nothing is changed before it has a backup.
        Err(Unusable::Unknown | Unusable::Invalid(_)) => return clear(host),
    };
    host.log(Level::Warning, &words);
    clear(host)
}
