//! Finding, reading and changing the documents of features.

use serde_json::Value;

use super::document::Document;
use super::{abort, text, unique};
use crate::backup::{self, BackupFs, FEATURE, Reason};
use crate::bindings::exports::wreckit::batch::batch::Unresolved;
use crate::bindings::exports::wreckit::batch::doctor::RepairError;
use crate::bindings::exports::wreckit::batch::feature::{Entry, FeatureError, Snapshot};
use crate::bindings::exports::wreckit::batch::session::Holder;
use crate::io::capabilities::{FsError, Kind};
use crate::io::host::{Failure, Host};
use crate::io::layout;
use crate::io::lock::{self, Purpose};
use crate::io::root::{self, RootError};
use crate::json;
use crate::select;

/// Maximum size of a document, in bytes.
pub(crate) const DOCUMENT_LIMIT: u64 = 16 << 20;

/// Why a document cannot be read.
#[derive(Debug, Clone, PartialEq)]
pub enum DocumentError {
    /// It is damaged; how, and where.
    Corrupt(String),
    /// A file operation failed.
    Storage(Failure),
}

impl DocumentError {
    /// What is wrong, in words.
    pub fn describe(self) -> String {
        match self {
            DocumentError::Corrupt(problem) => problem,
            DocumentError::Storage(failure) => failure.to_string(),
        }
    }
}

impl From<Failure> for DocumentError {
    fn from(failure: Failure) -> Self {
        DocumentError::Storage(failure)
    }
}

impl From<DocumentError> for FeatureError {
    fn from(error: DocumentError) -> Self {
        match error {
            DocumentError::Corrupt(problem) => FeatureError::Corrupt(problem),
            DocumentError::Storage(failure) => failure.into(),
        }
    }
}

/// Why a lock was not taken.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum LockError {
    /// Another process holds it.
    Busy(Holder),
    /// The root of the instance is not a directory of features; why.
    WrongRoot(String),
    /// A file operation failed.
    Storage(Failure),
}

impl From<RootError> for LockError {
    fn from(error: RootError) -> Self {
        match error {
            RootError::Wrong(why) => LockError::WrongRoot(why),
            RootError::Storage(failure) => LockError::Storage(failure),
        }
    }
}

impl From<Failure> for LockError {
    fn from(failure: Failure) -> Self {
        LockError::Storage(failure)
    }
}

impl From<LockError> for FeatureError {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Busy(holder) => FeatureError::Busy(holder),
            LockError::WrongRoot(why) => FeatureError::WrongRoot(why),
            LockError::Storage(failure) => failure.into(),
        }
    }
}

impl From<LockError> for RepairError {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Busy(holder) => RepairError::Busy(holder),
            LockError::WrongRoot(why) => RepairError::WrongRoot(why),
            LockError::Storage(failure) => failure.into(),
        }
    }
}

/// The file of a feature.
pub(crate) fn progress_file(id: &str) -> String {
    format!("{id}/progress.json")
}

/// Lists every feature, sorted by id.
pub fn list(host: Host<'_>) -> Result<Vec<Entry>, Failure> {
    Ok(ids(host)?.into_iter().map(|id| entry(host, id)).collect())
}

fn entry(host: Host<'_>, id: String) -> Entry {
    let (document, damage) = match load(host, &id) {
        Ok(document) => (Some(document), None),
        Err(error) => (None, Some(error.describe())),
    };
    let text = |key: &str| document.as_ref().map(|document| document.text(key).to_owned());
    Entry {
        id,
        name: text("feature_name"),
        status: text("status"),
        current_phase: text("current_phase"),
        updated: text("updated"),
        worktree: document.as_ref().and_then(Document::worktree),
        damage,
    }
}

/// The names of the directories that may be those of features, sorted.
pub(crate) fn ids(host: Host<'_>) -> Result<Vec<String>, Failure> {
    let entries = host.list(".")?;
    let directories = entries
        .into_iter()
        .filter(|entry| matches!(entry.kind, Kind::Directory | Kind::Link) && is_id(&entry.name));
    Ok(directories.map(|entry| entry.name).collect())
}

