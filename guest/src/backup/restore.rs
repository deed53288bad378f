//! Undoing what a backup was made for.

use super::keeper::{Cause, Keeper};
use super::manifest::{self, Backup, File};
use super::{FILE_LIMIT, Unusable};
use crate::capabilities::{Kind, Replacement};
use crate::journal;
use crate::layout;
use crate::tree::{Failure, Tree};

/// What a restoration did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// What was put back, or removed because it was not there before.
    pub files: Vec<String>,
    /// The backup of what stood there; `None` if nothing did.
    pub backup: Option<String>,
}

/// Puts every file of a backup back and removes what was not there before. What stands in their
/// place goes into a backup of its own first.
pub fn restore(tree: Tree<'_>, id: &str) -> Result<Restored, Unusable> {
    let backup = manifest::read(tree, id)?;
    let there = stored(tree, &backup)?;
    let made = made(tree, &backup)?;

    let keeper = Keeper::new(tree, "restore");
    let cause = |file: &File| Cause::new(&file.code, file.item.as_deref());
    // Everything that changes is kept before anything does.
    let mut copied = Vec::new();
    let mut moved = Vec::new();
    for file in &there {
        match tree.stat(&file.path)?.map(|metadata| metadata.kind) {
            None | Some(Kind::File) => copied.push((file.path.clone(), cause(file))),
            Some(_) => moved.push((file.path.clone(), cause(file))),
        }
    }
    let because = backup.files.first().map_or(Cause::new("RESTORE", None), cause);
    moved.extend(made.iter().map(|path| (path.clone(), because.clone())));
    keeper.because(because);
    keeper.announce_removals(&moved)?;
    keeper.keep(&copied)?;

    for file in &there {
        put_back(
            &keeper,
            &format!("{}/{}", manifest::directory(tree, &backup.id), file.stored),
            &file.path,
        )?;
    }
    let mut files: Vec<String> = there.into_iter().map(|file| file.path.clone()).collect();
    for path in made {
        if remove_made(&keeper, &path)? {
            files.push(path);
        }
    }
    let before = keeper.finish_beside(&[id])?;
    Ok(Restored { files, backup: before })
}

/// The files that stand in a backup.
fn stored<'b>(tree: Tree<'_>, backup: &'b Backup) -> Result<Vec<&'b File>, Unusable> {
    let mut there = Vec::new();
    for file in &backup.files {
        let stored = format!("{}/{}", manifest::directory(tree, &backup.id), file.stored);
        match (tree.stat(&stored)?, tree.stat(&file.path)?) {
            (Some(_), _) => there.push(file),
            // The backup was cut off before this file came into it, and was changed.
            (None, Some(_)) => {}
            (None, None) => {
                return Err(Unusable::Invalid(format!("{} is missing in it", file.stored)));
            }
        }
    }
    Ok(there)
}

/// What was not there before and is there now; of directories the inner ones first.
fn made(tree: Tree<'_>, backup: &Backup) -> Result<Vec<String>, Failure> {
    let mut made = Vec::new();
    for path in backup.created.iter().rev() {
        if tree.stat(path)?.is_some() && !is_followed(tree, path)? {
            made.push(path.clone());
        }
    }
    // A directory is empty when what was made in it is gone.
    made.sort_by_key(|path| std::cmp::Reverse(path.matches('/').count()));
    Ok(made)
}

/// True for a segment of a journal that others have gone on from: it is part of what they say.
fn is_followed(tree: Tree<'_>, path: &str) -> Result<bool, Failure> {
    let Some((directory, name)) = path.rsplit_once('/') else { return Ok(false) };
    let is_of_a_run = directory.starts_with(&format!("{}/", layout::RUNS));
    match layout::segment_number(name).filter(|_| is_of_a_run) {
        Some(number) => {
            Ok(journal::segments(tree, directory)?.last().is_some_and(|last| *last > number))
        }
        None => Ok(false),
    }
}

/// Removes what was made; false for a directory in which there is something else by now.
fn remove_made(keeper: &Keeper<'_>, path: &str) -> Result<bool, Failure> {
    let tree = keeper.tree();
    let is_directory = tree.stat(path)?.is_some_and(|found| found.kind == Kind::Directory);
    if is_directory && !tree.list(path)?.is_empty() {
        return Ok(false);
    }
    tree.remove(path)?;
    Ok(true)
}

/// Copies a file from a backup to where it was; what cannot be read is moved, as it came.
fn put_back(keeper: &Keeper<'_>, stored: &str, path: &str) -> Result<(), Failure> {
    let tree = keeper.tree();
    if let Some((parent, _)) = path.rsplit_once('/') {
        tree.create_directory(parent)?;
    }
    let in_the_way = tree.stat(path)?.map(|found| found.kind).filter(|kind| *kind != Kind::File);
    let metadata = tree.stat(stored)?;
    let kind = metadata.map(|metadata| metadata.kind);
    // Made again for what is in it.
    if (kind, in_the_way) == (Some(Kind::Directory), Some(Kind::Directory)) {
        return Ok(());
    }
    match tree.read(stored, FILE_LIMIT).map_err(tree.failed("read", stored)) {
        Ok(contents) if kind == Some(Kind::File) => {
            if in_the_way.is_some() {
                tree.remove(path)?;
            }
            let modified = metadata.map(|metadata| metadata.modified);
            tree.replace(vec![Replacement { path: path.to_owned(), contents, modified }], true)
        }
        _ => {
            if tree.stat(path)?.is_some() {
                tree.remove(path)?;
            }
            tree.rename(stored, path)
        }
    }
}
