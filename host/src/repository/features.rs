//! Where features are.

use std::io;
use std::path::{Path, PathBuf};

use cap_std::fs::Dir;

use crate::ambient;
use crate::durable;
use crate::ownership;
use crate::repository::{Repository, RepositoryError, STATE, open_inside};

/// The directory of the features, from the repository's root.
pub(crate) const FEATURES: &str = ".claude/.output/features";

/// Maximum size in bytes of a file in which git keeps one path.
const LONGEST_LINK: u64 = 8 << 10;

/// What tells that a directory is the root of a repository.
const MARKS: [&str; 3] = [".claude", STATE, ".git"];

/// The features of a repository.
pub(crate) struct Features {
    /// The repository's root, absolute.
    pub(crate) root: PathBuf,
    /// Their directory: the root of the component's instance.
    pub(crate) directory: Dir,
}

/// The root for features: the nearest parent of `start` with one of the marks, else `start`.
fn root(start: &Path) -> Result<PathBuf, RepositoryError> {
    let start = ambient::canonicalize(start)
        .map_err(|error| RepositoryError::NoDirectory { path: start.to_owned(), error })?;
    let is_root = |directory: &&Path| {
        MARKS.iter().any(|mark| ambient::canonicalize(&directory.join(mark)).is_ok())
    };
    let root = start.ancestors().find(is_root).unwrap_or(&start);
    let Some(repository) = of_worktree(root) else { return Ok(root.to_owned()) };
    // Only the caller's own worktree may say where the repository is.
    let worktree = ambient::open_dir(root).map_err(RepositoryError::opening(root))?;
    for (path, metadata) in [
        (root.to_owned(), worktree.dir_metadata()),
        (root.join(".git"), worktree.symlink_metadata(".git")),
    ] {
        ownership::check_metadata(root, &path, metadata)?;
    }
    Ok(repository)
}

/// The repository that a linked worktree of git belongs to: agents work in there, and its features are
/// those of the repository. `None` for what is no linked worktree, or has features of its own.
///
/// The files are read here, since every command of features would have to start git otherwise. Both
/// links have to fit: a directory does not become a part of a repository by saying so itself.
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
    /// The features of the repository around `start`; `None` if it has none yet.
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

    /// The same; their directory is made if it is missing.
    pub(crate) fn find_or_make(start: &Path) -> Result<Self, RepositoryError> {
        let root = root(start)?;
        let directory = ambient::open_dir(&root).map_err(RepositoryError::opening(&root))?;
        ownership::check_metadata(&root, &root, directory.dir_metadata())?;
        let path = root.join(FEATURES);
        durable::create_directory(&directory, FEATURES).map_err(RepositoryError::opening(&path))?;
        let directory = open_inside(&root, FEATURES)?;
        Ok(Features { root, directory })
    }

    /// `.wreckit` beside them, if there is one.
    pub(crate) fn state(&self) -> Result<Option<Dir>, RepositoryError> {
        match ambient::is_dir(&self.root.join(STATE)) {
            true => Repository::open(&self.root).map(|repository| Some(repository.state)),
            false => Ok(None),
        }
    }
}
