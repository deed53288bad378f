//! Undoing what a backup was made for.

use std::collections::HashSet;

use super::keeper::{Cause, Keeper};
use super::left::{self, Left};
use super::manifest::{self, Backup, File, Operation};
use super::pending::{self, Pending};
use super::{FEATURE, FILE_LIMIT, RUN, Unusable, place_of};
use crate::formats::journal;
use crate::formats::layout;
use crate::io::capabilities::{Kind, Level, Replacement};
use crate::io::host::{Failure, Host};

/// The reason of a backup of what a restoration replaced.
pub(super) const REASON: &str = "restore";

/// What a restoration did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// What was put back.
    pub files: Vec<String>,
    /// What was removed, because it was not there before.
    pub removed: Vec<String>,
    /// The backup of what stood there; `None` if nothing did.
    pub backup: Option<String>,
}

/// Puts every file of a backup back and removes what was not there before. What stands in their
/// place goes into a backup of its own first.
///
/// Nothing is touched if somebody has changed one of the files since a repair: a batch that went on,
/// for instance, whose results would be undone. What a run set aside and what a feature was before a
/// change is there to be gone back to, whatever came after it.
pub fn restore(host: Host<'_>, id: &str) -> Result<Restored, Unusable> {
    let backup = manifest::read(host, id)?;
    let plan = Plan::new(host, &backup)?;
    let keeper = Keeper::new(host, REASON);
    save_what_changes(&keeper, &backup, &plan)?;
    if let Some(saved_in) = keeper.id() {
        let (backup, plan) = (id.to_owned(), plan.clone());
        pending::write(host, &Pending::Restore { backup, saved_in, plan })?;
    }
    Ok(carry_out(host, &keeper, &backup, &plan)?)
}

/// Copies everything that is to be replaced, and names everything that is to be removed, before anything
/// changes.
fn save_what_changes(keeper: &Keeper<'_>, backup: &Backup, plan: &Plan) -> Result<(), Failure> {
    let host = keeper.host();
    let mut copied = Vec::new();
    let mut moved = Vec::new();
    for file in plan.files(backup) {
        match host.stat(&file.path)?.map(|metadata| metadata.kind) {
            None | Some(Kind::File) => copied.push((file.path.clone(), cause(file))),
            // Written through: what it leads to changes.
            Some(Kind::Link) if file.operation == Operation::Modified => {
                copied.push((file.path.clone(), cause(file)));
            }
            Some(_) => moved.push((file.path.clone(), cause(file))),
        }
    }
    let because = cause_of(backup);
    moved.extend(plan.remove.iter().map(|path| (path.clone(), because.clone())));
    keeper.announce_removals(&moved)?;
    keeper.keep(&copied)
}

/// Does what a plan says. Can be repeated after it was cut off anywhere.
pub(super) fn carry_out(
    host: Host<'_>,
    keeper: &Keeper<'_>,
    backup: &Backup,
    plan: &Plan,
) -> Result<Restored, Failure> {
    keeper.because(cause_of(backup));
    // What a repair has recorded goes first: a journal must not say that results are in their files
    // when those are as they were before.
    let mut removed = Vec::new();
    for path in &plan.remove {
        if remove_made(keeper, path)? {
            removed.push(path.clone());
        }
    }
    for file in plan.files(backup) {
        let stored = place_of(host, backup, file);
        if is_to_do(host, keeper, &stored, file)? {
            put_back(keeper, &stored, file)?;
        }
    }
    pending::clear(host)?;
    let before = keeper.finish_beside(&[&backup.id])?;
    Ok(Restored { files: plan.put_back.clone(), removed, backup: before })
}

/// False for a file that was put back before a crash, and for one that was changed after it.
fn is_to_do(
    host: Host<'_>,
    keeper: &Keeper<'_>,
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
    let is_changed = match keeper.copy_of(&file.path) {
        Some(copy) => contents(&copy).is_some_and(|before| before != now),
        None => false,
    };
    if is_changed {
        let words = "was changed while the restore was interrupted, and is left as it is";
        host.log(Level::Warning, &format!("{}{} {words}", host.layout().prefix, file.path));
    }
    Ok(!is_changed)
}

