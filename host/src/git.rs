//! What is asked of git and what it is told to do. Worktrees are its business; here they are only
//! touched if git says that they are linked ones of this repository.

#![expect(clippy::disallowed_types, reason = "git is a program of its own")]

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::ambient;

/// So many changed files or commits are shown.
const SHOWN: usize = 10;

/// Why git did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GitError {
    #[error("git cannot be started: {0}")]
    NoGit(std::io::Error),
    #[error("`git {command}` failed: {words}")]
    Failed { command: String, words: String },
    #[error("{} is no linked worktree of this repository: nothing in it is touched", .0.display())]
    NotLinked(PathBuf),
    #[error("the commit {0:?} is none")]
    NoCommit(String),
}

/// The commit that a directory stands at; `None` without git, or where there is no commit.
pub(crate) fn head(directory: &Path) -> Option<String> {
    let head = git(directory, &["rev-parse", "--verify", "--quiet", "HEAD"]).ok()?;
    Some(head.trim().to_owned()).filter(|head| !head.is_empty())
}

/// A linked worktree of a repository.
#[derive(Debug)]
pub(crate) struct Worktree {
    root: PathBuf,
    /// Its path, absolute and without links.
    pub(crate) path: PathBuf,
}

impl Worktree {
    /// The worktree at `path`; `None` if nothing is there. The main one is not meant.
    pub(crate) fn linked(root: &Path, path: &Path) -> Result<Option<Self>, GitError> {
        let Ok(path) = ambient::canonicalize(&root.join(path)) else { return Ok(None) };
        let listed = git(root, &["worktree", "list", "--porcelain", "-z"])?;
        let all = listed.split('\0').filter_map(|line| line.strip_prefix("worktree "));
        // The first one is the main one.
        let is_linked = all
            .skip(1)
            .any(|other| ambient::canonicalize(other.as_ref()).is_ok_and(|other| other == path));
        match is_linked {
            true => Ok(Some(Worktree { root: root.to_owned(), path })),
            false => Err(GitError::NotLinked(path)),
        }
    }

    /// What in it is not committed, in lines for a person.
    pub(crate) fn uncommitted(&self) -> Result<Vec<String>, GitError> {
        Ok(shortened(&git(&self.path, &["status", "--porcelain", "--untracked-files=all"])?))
    }

    /// The commits since another one, in lines for a person.
    pub(crate) fn commits_since(&self, commit: &str) -> Result<Vec<String>, GitError> {
        let commit = self.commit(commit)?;
        Ok(shortened(&git(&self.path, &["log", "--oneline", &format!("{commit}..HEAD"), "--"])?))
    }

    /// Removes it, with everything that is not committed. The branch stays.
    pub(crate) fn remove(&self) -> Result<(), GitError> {
        let path = self.path.to_string_lossy();
        git(&self.root, &["worktree", "remove", "--force", "--", &path]).map(drop)
    }

    /// Brings it back to a commit; what came since is gone from it. Ignored files stay.
    pub(crate) fn reset_to(&self, commit: &str) -> Result<(), GitError> {
        let commit = self.commit(commit)?;
        git(&self.path, &["reset", "--hard", "--quiet", &commit, "--"])?;
        git(&self.path, &["clean", "-d", "--force", "--quiet"]).map(drop)
    }

    /// The full name of a commit: nothing else ever gets onto a command line.
    fn commit(&self, name: &str) -> Result<String, GitError> {
        let is_name = (4..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_hexdigit());
        let commit = is_name
            .then(|| {
                let name = format!("{name}^{{commit}}");
                git(&self.path, &["rev-parse", "--verify", "--quiet", &name])
            })
            .ok_or_else(|| GitError::NoCommit(name.to_owned()))?
            .map_err(|_| GitError::NoCommit(name.to_owned()))?;
        Ok(commit.trim().to_owned())
    }
}

fn git(directory: &Path, arguments: &[&str]) -> Result<String, GitError> {
    let output = Command::new("git")
        .arg("-C")
        .arg(directory)
        .args(arguments)
        // Another repository's, when this program is run by one of its hooks.
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .env_remove("GIT_INDEX_FILE")
        .env("LC_ALL", "C")
        .output()
        .map_err(GitError::NoGit)?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(GitError::Failed {
            command: arguments.join(" "),
            words: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        }),
    }
}

fn shortened(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().take(SHOWN).map(str::to_owned).collect();
    let more = text.lines().count().saturating_sub(SHOWN);
    if more > 0 {
        lines.push(format!("… and {more} more"));
    }
    lines
}
