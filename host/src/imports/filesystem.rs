//! `filesystem`: one directory tree over `cap_std::fs::Dir`, which resolves no path out of it.
//!
//! What cap-std does not check is checked here: only regular files are read, with a bound, and a
//! FIFO blocks nobody. Everything durable is synced in this order: content, name, directory.

mod locks;

use std::collections::BTreeSet;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::time::SystemTime;

use cap_std::fs::{Dir, File, FileType, MetadataExt, OpenOptions, OpenOptionsExt, PermissionsExt};
use rustix::fs::{Timespec, Timestamps};

use self::locks::Locks;
use super::Imports;
use super::random;
use crate::engine::filesystem::{Entry, Error, Host, Kind, LockOutcome, Metadata, Replacement};

/// Longer names cannot be made on any file system that matters.
const LONGEST_NAME: usize = 255;
/// Longer paths are refused before the system does (Linux: 4096 with the terminator).
const LONGEST_PATH: usize = 4095;
/// Memory for a file is set aside before it is read only up to this: a sparse file may claim any
/// size.
const RESERVED: u64 = 16 << 20;
/// From this many files on one sync of the whole file system is cheaper than one for each.
#[cfg(target_os = "linux")]
const SYNC_ALL_FROM: usize = 8;

/// The tree of one instance and its locks.
pub(super) struct Tree {
    root: Dir,
    locks: Locks,
}

impl Tree {
    pub(super) fn new(root: Dir) -> Self {
        Tree { root, locks: Locks::default() }
    }
}

impl Host for Imports {
    fn read(&mut self, path: String, limit: u64) -> Result<Vec<u8>, Error> {
        let (mut file, size) = self.tree.open_regular(&path)?;
        if size > limit {
            return Err(Error::TooLarge(size));
        }
        // Sized by what the file has now; it may grow while it is read.
        let mut contents = Vec::with_capacity(size.min(RESERVED) as usize);
        Read::by_ref(&mut file)
            .take(limit.saturating_add(1))
            .read_to_end(&mut contents)
            .map_err(error)?;
        match contents.len() as u64 {
            length if length > limit => Err(Error::TooLarge(length)),
            _ => Ok(contents),
        }
    }

    fn read_at(&mut self, path: String, offset: u64, length: u64) -> Result<Vec<u8>, Error> {
        let (mut file, size) = self.tree.open_regular(&path)?;
        let length = length.min(size.saturating_sub(offset));
        let mut contents = Vec::with_capacity(length.min(RESERVED) as usize);
        file.seek(SeekFrom::Start(offset)).map_err(error)?;
        file.take(length).read_to_end(&mut contents).map_err(error)?;
        Ok(contents)
    }

    fn replace(&mut self, files: Vec<Replacement>, durable: bool) -> Result<(), Error> {
        self.tree.replace(&files, durable)
    }

    fn append(&mut self, path: String, contents: Vec<u8>, durable: bool) -> Result<(), Error> {
        self.tree.append(&path, &contents, durable)
    }

    fn sync(&mut self, paths: Vec<String>) -> Result<(), Error> {
        self.tree.sync(&paths)
    }

    fn remove(&mut self, path: String) -> Result<(), Error> {
        let path = checked(&path)?;
        let root = &self.tree.root;
        match root.symlink_metadata(path).map_err(error)?.is_dir() {
            true => root.remove_dir(path),
            false => root.remove_file(path),
        }
        .map_err(error)?;
        self.tree.sync_directories([parent(path)])
    }

    fn rename(&mut self, source: String, target: String) -> Result<(), Error> {
        let (source, target) = (checked(&source)?, checked(&target)?);
        let root = &self.tree.root;
        match root.symlink_metadata(target) {
            Ok(_) => return Err(Error::Exists),
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => {}
            Err(other) => return Err(error(other)),
        }
        root.rename(source, root, target).map_err(error)?;
        self.tree.sync_directories([parent(target), parent(source)])
    }