/// Whether a name can be that of a feature's directory: not hidden, and safe in paths and command lines.
fn is_id(name: &str) -> bool {
    (1..=200).contains(&name.len())
        && !name.starts_with(['.', '-'])
        && !name.contains(['/', '\\', char::REPLACEMENT_CHARACTER])
        && !name.chars().any(char::is_control)
}

/// The id of the feature that is meant: `given` is its id, or an unambiguous prefix.
pub fn resolve(host: Host<'_>, given: &str) -> Result<String, FeatureError> {
    let ids = ids(host)?;
    let unresolved = |candidates: &[&String]| Unresolved {
        given: given.to_owned(),
        candidates: candidates
            .iter()
            .take(select::MAX_CANDIDATES)
            .map(|id| (*id).clone())
            .collect(),
    };
    match select::matching(given, &ids)[..] {
        [id] => Ok(id.clone()),
        [] => Err(FeatureError::UnknownFeature(unresolved(&ids.iter().collect::<Vec<_>>()))),
        ref several => Err(FeatureError::AmbiguousFeature(unresolved(several))),
    }
}

/// Reads the document of a feature.
pub fn read(host: Host<'_>, given: &str) -> Result<Snapshot, FeatureError> {
    let (id, document) = open(host, given)?;
    Ok(snapshot(id, String::new(), &document))
}

/// Reads the document of a feature, and returns its complete id as well.
pub(super) fn open(host: Host<'_>, given: &str) -> Result<(String, Document), FeatureError> {
    let id = resolve(host, given)?;
    let document = load(host, &id)?;
    Ok((id, document))
}

/// A feature with its document as it is now.
pub(super) fn snapshot(id: String, message: String, document: &Document) -> Snapshot {
    Snapshot {
        text: text::show(&id, document),
        id,
        message,
        document: document.to_text(),
        phases: document.phases().map(|(name, _)| name.to_owned()).collect(),
        worktree: document.worktree(),
    }
}

/// Reads and checks a document. An empty file is damage, never "new".
///
/// A full cleanup that was interrupted can leave a directory without a document. The feature is then what its last
/// backup says: aborted, and to be removed by the same command.
pub(crate) fn load(host: Host<'_>, id: &str) -> Result<Document, DocumentError> {
    let path = progress_file(id);
    let file = || format!("{}{path}", host.layout().prefix);
    let bytes = match host.read(&path, DOCUMENT_LIMIT) {
        Ok(bytes) => bytes,
        Err(FsError::NotFound) => {
            let missing = || DocumentError::Corrupt(format!("{} is missing", file()));
            return unfinished_cleanup(host, id)?.ok_or_else(missing);
        }
        Err(error) => return Err(host.failed("read", &path)(error).into()),
    };
    parse(&bytes).map_err(|problem| DocumentError::Corrupt(format!("{} {problem}", file())))
}

/// Reads and checks the content of a document. On failure, what is wrong with it.
fn parse(bytes: &[u8]) -> Result<Document, String> {
    let document: Value = json::parse(bytes)
        .and_then(|document| unique::check(bytes).map(|()| document))
        .map_err(|error| format!("has invalid JSON: {error}"))?;
    Document::from_json(document).map_err(|problem| format!("is invalid: {problem}"))
}

/// The last document of a feature whose full cleanup was interrupted.
fn unfinished_cleanup(host: Host<'_>, id: &str) -> Result<Option<Document>, Failure> {
    let last = newest_valid(host, id)?.map(|valid| valid.document);
    Ok(last.filter(abort::requires_removal))
}

