//! Restoring backups.

use std::collections::HashSet;

use super::checksums::{self, Checksums};
use super::fs::{BackupFs, Reason};
use super::manifest::{self, File, Manifest, Operation};
use super::pending::{self, Pending};
use super::{FEATURE, FILE_LIMIT, RUN, Unusable};
use crate::bindings::exports::wreckit::batch::doctor::Restoration;
use crate::formats::journal;
use crate::io::capabilities::{Kind, Level, Replacement};
use crate::io::host::{Failure, Host};
use crate::io::layout;

/// The reason of a backup of the files that a restore replaced.
pub(super) const PURPOSE: &str = "restore";
/// The directory of journals.
const RUNS: &str = "runs/";

/// Restores every file of a backup and removes those that did not exist before. Makes a backup of the current
/// files first.
///
/// Changes nothing if one of the files has changed since a fix: a batch that continued, for example, whose results
/// would be lost. Backups of files that a run set aside, and of features, exist to go back to, whatever has
/// happened since.
pub fn restore(host: Host<'_>, id: &str) -> Result<Restoration, Unusable> {
    let manifest = manifest::read(host, id)?;
    let plan = Plan::new(host, &manifest)?;
    let fs = BackupFs::new(host, PURPOSE);
    back_up_current(&fs, &manifest, &plan)?;
    if let Some(saved_in) = fs.id() {
        let (backup, plan) = (id.to_owned(), plan.clone());
        pending::write(host, &Pending::Restore { backup, saved_in, plan })?;
    }
    Ok(carry_out(host, &fs, &manifest, &plan)?)
}

/// Copies every file that will be replaced, and records every file that will be removed, before anything changes.
fn back_up_current(fs: &BackupFs<'_>, manifest: &Manifest, plan: &Plan) -> Result<(), Failure> {
    let host = fs.host();
    let mut copied = Vec::new();
    let mut moved = Vec::new();
    for file in plan.files(manifest) {
        match host.stat(&file.path)?.map(|metadata| metadata.kind) {
            None | Some(Kind::File) => copied.push((file.path.clone(), reason(file))),
            // The file that the link points to is changed.
            Some(Kind::Link) if file.operation == Operation::Modified => {
                copied.push((file.path.clone(), reason(file)));
            }
            Some(_) => moved.push((file.path.clone(), reason(file))),
        }
    }
    let first = first_reason(manifest);
    moved.extend(plan.remove.iter().map(|path| (path.clone(), first.clone())));
    fs.record_removals(&moved)?;
    fs.copy_files(&copied)
}

/// Carries out a plan. Can be repeated after an interruption at any moment.
pub(super) fn carry_out(
    host: Host<'_>,
    fs: &BackupFs<'_>,
    manifest: &Manifest,
    plan: &Plan,
) -> Result<Restoration, Failure> {
    fs.set_reason(first_reason(manifest));
    let in_repository = |path: &String| format!("{}{path}", host.layout().prefix);
    // Journal segments that a fix wrote are removed first: no journal may say that results are in files that have
    // their old content again.
    let mut removed = Vec::new();
    for path in &plan.remove {
        if remove_created(fs, path)? {
            removed.push(in_repository(path));
        }
    }
    for file in plan.files(manifest) {
        let stored = manifest.path_of(host, file);
        if needs_restore(host, fs, &stored, file)? {
            restore_file(fs, &stored, file)?;
        }
    }
    pending::clear(host)?;
    let backup = fs.finish_and_keep(&[&manifest.id])?;
    let files = plan.restore.iter().map(in_repository).collect();
    Ok(Restoration { files, removed, backup })
}

/// Whether a file of a plan still has to be restored: not if that happened before an interruption, and not if the
/// file was changed after it.
fn needs_restore(
    host: Host<'_>,
    fs: &BackupFs<'_>,
    stored: &str,
    file: &File,
) -> Result<bool, Failure> {
    if host.stat(stored)?.is_none() {
        // It cannot be read, so it was moved.
        return Ok(false);
    }
    let contents = |path: &str| host.read(path, FILE_LIMIT).ok();
    let Some(now) = contents(&file.path) else { return Ok(true) };
    if contents(stored).as_ref() == Some(&now) {
        return Ok(false);
    }
    let is_changed = match fs.copy_of(&file.path) {
        Some(copy) => contents(&copy).is_some_and(|before| before != now),
        None => false,
    };
    if is_changed {
        let message = "was changed while the restore was interrupted, and was not restored";
        host.log(Level::Warning, &format!("{}{} {message}", host.layout().prefix, file.path));
    }
    Ok(!is_changed)
}