    fn create_directory(&mut self, path: String) -> Result<(), Error> {
        let path = checked(&path)?;
        let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
        let mut parents = Vec::new();
        for directory in ends.map(|end| &path[..end]).filter(|directory| *directory != ".") {
            match self.tree.root.create_dir(directory) {
                Ok(()) => parents.push(parent(directory)),
                Err(exists) if exists.kind() == io::ErrorKind::AlreadyExists => {
                    if !self.tree.root.metadata(directory).map_err(error)?.is_dir() {
                        return Err(Error::Exists);
                    }
                }
                Err(other) => return Err(error(other)),
            }
        }
        self.tree.sync_directories(parents)
    }

    fn list(&mut self, path: String) -> Result<Vec<Entry>, Error> {
        let path = checked(&path)?;
        let entries = match self.tree.root.read_dir(path) {
            Ok(entries) => entries,
            Err(failed) if failed.kind() == io::ErrorKind::NotADirectory => {
                let metadata = self.tree.root.metadata(path).map_err(error)?;
                return Err(Error::WrongKind(kind(metadata.file_type())));
            }
            Err(failed) => return Err(error(failed)),
        };
        let mut listing = Vec::new();
        for entry in entries {
            let entry = entry.map_err(error)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            listing.push(Entry { name, kind: kind(entry.file_type().map_err(error)?) });
        }
        Ok(listing)
    }

    fn stat(&mut self, path: String) -> Result<Metadata, Error> {
        let metadata = self.tree.root.symlink_metadata(checked(&path)?).map_err(error)?;
        let modified = metadata.modified().map_err(error)?.into_std();
        Ok(Metadata {
            kind: kind(metadata.file_type()),
            size: if metadata.is_file() { metadata.len() } else { 0 },
            modified: modified
                .duration_since(SystemTime::UNIX_EPOCH)
                .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
        })
    }

    fn lock(&mut self, path: String, note: Vec<u8>) -> Result<LockOutcome, Error> {
        self.tree.locks.acquire(&self.tree.root, &path, &note)
    }

    fn unlock(&mut self, path: String) -> Result<(), Error> {
        self.tree.locks.release(&path);
        Ok(())
    }

    fn lock_holder(&mut self, path: String) -> Result<Option<Vec<u8>>, Error> {
        self.tree.locks.holder(&self.tree.root, &path)
    }
}

impl Tree {
    /// Opens a regular file to read it, and its size. Never waits for a writer of a FIFO.
    fn open_regular(&self, path: &str) -> Result<(File, u64), Error> {
        let path = checked(path)?;
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(NONBLOCK);
        let file =
            self.root.open_with(path, &options).map_err(|failed| match failed.raw_os_error() {
                // A socket, or a device that is not there.
                Some(ENXIO) => Error::WrongKind(Kind::Other),
                _ => error(failed),
            })?;
        let metadata = file.metadata().map_err(error)?;
        match metadata.is_file() {
            true => Ok((file, metadata.len())),
            false => Err(Error::WrongKind(kind(metadata.file_type()))),
        }
    }

    fn replace(&self, files: &[Replacement], durable: bool) -> Result<(), Error> {
        let mut written: Vec<(String, String)> = Vec::with_capacity(files.len());
        let result = self.write_and_rename(files, durable, &mut written);
        if result.is_err() {
            // What has its name by now is no longer there under the temporary one.
            for (temporary, _) in &written {
                let _ = self.root.remove_file(temporary);
            }
        }
        result
    }