/// Changes a feature: reads its document, applies `change` to it, which returns what happened in words, and writes
/// it. Only one change is made at a time; any other one is `busy`.
pub(super) fn change(
    host: Host<'_>,
    given: &str,
    change: impl FnOnce(&mut Document) -> Result<String, FeatureError>,
) -> Result<Snapshot, FeatureError> {
    locked(host, || {
        let (id, mut document) = open(host, given)?;
        let before = document.clone();
        let in_file = |error| match error {
            FeatureError::Corrupt(problem) => {
                let file = format!("{}{}", host.layout().prefix, progress_file(&id));
                FeatureError::Corrupt(format!("{file} is invalid: {problem}"))
            }
            error => error,
        };
        let message = change(&mut document).map_err(in_file)?;
        if document != before {
            document.set("updated", host.now().to_string());
            save(host, &id, &document)?;
        }
        Ok(snapshot(id, message, &document))
    })
}

/// Writes a document. The backup contains the previous document, and also a copy of the new one, so that nothing
/// is lost if another tool damages it.
fn save(host: Host<'_>, id: &str, document: &Document) -> Result<(), Failure> {
    let fs = BackupFs::new(host, FEATURE);
    let path = progress_file(id);
    fs.copy_files(&[(path.clone(), Reason::new("FEATURE_CHANGED", Some(id)))])?;
    if let Some(backup) = fs.id() {
        let copy = copy_of_new(host, &backup, id);
        if let Some((directory, _)) = copy.rsplit_once('/') {
            host.create_directory(directory)?;
        }
        host.write(&copy, document.to_bytes())?;
    }
    fs.host().write(&path, document.to_bytes())?;
    fs.finish().map(drop)
}

/// The path of the copy that a backup has of the new document.
fn copy_of_new(host: Host<'_>, backup: &str, id: &str) -> String {
    format!("{}/{backup}/after/{}", host.layout().backups, progress_file(id))
}

/// A valid document in a backup.
pub(crate) struct ValidCopy {
    /// The backup.
    pub(crate) backup: String,
    /// The document.
    pub(crate) document: Document,
    /// Its text.
    pub(crate) bytes: Vec<u8>,
}

/// The newest valid document of a feature in the backups. Valid is what `load` accepts.
pub(crate) fn newest_valid(host: Host<'_>, id: &str) -> Result<Option<ValidCopy>, Failure> {
    let path = progress_file(id);
    for manifest in backup::manifests(host)? {
        for file in manifest.files.iter().filter(|file| file.path == path) {
            // The document after the change is newer than the one before it.
            for copy in [copy_of_new(host, &manifest.id, id), manifest.path_of(host, file)] {
                let Ok(bytes) = host.read(&copy, DOCUMENT_LIMIT) else { continue };
                if let Ok(document) = parse(&bytes) {
                    return Ok(Some(ValidCopy { backup: manifest.id, document, bytes }));
                }
            }
        }
    }
    Ok(None)
}

/// Does something while no other process changes a feature. Does not wait for the lock: the caller tries again.
pub(crate) fn locked<T, E: From<LockError>>(
    host: Host<'_>,
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    root::check(host).map_err(LockError::from)?;
    lock(host)?;
    // What a crash interrupted is finished first.
    let result = match backup::finish(host) {
        Ok(_) => work(),
        Err(failure) => Err(LockError::Storage(failure).into()),
    };
    let unlocked = host.unlock(layout::FEATURE_LOCK);
    unlocked.map_err(host.failed("unlock", layout::FEATURE_LOCK)).map_err(LockError::Storage)?;
    result
}

/// Takes the lock of changes.
pub(super) fn lock(host: Host<'_>) -> Result<(), LockError> {
    let path = layout::FEATURE_LOCK;
    let note = lock::note(host, &host.current_process());
    let state = host.lock(path, note.to_string().as_bytes()).map_err(host.failed("lock", path))?;
    match state.held {
        false => Ok(()),
        // A change takes a moment.
        true => Err(LockError::Busy(Holder { transient: true, ..lock::holder(host, &state.note) })),
    }
}

/// Takes the lock of runs: no agent may work on a feature until it is released.
pub(super) fn lock_run(host: Host<'_>) -> Result<(), LockError> {
    let taken = lock::acquire(host, &host.current_process(), Purpose::Maintenance, false)?;
    taken.map_err(LockError::Busy)
}
