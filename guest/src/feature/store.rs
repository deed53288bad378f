//! Finding, reading and changing the files of features.

use serde_json::{Value, json};

use super::document::Document;
use super::{Changed, FeatureError, abort, unique};
use crate::backup::{self, Cause, FEATURE, Keeper};
use crate::bindings::exports::wreckit::batch::session::Holder;
use crate::formats::json;
use crate::formats::layout;
use crate::io::capabilities::{FsError, Kind};
use crate::io::host::{Failure, Host};
use crate::io::lock::{self, Work};
use crate::session::select::Unresolved;

/// A larger file is damage.
pub(super) const LIMIT: u64 = 16 << 20;
/// More candidates than this help nobody.
const MOST_CANDIDATES: usize = 10;

/// A feature in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its id: the name of its directory.
    pub id: String,
    /// Its document, or what is wrong with it.
    pub document: Result<Document, String>,
}

/// The file of a feature.
pub(super) fn progress_file(id: &str) -> String {
    format!("{id}/progress.json")
}

/// Every feature, sorted by id.
pub fn list(host: Host<'_>) -> Result<Vec<Entry>, Failure> {
    Ok(ids(host)?
        .into_iter()
        .map(|id| {
            let document = match load(host, &id) {
                Ok(document) => Ok(document),
                Err(FeatureError::Corrupt(problem)) => Err(problem),
                Err(FeatureError::Storage(failure)) => Err(failure.to_string()),
                Err(_) => Err("it cannot be used".to_owned()),
            };
            Entry { id, document }
        })
        .collect())
}

/// The directories that may be a feature's.
pub(super) fn ids(host: Host<'_>) -> Result<Vec<String>, Failure> {
    let entries = host.list(".")?;
    let directories = entries
        .into_iter()
        .filter(|entry| matches!(entry.kind, Kind::Directory | Kind::Link) && is_id(&entry.name));
    Ok(directories.map(|entry| entry.name).collect())
}

/// A name that a feature's directory may have: nothing that leads elsewhere or is hidden.
fn is_id(name: &str) -> bool {
    (1..=200).contains(&name.len())
        && !name.starts_with(['.', '-'])
        && !name.contains(['/', '\\', char::REPLACEMENT_CHARACTER])
        && !name.chars().any(char::is_control)
}

/// The feature that is meant: its id, or an unambiguous beginning of it.
pub fn resolve(host: Host<'_>, given: &str) -> Result<String, FeatureError> {
    let ids = ids(host)?;
    if let Some(id) = ids.iter().find(|id| *id == given) {
        return Ok(id.clone());
    }
    let fitting: Vec<String> =
        ids.iter().filter(|id| !given.is_empty() && id.starts_with(given)).cloned().collect();
    let ambiguous = fitting.len() > 1;
    match <[String; 1]>::try_from(fitting) {
        Ok([id]) => Ok(id),
        Err(fitting) => {
            let candidates = if ambiguous { fitting } else { ids };
            Err(FeatureError::Unknown(Unresolved {
                given: given.to_owned(),
                candidates: candidates.into_iter().take(MOST_CANDIDATES).collect(),
                ambiguous,
            }))
        }
    }
}

/// The document of a feature.
pub fn read(host: Host<'_>, given: &str) -> Result<(String, Document), FeatureError> {
    let id = resolve(host, given)?;
    let document = load(host, &id)?;
    Ok((id, document))
}

/// Reads and checks a feature's file. An empty one is damage, never "new".
///
/// A full cleanup that was cut off can leave a directory without it. As long as there is a directory,
/// the feature is what its last backup says: aborted, and to be removed by the same command.
pub(super) fn load(host: Host<'_>, id: &str) -> Result<Document, FeatureError> {
    let path = progress_file(id);
    let place = format!("{}{path}", host.layout().prefix);
    let bytes = match host.read(&path, LIMIT) {
        Ok(bytes) => bytes,
        Err(FsError::NotFound) => {
            let missing = || FeatureError::Corrupt(format!("{place} is missing"));
            return being_removed(host, id)?.ok_or_else(missing);
        }
        Err(error) => return Err(FeatureError::Storage(host.failed("read", &path)(error))),
    };
    let document = json::parse(&bytes)
        .and_then(|document| unique::check(&bytes).map(|()| document))
        .map_err(|error| FeatureError::Corrupt(format!("{place} has invalid JSON: {error}")))?;
    Document::from_json(document)
        .map_err(|problem| FeatureError::Corrupt(format!("{place} is invalid: {problem}")))
}

