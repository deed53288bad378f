//! Changing files with a backup that cannot be forgotten.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};

use super::manifest::{self, Backup, File, Operation};
use super::pending::{self, Pending};
use super::{FILE_LIMIT, FIX, Unusable, directory, left, prune};
use crate::io::capabilities::{Entry, FileSystem, FsError, Kind, LockState, Metadata, Replacement};
use crate::io::host::{Failure, Host};

/// So many files are copied with one sync.
const GROUP: usize = 64;
/// Unless they have so many bytes together.
const GROUP_BYTES: usize = 8 << 20;

/// Why a file is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// The code of a finding.
    pub code: String,
    /// The item that the finding is about.
    pub item: Option<String>,
}

impl Cause {
    /// This finding, about this item.
    pub fn new(code: &str, item: Option<&str>) -> Self {
        Cause { code: code.to_owned(), item: item.map(str::to_owned) }
    }
}

/// Capabilities that keep what they change. Before a file is changed for the first time it is in the
/// backup, or named in it as one that was not there; a file that is removed is moved there. The
/// backup is made with the first change.
pub struct Keeper<'c> {
    inner: Host<'c>,
    reason: &'static str,
    cause: RefCell<Cause>,
    backup: RefCell<Backup>,
    /// Everything that the backup names.
    known: RefCell<HashSet<String>>,
    /// What of it has been copied or moved.
    stored: RefCell<HashSet<String>>,
    /// What was made so far, to go on with its checksum.
    sums: RefCell<HashMap<String, crc32fast::Hasher>>,
    /// True if the manifest on disk names everything.
    is_written: Cell<bool>,
}

impl<'c> Keeper<'c> {
    /// Keeps what is changed through [`Keeper::host`].
    pub fn new(inner: Host<'c>, reason: &'static str) -> Self {
        Keeper {
            inner,
            reason,
            cause: RefCell::new(Cause::new("", None)),
            backup: RefCell::default(),
            known: RefCell::default(),
            stored: RefCell::default(),
            sums: RefCell::default(),
            is_written: Cell::new(true),
        }
    }

    /// Goes on with a backup that a crash cut off: what it has is not copied again.
    pub fn reopen(inner: Host<'c>, reason: &'static str, id: &str) -> Result<Self, Unusable> {
        let backup = manifest::read(inner, id)?;
        let mut stored = HashSet::new();
        for file in &backup.files {
            if inner.stat(&format!("{}/{}", directory(inner, id), file.stored))?.is_some() {
                stored.insert(file.path.clone());
            }
        }
        // The last line may be torn: nothing is to continue it.
        inner.append(&left::file(inner, id), b"\n", true)?;
        let paths = backup.files.iter().map(|file| &file.path).chain(&backup.created);
        let known = RefCell::new(paths.cloned().collect());
        let (backup, stored) = (RefCell::new(backup), RefCell::new(stored));
        Ok(Keeper { backup, known, stored, ..Keeper::new(inner, reason) })
    }

