//! `filesystem`: one directory tree over `cap_std::fs::Dir`, which resolves no path out of it.
//!
//! What cap-std does not check is checked here: only regular files are read, with a bound, and a
//! FIFO does not block. Everything durable is synced in this order: content, name, directory.

mod locks;
mod moving;
mod sync;

use std::collections::{BTreeSet, HashSet};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::time::SystemTime;

use cap_std::fs::{Dir, File, FileType, MetadataExt, OpenOptions, OpenOptionsExt, PermissionsExt};
use rustix::fs::{Timespec, Timestamps};
use rustix::process::geteuid;

use self::locks::Locks;
use super::Imports;
use super::random;
use crate::wit::filesystem::{Entry, Error, Host, Kind, LockState, Metadata, Replacement};

/// Maximum length of a name in bytes, on every file system that matters.
const LONGEST_NAME: usize = 255;
/// Maximum length of a path in bytes (Linux: 4096 with the terminator).
const LONGEST_PATH: usize = 4095;
/// Maximum number of bytes that are allocated before a file is read: a sparse file may claim any size.
const RESERVED: u64 = 16 << 20;
/// Maximum number of bytes that one call reads: the host holds them all at once. The component itself reads
/// no file of more than 96 MiB as a whole.
const MOST_READ: u64 = 96 << 20;
/// The permissions of a new file, before the umask.
const NEW_FILE: u32 = 0o666;

/// The tree of one instance and its locks.
pub(super) struct Tree {
    root: Dir,
    locks: Locks,
    /// Directories whose names were synced by this instance.
    durable: HashSet<String>,
}

impl Tree {
    pub(super) fn new(root: Dir) -> Self {
        Tree { root, locks: Locks::default(), durable: HashSet::new() }
    }
}

impl Host for Imports {
    fn read(&mut self, path: String, limit: u64) -> Result<Vec<u8>, Error> {
        let (mut file, size) = self.tree.open_regular(&path)?;
        let limit = limit.min(MOST_READ);
        if size > limit {
            return Err(Error::TooLarge(size));
        }
        // Sized by what the file has now; it may grow while it is read.
        let mut contents = Vec::with_capacity(size.min(RESERVED) as usize);
        Read::by_ref(&mut file).take(limit + 1).read_to_end(&mut contents).map_err(error)?;
        match contents.len() as u64 {
            length if length > limit => Err(Error::TooLarge(length)),
            _ => Ok(contents),
        }
    }

    fn read_at(&mut self, path: String, offset: u64, length: u64) -> Result<Vec<u8>, Error> {
        let (mut file, size) = self.tree.open_regular(&path)?;
        let length = length.min(size.saturating_sub(offset));
        if length > MOST_READ {
            return Err(Error::TooLarge(length));
        }
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
        match self.tree.rename_to_new(source, target) {
            Ok(()) => self.tree.sync_directories([parent(target), parent(source)]),
            Err(Error::CrossesDevices) => self.tree.move_by_copy(source, target),
            Err(other) => Err(other),
        }
    }

    fn create_directory(&mut self, path: String) -> Result<(), Error> {
        let path = checked(&path)?;
        let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
        let mut pending = Vec::new();
        for directory in ends.map(|end| &path[..end]).filter(|directory| *directory != ".") {
            match self.tree.root.create_dir(directory) {
                Ok(()) => pending.push(directory),
                Err(exists) if exists.kind() == io::ErrorKind::AlreadyExists => {
                    if !self.tree.root.metadata(directory).map_err(error)?.is_dir() {
                        return Err(Error::Exists);
                    }
                    // Its creator may have been killed before the name was on disk.
                    if !self.tree.durable.contains(directory) {
                        pending.push(directory);
                    }
                }
                Err(other) => return Err(error(other)),
            }
        }
        self.tree.sync_directories(pending.iter().map(|directory| parent(directory)))?;
        self.tree.durable.extend(pending.into_iter().map(str::to_owned));
        Ok(())
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

    fn lock(&mut self, path: String, note: Vec<u8>) -> Result<LockState, Error> {
        self.tree.locks.acquire(&self.tree.root, &path, &note)
    }

    fn unlock(&mut self, path: String) -> Result<(), Error> {
        self.tree.locks.release(&path);
        Ok(())
    }

    fn lock_holder(&mut self, path: String) -> Result<LockState, Error> {
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
                // A socket, or an absent device.
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
            // A file that has been renamed no longer exists under its temporary name.
            for (temporary, _) in &written {
                let _ = self.root.remove_file(temporary);
            }
        }
        result
    }

    /// Adds the files that it creates to `written`: the temporary name and the final one.
    fn write_and_rename(
        &self,
        files: &[Replacement],
        durable: bool,
        written: &mut Vec<(String, String)>,
    ) -> Result<(), Error> {
        let mut group = sync::Group::new(files.len());
        for file in files {
            let target = self.target(&file.path)?;
            let temporary = temporary_name(&target);
            let like = match &file.like {
                Some(like) => checked(like)?,
                None => target.as_str(),
            };
            let mut open = self.create(&temporary, like)?;
            written.push((temporary, target));
            open.write_all(&file.contents).map_err(error)?;
            if let Some(modified) = file.modified {
                set_modified(&open, modified)?;
            }
            group.add(open)?;
        }
        group.finish()?;
        for (temporary, target) in written.iter() {
            self.root.rename(temporary, &self.root, target).map_err(error)?;
        }
        match durable {
            true => self.sync_directories(written.iter().map(|(_, target)| parent(target))),
            false => Ok(()),
        }
    }