fn reason(file: &File) -> Reason {
    Reason::new(&file.code, file.item.as_deref())
}

fn first_reason(manifest: &Manifest) -> Reason {
    manifest.files.first().map_or(Reason::new("RESTORE", None), reason)
}

/// What a restore does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// The files that are restored.
    pub restore: Vec<String>,
    /// The files and directories that are removed. A directory comes after everything in it.
    pub remove: Vec<String>,
}

impl Plan {
    /// The files of a backup that are restored, in its order.
    fn files<'b>(&self, manifest: &'b Manifest) -> impl Iterator<Item = &'b File> {
        let paths: HashSet<&str> = self.restore.iter().map(String::as_str).collect();
        manifest.files.iter().filter(move |file| paths.contains(file.path.as_str()))
    }

    fn new(host: Host<'_>, manifest: &Manifest) -> Result<Self, Unusable> {
        let is_checked = ![RUN, FEATURE].contains(&manifest.reason.as_str());
        let checksums = if is_checked { checksums::read(host, &manifest.id)? } else { None };
        let mut plan = Plan::default();
        let mut changed = Vec::new();
        for file in &manifest.files {
            match check_stored(host, manifest, file, checksums.as_ref())? {
                RestoreCheck::Unchanged => plan.restore.push(file.path.clone()),
                RestoreCheck::NothingToDo => {}
                RestoreCheck::Changed => changed.push(file.path.clone()),
            }
        }
        for path in &manifest.created {
            match check_created(host, manifest, path, checksums.as_ref())? {
                RestoreCheck::Unchanged => plan.remove.push(path.clone()),
                RestoreCheck::NothingToDo => {}
                RestoreCheck::Changed => changed.push(path.clone()),
            }
        }
        if !changed.is_empty() {
            return Err(Unusable::Changed(changed));
        }
        // A directory is empty once everything that was created in it is removed.
        plan.remove.sort_by_key(|path| std::cmp::Reverse(path.matches('/').count()));
        Ok(plan)
    }
}

/// A file, compared with its state after the changes that the backup was made for.
enum RestoreCheck {
    /// It is as they left it: restoring loses nothing.
    Unchanged,
    /// It does not have to be restored.
    NothingToDo,
    /// It has changed since, or that cannot be ruled out.
    Changed,
}

fn check_stored(
    host: Host<'_>,
    manifest: &Manifest,
    file: &File,
    checksums: Option<&Checksums>,
) -> Result<RestoreCheck, Failure> {
    let stored = manifest.path_of(host, file);
    let now = host.stat(&file.path)?.map(|metadata| metadata.kind);
    let Some(kept) = host.stat(&stored)?.map(|metadata| metadata.kind) else {
        // The backup was interrupted before it contained this file: it was not changed.
        return Ok(RestoreCheck::NothingToDo);
    };
    let is_empty_directory = |kind: Option<Kind>, path: &str| {
        Ok(kind == Some(Kind::Directory) && host.list(path)?.is_empty())
    };
    if is_empty_directory(now, &file.path)? && is_empty_directory(Some(kept), &stored)? {
        // The backup was interrupted before the directory was removed.
        return Ok(RestoreCheck::NothingToDo);
    }
    let current = match now {
        Some(_) => host.read(&file.path, FILE_LIMIT).ok(),
        None => None,
    };
    if current.is_some() && current == host.read(&stored, FILE_LIMIT).ok() {
        // It was not changed after all, or has been restored before.
        return Ok(RestoreCheck::NothingToDo);
    }
    let Some(checksums) = checksums else {
        // Not checked, or not known. A directory at least is not replaced by a file.
        return Ok(match (now, kept) {
            (Some(Kind::Directory), Kind::File) => RestoreCheck::Changed,
            _ => RestoreCheck::Unchanged,
        });
    };
    Ok(match (file.operation, now, checksums.get(&file.path)) {
        (Operation::Deleted, None, _) => RestoreCheck::Unchanged,
        // A removed file may have been replaced by another one.
        (_, _, Some(sums)) if is_one_of(sums, current) => RestoreCheck::Unchanged,
        _ => RestoreCheck::Changed,
    })
}