    /// The host to change things in.
    pub fn host(&self) -> Host<'_> {
        self.inner.with_files(self)
    }

    /// Why the next files are changed.
    pub fn because(&self, cause: Cause) {
        self.cause.replace(cause);
    }

    /// Copies files into the backup, all of them before the first one is changed: that is cheaper
    /// than one by one.
    pub fn keep(&self, files: &[(String, Cause)]) -> Result<(), Failure> {
        self.announce(files, Operation::Modified)?;
        let paths = files.iter().map(|(path, _)| path);
        let copies: Vec<&String> =
            paths.filter(|path| !self.has(path) && !self.has_made(path)).collect();
        self.copy(&copies)
    }

    /// Names files in the manifest that will be changed, all at once: that is cheaper than one by one.
    pub fn announce_changes(&self, files: &[(String, Cause)]) -> Result<(), Failure> {
        self.announce(files, Operation::Modified)
    }

    /// The same for files that will be removed.
    pub fn announce_removals(&self, files: &[(String, Cause)]) -> Result<(), Failure> {
        self.announce(files, Operation::Deleted)
    }

    /// The backup's id; `None` if nothing was changed.
    pub fn id(&self) -> Option<String> {
        Some(self.backup.borrow().id.clone()).filter(|id| !id.is_empty())
    }

    /// True if a file stands in the backup.
    pub fn has(&self, path: &str) -> bool {
        self.stored.borrow().contains(path)
    }

    /// Where the backup has a file as it was.
    pub fn copy_of(&self, path: &str) -> Option<String> {
        let copy = || format!("{}/{path}", directory(self.inner, &self.backup.borrow().id));
        self.has(path).then(copy)
    }

    /// True if something was not there before.
    pub fn has_made(&self, path: &str) -> bool {
        self.backup.borrow().created.iter().any(|made| made == path)
    }

    /// Ends the backup and removes the oldest ones. Returns its id, if anything was changed.
    pub fn finish(&self) -> Result<Option<String>, Failure> {
        self.finish_beside(&[])
    }

    /// The same; these other backups are in use.
    pub fn finish_beside(&self, in_use: &[&str]) -> Result<Option<String>, Failure> {
        let id = self.id();
        if let Some(id) = &id {
            if self.reason == FIX {
                pending::clear(self.inner)?;
            }
            prune(self.inner, &in_use.iter().copied().chain([id.as_str()]).collect::<Vec<_>>())?;
        }
        Ok(id)
    }

    /// Puts what the backup does not know yet into its manifest, with what stands there now.
    fn announce(&self, files: &[(String, Cause)], operation: Operation) -> Result<(), Failure> {
        for (path, cause) in files {
            if self.known.borrow().contains(path) {
                continue;
            }
            let found = self.inner.stat(path)?;
            let mut backup = self.backup.borrow_mut();
            match found {
                Some(_) => backup.files.push(File {
                    path: path.clone(),
                    stored: path.clone(),
                    operation,
                    code: cause.code.clone(),
                    item: cause.item.clone(),
                }),
                None => backup.created.push(path.clone()),
            }
            self.known.borrow_mut().insert(path.clone());
            self.is_written.set(false);
        }
        // The manifest first: what is in a backup is never without one.
        match self.is_written.get() {
            true => Ok(()),
            false => self.write_manifest(),
        }
    }

    fn write_manifest(&self) -> Result<(), Failure> {
        let is_new = self.id().is_none();
        if is_new {
            let (id, created_at) = new_directory(self.inner)?;
            let mut backup = self.backup.borrow_mut();
            backup.id = id;
            backup.created_at = created_at;
            backup.reason = self.reason.to_owned();
            // Empty as long as nothing has been changed: that it is there tells what is left.
            self.inner.append(&left::file(self.inner, &backup.id), b"", true)?;
        }
        manifest::write(self.inner, &self.backup.borrow())?;
        self.is_written.set(true);
        if is_new && self.reason == FIX {
            let backup = self.backup.borrow().id.clone();
            pending::write(self.inner, &Pending::Fix { backup })?;
        }
        Ok(())
    }

    fn copy(&self, paths: &[&String]) -> Result<(), Failure> {
        let mut group = Vec::new();
        let mut bytes = 0;
        for path in paths {
            let modified = self.inner.stat(path)?.map(|metadata| metadata.modified);
            let contents =
                self.inner.read(path, FILE_LIMIT).map_err(self.inner.failed("read", path))?;
            bytes += contents.len();
            group.push(Replacement {
                path: self.place(path)?,
                contents,
                modified,
                like: Some((*path).clone()),
            });
            if group.len() == GROUP || bytes > GROUP_BYTES {
                self.inner.replace(std::mem::take(&mut group), true)?;
                bytes = 0;
            }
        }
        if !group.is_empty() {
            self.inner.replace(group, true)?;
        }
        self.stored.borrow_mut().extend(paths.iter().map(|path| (*path).clone()));
        Ok(())
    }

    /// Where a file stands in the backup; the directory is made.
    fn place(&self, path: &str) -> Result<String, Failure> {
        let place = format!("{}/{path}", directory(self.inner, &self.backup.borrow().id));
        if let Some((parent, _)) = place.rsplit_once('/') {
            self.inner.create_directory(parent)?;
        }
        Ok(place)
    }

    /// Notes what files will have in them, before they have it: a restoration sees by that whether
    /// somebody has changed them since.
    fn will_leave(&self, files: &[(&str, u32)]) -> Result<(), FsError> {
        let lines: String = files.iter().map(|(path, sum)| left::line(path, *sum)).collect();
        let path = left::file(self.inner, &self.backup.borrow().id);
        self.inner.files().append(&path, lines.as_bytes(), true)
    }

    /// Moves a directory into the backup that cannot be moved as a whole: each part has an entry of
    /// its own in the manifest, so that a restoration after a crash takes back what was moved.
    fn remove_by_parts(&self, path: &str) -> Result<(), FsError> {
        self.backup.borrow_mut().files.retain(|file| file.path != path);
        self.known.borrow_mut().remove(path);
        self.is_written.set(false);
        let cause = self.cause.borrow().clone();
        let parts: Vec<_> = self
            .inner
            .files()
            .list(path)?
            .into_iter()
            .map(|entry| (format!("{path}/{}", entry.name), cause.clone()))
            .collect();
        self.announce_removals(&parts).map_err(unkept)?;
        for (part, _) in &parts {
            FileSystem::remove(self, part)?;
        }
        // Empty by now; it is made again for the parts that come back.
        self.inner.files().remove(path)
    }

    /// Keeps what a change is about to touch.
    fn before(&self, paths: &[&str]) -> Result<(), FsError> {
        let cause = self.cause.borrow().clone();
        let files: Vec<_> = paths.iter().map(|path| ((*path).to_owned(), cause.clone())).collect();
        self.keep(&files).map_err(unkept)
    }
}

/// A change that is not made because of its backup.
fn unkept(failure: Failure) -> FsError {
    match failure.error {
        FsError::Full(words) => FsError::Full(words),
        _ => FsError::Failed(format!("no backup of it could be made: {failure}")),
    }
}

