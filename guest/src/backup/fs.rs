//! A file system that backs up every file before it changes it.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};

use super::manifest::{self, File, Manifest, Operation};
use super::pending::{self, Pending};
use super::{FILE_LIMIT, FIX, Unusable, checksums, directory, prune};
use crate::io::capabilities::{Entry, FileSystem, FsError, Kind, LockState, Metadata, Replacement};
use crate::io::host::{Failure, Host};

/// Maximum number of files that are copied with one sync.
const GROUP: usize = 64;
/// Maximum size of the files that are copied with one sync, in bytes.
const GROUP_BYTES: usize = 8 << 20;

/// Why a file is changed: recorded in the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The code of a diagnostic.
    pub code: String,
    /// The item that it concerns.
    pub item: Option<String>,
}

impl Reason {
    /// This code, about this item.
    pub fn new(code: &str, item: Option<&str>) -> Self {
        Reason { code: code.to_owned(), item: item.map(str::to_owned) }
    }
}

/// A file system that makes a backup of everything it changes. Before a file is changed for the first time, the
/// backup either contains it or records that it did not exist; a file that is removed is moved into the backup.
/// The backup is created by the first change.
pub struct BackupFs<'c> {
    inner: Host<'c>,
    /// What the backup is for: `doctor-fix`, `run`, …
    purpose: &'static str,
    reason: RefCell<Reason>,
    manifest: RefCell<Manifest>,
    /// Every path in the manifest.
    recorded: RefCell<HashSet<String>>,
    /// The paths whose file has been copied or moved into the backup.
    stored: RefCell<HashSet<String>>,
    /// The checksum of each file that was written, so that an append does not read it again.
    sums: RefCell<HashMap<String, crc32fast::Hasher>>,
    /// True if the manifest on disk is complete.
    is_written: Cell<bool>,
}

impl<'c> BackupFs<'c> {
    /// Backs up what is changed through [`BackupFs::host`].
    pub fn new(inner: Host<'c>, purpose: &'static str) -> Self {
        BackupFs {
            inner,
            purpose,
            reason: RefCell::new(Reason::new("", None)),
            manifest: RefCell::default(),
            recorded: RefCell::default(),
            stored: RefCell::default(),
            sums: RefCell::default(),
            is_written: Cell::new(true),
        }
    }

    /// Continues a backup that a crash interrupted. Files that it already contains are not copied again.
    pub fn reopen(inner: Host<'c>, purpose: &'static str, id: &str) -> Result<Self, Unusable> {
        let manifest = manifest::read(inner, id)?;
        let mut stored = HashSet::new();
        for file in &manifest.files {
            if inner.stat(&manifest.path_of(inner, file))?.is_some() {
                stored.insert(file.path.clone());
            }
        }
        // The last line may be torn: end it, so that the next one is not appended to it.
        inner.append(&checksums::file(inner, id), b"\n", true)?;
        let paths = manifest.files.iter().map(|file| &file.path).chain(&manifest.created);
        let recorded = RefCell::new(paths.cloned().collect());
        let (manifest, stored) = (RefCell::new(manifest), RefCell::new(stored));
        Ok(BackupFs { manifest, recorded, stored, ..BackupFs::new(inner, purpose) })
    }

