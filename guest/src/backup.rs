//! Backups: whatever is changed, removed or set aside, in the layout of the existing tool.
//!
//! `backups/{id}/manifest.json` names the files; each stands in the same directory under its path
//! from `.wreckit`.

use serde_json::{Value, json};

use crate::capabilities::{FsError, Kind};
use crate::json::{self, Fields};
use crate::layout;
use crate::tree::{Failure, Tree, failed};

/// So many backups are kept.
const KEPT: usize = 10;
/// A larger manifest is none of ours.
const MANIFEST_LIMIT: u64 = 16 << 20;
/// A larger file cannot be copied; it can still be moved.
const FILE_LIMIT: u64 = 96 << 20;

/// What was done to a file after it was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// It has another content now.
    Modified,
    /// It is gone.
    Deleted,
}

/// A file in a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its path from `.wreckit`.
    pub path: String,
    /// Where it stands in the backup.
    pub stored: String,
    /// What was done to it.
    pub operation: Operation,
    /// Why: the code of a finding.
    pub code: String,
}

/// A backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// Its name.
    pub id: String,
    /// When it was made, RFC 3339.
    pub created_at: String,
    /// What it was made for.
    pub reason: String,
    /// Its files.
    pub files: Vec<File>,
}

/// Why a backup cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unusable {
    /// There is none of that name.
    Unknown,
    /// Its manifest is damaged; how.
    Invalid(String),
    /// A file could not be read or written.
    Storage(Failure),
}

impl From<Failure> for Unusable {
    fn from(failure: Failure) -> Self {
        Unusable::Storage(failure)
    }
}

/// Moves a file into a new backup: in one step it is kept and gone. Works for what cannot be read,
/// too: a FIFO, a link, a file without permission. Returns the backup's id.
pub fn set_aside(tree: Tree<'_>, reason: &str, path: &str, code: &str) -> Result<String, Failure> {
    keep(tree, reason, path, code, Operation::Deleted)
}

/// Copies a file into a new backup, before it is changed. Returns the backup's id.
pub fn copy(tree: Tree<'_>, reason: &str, path: &str, code: &str) -> Result<String, Failure> {
    keep(tree, reason, path, code, Operation::Modified)
}

fn keep(
    tree: Tree<'_>,
    reason: &str,
    path: &str,
    code: &str,
    operation: Operation,
) -> Result<String, Failure> {
    let (id, directory) = new_directory(tree)?;
    let stored = format!("{directory}/{path}");
    if let Some((parent, _)) = stored.rsplit_once('/') {
        tree.create_directory(parent)?;
    }
    let manifest = json!({
        "schema_version": 1,
        "session_id": id,
        "created_at": tree.now().to_string(),
        "reason": reason,
        "files": [{
            "original_path": format!("{}{path}", layout::PREFIX),
            "backup_path": path,
            "operation": match operation { Operation::Modified => "modified", Operation::Deleted => "deleted" },
            "diagnostic_code": code,
            "item_id": null,
        }],
    });
    // The manifest first: a file that was moved is never without one.
    tree.write(&format!("{directory}/manifest.json"), json::pretty(&manifest))?;
    match operation {
        Operation::Deleted => tree.rename(path, &stored)?,
        Operation::Modified => {
            let contents = tree.read(path, FILE_LIMIT).map_err(failed("read", path))?;
            tree.write(&stored, contents)?;
        }
    }
    prune(tree)?;
    Ok(id)
}

/// Every backup that can be used, the newest first.
pub fn all(tree: Tree<'_>) -> Result<Vec<Backup>, Failure> {
    let mut backups = Vec::new();
    for id in names(tree)? {
        if let Ok(backup) = read(tree, &id) {
            backups.push(backup);
        }
    }
    Ok(backups)
}

/// Whether there is a backup of this name that can be used.
pub fn check(tree: Tree<'_>, id: &str) -> Result<(), Unusable> {
    read(tree, id).map(drop)
}

