//! Linked worktrees: finding and changing them.
//!
//! The directory is opened once, and git works in the open directory. Nothing else that gets the directory's
//! name in the meantime is changed, except during the moment in which git itself resolves the name.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use cap_std::fs::Dir;

use super::command::{Location, Search, git, git_with};
use super::{GitError, Repository, head_at, paths, text};
use crate::ambient;

/// Maximum number of changed files or commits that are shown.
const SHOWN: usize = 10;
/// Maximum size in bytes of a file in which git keeps one path.
const LONGEST_LINK: u64 = 8 << 10;
/// The file of a linked worktree that says which repository it belongs to.
const LINK: &str = ".git";

/// What is at the path of a worktree.
#[derive(Debug)]
pub(crate) enum Found {
    /// Nothing, and git has no record of it.
    Nothing,
    /// The root itself: not a worktree of its own.
    Root,
    /// A record of git's. Its directory does not exist, or is empty after a removal that was cut off.
    Record(Record),
    /// A linked worktree of the repository.
    Linked(Worktree),
}

/// Finds the worktree at a path relative to the root of a repository. Anything else at the path is an error.
pub(crate) fn find(root: &Path, path: &Path) -> Result<Found, GitError> {
    let given = root.join(path);
    let path = match ambient::canonicalize(&given) {
        Ok(path) => path,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(missing(root, &given)),
        Err(error) => return Err(GitError::Io { path: given, error }),
    };
    if path == root {
        return Ok(Found::Root);
    }
    let repository = Repository::around(root)?;
    let failed = |error| GitError::Io { path: path.clone(), error };
    if !ambient::is_dir(&path) {
        return Err(GitError::NotLinked { path, why: "it is not a directory".to_owned() });
    }
    let directory = ambient::open_dir(&path).map_err(failed)?;
    let is_empty = directory.entries().map_err(failed)?.next().is_none();
    if is_empty && repository.lists(&path)? {
        return Ok(Found::Record(Record { repository, path }));
    }
    let git_dir = verify(&repository, &path, &directory)?;
    Ok(Found::Linked(Worktree { repository, path, directory, git_dir }))
}

/// Returns the record of git for a path that does not exist, if there is one.
fn missing(root: &Path, path: &Path) -> Found {
    let known = || {
        let parent = ambient::canonicalize(path.parent()?).ok()?;
        let path = parent.join(path.file_name()?);
        let repository = Repository::around(root).ok()?;
        let is_listed = repository.lists(&path).unwrap_or(false);
        is_listed.then_some(Record { repository, path })
    };
    known().map_or(Found::Nothing, Found::Record)
}

/// Verifies that a directory is a linked worktree of the repository, by asking git and by the links in both
/// directions. Returns its git directory.
fn verify(repository: &Repository, path: &Path, directory: &Dir) -> Result<PathBuf, GitError> {
    let refused = |why: &str| GitError::NotLinked { path: path.to_owned(), why: why.to_owned() };
    // Without it git would find a repository above. Anything but a file could be misinterpreted by git.
    match directory.symlink_metadata(LINK) {
        Ok(found) if found.is_file() => {}
        Ok(_) => return Err(refused("its `.git` is not a regular file")),
        Err(_) => return Err(refused("it has no `.git` file")),
    }
    let inside = pinned(directory, path);
    let location = Location { directory: &inside, repository: Search::Here(path.parent()) };
    let asked = ["rev-parse", "--show-toplevel", "--absolute-git-dir", "--git-common-dir"];
    let [toplevel, git_dir, common_dir] = git(&location, &asked)
        .and_then(|output| paths(&output, path))
        .map_err(|error| refused(&error.to_string()))?;
    if toplevel != path {
        return Err(refused(&format!("git considers it part of {}", toplevel.display())));
    }
    if common_dir != repository.common_dir
        || git_dir.parent() != Some(&repository.common_dir.join("worktrees"))
    {
        return Err(refused(&format!("it belongs to {}", git_dir.display())));
    }
    let back = ambient::read_small(&git_dir.join("gitdir"), LONGEST_LINK)
        .map_err(|error| refused(&format!("{}/gitdir: {error}", git_dir.display())))?;
    let back = git_dir.join(OsStr::from_bytes(back.trim_ascii_end()));
    let is_back = back.file_name() == Some(OsStr::new(LINK))
        && back.parent().and_then(|it| ambient::canonicalize(it).ok()).as_deref() == Some(path);
    match is_back {
        true => Ok(git_dir),
        false => Err(refused(&format!("{} links to {}", git_dir.display(), back.display()))),
    }
}

