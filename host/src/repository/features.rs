//! The features of a repository.

use std::io;
use std::path::{Path, PathBuf};

use cap_std::fs::Dir;

use super::{Repository, RepositoryError, STATE, durable, open_inside, ownership};
use crate::ambient;

/// The directory of the features, relative to the root of the repository.
pub(crate) const FEATURES: &str = ".claude/.output/features";

/// Maximum size in bytes of a file in which git keeps one path.
const LONGEST_LINK: u64 = 8 << 10;

/// Entries that identify the root of a repository.
const MARKS: [&str; 3] = [".claude", STATE, ".git"];

/// The features of a repository.
pub(crate) struct Features {
    /// The root of the repository, absolute.
    pub(crate) root: PathBuf,
    /// Their directory: the root of the component's instance.
    pub(crate) directory: Dir,
}

/// Returns the root for features: the nearest parent of `start` with one of the marks, otherwise `start`.
fn root(start: &Path) -> Result<PathBuf, RepositoryError> {
    let start = ambient::canonicalize(start)
        .map_err(|error| RepositoryError::NoDirectory { path: start.to_owned(), error })?;
    let is_root = |directory: &&Path| {
        MARKS.iter().any(|mark| ambient::canonicalize(&directory.join(mark)).is_ok())
    };
    let root = start.ancestors().find(is_root).unwrap_or(&start);
    let Some(repository) = of_worktree(root) else { return Ok(root.to_owned()) };
    // Only a worktree of the user's own may say where the repository is.
    let worktree = ambient::open_dir(root).map_err(RepositoryError::opening(root))?;
    for (path, metadata) in [
        (root.to_owned(), worktree.dir_metadata()),
        (root.join(".git"), worktree.symlink_metadata(".git")),
    ] {
        ownership::check_metadata(root, &path, metadata)?;
    }
    Ok(repository)
}

/// Returns the repository of a linked worktree of git: agents work there, and its features are those of the
/// repository. `None` for any other directory, and for a worktree with features of its own.
///
/// The files are read here: otherwise every feature command would have to start git. Both links must agree: a
/// directory does not become part of a repository by its own claim.
fn of_worktree(directory: &Path) -> Option<PathBuf> {
    if ambient::is_dir(&directory.join(FEATURES)) {
        return None;
    }
    let read = |path: &Path| String::from_utf8(ambient::read_small(path, LONGEST_LINK).ok()?).ok();
    // A file, with the path of `.git/worktrees/{name}` of the repository (gitrepository-layout(5)).
    let link = directory.join(".git");
    let place = directory.join(read(&link)?.trim_end().strip_prefix("gitdir: ")?);
    // The path of the file above.
    let back = place.join(read(&place.join("gitdir"))?.trim_end());
    if ambient::canonicalize(&back).ok()? != ambient::canonicalize(&link).ok()? {
        return None;
    }
    let place = ambient::canonicalize(&place).ok()?;
    let worktrees = place.parent().filter(|parent| parent.ends_with(".git/worktrees"))?;
    worktrees.parent()?.parent().map(Path::to_owned)
}

impl Features {
    /// Finds the features of the repository around `start`; `None` if it has none yet.
    pub(crate) fn find(start: &Path) -> Result<Option<Self>, RepositoryError> {
        let root = root(start)?;
        match ambient::canonicalize(&root.join(FEATURES)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            _ => {
                let directory = open_inside(&root, FEATURES)?;
                Ok(Some(Features { root, directory }))
            }
        }
    }

    /// Finds the features of the repository around `start`. Their directory is created if it does not exist.
    pub(crate) fn find_or_create(start: &Path) -> Result<Self, RepositoryError> {
        let root = root(start)?;
        let directory = ambient::open_dir(&root).map_err(RepositoryError::opening(&root))?;
        ownership::check_metadata(&root, &root, directory.dir_metadata())?;
        let path = root.join(FEATURES);
        durable::create_directory(&directory, FEATURES).map_err(RepositoryError::opening(&path))?;
        let directory = open_inside(&root, FEATURES)?;
        Ok(Features { root, directory })
    }

    /// Opens the `.wreckit` of the same repository; `None` if it does not exist.
    pub(crate) fn repository(&self) -> Result<Option<Repository>, RepositoryError> {
        match ambient::is_dir(&self.root.join(STATE)) {
            true => Repository::open(&self.root).map(Some),
            false => Ok(None),
        }
    }
}
