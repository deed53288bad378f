//! Questions to git, and changes that it makes. A worktree is only changed after it is verified to be a
//! linked one of this repository.

mod command;
mod worktree;

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use self::command::{Location, Search, git};
pub(crate) use self::worktree::{Found, Record, Worktree, find};
use crate::ambient;

/// Why git did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GitError {
    #[error("git cannot be started: {0}")]
    NoGit(String),
    #[error("`git {command}` failed: {words}")]
    Failed { command: String, code: Option<i32>, words: String },
    #[error(
        "{} is not a linked worktree of this repository: {why}; nothing in it was changed (`git worktree list` shows the worktrees, `git worktree repair` restores their links)",
        .path.display()
    )]
    NotLinked { path: PathBuf, why: String },
    #[error(
        "{} contains the feature itself; nothing in it was changed; run the command from the repository that the worktree belongs to",
        .0.display()
    )]
    ContainsRoot(PathBuf),
    #[error("{} is locked in git: `git worktree unlock` it first", .0.display())]
    Locked(PathBuf),
    #[error("{}: {error}", .path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("no such commit: {0:?}")]
    NoCommit(String),
}

/// Returns the commit that a feature begins with or ends at: that of its worktree, or that of the repository
/// if it has no worktree yet. `None` without git, without a commit, or if something else is at `worktree`.
pub(crate) fn head(root: &Path, worktree: Option<&Path>) -> Option<String> {
    match worktree.map(|path| find(root, path)) {
        Some(Err(_)) => None,
        Some(Ok(Found::Linked(worktree))) => worktree.head(),
        Some(Ok(Found::Nothing | Found::Root | Found::Record(_))) | None => {
            let repository = Repository::around(root).ok()?;
            head_at(&repository.location())
        }
    }
}

fn head_at(location: &Location<'_>) -> Option<String> {
    let head = git(location, &["rev-parse", "--verify", "--quiet", "HEAD"]).ok()?;
    Some(text(&head).trim().to_owned()).filter(|head| !head.is_empty())
}

/// The repository that a directory belongs to.
#[derive(Debug)]
struct Repository {
    /// The directory.
    root: PathBuf,
    /// The `.git` of its main worktree, or of the linked one that it is in.
    git_dir: PathBuf,
    /// What all worktrees share.
    common_dir: PathBuf,
}

impl Repository {
    /// Lets git find it. This is where git checks the owner of the repository (`safe.directory`).
    fn around(root: &Path) -> Result<Self, GitError> {
        let location = Location { directory: root, repository: Search::Above };
        let output = git(&location, &["rev-parse", "--absolute-git-dir", "--git-common-dir"])?;
        let [git_dir, common_dir] = paths(&output, root)?;
        // Git before 2.38 does not know `safe.bareRepository`.
        if root.starts_with(&git_dir) {
            return Err(GitError::Failed {
                command: "rev-parse".to_owned(),
                code: None,
                words: format!("{} is in a bare repository", root.display()),
            });
        }
        Ok(Repository { root: root.to_owned(), git_dir, common_dir })
    }

    fn location(&self) -> Location<'_> {
        Location {
            directory: &self.root,
            repository: Search::Known {
                git_dir: &self.git_dir,
                common_dir: &self.common_dir,
                has_worktree: false,
            },
        }
    }

    /// Whether git has a record of a linked worktree at this path.
    fn lists(&self, path: &Path) -> Result<bool, GitError> {
        let listed = git(&self.location(), &["worktree", "list", "--porcelain", "-z"])?;
        let all = listed.split(|byte| *byte == 0).filter_map(|it| it.strip_prefix(b"worktree "));
        // The first one is the main one.
        Ok(all.skip(1).any(|other| Path::new(OsStr::from_bytes(other)) == path))
    }
}

/// Returns the paths that git printed, one per line, without links.
fn paths<const N: usize>(output: &[u8], directory: &Path) -> Result<[PathBuf; N], GitError> {
    let lines = output.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let paths: io::Result<Vec<PathBuf>> =
        lines.map(|line| ambient::canonicalize(&directory.join(OsStr::from_bytes(line)))).collect();
    let paths = paths.map_err(|error| GitError::Io { path: directory.to_owned(), error })?;
    <[PathBuf; N]>::try_from(paths).map_err(|_| GitError::Failed {
        command: "rev-parse".to_owned(),
        code: None,
        words: format!("it did not print {N} paths: {}", text(output).trim()),
    })
}

fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).into_owned()
}
