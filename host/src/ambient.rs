//! Access to everything outside of a directory that the program was given: `/proc`, files that the user names
//! on the command line, and the environment. Everything else goes through `cap_std`.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this is the module that the ban points to"
)]

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::Dir;

/// Reads a file that the user or the system names.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    fs::read(path)
}

/// Reads a regular file of at most `limit` bytes that the user names. Never waits for the writer of a FIFO.
pub fn read_regular(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let options = fs::OpenOptions::new().read(true).custom_flags(NONBLOCK).clone();
    let file = options.open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let too_large = || io::Error::other(format!("it has more than {limit} bytes"));
    if metadata.len() > limit {
        return Err(too_large());
    }
    let mut contents = Vec::new();
    // It may grow while it is read.
    file.take(limit + 1).read_to_end(&mut contents)?;
    match contents.len() as u64 > limit {
        true => Err(too_large()),
        false => Ok(contents),
    }
}

/// The flag that keeps an `open` from waiting for the other end of a FIFO.
const NONBLOCK: i32 = rustix::fs::OFlags::NONBLOCK.bits() as i32;

/// Reads a text file that the user or the system names.
pub fn read_to_string(path: &Path) -> io::Result<String> {
    fs::read_to_string(path)
}

/// Reads a regular file of at most `limit` bytes that a repository names. Anything else is an error, at once:
/// a FIFO does not block, a link is not followed, a device is not read.
pub fn read_small(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW;
    let is_small = |found: &fs::Metadata| found.is_file() && found.len() <= limit;
    let unusable = || io::Error::other(format!("not a regular file of at most {limit} bytes"));
    // Opening a device can have effects of its own.
    if !is_small(&fs::symlink_metadata(path)?) {
        return Err(unusable());
    }
    let file = fs::OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path)?;
    let mut contents = Vec::new();
    if is_small(&file.metadata()?) {
        file.take(limit + 1).read_to_end(&mut contents)?;
        if contents.len() as u64 <= limit {
            return Ok(contents);
        }
    }
    Err(unusable())
}

/// Returns the names in a directory of the system.
pub fn names_in(path: &Path) -> io::Result<Vec<String>> {
    fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

/// Writes a file that the user names.
pub fn write(path: &Path, contents: &[u8]) -> io::Result<()> {
    fs::write(path, contents)
}

/// Opens a directory, as the capability for everything in it.
pub fn open_dir(path: &Path) -> io::Result<Dir> {
    Dir::open_ambient_dir(path, ambient_authority())
}

/// Returns the path without links and `..`.
pub fn canonicalize(path: &Path) -> io::Result<PathBuf> {
    fs::canonicalize(path)
}

/// Whether a path is a directory.
pub fn is_dir(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

/// Whether a path exists.
pub fn exists(path: &Path) -> bool {
    fs::metadata(path).is_ok()
}

/// Returns the target of a link of the system.
pub fn read_link(path: &Path) -> io::Result<PathBuf> {
    fs::read_link(path)
}

/// Returns the path of this program.
pub fn current_exe() -> io::Result<PathBuf> {
    std::env::current_exe()
}

/// Returns the directory in which the program was started.
pub fn current_dir() -> io::Result<PathBuf> {
    std::env::current_dir()
}

/// Returns `PATH` without entries that depend on the working directory (empty, `.`, `bin`): it may be a
/// repository of someone else, with programs of theirs.
pub fn search_path() -> Option<OsString> {
    let path = variable("PATH")?;
    let absolute = std::env::split_paths(&path).filter(|entry| entry.is_absolute());
    std::env::join_paths(absolute).ok().filter(|path| !path.is_empty())
}

/// Returns a variable of the environment. An empty one counts as not set.
pub fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Returns the variables of the environment.
pub fn variables() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os()
}