    /// Leaves in `written` what it made: temporary name and final one.
    fn write_and_rename(
        &self,
        files: &[Replacement],
        durable: bool,
        written: &mut Vec<(String, String)>,
    ) -> Result<(), Error> {
        let mut contents = Vec::with_capacity(files.len());
        for file in files {
            let target = self.target(&file.path)?;
            let temporary = temporary_name(&target);
            let mut options = OpenOptions::new();
            options.write(true).create_new(true);
            let mut open = self.root.open_with(&temporary, &options).map_err(error)?;
            written.push((temporary, target));
            open.write_all(&file.contents).map_err(error)?;
            let like = match &file.like {
                Some(like) => checked(like)?,
                None => written[written.len() - 1].1.as_str(),
            };
            self.keep_mode(&open, like)?;
            if let Some(modified) = file.modified {
                set_modified(&open, modified)?;
            }
            // Held open only as long as they are synced one by one.
            if files.len() < sync_all_from() {
                contents.push(open);
            }
        }
        match files.len() < sync_all_from() {
            true => contents.iter().try_for_each(File::sync_all).map_err(error)?,
            false => self.sync_file_system()?,
        }
        for (temporary, target) in written.iter() {
            self.root.rename(temporary, &self.root, target).map_err(error)?;
        }
        match durable {
            true => self.sync_directories(written.iter().map(|(_, target)| parent(target))),
            false => Ok(()),
        }
    }

    /// Where the content of a file is that is to be written.
    fn target(&self, path: &str) -> Result<String, Error> {
        match self.root.symlink_metadata(checked(path)?) {
            Ok(metadata) if metadata.is_dir() => Err(Error::WrongKind(Kind::Directory)),
            Ok(_) => self.followed(path),
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(path.to_owned()),
            Err(other) => Err(error(other)),
        }
    }

    /// The path that the content of `path` is at: behind the last link, if it is one.
    fn followed(&self, path: &str) -> Result<String, Error> {
        let path = checked(path)?;
        if !self.root.symlink_metadata(path).map_err(error)?.is_symlink() {
            return Ok(path.to_owned());
        }
        let target = self.root.canonicalize(path).map_err(error)?;
        target.into_os_string().into_string().map_err(|_| Error::Outside)
    }

    /// A file that is replaced keeps its permissions.
    fn keep_mode(&self, file: &File, target: &str) -> Result<(), Error> {
        if let Ok(old) = self.root.metadata(target) {
            let mode = old.mode() & 0o7777;
            if file.metadata().map_err(error)?.mode() & 0o7777 != mode {
                file.set_permissions(PermissionsExt::from_mode(mode)).map_err(error)?;
            }
        }
        Ok(())
    }

    fn append(&self, path: &str, contents: &[u8], durable: bool) -> Result<(), Error> {
        let path = checked(path)?;
        let mut options = OpenOptions::new();
        options.append(true).custom_flags(NONBLOCK);
        let (mut file, is_new) = match self.root.open_with(path, &options) {
            Ok(file) => (file, false),
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => {
                (self.root.open_with(path, options.create_new(true)).map_err(error)?, true)
            }
            Err(other) => return Err(error(other)),
        };
        let metadata = file.metadata().map_err(error)?;
        if !metadata.is_file() {
            return Err(Error::WrongKind(kind(metadata.file_type())));
        }
        file.write_all(contents).map_err(error)?;
        if durable {
            file.sync_data().map_err(error)?;
            if is_new {
                self.sync_directories([parent(path)])?;
            }
        }
        Ok(())
    }

    /// Syncs the content of files, then the directories that hold their names.
    fn sync(&self, paths: &[String]) -> Result<(), Error> {
        let mut directories = BTreeSet::new();
        for path in paths {
            let path = self.followed(path)?;
            let mut options = OpenOptions::new();
            options.read(true).custom_flags(NONBLOCK);
            let file = self.root.open_with(&path, &options).map_err(error)?;
            let metadata = file.metadata().map_err(error)?;
            if !(metadata.is_file() || metadata.is_dir()) {
                return Err(Error::WrongKind(kind(metadata.file_type())));
            }
            if paths.len() < sync_all_from() {
                file.sync_all().map_err(error)?;
            }
            directories.insert(parent(&path).to_owned());
        }
        match paths.len() < sync_all_from() {
            true => self.sync_directories(directories.iter().map(String::as_str)),
            false => self.sync_file_system(),
        }
    }

