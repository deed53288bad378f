//! Finding, reading and changing the files of features.

use serde_json::{Value, json};

use super::document::Document;
use super::{Changed, FeatureError, abort, unique};
use crate::backup::{self, Cause, FEATURE, Keeper};
use crate::formats::json;
use crate::formats::layout;
use crate::formats::progress::Owner;
use crate::io::capabilities::{FsError, Identity, Kind, Level, LockOutcome};
use crate::io::claim;
use crate::io::lock::Holder;
use crate::io::tree::{Failure, Tree};
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
pub fn list(tree: Tree<'_>) -> Result<Vec<Entry>, Failure> {
    Ok(ids(tree)?
        .into_iter()
        .map(|id| {
            let document = match load(tree, &id) {
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
pub(super) fn ids(tree: Tree<'_>) -> Result<Vec<String>, Failure> {
    let entries = tree.list(".")?;
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
pub fn resolve(tree: Tree<'_>, given: &str) -> Result<String, FeatureError> {
    let ids = ids(tree)?;
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
pub fn read(tree: Tree<'_>, given: &str) -> Result<(String, Document), FeatureError> {
    let id = resolve(tree, given)?;
    let document = load(tree, &id)?;
    Ok((id, document))
}

/// Reads and checks a feature's file. An empty one is damage, never "new".
///
/// A full cleanup that was cut off can leave a directory without it. As long as there is a directory,
/// the feature is what its last backup says: aborted, and to be removed by the same command.
pub(super) fn load(tree: Tree<'_>, id: &str) -> Result<Document, FeatureError> {
    let path = progress_file(id);
    let place = format!("{}{path}", tree.place().prefix);
    let bytes = match tree.read(&path, LIMIT) {
        Ok(bytes) => bytes,
        Err(FsError::NotFound) => {
            let missing = || FeatureError::Corrupt(format!("{place} is missing"));
            return being_removed(tree, id)?.ok_or_else(missing);
        }
        Err(error) => return Err(FeatureError::Storage(tree.failed("read", &path)(error))),
    };
    let document = json::parse(&bytes)
        .and_then(|document| unique::check(&bytes).map(|()| document))
        .map_err(|error| FeatureError::Corrupt(format!("{place} has invalid JSON: {error}")))?;
    Document::from_json(document)
        .map_err(|problem| FeatureError::Corrupt(format!("{place} is invalid: {problem}")))
}

/// The last document of a feature whose full cleanup began and did not end.
fn being_removed(tree: Tree<'_>, id: &str) -> Result<Option<Document>, Failure> {
    let last = newest_good(tree, id)?.and_then(|(_, bytes)| json::parse(&bytes).ok());
    let document = last.and_then(|document| Document::from_json(document).ok());
    Ok(document.filter(abort::is_to_be_removed))
}

/// Changes a feature: reads it, lets `change` say what it comes to and how that is told, and writes
/// it. One change at a time; who comes second is told.
pub(super) fn change(
    tree: Tree<'_>,
    given: &str,
    change: impl FnOnce(&mut Document) -> Result<String, FeatureError>,
) -> Result<Changed, FeatureError> {
    locked(tree, || {
        let (id, mut document) = read(tree, given)?;
        let before = document.clone();
        let in_file = |error| match error {
            FeatureError::Corrupt(problem) => {
                let place = format!("{}{}", tree.place().prefix, progress_file(&id));
                FeatureError::Corrupt(format!("{place} is invalid: {problem}"))
            }
            error => error,
        };
        let message = change(&mut document).map_err(in_file)?;
        if document != before {
            document.set("updated", tree.now().to_string());
            save(tree, &id, &document)?;
        }
        Ok(Changed { document: text(&document), id, message })
    })
}

/// Writes a feature's file. The one before is in a backup, and so is a copy of this one: if other hands
/// damage it, nothing is lost.
fn save(tree: Tree<'_>, id: &str, document: &Document) -> Result<(), Failure> {
    let keeper = Keeper::new(tree, FEATURE);
    let path = progress_file(id);
    keeper.keep(&[(path.clone(), Cause::new("FEATURE_CHANGED", Some(id)))])?;
    if let Some(backup) = keeper.id() {
        let copy = copy_of_after(tree, &backup, id);
        if let Some((directory, _)) = copy.rsplit_once('/') {
            tree.create_directory(directory)?;
        }
        tree.write(&copy, document.to_bytes())?;
    }
    keeper.tree().write(&path, document.to_bytes())?;
    keeper.finish().map(drop)
}

/// Where a backup has a feature's file as it was after the change.
fn copy_of_after(tree: Tree<'_>, backup: &str, id: &str) -> String {
    format!("{}/{backup}/after/{}", tree.place().backups, progress_file(id))
}

/// The content of the newest backup of a feature's file that is sound.
pub(super) fn newest_good(tree: Tree<'_>, id: &str) -> Result<Option<(String, Vec<u8>)>, Failure> {
    let path = progress_file(id);
    let is_sound = |bytes: &[u8]| {
        let document = json::parse(bytes).ok();
        document.is_some_and(|document| Document::from_json(document).is_ok())
    };
    for backup in backup::all(tree)? {
        for file in backup.files.iter().filter(|file| file.path == path) {
            // What a change left is newer than what it found.
            let before = format!("{}/{}/{}", tree.place().backups, backup.id, file.stored);
            for copy in [copy_of_after(tree, &backup.id, id), before] {
                match tree.read(&copy, LIMIT) {
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
    tree: Tree<'_>,
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    lock(tree, layout::FEATURE_LOCK, true)?;
    // What a crash cut off is ended first.
    let result = match backup::finish(tree) {
        Ok(_) => work(),
        Err(failure) => Err(FeatureError::from(failure).into()),
    };
    unlock(tree, layout::FEATURE_LOCK).map_err(FeatureError::from)?;
    result
}

/// Takes the lock of a run and records its owner. `take_over` passes over an owner that may still run.
pub(super) fn lock_run(tree: Tree<'_>, take_over: bool) -> Result<(), FeatureError> {
    let path = layout::RUN_LOCK;
    let identity = tree.current_process();
    let busy = |holder| Err(FeatureError::Busy(Box::new(holder)));
    // Before the lock: taking it overwrites the note of a holder whom it does not exclude.
    if let Some(holder) = claim::current_holder(tree, path, &identity)?.filter(|_| !take_over) {
        return busy(holder);
    }
    lock(tree, path, false)?;
    let note = note(tree, &identity);
    match claim::take(tree, path, &identity, &note, take_over) {
        Ok(Ok(())) => Ok(()),
        refused => {
            unlock(tree, path)?;
            busy(refused?.err().unwrap_or_default())
        }
    }
}

/// Gives the lock of a run back.
pub(super) fn unlock_run(tree: Tree<'_>) -> Result<(), Failure> {
    if let Err(failure) = claim::release(tree, layout::RUN_LOCK, &tree.current_process()) {
        // The record is void as soon as this process has exited.
        tree.log(Level::Debug, &failure.to_string());
    }
    unlock(tree, layout::RUN_LOCK)
}

fn note(tree: Tree<'_>, identity: &Identity) -> Value {
    let owner = Owner::of(identity).to_json();
    json!({"pid": identity.pid, "since": tree.now().to_string(), "owner": owner})
}

pub(super) fn lock(tree: Tree<'_>, path: &str, momentary: bool) -> Result<(), FeatureError> {
    let note = note(tree, &tree.current_process());
    let outcome =
        tree.lock(path, note.to_string().as_bytes()).map_err(tree.failed("lock", path))?;
    match outcome {
        LockOutcome::Acquired => Ok(()),
        LockOutcome::Held(note) => {
            let note = json::parse(&note).unwrap_or_default();
            Err(FeatureError::Busy(Box::new(Holder {
                pid: note.get("pid").and_then(json::integer),
                since: note.get("since").and_then(Value::as_str).map(str::to_owned),
                locked: true,
                momentary,
                ..Holder::default()
            })))
        }
    }
}

fn unlock(tree: Tree<'_>, path: &str) -> Result<(), Failure> {
    tree.unlock(path).map_err(tree.failed("unlock", path))
}

/// As JSON text.
pub(super) fn text(document: &Document) -> String {
    String::from_utf8(document.to_bytes()).unwrap_or_default()
}