fn cause(file: &File) -> Cause {
    Cause::new(&file.code, file.item.as_deref())
}

fn cause_of(backup: &Backup) -> Cause {
    backup.files.first().map_or(Cause::new("RESTORE", None), cause)
}

/// What a restoration is to do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// What is put back.
    pub put_back: Vec<String>,
    /// What is removed; of directories the inner ones first.
    pub remove: Vec<String>,
}

impl Plan {
    /// The files of a backup that are put back, in its order.
    fn files<'b>(&self, backup: &'b Backup) -> impl Iterator<Item = &'b File> {
        let paths: HashSet<&str> = self.put_back.iter().map(String::as_str).collect();
        backup.files.iter().filter(move |file| paths.contains(file.path.as_str()))
    }

    fn new(host: Host<'_>, backup: &Backup) -> Result<Self, Unusable> {
        let is_of_repair = ![RUN, FEATURE].contains(&backup.reason.as_str());
        let left = if is_of_repair { left::read(host, &backup.id)? } else { None };
        let mut plan = Plan::default();
        let mut changed = Vec::new();
        for file in &backup.files {
            match look_at_kept(host, backup, file, left.as_ref())? {
                Standing::AsLeft => plan.put_back.push(file.path.clone()),
                Standing::Nothing => {}
                Standing::Changed => changed.push(file.path.clone()),
            }
        }
        for path in &backup.created {
            match look_at_made(host, backup, path, left.as_ref())? {
                Standing::AsLeft => plan.remove.push(path.clone()),
                Standing::Nothing => {}
                Standing::Changed => changed.push(path.clone()),
            }
        }
        if !changed.is_empty() {
            return Err(Unusable::Changed(changed));
        }
        // A directory is empty when what was made in it is gone.
        plan.remove.sort_by_key(|path| std::cmp::Reverse(path.matches('/').count()));
        Ok(plan)
    }
}

/// How a file stands to the backup.
enum Standing {
    /// As it was left.
    AsLeft,
    /// There is nothing to do about it.
    Nothing,
    /// Otherwise.
    Changed,
}

fn look_at_kept(
    host: Host<'_>,
    backup: &Backup,
    file: &File,
    left: Option<&Left>,
) -> Result<Standing, Failure> {
    let stored = place_of(host, backup, file);
    let now = host.stat(&file.path)?.map(|metadata| metadata.kind);
    let Some(kept) = host.stat(&stored)?.map(|metadata| metadata.kind) else {
        // The backup was cut off before this file came into it, and was changed.
        return Ok(Standing::Nothing);
    };
    let is_empty_directory = |kind: Option<Kind>, path: &str| {
        Ok(kind == Some(Kind::Directory) && host.list(path)?.is_empty())
    };
    if is_empty_directory(now, &file.path)? && is_empty_directory(Some(kept), &stored)? {
        // The backup was cut off before the directory was removed.
        return Ok(Standing::Nothing);
    }
    let there = match now {
        Some(_) => host.read(&file.path, FILE_LIMIT).ok(),
        None => None,
    };
    if there.is_some() && there == host.read(&stored, FILE_LIMIT).ok() {
        // It was not changed after all, or was brought back before.
        return Ok(Standing::Nothing);
    }
    let Some(left) = left else {
        // What was left is not asked for, or not known; a directory at least is not replaced by a file.
        return Ok(match (now, kept) {
            (Some(Kind::Directory), Kind::File) => Standing::Changed,
            _ => Standing::AsLeft,
        });
    };
    Ok(match (file.operation, now, left.get(&file.path)) {
        (Operation::Deleted, None, _) => Standing::AsLeft,
        // What was moved away may have something else in its place.
        (_, _, Some(sums)) if is_one_of(sums, there) => Standing::AsLeft,
        _ => Standing::Changed,
    })
}