    /// The capabilities with this file system.
    pub fn host(&self) -> Host<'_> {
        self.inner.with_files(self)
    }

    /// Sets the reason for the changes that follow.
    pub fn set_reason(&self, reason: Reason) {
        self.reason.replace(reason);
    }

    /// Copies files into the backup before they are changed. Copying them together is cheaper than one by one.
    pub fn copy_files(&self, files: &[(String, Reason)]) -> Result<(), Failure> {
        self.record(files, Operation::Modified)?;
        let paths = files.iter().map(|(path, _)| path);
        let copies: Vec<&String> =
            paths.filter(|path| !self.contains(path) && !self.is_created(path)).collect();
        self.copy(&copies)
    }

    /// Records files in the manifest that will be changed. Recording them together is cheaper than one by one.
    pub fn record_changes(&self, files: &[(String, Reason)]) -> Result<(), Failure> {
        self.record(files, Operation::Modified)
    }

    /// Records files in the manifest that will be removed.
    pub fn record_removals(&self, files: &[(String, Reason)]) -> Result<(), Failure> {
        self.record(files, Operation::Deleted)
    }

    /// The id of the backup; `None` if nothing was changed.
    pub fn id(&self) -> Option<String> {
        Some(self.manifest.borrow().id.clone()).filter(|id| !id.is_empty())
    }

    /// Whether the backup contains a file.
    pub fn contains(&self, path: &str) -> bool {
        self.stored.borrow().contains(path)
    }

    /// The path of the copy of a file in the backup.
    pub fn copy_of(&self, path: &str) -> Option<String> {
        let copy = || format!("{}/{path}", directory(self.inner, &self.manifest.borrow().id));
        self.contains(path).then(copy)
    }

    /// Whether a path did not exist before.
    pub fn is_created(&self, path: &str) -> bool {
        self.manifest.borrow().created.iter().any(|created| created == path)
    }

    /// Completes the backup and removes the oldest ones. Returns its id, if anything was changed.
    pub fn finish(&self) -> Result<Option<String>, Failure> {
        self.finish_and_keep(&[])
    }

    /// Completes the backup and removes the oldest ones, except for these, which are in use.
    pub fn finish_and_keep(&self, in_use: &[&str]) -> Result<Option<String>, Failure> {
        let id = self.id();
        if let Some(id) = &id {
            if self.purpose == FIX {
                pending::clear(self.inner)?;
            }
            prune::prune(
                self.inner,
                &in_use.iter().copied().chain([id.as_str()]).collect::<Vec<_>>(),
            )?;
        }
        Ok(id)
    }

    /// Adds the paths to the manifest that it does not contain yet, according to whether they exist now.
    fn record(&self, files: &[(String, Reason)], operation: Operation) -> Result<(), Failure> {
        for (path, reason) in files {
            if self.recorded.borrow().contains(path) {
                continue;
            }
            let found = self.inner.stat(path)?;
            let mut manifest = self.manifest.borrow_mut();
            match found {
                Some(_) => manifest.files.push(File {
                    path: path.clone(),
                    stored: path.clone(),
                    operation,
                    code: reason.code.clone(),
                    item: reason.item.clone(),
                }),
                None => manifest.created.push(path.clone()),
            }
            self.recorded.borrow_mut().insert(path.clone());
            self.is_written.set(false);
        }
        // The manifest is written before anything is stored: a backup with files always has one.
        match self.is_written.get() {
            true => Ok(()),
            false => self.write_manifest(),
        }
    }

    fn write_manifest(&self) -> Result<(), Failure> {
        let is_new = self.id().is_none();
        if is_new {
            let (id, created_at) = create_directory(self.inner)?;
            let mut manifest = self.manifest.borrow_mut();
            manifest.id = id;
            manifest.created_at = created_at;
            manifest.reason = self.purpose.to_owned();
            // Its existence says that checksums are recorded; it is empty until something is changed.
            self.inner.append(&checksums::file(self.inner, &manifest.id), b"", true)?;
        }
        manifest::write(self.inner, &self.manifest.borrow())?;
        self.is_written.set(true);
        if is_new && self.purpose == FIX {
            let backup = self.manifest.borrow().id.clone();
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
                path: self.prepare_copy(path)?,
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

    /// Returns the path that a file has in the backup, and creates its directory.
    fn prepare_copy(&self, path: &str) -> Result<String, Failure> {
        let stored = format!("{}/{path}", directory(self.inner, &self.manifest.borrow().id));
        if let Some((parent, _)) = stored.rsplit_once('/') {
            self.inner.create_directory(parent)?;
        }
        Ok(stored)
    }

    /// Records the checksums that files will have, before they are written: a restore compares them to detect
    /// later changes.
    fn record_checksums(&self, files: &[(&str, u32)]) -> Result<(), FsError> {
        let lines: String = files.iter().map(|(path, sum)| checksums::line(path, *sum)).collect();
        let path = checksums::file(self.inner, &self.manifest.borrow().id);
        self.inner.files().append(&path, lines.as_bytes(), true)
    }

    /// Moves a directory into the backup that cannot be renamed as a whole. Each part has an entry of its own in
    /// the manifest, so that a restore after a crash moves back what was moved.
    fn remove_by_parts(&self, path: &str) -> Result<(), FsError> {
        self.manifest.borrow_mut().files.retain(|file| file.path != path);
        self.recorded.borrow_mut().remove(path);
        self.is_written.set(false);
        let reason = self.reason.borrow().clone();
        let mut parts: Vec<_> = self
            .inner
            .files()
            .list(path)?
            .into_iter()
            .map(|entry| (format!("{path}/{}", entry.name), reason.clone()))
            .collect();
        parts.sort_by(|(a, _), (b, _)| a.cmp(b));
        self.record_removals(&parts).map_err(backup_failed)?;
        for (part, _) in &parts {
            FileSystem::remove(self, part)?;
        }
        // Empty by now. A restore creates it again for its parts.
        self.inner.files().remove(path)
    }

    /// Backs up the files that a change is about to modify.
    fn before_change(&self, paths: &[&str]) -> Result<(), FsError> {
        let reason = self.reason.borrow().clone();
        let files: Vec<_> = paths.iter().map(|path| ((*path).to_owned(), reason.clone())).collect();
        self.copy_files(&files).map_err(backup_failed)
    }
}

/// The error of a change that was not made because its backup failed.
fn backup_failed(failure: Failure) -> FsError {
    match failure.error {
        FsError::Full(message) => FsError::Full(message),
        _ => FsError::Failed(format!("its backup failed: {failure}")),
    }
}

/// Renames a file or directory. A directory that must move to another file system is moved part by part.
fn move_whole_or_by_parts(
    files: &dyn FileSystem,
    source: &str,
    target: &str,
) -> Result<(), FsError> {
    match files.rename(source, target) {
        Err(FsError::CrossesDevices) if files.stat(source)?.kind == Kind::Directory => {
            files.create_directory(target)?;
            let mut entries = files.list(source)?;
            entries.sort_by(|a, b| a.name.cmp(&b.name));
            for entry in entries {
                let part = |directory: &str| format!("{directory}/{}", entry.name);
                move_whole_or_by_parts(files, &part(source), &part(target))?;
            }
            files.remove(source)
        }
        other => other,
    }
}

/// Creates the directory of a new backup, named after the time (`2026-11-20T21-02-22-735Z`). Returns its id and
/// its time.
fn create_directory(host: Host<'_>) -> Result<(String, String), Failure> {
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

impl FileSystem for BackupFs<'_> {
    fn replace(&self, files: Vec<Replacement>, durable: bool) -> Result<(), FsError> {
        self.before_change(&files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>())?;
        let mut written = Vec::new();
        for file in &files {
            let mut sum = crc32fast::Hasher::new();
            sum.update(&file.contents);
            written.push((file.path.as_str(), sum.clone().finalize()));
            self.sums.borrow_mut().insert(file.path.clone(), sum);
        }
        self.record_checksums(&written)?;
        self.inner.files().replace(files, durable)
    }

    fn append(&self, path: &str, contents: &[u8], durable: bool) -> Result<(), FsError> {
        self.before_change(&[path])?;
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
        // A crash may cut the append off after any of its lines.
        let mut written = Vec::new();
        for line in contents.split_inclusive(|byte| *byte == b'\n') {
            sum.update(line);
            written.push((path, sum.clone().finalize()));
        }
        self.record_checksums(&written)?;
        self.sums.borrow_mut().insert(path.to_owned(), sum);
        self.inner.files().append(path, contents, durable)
    }

    fn sync(&self, paths: &[String]) -> Result<(), FsError> {
        self.inner.files().sync(paths)
    }

    /// Removes an empty directory, and moves anything else into the backup in one step.
    fn remove(&self, path: &str) -> Result<(), FsError> {
        let is_directory = self.inner.files().stat(path)?.kind == Kind::Directory;
        if self.contains(path) || self.is_created(path) {
            return self.inner.files().remove(path);
        }
        let reason = self.reason.borrow().clone();
        self.record_removals(&[(path.to_owned(), reason)]).map_err(backup_failed)?;
        let place = self.prepare_copy(path).map_err(backup_failed)?;
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
        let is_restored = source.starts_with(&format!("{}/", self.inner.layout().backups));
        let changed: &[&str] = if is_restored { &[target] } else { &[source, target] };
        self.before_change(changed)?;
        move_whole_or_by_parts(self.inner.files(), source, target)
    }

    fn create_directory(&self, path: &str) -> Result<(), FsError> {
        let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
        let missing: Vec<&str> = ends
            .map(|end| &path[..end])
            .filter(|directory| self.inner.stat(directory).is_ok_and(|found| found.is_none()))
            .collect();
        self.before_change(&missing)?;
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