fn check_created(
    host: Host<'_>,
    manifest: &Manifest,
    path: &str,
    checksums: Option<&Checksums>,
) -> Result<RestoreCheck, Failure> {
    Ok(match host.stat(path)?.map(|metadata| metadata.kind) {
        None => RestoreCheck::NothingToDo,
        Some(Kind::File) => {
            let sums = checksums.and_then(|checksums| checksums.get(path));
            let is_unchanged = match (sums, host.read(path, FILE_LIMIT)) {
                // A crash can leave a torn last line of an append.
                (Some(sums), Ok(contents)) if is_segment(path) => {
                    let lines = whole_lines(contents);
                    lines.is_empty() || is_one_of(sums, Some(lines))
                }
                (Some(sums), Ok(contents)) => is_one_of(sums, Some(contents)),
                // The append was interrupted before its first line.
                (None, Ok(contents)) => contents.is_empty() && is_segment(path),
                // It cannot be read, so it was moved here.
                (None, Err(_)) => true,
                (Some(_), Err(_)) => false,
            };
            // A journal that was continued is part of what a session says. Any other file that was changed since
            // belongs to whoever changed it.
            match (is_unchanged && !is_followed(host, manifest, path)?, path.starts_with(RUNS)) {
                (true, _) => RestoreCheck::Unchanged,
                (false, true) => RestoreCheck::Changed,
                (false, false) => RestoreCheck::NothingToDo,
            }
        }
        Some(_) => RestoreCheck::Unchanged,
    })
}

/// Whether a path is that of a journal segment.
fn is_segment(path: &str) -> bool {
    let name = path.rsplit_once('/').map(|(_, name)| name);
    path.starts_with(RUNS) && name.and_then(layout::segment_number).is_some()
}

/// The content without a torn last line.
fn whole_lines(mut contents: Vec<u8>) -> Vec<u8> {
    let end = contents.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    contents.truncate(end);
    contents
}

fn is_one_of(sums: &HashSet<String>, contents: Option<Vec<u8>>) -> bool {
    contents.is_some_and(|contents| sums.contains(&checksums::sum_of(&contents)))
}

/// Whether a path is that of a journal segment after which another one begins that the restore does not remove.
fn is_followed(host: Host<'_>, manifest: &Manifest, path: &str) -> Result<bool, Failure> {
    let Some((directory, name)) = path.rsplit_once('/') else { return Ok(false) };
    match layout::segment_number(name).filter(|_| directory.starts_with(RUNS)) {
        Some(number) => Ok(journal::segments(host, directory)?.into_iter().any(|other| {
            other > number && !manifest.created.contains(&layout::segment(directory, other))
        })),
        None => Ok(false),
    }
}

/// Removes what was created. Returns false for a directory that contains something else by now.
fn remove_created(fs: &BackupFs<'_>, path: &str) -> Result<bool, Failure> {
    let host = fs.host();
    let is_directory = host.stat(path)?.is_some_and(|found| found.kind == Kind::Directory);
    if is_directory && !host.list(path)?.is_empty() {
        return Ok(false);
    }
    host.remove(path)?;
    Ok(true)
}

/// Copies a file from a backup to its path. What cannot be read is moved instead.
fn restore_file(fs: &BackupFs<'_>, stored: &str, file: &File) -> Result<(), Failure> {
    let host = fs.host();
    let path = file.path.as_str();
    if let Some((parent, _)) = path.rsplit_once('/') {
        host.create_directory(parent)?;
    }
    let obstacle = host.stat(path)?.map(|found| found.kind).filter(|kind| *kind != Kind::File);
    let metadata = host.stat(stored)?;
    let kind = metadata.map(|metadata| metadata.kind);
    // It was created again for the files in it.
    if (kind, obstacle) == (Some(Kind::Directory), Some(Kind::Directory)) {
        return Ok(());
    }
    match host.read(stored, FILE_LIMIT).map_err(host.failed("read", stored)) {
        Ok(contents) if kind == Some(Kind::File) => {
            let follows_link =
                obstacle == Some(Kind::Link) && file.operation == Operation::Modified;
            if obstacle.is_some() && !follows_link {
                host.remove(path)?;
            }
            let modified = metadata.map(|metadata| metadata.modified);
            let (path, like) = (path.to_owned(), Some(stored.to_owned()));
            host.replace(vec![Replacement { path, contents, modified, like }], true)
        }
        _ => {
            if host.stat(path)?.is_some() {
                host.remove(path)?;
            }
            host.rename(stored, path)
        }
    }
}