/// Puts every file of a backup back and returns those files. What stands in their place is set
/// aside first, in a backup of its own.
pub fn restore(tree: Tree<'_>, id: &str) -> Result<Vec<String>, Unusable> {
    let backup = read(tree, id)?;
    let mut restored = Vec::new();
    for file in &backup.files {
        let stored = format!("{}/{id}/{}", layout::BACKUPS, file.stored);
        let Some(metadata) = tree.stat(&stored)? else {
            // The backup was cut off before the file was moved into it.
            continue;
        };
        // Read before anything is moved: what cannot be read is moved back, as it came.
        let contents = match metadata.kind {
            Kind::File => match tree.read(&stored, FILE_LIMIT) {
                Ok(contents) => Some(contents),
                Err(FsError::Failed(_) | FsError::TooLarge(_)) => None,
                Err(error) => return Err(failed("read", &stored)(error).into()),
            },
            _ => None,
        };
        if tree.stat(&file.path)?.is_some() {
            set_aside(tree, "restore", &file.path, &file.code)?;
        }
        if let Some((parent, _)) = file.path.rsplit_once('/') {
            tree.create_directory(parent)?;
        }
        match contents {
            Some(contents) => tree.write(&file.path, contents)?,
            None => tree.rename(&stored, &file.path)?,
        }
        restored.push(file.path.clone());
    }
    if restored.is_empty() {
        return Err(Unusable::Invalid("none of its files is there".to_owned()));
    }
    Ok(restored)
}

/// Reads a manifest.
fn read(tree: Tree<'_>, id: &str) -> Result<Backup, Unusable> {
    if !layout::is_safe_name(id) {
        return Err(Unusable::Unknown);
    }
    let directory = format!("{}/{id}", layout::BACKUPS);
    let path = format!("{directory}/manifest.json");
    let bytes = match tree.read(&path, MANIFEST_LIMIT) {
        Ok(bytes) => bytes,
        Err(FsError::NotFound) if tree.stat(&directory)?.is_none() => {
            return Err(Unusable::Unknown);
        }
        Err(error) => {
            return Err(Unusable::Invalid(format!("manifest.json cannot be read: {error}")));
        }
    };
    let manifest: Value = serde_json::from_slice(&bytes)
        .map_err(|error| Unusable::Invalid(format!("manifest.json has invalid JSON: {error}")))?;
    let Some(object) = manifest.as_object() else {
        return Err(Unusable::Invalid("manifest.json must be an object".to_owned()));
    };
    let mut fields = Fields::new(object);
    let created_at = fields.string("created_at").unwrap_or_default().to_owned();
    let reason = fields.string("reason").unwrap_or_default().to_owned();
    let files = fields.required("files", "a list of files of this directory", |files| {
        files.as_array()?.iter().map(read_file).collect::<Option<Vec<File>>>()
    });
    match (fields.problems(), files) {
        (None, Some(files)) => Ok(Backup { id: id.to_owned(), created_at, reason, files }),
        (problems, _) => Err(Unusable::Invalid(format!(
            "manifest.json is invalid: {}",
            problems.unwrap_or_default()
        ))),
    }
}

fn read_file(value: &Value) -> Option<File> {
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    Some(File {
        // Whatever else the path may be is the file system's to refuse: it reaches nothing outside.
        path: text("original_path")?.strip_prefix(layout::PREFIX)?.to_owned(),
        stored: text("backup_path")?.to_owned(),
        operation: match text("operation")? {
            "modified" => Operation::Modified,
            "deleted" => Operation::Deleted,
            _ => return None,
        },
        code: text("diagnostic_code")?.to_owned(),
    })
}

/// The names of the backups, the newest first: they are times, so their order is that of time.
fn names(tree: Tree<'_>) -> Result<Vec<String>, Failure> {
    let entries = tree.list(layout::BACKUPS)?;
    let directories = entries.into_iter().filter(|entry| entry.kind == Kind::Directory);
    Ok(directories
        .map(|entry| entry.name)
        .filter(|name| layout::is_safe_name(name))
        .rev()
        .collect())
}

/// Makes the directory of a new backup, named after the time (`2026-11-20T21-02-22-735Z`).
fn new_directory(tree: Tree<'_>) -> Result<(String, String), Failure> {
    let mut time = tree.now();
    loop {
        let id = time.to_string().replace([':', '.'], "-");
        let directory = format!("{}/{id}", layout::BACKUPS);
        if tree.stat(&directory)?.is_none() {
            tree.create_directory(&directory)?;
            return Ok((id, directory));
        }
        time = time.after(1);
    }
}

fn prune(tree: Tree<'_>) -> Result<(), Failure> {
    for id in names(tree)?.into_iter().skip(KEPT) {
        remove_all(tree, &format!("{}/{id}", layout::BACKUPS))?;
    }
    Ok(())
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