    /// Returns the path that the content of a file is written to: behind the last link.
    fn target(&self, path: &str) -> Result<String, Error> {
        match self.root.symlink_metadata(checked(path)?) {
            Ok(metadata) if metadata.is_dir() => Err(Error::WrongKind(Kind::Directory)),
            Ok(_) => self.followed(path),
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(path.to_owned()),
            Err(other) => Err(error(other)),
        }
    }

    /// Returns the path of the content of `path`: behind the last link, if it is one.
    fn followed(&self, path: &str) -> Result<String, Error> {
        let path = checked(path)?;
        if !self.root.symlink_metadata(path).map_err(error)?.is_symlink() {
            return Ok(path.to_owned());
        }
        let target = self.root.canonicalize(path).map_err(error)?;
        target.into_os_string().into_string().map_err(|_| Error::Outside)
    }

    /// Creates a file with the permissions of `like`, before it has any content.
    ///
    /// Only permission bits, and only those of our own files, are copied exactly: a setuid bit would turn
    /// another user's program into one that runs as us. A copy of another user's file is readable for no one
    /// who could not read the original.
    fn create(&self, path: &str, like: &str) -> Result<File, Error> {
        let (mode, is_exact) = match self.root.metadata(like) {
            Ok(old) if old.uid() == geteuid().as_raw() => (old.mode() & 0o777, true),
            Ok(old) => (old.mode() & NEW_FILE | 0o600, false),
            Err(_) => (NEW_FILE, false),
        };
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(mode);
        let file = self.root.open_with(path, &options).map_err(error)?;
        // The umask has taken bits away that the original has.
        if is_exact && file.metadata().map_err(error)?.mode() & 0o777 != mode {
            file.set_permissions(PermissionsExt::from_mode(mode)).map_err(|failed| {
                let _ = self.root.remove_file(path);
                error(failed)
            })?;
        }
        Ok(file)
    }

    /// Renames to a name that is not in use, atomically: of several callers that want one name, one succeeds.
    fn rename_to_new(&self, source: &str, target: &str) -> Result<(), Error> {
        match self.rename_no_replace(source, target) {
            Err(unable) if is_unable(&unable) => {}
            other => return other.map_err(error),
        }
        match self.root.hard_link(source, &self.root, target) {
            Ok(()) => {
                // The new name first: otherwise a power loss may leave neither.
                self.sync_directories([parent(target)])?;
                return self.root.remove_file(source).map_err(error);
            }
            Err(exists) if exists.kind() == io::ErrorKind::AlreadyExists => {
                return Err(Error::Exists);
            }
            // Directories, and file systems without hard links: not atomic.
            _ => {}
        }
        match self.root.symlink_metadata(target) {
            Ok(_) => Err(Error::Exists),
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => {
                self.root.rename(source, &self.root, target).map_err(error)
            }
            Err(other) => Err(error(other)),
        }
    }

    #[cfg(target_os = "linux")]
    fn rename_no_replace(&self, source: &str, target: &str) -> io::Result<()> {
        // The directories are resolved within the root; the last names are never followed.
        let from = self.root.open_dir(parent(source))?;
        let to = self.root.open_dir(parent(target))?;
        let flags = rustix::fs::RenameFlags::NOREPLACE;
        Ok(rustix::fs::renameat_with(from, name(source), to, name(target), flags)?)
    }

    #[cfg(not(target_os = "linux"))]
    fn rename_no_replace(&self, _: &str, _: &str) -> io::Result<()> {
        Err(rustix::io::Errno::NOSYS.into())
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
        let mut group = sync::Group::new(paths.len());
        for path in paths {
            let path = self.followed(path)?;
            let mut options = OpenOptions::new();
            options.read(true).custom_flags(NONBLOCK);
            let file = self.root.open_with(&path, &options).map_err(error)?;
            let metadata = file.metadata().map_err(error)?;
            if !(metadata.is_file() || metadata.is_dir()) {
                return Err(Error::WrongKind(kind(metadata.file_type())));
            }
            group.add(file)?;
            directories.insert(parent(&path).to_owned());
        }
        for directory in directories {
            group.add(self.root.open(directory).map_err(error)?)?;
        }
        group.finish()
    }

    /// Makes the names in these directories durable.
    fn sync_directories<'p>(
        &self,
        directories: impl IntoIterator<Item = &'p str>,
    ) -> Result<(), Error> {
        let directories: BTreeSet<&str> = directories.into_iter().collect();
        let mut group = sync::Group::new(directories.len());
        for directory in directories {
            group.add(self.root.open(directory).map_err(error)?)?;
        }
        group.finish()
    }
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

/// Returns a path that follows the rules of the interface.
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

#[cfg(target_os = "linux")]
fn name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// Whether a file system cannot rename without replacing (FUSE, NFS and others).
fn is_unable(failed: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = failed.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP))
}

/// Returns a temporary name: `item.json.9f68aee0695f.tmp` for `item.json`, as in the existing tool. `doctor`
/// recognizes such files after a crash.
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

/// Converts an error. cap-std reports a path that leads out as `PermissionDenied` without an error number.
fn error(failed: io::Error) -> Error {
    match failed.kind() {
        // ENOTDIR: a name in the middle of the path is not a directory.
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Error::NotFound,
        io::ErrorKind::AlreadyExists => Error::Exists,
        io::ErrorKind::PermissionDenied if failed.raw_os_error().is_none() => Error::Outside,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Error::Full(failed.to_string())
        }
        io::ErrorKind::FileTooLarge => Error::Full(format!(
            "{failed}: the file would exceed the limit of this process (`ulimit -f`) or of its file system"
        )),
        io::ErrorKind::CrossesDevices => Error::CrossesDevices,
        io::ErrorKind::IsADirectory => Error::WrongKind(Kind::Directory),
        _ => Error::Failed(failed.to_string()),
    }
}

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod tests;
