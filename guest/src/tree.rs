//! The instance's directory tree, with failures that say what was tried and on what.

use std::fmt;
use std::ops::Deref;

use crate::capabilities::{Capabilities, Entry, FsError, Metadata, Replacement};
use crate::layout;

/// A file that could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What was tried: `read`, `write`, …
    pub operation: &'static str,
    /// On what.
    pub path: String,
    /// Why it failed.
    pub error: FsError,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}{}: {}", self.operation, layout::PREFIX, self.path, self.error)
    }
}

impl std::error::Error for Failure {}

/// The tree and the other capabilities. Cheap to copy.
///
/// The methods of its own are those of [`Capabilities`] with the failure explained; where a
/// missing file is expected they say so in their type.
#[derive(Clone, Copy)]
pub struct Tree<'c>(&'c dyn Capabilities);

impl<'c> Deref for Tree<'c> {
    type Target = dyn Capabilities + 'c;

    fn deref(&self) -> &Self::Target {
        self.0
    }
}

impl<'c> Tree<'c> {
    /// The tree that these capabilities reach.
    pub fn new(capabilities: &'c dyn Capabilities) -> Self {
        Tree(capabilities)
    }

    /// Gives files their new content.
    pub fn replace(&self, files: Vec<Replacement>, durable: bool) -> Result<(), Failure> {
        let path = files.first().map_or(".", |file| &file.path).to_owned();
        self.0.replace(files, durable).map_err(failed("write", &path))
    }

    /// Gives one file its new content, durably.
    pub fn write(&self, path: &str, contents: Vec<u8>) -> Result<(), Failure> {
        self.replace(vec![Replacement::new(path, contents)], true)
    }

    /// Adds to the end of a file.
    pub fn append(&self, path: &str, contents: &[u8], durable: bool) -> Result<(), Failure> {
        self.0.append(path, contents, durable).map_err(failed("append to", path))
    }

    /// Removes a file or an empty directory, which may be missing.
    pub fn remove(&self, path: &str) -> Result<(), Failure> {
        match self.0.remove(path) {
            Err(FsError::NotFound) => Ok(()),
            other => other.map_err(failed("remove", path)),
        }
    }

    /// Gives something another name.
    pub fn rename(&self, source: &str, target: &str) -> Result<(), Failure> {
        self.0.rename(source, target).map_err(failed("move", source))
    }

    /// Makes a directory and those above it.
    pub fn create_directory(&self, path: &str) -> Result<(), Failure> {
        self.0.create_directory(path).map_err(failed("create", path))
    }

    /// The names in a directory, sorted; a missing one has none.
    pub fn list(&self, path: &str) -> Result<Vec<Entry>, Failure> {
        match self.0.list(path) {
            Err(FsError::NotFound) => Ok(Vec::new()),
            Err(error) => Err(failed("list", path)(error)),
            Ok(mut entries) => {
                entries.sort_by(|a, b| a.name.cmp(&b.name));
                Ok(entries)
            }
        }
    }

    /// What stands at a path, if anything does.
    pub fn stat(&self, path: &str) -> Result<Option<Metadata>, Failure> {
        match self.0.stat(path) {
            Err(FsError::NotFound) => Ok(None),
            other => other.map(Some).map_err(failed("look at", path)),
        }
    }

    /// Part of a file.
    pub fn read_at(&self, path: &str, offset: u64, length: u64) -> Result<Vec<u8>, Failure> {
        self.0.read_at(path, offset, length).map_err(failed("read", path))
    }
}

/// Adds to an error what was tried on which path.
pub fn failed(operation: &'static str, path: &str) -> impl FnOnce(FsError) -> Failure {
    move |error| Failure { operation, path: path.to_owned(), error }
}
