//! Moves that `rename(2)` cannot make: to another file system, or between layers of one.

use std::io;

use cap_std::fs::{MetadataExt, OpenOptions, OpenOptionsExt};

use super::{NONBLOCK, Tree, error, parent, sync, temporary_name};
use crate::wit::filesystem::Error;

impl Tree {
    /// Copies a file or a link durably, then removes the original. A crash leaves the original, or both. A
    /// directory is left to the caller, who knows whether it may be moved in parts.
    pub(super) fn move_by_copy(&self, source: &str, target: &str) -> Result<(), Error> {
        let metadata = self.root.symlink_metadata(source).map_err(error)?;
        // The system reports that the devices differ before it reports that the name is in use.
        if self.root.symlink_metadata(target).is_ok() {
            return Err(Error::Exists);
        }
        if metadata.is_symlink() {
            let leads_to = self.root.read_link_contents(source).map_err(error)?;
            self.root.symlink_contents(leads_to, target).map_err(error)?;
        } else if metadata.is_file() {
            self.copy(source, target)?;
        } else {
            return Err(Error::CrossesDevices);
        }
        self.sync_directories([parent(target)])?;
        self.root.remove_file(source).map_err(error)?;
        self.sync_directories([parent(source)])
    }

    /// Copies a file of any size, with its permissions and its modification time.
    fn copy(&self, source: &str, target: &str) -> Result<(), Error> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(NONBLOCK);
        let mut original = self.root.open_with(source, &options).map_err(error)?;
        let metadata = original.metadata().map_err(error)?;
        let temporary = temporary_name(target);
        let mut copy = self.create(&temporary, source)?;
        let copied = io::copy(&mut original, &mut copy).map_err(error).and_then(|_| {
            let milliseconds = metadata.mtime() * 1000 + metadata.mtime_nsec() / 1_000_000;
            super::set_modified(&copy, u64::try_from(milliseconds).unwrap_or_default())?;
            let mut group = sync::Group::new(1);
            group.add(copy)?;
            group.finish()?;
            self.rename_to_new(&temporary, target)
        });
        if copied.is_err() {
            let _ = self.root.remove_file(&temporary);
        }
        copied
    }
}