    /// Puts the names in these directories on disk.
    fn sync_directories<'p>(
        &self,
        directories: impl IntoIterator<Item = &'p str>,
    ) -> Result<(), Error> {
        let directories: BTreeSet<&str> = directories.into_iter().collect();
        if directories.len() >= sync_all_from() {
            return self.sync_file_system();
        }
        for directory in directories {
            self.root.open(directory).and_then(|file| file.sync_all()).map_err(error)?;
        }
        Ok(())
    }

    /// Puts everything on disk that this file system was given.
    #[cfg(target_os = "linux")]
    fn sync_file_system(&self) -> Result<(), Error> {
        let root = self.root.open(".").map_err(error)?;
        rustix::fs::syncfs(root).map_err(|errno| error(errno.into()))
    }

    #[cfg(not(target_os = "linux"))]
    fn sync_file_system(&self) -> Result<(), Error> {
        Err(Error::Failed("this system cannot sync a whole file system".to_owned()))
    }
}

#[cfg(target_os = "linux")]
const fn sync_all_from() -> usize {
    SYNC_ALL_FROM
}

/// No other system has a sync of a whole file system: files are always synced one by one.
#[cfg(not(target_os = "linux"))]
const fn sync_all_from() -> usize {
    usize::MAX
}

/// `modified` is in milliseconds since 1970.
fn set_modified(file: &File, modified: u64) -> Result<(), Error> {
    let modified = Timespec {
        tv_sec: i64::try_from(modified / 1000).unwrap_or(i64::MAX),
        tv_nsec: (modified % 1000 * 1_000_000) as _,
    };
    let times = Timestamps { last_access: modified, last_modification: modified };
    rustix::fs::futimens(file, &times).map_err(|errno| error(errno.into()))
}

/// The flag that keeps an `open` from waiting for the other end of a FIFO.
const NONBLOCK: i32 = rustix::fs::OFlags::NONBLOCK.bits() as i32;
/// What opening a socket or an absent device gives.
const ENXIO: i32 = rustix::io::Errno::NXIO.raw_os_error();

/// A path that keeps to the rules of the interface.
fn checked(path: &str) -> Result<&str, Error> {
    let is_name = |name: &str| {
        !name.is_empty()
            && name != "."
            && name != ".."
            && name.len() <= LONGEST_NAME
            && !name.contains('\0')
    };
    match path == "." || (path.len() <= LONGEST_PATH && path.split('/').all(is_name)) {
        true => Ok(path),
        false => Err(Error::Outside),
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or(".", |(parent, _)| parent)
}

/// `item.json` becomes `item.json.9f68aee0695f.tmp`, as in the existing tool: `doctor` knows what a
/// crash leaves behind.
pub(crate) fn temporary_name(target: &str) -> String {
    let mut bytes = [0; 6];
    random::fill(&mut bytes);
    let suffix: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{target}.{suffix}.tmp")
}

fn kind(file_type: FileType) -> Kind {
    if file_type.is_file() {
        Kind::File
    } else if file_type.is_dir() {
        Kind::Directory
    } else if file_type.is_symlink() {
        Kind::Link
    } else {
        Kind::Other
    }
}

/// cap-std reports a path that leads out as `PermissionDenied` without the system's error number.
fn error(failed: io::Error) -> Error {
    match failed.kind() {
        io::ErrorKind::NotFound => Error::NotFound,
        io::ErrorKind::AlreadyExists => Error::Exists,
        io::ErrorKind::PermissionDenied if failed.raw_os_error().is_none() => Error::Outside,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Error::Full(failed.to_string())
        }
        io::ErrorKind::IsADirectory => Error::WrongKind(Kind::Directory),
        _ => Error::Failed(failed.to_string()),
    }
}

#[cfg(test)]
mod tests;