fn look_at_made(
    host: Host<'_>,
    backup: &Backup,
    path: &str,
    left: Option<&Left>,
) -> Result<Standing, Failure> {
    Ok(match host.stat(path)?.map(|metadata| metadata.kind) {
        None => Standing::Nothing,
        Some(Kind::File) => {
            let sums = left.and_then(|left| left.get(path));
            let is_as_left = match (sums, host.read(path, FILE_LIMIT)) {
                // A torn last line is what a crash leaves of an append.
                (Some(sums), Ok(contents)) if is_segment(path) => {
                    let lines = whole_lines(contents);
                    lines.is_empty() || is_one_of(sums, Some(lines))
                }
                (Some(sums), Ok(contents)) => is_one_of(sums, Some(contents)),
                // Cut off before its first line.
                (None, Ok(contents)) => contents.is_empty() && is_segment(path),
                // It was moved here, and what cannot be read cannot be told from it.
                (None, Err(_)) => true,
                (Some(_), Err(_)) => false,
            };
            // A journal that went on is part of what a session says. What else somebody has changed is
            // theirs by now.
            match (is_as_left && !is_followed(host, backup, path)?, path.starts_with(RUNS)) {
                (true, _) => Standing::AsLeft,
                (false, true) => Standing::Changed,
                (false, false) => Standing::Nothing,
            }
        }
        Some(_) => Standing::AsLeft,
    })
}

const RUNS: &str = "runs/";

/// True for the path of a segment of a journal.
fn is_segment(path: &str) -> bool {
    let name = path.rsplit_once('/').map(|(_, name)| name);
    path.starts_with(RUNS) && name.and_then(layout::segment_number).is_some()
}

/// What comes before the torn last line, if there is one.
fn whole_lines(mut contents: Vec<u8>) -> Vec<u8> {
    let end = contents.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    contents.truncate(end);
    contents
}

fn is_one_of(sums: &HashSet<String>, contents: Option<Vec<u8>>) -> bool {
    contents.is_some_and(|contents| sums.contains(&left::sum_of(&contents)))
}

/// True for a segment of a journal that a later one follows, unless that is removed as well.
fn is_followed(host: Host<'_>, backup: &Backup, path: &str) -> Result<bool, Failure> {
    let Some((directory, name)) = path.rsplit_once('/') else { return Ok(false) };
    match layout::segment_number(name).filter(|_| directory.starts_with(RUNS)) {
        Some(number) => Ok(journal::segments(host, directory)?.into_iter().any(|other| {
            other > number && !backup.created.contains(&layout::segment(directory, other))
        })),
        None => Ok(false),
    }
}

/// Removes what was made; false for a directory in which there is something else by now.
fn remove_made(keeper: &Keeper<'_>, path: &str) -> Result<bool, Failure> {
    let host = keeper.host();
    let is_directory = host.stat(path)?.is_some_and(|found| found.kind == Kind::Directory);
    if is_directory && !host.list(path)?.is_empty() {
        return Ok(false);
    }
    host.remove(path)?;
    Ok(true)
}

/// Copies a file from a backup to where it was; what cannot be read is moved, as it came.
fn put_back(keeper: &Keeper<'_>, stored: &str, file: &File) -> Result<(), Failure> {
    let host = keeper.host();
    let path = file.path.as_str();
    if let Some((parent, _)) = path.rsplit_once('/') {
        host.create_directory(parent)?;
    }
    let in_the_way = host.stat(path)?.map(|found| found.kind).filter(|kind| *kind != Kind::File);
    let metadata = host.stat(stored)?;
    let kind = metadata.map(|metadata| metadata.kind);
    // Made again for what is in it.
    if (kind, in_the_way) == (Some(Kind::Directory), Some(Kind::Directory)) {
        return Ok(());
    }
    match host.read(stored, FILE_LIMIT).map_err(host.failed("read", stored)) {
        Ok(contents) if kind == Some(Kind::File) => {
            let is_through =
                in_the_way == Some(Kind::Link) && file.operation == Operation::Modified;
            if in_the_way.is_some() && !is_through {
                host.remove(path)?;
            }
            let modified = metadata.map(|metadata| metadata.modified);
            host.replace(
                vec![Replacement {
                    path: path.to_owned(),
                    contents,
                    modified,
                    like: Some(stored.to_owned()),
                }],
                true,
            )
        }
        _ => {
            if host.stat(path)?.is_some() {
                host.remove(path)?;
            }
            host.rename(stored, path)
        }
    }
}
