//! Files and directories that a command creates for the component, durably.

use std::io::{self, Write};

use cap_std::fs::{Dir, OpenOptions};

use crate::engine::temporary_name;

/// Creates a directory and its parents. The names of those that exist are synced as well: their creator may
/// have been killed before.
pub(crate) fn create_directory(root: &Dir, path: &str) -> io::Result<()> {
    root.create_dir_all(path)?;
    let ends = path.match_indices('/').map(|(end, _)| &path[..end]);
    // `.claude/.output/features` has its names in `.`, `.claude` and `.claude/.output`.
    ["."].into_iter().chain(ends).try_for_each(|directory| root.open(directory)?.sync_all())
}

/// Creates a file, as a whole or not at all. Returns false if its name is in use.
pub(crate) fn create_file(directory: &Dir, path: &str, contents: &[u8]) -> io::Result<bool> {
    match directory.symlink_metadata(path) {
        Ok(_) => return Ok(false),
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let temporary = temporary_name(path);
    let mut options = OpenOptions::new();
    let written = directory
        .open_with(&temporary, options.write(true).create_new(true))
        .and_then(|mut file| file.write_all(contents).and_then(|()| file.sync_all()))
        .and_then(|()| directory.rename(&temporary, directory, path));
    if written.is_err() {
        let _ = directory.remove_file(&temporary);
    }
    written?;
    let parent = path.rsplit_once('/').map_or(".", |(parent, _)| parent);
    directory.open(parent)?.sync_all()?;
    Ok(true)
}
