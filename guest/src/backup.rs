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
    let id = keep(tree, reason, &[(path, code)], Operation::Deleted)?;
    prune(tree, &[&id])?;
    Ok(id)
}

/// Copies a file into a new backup, before it is changed. Returns the backup's id.
pub fn copy(tree: Tree<'_>, reason: &str, path: &str, code: &str) -> Result<String, Failure> {
    let id = keep(tree, reason, &[(path, code)], Operation::Modified)?;
    prune(tree, &[&id])?;
    Ok(id)
}

/// Puts files, each with the code of a finding, into a new backup.
fn keep(
    tree: Tree<'_>,
    reason: &str,
    files: &[(&str, &str)],
    operation: Operation,
) -> Result<String, Failure> {
    let (id, directory) = new_directory(tree)?;
    let word = match operation {
        Operation::Modified => "modified",
        Operation::Deleted => "deleted",
    };
    let listed = files.iter().map(|(path, code)| {
        json!({
            "original_path": format!("{}{path}", layout::PREFIX),
            "backup_path": path,
            "operation": word,
            "diagnostic_code": code,
            "item_id": null,
        })
    });
    let manifest = json!({
        "schema_version": 1,
        "session_id": id,
        "created_at": tree.now().to_string(),
        "reason": reason,
        "files": listed.collect::<Value>(),
    });
    // The manifest first: a file that was moved is never without one.
    tree.write(&format!("{directory}/manifest.json"), json::pretty(&manifest))?;
    for (path, _) in files {
        let stored = format!("{directory}/{path}");
        if let Some((parent, _)) = stored.rsplit_once('/') {
            tree.create_directory(parent)?;
        }
        match operation {
            Operation::Deleted => tree.rename(path, &stored)?,
            Operation::Modified => {
                let contents = tree.read(path, FILE_LIMIT).map_err(failed("read", path))?;
                tree.write(&stored, contents)?;
            }
        }
    }
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
/// aside first, in one backup of its own.
pub fn restore(tree: Tree<'_>, id: &str) -> Result<Vec<String>, Unusable> {
    let backup = read(tree, id)?;
    let stored = |file: &File| format!("{}/{id}/{}", layout::BACKUPS, file.stored);
    let mut there: Vec<&File> = Vec::new();
    for file in &backup.files {
        match (tree.stat(&stored(file))?, tree.stat(&file.path)?) {
            (Some(_), _) => there.push(file),
            // The backup was cut off before this file was moved into it.
            (None, Some(_)) => {}
            (None, None) => {
                return Err(Unusable::Invalid(format!("{} is missing in it", file.stored)));
            }
        }
    }
    let mut replaced: Vec<(&str, &str)> = Vec::new();
    for file in &there {
        if tree.stat(&file.path)?.is_some() {
            replaced.push((&file.path, &file.code));
        }
    }
    let before = match replaced.is_empty() {
        true => None,
        false => Some(keep(tree, "restore", &replaced, Operation::Deleted)?),
    };
    for file in &there {
        put_back(tree, &stored(file), &file.path)?;
    }
    let kept: Vec<&str> = [id].into_iter().chain(before.as_deref()).collect();
    prune(tree, &kept)?;
    Ok(there.into_iter().map(|file| file.path.clone()).collect())
}

/// Copies a file from a backup to where it was; what cannot be read is moved, as it came.
fn put_back(tree: Tree<'_>, stored: &str, path: &str) -> Result<(), Failure> {
    if let Some((parent, _)) = path.rsplit_once('/') {
        tree.create_directory(parent)?;
    }
    match tree.read(stored, FILE_LIMIT) {
        Ok(contents) => tree.write(path, contents),
        Err(_) => tree.rename(stored, path),
    }
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
        path: text("original_path")?
            .strip_prefix(layout::PREFIX)
            .filter(|path| !is_ours(path))?
            .to_owned(),
        stored: text("backup_path")?.to_owned(),
        operation: match text("operation")? {
            "modified" => Operation::Modified,
            "deleted" => Operation::Deleted,
            _ => return None,
        },
        code: text("diagnostic_code")?.to_owned(),
    })
}

