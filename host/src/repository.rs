//! The repository that a command works on.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use cap_std::fs::Dir;

use crate::ambient;
use crate::marker::RootMark;

/// The name of the directory that makes a repository one.
pub(crate) const STATE: &str = ".wreckit";

/// A repository with a `.wreckit`.
pub(crate) struct Repository {
    /// The directory that holds `.wreckit`, absolute.
    pub(crate) root: PathBuf,
    /// `.wreckit`: the root of the component's instance.
    pub(crate) state: Dir,
}

/// Why there is no repository to work on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RepositoryError {
    #[error("cannot go to {}: {error}", path.display())]
    NoDirectory { path: PathBuf, error: io::Error },
    #[error("there is no {STATE} in {} or above it", .0.display())]
    NotFound(PathBuf),
    #[error("cannot open {}: {error}", path.display())]
    Unreadable { path: PathBuf, error: io::Error },
}

impl Repository {
    /// The nearest directory with a `.wreckit`, from `start` upwards.
    pub(crate) fn find(start: &Path) -> Result<Self, RepositoryError> {
        let start = ambient::canonicalize(start)
            .map_err(|error| RepositoryError::NoDirectory { path: start.to_owned(), error })?;
        let root = start.ancestors().find(|directory| ambient::is_dir(&directory.join(STATE)));
        match root {
            Some(root) => Repository::open(root),
            None => Err(RepositoryError::NotFound(start)),
        }
    }

    /// The repository of this directory, which has a `.wreckit`.
    pub(crate) fn open(root: &Path) -> Result<Self, RepositoryError> {
        let path = root.join(STATE);
        let state = ambient::open_dir(&path)
            .map_err(|error| RepositoryError::Unreadable { path, error })?;
        Ok(Repository { root: root.to_owned(), state })
    }

    /// What agents of this repository carry in their environment.
    pub(crate) fn marker(&self) -> io::Result<OsString> {
        Ok(RootMark::of(&self.state)?.to_value())
    }
}
