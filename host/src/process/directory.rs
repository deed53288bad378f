//! The working directory of an agent.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;

use cap_std::fs::Dir;
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

/// The directory in which an agent starts.
#[derive(Debug)]
pub(crate) enum Directory {
    /// Wherever this path leads: the root of a repository or a worktree, which the user chose.
    At(PathBuf),
    /// A directory in the tree of an instance, whose names are not ours. It is open, so that no one can
    /// replace it before the agent has started.
    Opened {
        directory: OwnedFd,
        #[cfg(not(target_os = "linux"))]
        path: PathBuf,
    },
}

impl Directory {
    /// Opens the directory at `path` in `tree`. No part of the path may be a link: a link would lead out of
    /// the sandbox of a component, and to the files of others.
    pub(crate) fn open(tree: &Dir, path: &str) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut directory = tree.as_fd().try_clone_to_owned()?;
        for name in path.split('/') {
            if matches!(name, "" | "." | "..") {
                return Err(io::Error::other(format!("{path:?} is not the path of a directory")));
            }
            directory =
                openat(&directory, name, flags, Mode::empty()).map_err(|errno| match errno {
                    Errno::NOTDIR | Errno::LOOP => io::Error::other(format!(
                        "{path} is not a directory, or leads through a symbolic link: an agent \
                         works only in a real directory of the repository"
                    )),
                    errno => errno.into(),
                })?;
        }
        Ok(Directory::Opened {
            #[cfg(not(target_os = "linux"))]
            path: rustix::fs::getpath(&directory).map(path_of)?,
            directory,
        })
    }

    /// Returns the path by which a child of this process enters it. On Linux the kernel resolves it through
    /// the descriptor, which the child has until it becomes the agent.
    pub(super) fn path(&self) -> PathBuf {
        match self {
            Directory::At(path) => path.clone(),
            #[cfg(target_os = "linux")]
            Directory::Opened { directory } => {
                format!("/proc/self/fd/{}", directory.as_raw_fd()).into()
            }
            #[cfg(not(target_os = "linux"))]
            Directory::Opened { path, .. } => path.clone(),
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn path_of(path: std::ffi::CString) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    std::ffi::OsString::from_vec(path.into_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_of_the_path_is_a_link() {
        let place = tempfile::tempdir().unwrap();
        let tree = crate::ambient::open_dir(place.path()).unwrap();
        tree.create_dir_all("items/001-a/deep").unwrap();
        tree.create_dir("secret").unwrap();
        tree.symlink("..", "items/002-b").unwrap();
        tree.symlink("items", "link").unwrap();
        tree.write("items/003-c", "a file").unwrap();
        for path in ["items/001-a", "items/001-a/deep"] {
            let opened = Directory::open(&tree, path).unwrap();
            let expected = place.path().join(path).canonicalize().unwrap();
            assert_eq!(crate::ambient::canonicalize(&opened.path()).unwrap(), expected);
        }
        for path in ["items/002-b", "items/002-b/secret", "link/001-a", "items/003-c", "", ".."] {
            assert!(Directory::open(&tree, path).is_err(), "{path}");
        }
    }
}
