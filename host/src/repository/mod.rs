//! The repository that a command works on: where it is, and whether its files may be trusted.

pub(crate) mod durable;
mod features;
mod files;
mod ownership;

pub(crate) use features::{FEATURES, Features};
pub(crate) use files::{check_configuration, read_configuration};

use std::io;
use std::path::{Path, PathBuf};

use cap_std::fs::Dir;

use self::ownership::OwnershipError;
use crate::ambient;

/// The directory that makes its parent a repository.
pub(crate) const STATE: &str = ".wreckit";

/// A repository with a `.wreckit`.
pub(crate) struct Repository {
    /// The directory that contains `.wreckit`, absolute.
    pub(crate) root: PathBuf,
    /// `.wreckit`: the root of the component's instance.
    pub(crate) state: Dir,
}

/// Why a repository cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RepositoryError {
    #[error("cannot go to {}: {error}", path.display())]
    NoDirectory { path: PathBuf, error: io::Error },
    #[error("there is no {STATE} in {} or above it", .0.display())]
    NotFound(PathBuf),
    #[error("cannot open {}: {error}", path.display())]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("{} is a symbolic link that is absolute or leads out of the repository", .0.display())]
    LeadsOut(PathBuf),
    #[error("cannot read {STATE}/{name}: {error}")]
    UnreadableFile { name: String, error: io::Error },
    #[error(transparent)]
    Ownership(#[from] OwnershipError),
}

impl RepositoryError {
    /// Converts the error of opening or creating a directory.
    pub(crate) fn opening(path: &Path) -> impl Fn(io::Error) -> Self {
        move |error| match error.kind() {
            // How cap-std reports a link that leads out: without an error number of the system.
            io::ErrorKind::PermissionDenied if error.raw_os_error().is_none() => {
                RepositoryError::LeadsOut(path.to_owned())
            }
            _ => RepositoryError::Unreadable { path: path.to_owned(), error },
        }
    }

    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            RepositoryError::NotFound(_) => Some(
                "`wreckit-host init` creates one here; `wreckit-host run --demo` shows a batch without one".to_owned(),
            ),
            RepositoryError::LeadsOut(path) => Some(format!(
                "wreckit-host replaces and removes files there, so it must be inside: move the directory to {}, or use `--cwd` to work where it is",
                path.display()
            )),
            RepositoryError::Ownership(error) => error.hint(),
            RepositoryError::NoDirectory { .. }
            | RepositoryError::Unreadable { .. }
            | RepositoryError::UnreadableFile { .. } => None,
        }
    }
}

impl Repository {
    /// Finds the nearest directory with a `.wreckit`, from `start` upwards.
    pub(crate) fn find(start: &Path) -> Result<Self, RepositoryError> {
        let start = ambient::canonicalize(start)
            .map_err(|error| RepositoryError::NoDirectory { path: start.to_owned(), error })?;
        let root = start.ancestors().find(|directory| ambient::is_dir(&directory.join(STATE)));
        match root {
            Some(root) => Repository::open(root),
            None => Err(RepositoryError::NotFound(start)),
        }
    }

    /// Opens the repository in this directory, which has a `.wreckit`.
    pub(crate) fn open(root: &Path) -> Result<Self, RepositoryError> {
        let state = open_inside(root, STATE)?;
        Ok(Repository { root: root.to_owned(), state })
    }
}

/// Opens a directory of a repository by its path relative to the root. Every directory on the way must belong
/// to the user and be inside of the repository; a link that stays inside is followed.
pub(crate) fn open_inside(root: &Path, path: &str) -> Result<Dir, RepositoryError> {
    let above = ambient::open_dir(root).map_err(RepositoryError::opening(root))?;
    ownership::check_metadata(root, root, above.dir_metadata())?;
    let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
    let mut opened = None;
    for part in ends.map(|end| &path[..end]) {
        let place = root.join(part);
        let directory = above.open_dir(part).map_err(RepositoryError::opening(&place))?;
        // The name, which may be a link, and its target.
        ownership::check_metadata(root, &place, above.symlink_metadata(part))?;
        ownership::check_metadata(root, &place, directory.dir_metadata())?;
        opened = Some(directory);
    }
    opened.ok_or_else(|| RepositoryError::NotFound(root.to_owned()))
}