/// Gives something another name; a directory that has to move to another file system moves part by
/// part.
fn move_whole_or_by_parts(
    files: &dyn FileSystem,
    source: &str,
    target: &str,
) -> Result<(), FsError> {
    match files.rename(source, target) {
        Err(FsError::CrossesDevices) if files.stat(source)?.kind == Kind::Directory => {
            files.create_directory(target)?;
            for entry in files.list(source)? {
                let part = |directory: &str| format!("{directory}/{}", entry.name);
                move_whole_or_by_parts(files, &part(source), &part(target))?;
            }
            files.remove(source)
        }
        other => other,
    }
}

/// Makes the directory of a new backup, named after the time (`2026-11-20T21-02-22-735Z`).
fn new_directory(host: Host<'_>) -> Result<(String, String), Failure> {
    let mut time = host.now();
    loop {
        let id = time.to_string().replace([':', '.'], "-");
        let place = directory(host, &id);
        if host.stat(&place)?.is_none() {
            host.create_directory(&place)?;
            return Ok((id, time.to_string()));
        }
        time = time.after(1);
    }
}

impl FileSystem for Keeper<'_> {
    fn replace(&self, files: Vec<Replacement>, durable: bool) -> Result<(), FsError> {
        self.before(&files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>())?;
        let mut left = Vec::new();
        for file in &files {
            let mut sum = crc32fast::Hasher::new();
            sum.update(&file.contents);
            left.push((file.path.as_str(), sum.clone().finalize()));
            self.sums.borrow_mut().insert(file.path.clone(), sum);
        }
        self.will_leave(&left)?;
        self.inner.files().replace(files, durable)
    }

    fn append(&self, path: &str, contents: &[u8], durable: bool) -> Result<(), FsError> {
        self.before(&[path])?;
        let known = self.sums.borrow().get(path).cloned();
        let mut sum = match known {
            Some(sum) => sum,
            None => {
                let mut sum = crc32fast::Hasher::new();
                match self.inner.read(path, FILE_LIMIT) {
                    Ok(contents) => sum.update(&contents),
                    Err(FsError::NotFound) => {}
                    Err(error) => return Err(error),
                }
                sum
            }
        };
        // A crash may cut the append off behind any of its lines.
        let mut left = Vec::new();
        for line in contents.split_inclusive(|byte| *byte == b'\n') {
            sum.update(line);
            left.push((path, sum.clone().finalize()));
        }
        self.will_leave(&left)?;
        self.sums.borrow_mut().insert(path.to_owned(), sum);
        self.inner.files().append(path, contents, durable)
    }

    fn sync(&self, paths: &[String]) -> Result<(), FsError> {
        self.inner.files().sync(paths)
    }

    /// An empty directory is removed; anything else is moved into the backup, in one step.
    fn remove(&self, path: &str) -> Result<(), FsError> {
        let is_directory = self.inner.files().stat(path)?.kind == Kind::Directory;
        if self.has(path) || self.has_made(path) {
            return self.inner.files().remove(path);
        }
        let cause = self.cause.borrow().clone();
        self.announce_removals(&[(path.to_owned(), cause)]).map_err(unkept)?;
        let place = self.place(path).map_err(unkept)?;
        if is_directory && self.inner.list(path).is_ok_and(|entries| entries.is_empty()) {
            self.inner.files().create_directory(&place)?;
            self.inner.files().remove(path)?;
        } else {
            match self.inner.files().rename(path, &place) {
                Err(FsError::CrossesDevices) if is_directory => return self.remove_by_parts(path),
                other => other?,
            }
        }
        self.stored.borrow_mut().insert(path.to_owned());
        Ok(())
    }

    fn rename(&self, source: &str, target: &str) -> Result<(), FsError> {
        let from_a_backup = source.starts_with(&format!("{}/", self.inner.layout().backups));
        let touched: &[&str] = if from_a_backup { &[target] } else { &[source, target] };
        self.before(touched)?;
        move_whole_or_by_parts(self.inner.files(), source, target)
    }

    fn create_directory(&self, path: &str) -> Result<(), FsError> {
        let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
        let missing: Vec<&str> = ends
            .map(|end| &path[..end])
            .filter(|directory| self.inner.stat(directory).is_ok_and(|found| found.is_none()))
            .collect();
        self.before(&missing)?;
        self.inner.files().create_directory(path)
    }

    fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, FsError> {
        self.inner.read(path, limit)
    }

    fn read_at(&self, path: &str, offset: u64, length: u64) -> Result<Vec<u8>, FsError> {
        self.inner.files().read_at(path, offset, length)
    }

    fn list(&self, path: &str) -> Result<Vec<Entry>, FsError> {
        self.inner.files().list(path)
    }

    fn stat(&self, path: &str) -> Result<Metadata, FsError> {
        self.inner.files().stat(path)
    }

    fn lock(&self, path: &str, note: &[u8]) -> Result<LockState, FsError> {
        self.inner.lock(path, note)
    }

    fn unlock(&self, path: &str) -> Result<(), FsError> {
        self.inner.unlock(path)
    }

    fn lock_holder(&self, path: &str) -> Result<LockState, FsError> {
        self.inner.lock_holder(path)
    }
}
