//! Files and directories that a command makes for the component, on disk when it says so.

use std::io::{self, Write};

use cap_std::fs::{Dir, OpenOptions};

/// Makes a directory and those above it. The names of those that exist are synced, too: whoever made
/// them may have been killed before.
pub(crate) fn create_directory(root: &Dir, path: &str) -> io::Result<()> {
    root.create_dir_all(path)?;
    let ends = path.match_indices('/').map(|(end, _)| &path[..end]);
    // `.claude/.output/features` has its names in `.`, `.claude` and `.claude/.output`.
    ["."].into_iter().chain(ends).try_for_each(|directory| root.open(directory)?.sync_all())
}

/// Makes a file; false if it exists.
pub(crate) fn create_file(directory: &Dir, name: &str, contents: &[u8]) -> io::Result<bool> {
    let mut options = OpenOptions::new();
    match directory.open_with(name, options.write(true).create_new(true)) {
        Ok(mut file) => {
            file.write_all(contents)?;
            file.sync_all()?;
            let parent = name.rsplit_once('/').map_or(".", |(parent, _)| parent);
            directory.open(parent)?.sync_all()?;
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}