/// The last document of a feature whose full cleanup began and did not end.
fn being_removed(host: Host<'_>, id: &str) -> Result<Option<Document>, Failure> {
    let last = newest_good(host, id)?.and_then(|(_, bytes)| json::parse(&bytes).ok());
    let document = last.and_then(|document| Document::from_json(document).ok());
    Ok(document.filter(abort::is_to_be_removed))
}

/// Changes a feature: reads it, lets `change` say what it comes to and how that is told, and writes
/// it. One change at a time; who comes second is told.
pub(super) fn change(
    host: Host<'_>,
    given: &str,
    change: impl FnOnce(&mut Document) -> Result<String, FeatureError>,
) -> Result<Changed, FeatureError> {
    locked(host, || {
        let (id, mut document) = read(host, given)?;
        let before = document.clone();
        let in_file = |error| match error {
            FeatureError::Corrupt(problem) => {
                let place = format!("{}{}", host.layout().prefix, progress_file(&id));
                FeatureError::Corrupt(format!("{place} is invalid: {problem}"))
            }
            error => error,
        };
        let message = change(&mut document).map_err(in_file)?;
        if document != before {
            document.set("updated", host.now().to_string());
            save(host, &id, &document)?;
        }
        Ok(Changed { document: text(&document), id, message })
    })
}

/// Writes a feature's file. The one before is in a backup, and so is a copy of this one: if other hands
/// damage it, nothing is lost.
fn save(host: Host<'_>, id: &str, document: &Document) -> Result<(), Failure> {
    let keeper = Keeper::new(host, FEATURE);
    let path = progress_file(id);
    keeper.keep(&[(path.clone(), Cause::new("FEATURE_CHANGED", Some(id)))])?;
    if let Some(backup) = keeper.id() {
        let copy = copy_of_after(host, &backup, id);
        if let Some((directory, _)) = copy.rsplit_once('/') {
            host.create_directory(directory)?;
        }
        host.write(&copy, document.to_bytes())?;
    }
    keeper.host().write(&path, document.to_bytes())?;
    keeper.finish().map(drop)
}

/// Where a backup has a feature's file as it was after the change.
fn copy_of_after(host: Host<'_>, backup: &str, id: &str) -> String {
    format!("{}/{backup}/after/{}", host.layout().backups, progress_file(id))
}

/// The content of the newest backup of a feature's file that is sound.
pub(super) fn newest_good(host: Host<'_>, id: &str) -> Result<Option<(String, Vec<u8>)>, Failure> {
    let path = progress_file(id);
    let is_sound = |bytes: &[u8]| {
        let document = json::parse(bytes).ok();
        document.is_some_and(|document| Document::from_json(document).is_ok())
    };
    for backup in backup::all(host)? {
        for file in backup.files.iter().filter(|file| file.path == path) {
            // What a change left is newer than what it found.
            let before = format!("{}/{}/{}", host.layout().backups, backup.id, file.stored);
            for copy in [copy_of_after(host, &backup.id, id), before] {
                match host.read(&copy, LIMIT) {
                    Ok(bytes) if is_sound(&bytes) => return Ok(Some((backup.id, bytes))),
                    _ => {}
                }
            }
        }
    }
    Ok(None)
}

/// Does something while nobody else changes a feature. The lock is never waited for here: the caller
/// tries again.
pub(super) fn locked<T, E: From<FeatureError>>(
    host: Host<'_>,
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    lock(host, layout::FEATURE_LOCK, true)?;
    // What a crash cut off is ended first.
    let result = match backup::finish(host) {
        Ok(_) => work(),
        Err(failure) => Err(FeatureError::from(failure).into()),
    };
    unlock(host, layout::FEATURE_LOCK).map_err(FeatureError::from)?;
    result
}

/// Takes the lock of a run and records its owner. `take_over` ignores an owner that may still be running.
pub(super) fn lock_run(host: Host<'_>, take_over: bool) -> Result<(), FeatureError> {
    let taken = lock::acquire(host, &host.current_process(), Work::Repair, take_over)?;
    taken.map_err(|holder| FeatureError::Busy(Box::new(holder)))
}

pub(super) fn lock(host: Host<'_>, path: &str, transient: bool) -> Result<(), FeatureError> {
    let note = lock::note(host, &host.current_process());
    let state = host.lock(path, note.to_string().as_bytes()).map_err(host.failed("lock", path))?;
    match state.held {
        false => Ok(()),
        true => {
            let holder = Holder { transient, ..lock::holder(host, &state.note) };
            Err(FeatureError::Busy(Box::new(holder)))
        }
    }
}

fn unlock(host: Host<'_>, path: &str) -> Result<(), Failure> {
    host.unlock(path).map_err(host.failed("unlock", path))
}

/// As JSON text.
pub(super) fn text(document: &Document) -> String {
    String::from_utf8(document.to_bytes()).unwrap_or_default()
}