/// What no backup is of and nothing is restored over: the lock, the journals, the backups.
fn is_ours(path: &str) -> bool {
    let first = path.split('/').next().unwrap_or_default();
    [layout::LOCK, layout::RUNS, layout::BACKUPS].contains(&first)
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

/// Removes the oldest backups beyond those that are kept. What is in use stays, whatever its name
/// says of its age, and so does what is no backup.
fn prune(tree: Tree<'_>, in_use: &[&str]) -> Result<(), Failure> {
    let backups = all(tree)?.into_iter().map(|backup| backup.id);
    let old = backups.filter(|id| !in_use.contains(&id.as_str())).skip(KEPT - in_use.len());
    for id in old {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{Machine, Process};

    fn tree(process: &Process) -> Tree<'_> {
        Tree::new(process)
    }

    #[test]
    fn the_last_ten_are_kept_and_the_new_one_whatever_the_clock_says() {
        let machine = Machine::new();
        let process = machine.process(1);
        for number in 0..12 {
            machine.put("batch-progress.json", format!("{number}"));
            set_aside(tree(&process), "run", "batch-progress.json", "CODE").unwrap();
        }
        assert_eq!(all(tree(&process)).unwrap().len(), 10);
        machine.put("backups/9000-not-a-backup/notes.txt", "mine");
        machine.clock.set(1_000_000);
        machine.put("batch-progress.json", "precious");
        let id = set_aside(tree(&process), "run", "batch-progress.json", "CODE").unwrap();
        assert_eq!(restore(tree(&process), &id).unwrap(), ["batch-progress.json"]);
        assert_eq!(machine.text("batch-progress.json").as_deref(), Some("precious"));
        assert_eq!(all(tree(&process)).unwrap().len(), 10);
        assert!(machine.text("backups/9000-not-a-backup/notes.txt").is_some());
    }

    #[test]
    fn a_backup_of_many_files_is_restored_whole_and_so_is_what_stood_there() {
        let machine = Machine::new();
        let process = machine.process(1);
        let paths: Vec<String> =
            (0..12).map(|number| format!("items/{number:03}-x/item.json")).collect();
        for path in &paths {
            machine.put(path, format!("old {path}"));
        }
        let files: Vec<(&str, &str)> = paths.iter().map(|path| (path.as_str(), "CODE")).collect();
        let id = keep(tree(&process), "doctor-fix", &files, Operation::Modified).unwrap();
        for path in &paths {
            machine.put(path, format!("new {path}"));
        }
        assert_eq!(restore(tree(&process), &id).unwrap(), paths);
        assert!(paths.iter().all(|path| machine.text(path) == Some(format!("old {path}"))));
        let before =
            all(tree(&process)).unwrap().into_iter().find(|backup| backup.reason == "restore");
        restore(tree(&process), &before.unwrap().id).unwrap();
        assert!(paths.iter().all(|path| machine.text(path) == Some(format!("new {path}"))));
    }

    #[test]
    fn manifests_that_would_reach_further_are_refused() {
        let machine = Machine::new();
        let process = machine.process(1);
        for path in [
            "/etc/passwd",
            "src/main.rs",
            ".wreckit/batch.lock",
            ".wreckit/runs/x",
            ".wreckit/backups/x",
        ] {
            let manifest = json!({
                "schema_version": 1, "session_id": "b", "created_at": "", "reason": "doctor-fix",
                "files": [{
                    "original_path": path, "backup_path": "x", "operation": "deleted",
                    "diagnostic_code": "X", "item_id": null,
                }],
            });
            machine.put("backups/b/manifest.json", manifest.to_string());
            machine.put("backups/b/x", "x");
            assert!(matches!(restore(tree(&process), "b"), Err(Unusable::Invalid(_))), "{path}");
        }
        for id in ["", "..", "../runs", "missing", ".hidden"] {
            assert_eq!(restore(tree(&process), id), Err(Unusable::Unknown), "{id}");
        }
    }
}
