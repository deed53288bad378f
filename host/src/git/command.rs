//! Builds and runs every git command.
//!
//! Git obeys the repository that it finds, its environment and `PATH`. None of them may choose another
//! repository or start a program: the options below disable what runs code by itself, git's own variables are
//! removed from the environment, and a repository that was verified is named instead of searched for.
//!
//! Filters (`filter.*.smudge`) of the repository's own configuration stay enabled where files are written:
//! without them a checkout with Git LFS is wrong. A clone does not bring any; they are the user's.

#![expect(clippy::disallowed_types, reason = "git is a program of its own")]

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use super::GitError;
use crate::ambient;

/// Options of every command.
const OPTIONS: [&str; 14] = [
    "--no-pager",
    // A query writes nothing into the repository.
    "--no-optional-locks",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "core.hooksPath=/dev/null",
    // A bare repository among the files of a clone brings a configuration of its own.
    "-c",
    "safe.bareRepository=explicit",
    "-c",
    "submodule.recurse=false",
    // Nothing is fetched, so nothing that fetches (`core.sshCommand`) is started.
    "-c",
    "protocol.allow=never",
    // Names of files reach the terminal escaped.
    "-c",
    "core.quotePath=true",
];

/// Variables of git that name the user's own configuration, or limit its search. All others are removed: a
/// hook that runs this program, for example, names its own repository in `GIT_DIR`.
const KEPT: [&str; 4] =
    ["GIT_CEILING_DIRECTORIES", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM", "GIT_CONFIG_SYSTEM"];

/// Where a command runs, and how git finds the repository.
pub(super) struct Location<'a> {
    /// The working directory.
    pub(super) directory: &'a Path,
    /// How git finds the repository.
    pub(super) repository: Search<'a>,
}

/// How git finds the repository.
pub(super) enum Search<'a> {
    /// It searches the working directory and its parents.
    Above,
    /// It searches the working directory alone, whose parent this is.
    Here(Option<&'a Path>),
    /// It is given the paths.
    Known {
        git_dir: &'a Path,
        common_dir: &'a Path,
        /// Whether the working directory is the root of a worktree.
        has_worktree: bool,
    },
}

/// Runs git, and returns its standard output.
pub(super) fn git(
    location: &Location<'_>,
    arguments: &[impl AsRef<OsStr>],
) -> Result<Vec<u8>, GitError> {
    git_with(location, &[], arguments)
}

/// Runs git with further settings (`key=value`), and returns its standard output.
pub(super) fn git_with(
    location: &Location<'_>,
    settings: &[String],
    arguments: &[impl AsRef<OsStr>],
) -> Result<Vec<u8>, GitError> {
    let output = command(location)?
        .args(settings.iter().flat_map(|setting| ["-c", setting.as_str()]))
        .args(arguments)
        .output()
        .map_err(|error| GitError::NoGit(error.to_string()))?;
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(GitError::Failed {
            command: words(arguments),
            code: output.status.code(),
            words: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        }),
    }
}

fn words(arguments: &[impl AsRef<OsStr>]) -> String {
    let words: Vec<_> = arguments.iter().map(|it| it.as_ref().to_string_lossy()).collect();
    words.join(" ")
}

fn command(location: &Location<'_>) -> Result<Command, GitError> {
    // A clone may contain a file `git`.
    let path = ambient::search_path().unwrap_or_default();
    let program = which::which_in("git", Some(&path), "/")
        .map_err(|error| GitError::NoGit(error.to_string()))?;
    let mut command = Command::new(program);
    command.args(OPTIONS).current_dir(location.directory).stdin(Stdio::null());
    for (name, _) in ambient::variables() {
        let is_git = name.as_encoded_bytes().starts_with(b"GIT_");
        if is_git && !KEPT.iter().any(|kept| name == *kept) {
            command.env_remove(name);
        }
    }
    command
        .env("PATH", path)
        .env("LC_ALL", "C")
        .env("GIT_ASKPASS", "")
        .env("GIT_EDITOR", ":")
        .env("GIT_NO_LAZY_FETCH", "1")
        .env("GIT_TERMINAL_PROMPT", "0");
    match &location.repository {
        Search::Above => {}
        Search::Here(parent) => {
            command.env("GIT_CEILING_DIRECTORIES", parent.map_or(OsStr::new(""), Path::as_os_str));
        }
        Search::Known { git_dir, common_dir, has_worktree } => {
            command.env("GIT_DIR", git_dir).env("GIT_COMMON_DIR", common_dir);
            if *has_worktree {
                command.env("GIT_WORK_TREE", ".");
            }
        }
    }
    Ok(command)
}
