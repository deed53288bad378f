//! Advisory locks: flock(2) on a file or on a directory of the tree.

#![expect(
    clippy::disallowed_types,
    reason = "cap_std has no locks: an open file is locked through std"
)]

use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;

use cap_std::fs::{Dir, MetadataExt as _, OpenOptions, OpenOptionsExt};

use super::{NONBLOCK, checked, error, kind};
use crate::wit::filesystem::{Error, Kind, LockState};

/// Maximum size of a note in bytes: it is one line.
const LONGEST_NOTE: u64 = 64 << 10;

/// The locks that an instance holds. A lock is an open file, and ends with it.
#[derive(Default)]
pub(super) struct Locks {
    held: HashMap<String, File>,
}

impl Locks {
    /// Takes a lock. A lock file that was removed is created again: the lock on the removed one is held until
    /// the new one is.
    pub(super) fn acquire(
        &mut self,
        root: &Dir,
        path: &str,
        note: &[u8],
    ) -> Result<LockState, Error> {
        let path = checked(path)?;
        let is_held = self.held.get(path).is_some_and(|file| is_at(root, path, file));
        if !is_held {
            let file = open(root, path, true)?;
            match file.try_lock() {
                Ok(()) => drop(self.held.insert(path.to_owned(), file)),
                Err(TryLockError::WouldBlock) => {
                    return Ok(LockState { held: true, note: read_note(&file)? });
                }
                Err(TryLockError::Error(failed)) => return Err(error(failed)),
            }
        }
        if let Some(file) = self.held.get(path) {
            write_note(file, note)?;
        }
        Ok(LockState { held: false, note: Vec::new() })
    }

    /// Releases a lock by closing the file.
    pub(super) fn release(&mut self, path: &str) {
        self.held.remove(path);
    }

    /// Returns whether a lock is held, and the note of its holder.
    pub(super) fn holder(&self, root: &Dir, path: &str) -> Result<LockState, Error> {
        let held = |note| LockState { held: true, note };
        let free = LockState { held: false, note: Vec::new() };
        if let Some(ours) = self.held.get(path) {
            return read_note(ours).map(held);
        }
        let file = match open(root, path, false) {
            Ok(file) => file,
            Err(Error::NotFound) => return Ok(free),
            Err(other) => return Err(other),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(free),
            Err(TryLockError::WouldBlock) => read_note(&file).map(held),
            Err(TryLockError::Error(failed)) => Err(error(failed)),
        }
    }
}

/// Opens the file or directory to lock. With `create`, a missing file is created.
fn open(root: &Dir, path: &str, create: bool) -> Result<File, Error> {
    let path = checked(path)?;
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(NONBLOCK);
    match root.symlink_metadata(path) {
        // The note would be written into the target of the link.
        Ok(metadata) if metadata.is_symlink() => return Err(Error::WrongKind(Kind::Link)),
        Ok(metadata) if metadata.is_dir() => {}
        _ => {
            options.write(create).create(create);
        }
    }
    let file = root.open_with(path, &options).map_err(error)?;
    let metadata = file.metadata().map_err(error)?;
    match metadata.is_file() || metadata.is_dir() {
        true => Ok(file.into_std()),
        false => Err(Error::WrongKind(kind(metadata.file_type()))),
    }
}

/// Whether a path still names this open file.
fn is_at(root: &Dir, path: &str, file: &File) -> bool {
    let named = root.symlink_metadata(path).map(|named| (named.dev(), named.ino()));
    let open = file.metadata().map(|open| (open.dev(), open.ino()));
    matches!((named, open), (Ok(named), Ok(open)) if named == open)
}

/// Reads the note of a lock; a directory has none.
fn read_note(file: &File) -> Result<Vec<u8>, Error> {
    let mut file = file;
    let mut note = Vec::new();
    if file.metadata().map_err(error)?.is_file() {
        file.seek(SeekFrom::Start(0)).map_err(error)?;
        file.take(LONGEST_NOTE).read_to_end(&mut note).map_err(error)?;
    }
    Ok(note)
}

fn write_note(file: &File, note: &[u8]) -> Result<(), Error> {
    let mut file = file;
    if file.metadata().map_err(error)?.is_dir() {
        return Ok(());
    }
    file.set_len(0).map_err(error)?;
    file.seek(SeekFrom::Start(0)).map_err(error)?;
    file.write_all(note).map_err(error)
}