/// Returns a path to the open directory, whatever has its name now. Without `/proc`, returns the name.
fn pinned(directory: &Dir, path: &Path) -> PathBuf {
    let link = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
    if ambient::is_dir(&link) { link } else { path.to_owned() }
}

/// Git's record of a linked worktree without files.
#[derive(Debug)]
pub(crate) struct Record {
    repository: Repository,
    /// The path of the worktree.
    pub(crate) path: PathBuf,
}

impl Record {
    /// Removes the record, and the directory if it exists. The directory must be empty.
    pub(crate) fn remove(&self) -> Result<(), GitError> {
        remove_record(&self.repository, &self.path)
    }
}

/// Removes the record, and the directory if it exists. Fails if the directory is not empty.
fn remove_record(repository: &Repository, path: &Path) -> Result<(), GitError> {
    let failed = |error| GitError::Io { path: path.to_owned(), error };
    if let (Some(parent), Some(name)) = (path.parent(), path.file_name()) {
        let parent = ambient::open_dir(parent).map_err(failed)?;
        match parent.remove_dir(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        sync(&parent).map_err(failed)?;
    }
    let mut remove = ["worktree", "remove", "--force", "--"].map(OsStr::new).to_vec();
    remove.push(path.as_os_str());
    git(&repository.location(), &remove).map(drop)
}

/// A linked worktree of a repository.
#[derive(Debug)]
pub(crate) struct Worktree {
    repository: Repository,
    /// Its path, absolute and without links.
    pub(crate) path: PathBuf,
    /// The directory that was verified.
    directory: Dir,
    git_dir: PathBuf,
}

impl Worktree {
    /// Returns the commit that is checked out.
    pub(crate) fn head(&self) -> Option<String> {
        self.within(head_at)
    }

    /// Returns its uncommitted changes, in lines for a person.
    pub(crate) fn uncommitted(&self) -> Result<Vec<String>, GitError> {
        let filters = self.no_filters()?;
        // Git would run in each submodule.
        let status =
            ["status", "--porcelain", "--untracked-files=all", "--ignore-submodules=dirty", "--"];
        let status = self.within(|location| git_with(location, &filters, &status))?;
        let mut lines = shortened(&text(&status));
        if self.directory.symlink_metadata(".gitmodules").is_ok() {
            lines.push("uncommitted changes in its submodules, which were not examined".into());
        }
        Ok(lines)
    }

    /// Returns settings that disable the filters of the configuration, so that a query runs nothing. A file
    /// that a filter would have found unchanged may be shown as changed.
    fn no_filters(&self) -> Result<Vec<String>, GitError> {
        let asked =
            ["config", "--null", "--name-only", "--get-regexp", r"^filter\..*\.(clean|process)$"];
        let keys = match self.within(|location| git(location, &asked)) {
            Ok(keys) => text(&keys),
            // There are no filters.
            Err(GitError::Failed { code: Some(1), .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let names = keys.split('\0').filter_map(|key| key.rsplit_once('.'));
        let mut settings = Vec::new();
        for (name, _) in names {
            // On the command line it would be a different name.
            if name.contains(['=', char::REPLACEMENT_CHARACTER]) {
                return Err(GitError::Failed {
                    command: "status".to_owned(),
                    code: None,
                    words: format!("the name of {name:?} in git's configuration cannot be used"),
                });
            }
            settings
                .extend(["clean=", "process=", "required=false"].map(|it| format!("{name}.{it}")));
        }
        Ok(settings)
    }

    /// Returns the commits since another one, in lines for a person.
    pub(crate) fn commits_since(&self, commit: &str) -> Result<Vec<String>, GitError> {
        let range = format!("{}..HEAD", self.commit(commit)?);
        let commits = self.within(|it| git(it, &["rev-list", "--oneline", &range, "--"]))?;
        Ok(shortened(&text(&commits)))
    }

    /// Fails if git would refuse to remove it, or if the repository would be removed as well.
    pub(crate) fn check_removable(&self) -> Result<(), GitError> {
        self.check_resettable()?;
        match ambient::exists(&self.git_dir.join("locked")) {
            true => Err(GitError::Locked(self.path.clone())),
            false => Ok(()),
        }
    }

    /// Fails if the features would be lost as well.
    pub(crate) fn check_resettable(&self) -> Result<(), GitError> {
        match self.repository.root.starts_with(&self.path) {
            true => Err(GitError::ContainsRoot(self.path.clone())),
            false => Ok(()),
        }
    }

    /// Removes it, with its uncommitted changes. The branch is kept.
    ///
    /// The link is removed last, so that a removal that was cut off can be repeated: until then this is a
    /// worktree, and then a record.
    pub(crate) fn remove(&self) -> Result<(), GitError> {
        self.check_removable()?;
        verify(&self.repository, &self.path, &self.directory)?;
        self.empty().map_err(|error| GitError::Io { path: self.path.clone(), error })?;
        remove_record(&self.repository, &self.path)
    }

    fn empty(&self) -> io::Result<()> {
        let mut names = Vec::new();
        for entry in self.directory.entries()? {
            let entry = entry?;
            names.push((entry.file_name(), entry.file_type()?.is_dir()));
        }
        for (name, is_directory) in names.iter().filter(|(name, _)| name != LINK) {
            match is_directory {
                true => self.directory.remove_dir_all(name)?,
                false => self.directory.remove_file(name)?,
            }
        }
        self.directory.remove_file(LINK)
    }

    /// Resets it to a commit. Later commits and uncommitted changes are lost; ignored files are kept.
    pub(crate) fn reset_to(&self, commit: &str) -> Result<(), GitError> {
        self.check_resettable()?;
        let commit = self.commit(commit)?;
        verify(&self.repository, &self.path, &self.directory)?;
        self.within(|it| git(it, &["reset", "--hard", "--quiet", &commit, "--"]))?;
        self.within(|it| git(it, &["clean", "-d", "--force", "--quiet", "--"]))?;
        sync(&self.directory).map_err(|error| GitError::Io { path: self.path.clone(), error })
    }

    /// Returns the full name of a commit: nothing else is put on a command line.
    fn commit(&self, name: &str) -> Result<String, GitError> {
        let none = || GitError::NoCommit(name.to_owned());
        let is_name = (4..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_name {
            return Err(none());
        }
        let asked = format!("{name}^{{commit}}");
        let commit = self
            .within(|it| git(it, &["rev-parse", "--verify", "--quiet", &asked]))
            .map_err(|_| none())?;
        Ok(text(&commit).trim().to_owned())
    }

    /// Runs git in this worktree, and in no other one.
    fn within<T>(&self, work: impl FnOnce(&Location<'_>) -> T) -> T {
        work(&Location {
            directory: &pinned(&self.directory, &self.path),
            repository: Search::Known {
                git_dir: &self.git_dir,
                common_dir: &self.repository.common_dir,
                has_worktree: true,
            },
        })
    }
}

/// Makes the changes durable before anyone records that a cleanup was carried out: git does not. The names in
/// the directory are synced separately, because not every file system obeys `syncfs`.
fn sync(directory: &Dir) -> io::Result<()> {
    let directory = directory.open(".")?;
    directory.sync_all()?;
    #[cfg(target_os = "linux")]
    rustix::fs::syncfs(&directory)?;
    Ok(())
}

fn shortened(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().take(SHOWN).map(str::to_owned).collect();
    let more = text.lines().count().saturating_sub(SHOWN);
    if more > 0 {
        lines.push(format!("… and {more} more"));
    }
    lines
}
