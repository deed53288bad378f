//! The instance's directory tree, with failures that say what was tried and on what.

use std::fmt;
use std::ops::Deref;

use crate::formats::layout::{self, Place};
use crate::io::capabilities::{Capabilities, Entry, FsError, Metadata, Replacement};

/// A file that could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What was tried: `read`, `write`, …
    pub operation: &'static str,
    /// On what.
    pub path: String,
    /// Why it failed.
    pub error: FsError,
    /// What stands before the path, from the repository's root.
    pub prefix: &'static str,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}{}: {}", self.operation, self.prefix, self.path, self.error)
    }
}

impl std::error::Error for Failure {}

/// The tree and the other capabilities. Cheap to copy.
///
/// The methods of its own are those of [`Capabilities`] with the failure explained; where a
/// missing file is expected they say so in their type.
#[derive(Clone, Copy)]
pub struct Tree<'c> {
    capabilities: &'c dyn Capabilities,
    place: &'static Place,
}

impl<'c> Deref for Tree<'c> {
    type Target = dyn Capabilities + 'c;

    fn deref(&self) -> &Self::Target {
        self.capabilities
    }
}

impl<'c> Tree<'c> {
    /// The tree that these capabilities reach: `.wreckit`.
    pub fn new(capabilities: &'c dyn Capabilities) -> Self {
        Tree::of(capabilities, &layout::STATE)
    }

    /// The tree of this root.
    pub fn of(capabilities: &'c dyn Capabilities, place: &'static Place) -> Self {
        Tree { capabilities, place }
    }

    /// Which root it is.
    pub fn place(&self) -> &'static Place {
        self.place
    }

    /// Adds to an error what was tried on which path.
    pub fn failed(
        &self,
        operation: &'static str,
        path: &str,
    ) -> impl FnOnce(FsError) -> Failure + use<> {
        let path = path.to_owned();
        let prefix = self.place.prefix;
        move |error| Failure { operation, path, error, prefix }
    }

    /// Gives files their new content.
    pub fn replace(&self, files: Vec<Replacement>, durable: bool) -> Result<(), Failure> {
        let path = files.first().map_or(".", |file| &file.path).to_owned();
        self.capabilities.replace(files, durable).map_err(self.failed("write", &path))
    }

    /// Gives one file its new content, durably.
    pub fn write(&self, path: &str, contents: Vec<u8>) -> Result<(), Failure> {
        self.replace(vec![Replacement::new(path, contents)], true)
    }

    /// Adds to the end of a file.
    pub fn append(&self, path: &str, contents: &[u8], durable: bool) -> Result<(), Failure> {
        self.capabilities.append(path, contents, durable).map_err(self.failed("append to", path))
    }

    /// Makes files durable as they are now, whoever wrote them.
    pub fn sync(&self, paths: &[String]) -> Result<(), Failure> {
        let Some(first) = paths.first() else { return Ok(()) };
        self.capabilities.sync(paths).map_err(self.failed("sync", first))
    }

    /// Removes a file or an empty directory, which may be missing.
    pub fn remove(&self, path: &str) -> Result<(), Failure> {
        match self.capabilities.remove(path) {
            Err(FsError::NotFound) => Ok(()),
            other => other.map_err(self.failed("remove", path)),
        }
    }

    /// Gives something another name.
    pub fn rename(&self, source: &str, target: &str) -> Result<(), Failure> {
        self.capabilities.rename(source, target).map_err(self.failed("move", source))
    }

    /// Makes a directory and those above it.
    pub fn create_directory(&self, path: &str) -> Result<(), Failure> {
        self.capabilities.create_directory(path).map_err(self.failed("create", path))
    }

    /// The names in a directory, sorted; a missing one has none.
    pub fn list(&self, path: &str) -> Result<Vec<Entry>, Failure> {
        match self.capabilities.list(path) {
            Err(FsError::NotFound) => Ok(Vec::new()),
            Err(error) => Err(self.failed("list", path)(error)),
            Ok(mut entries) => {
                entries.sort_by(|a, b| a.name.cmp(&b.name));
                Ok(entries)
            }
        }
    }

    /// What stands at a path, if anything does.
    pub fn stat(&self, path: &str) -> Result<Option<Metadata>, Failure> {
        match self.capabilities.stat(path) {
            Err(FsError::NotFound) => Ok(None),
            other => other.map(Some).map_err(self.failed("look at", path)),
        }
    }

    /// Part of a file.
    pub fn read_at(&self, path: &str, offset: u64, length: u64) -> Result<Vec<u8>, Failure> {
        self.capabilities.read_at(path, offset, length).map_err(self.failed("read", path))
    }
}
