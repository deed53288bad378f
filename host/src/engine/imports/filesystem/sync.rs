//! Makes files and directories durable: each by itself, or a whole file system at once where that is
//! cheaper and known to work.

use std::collections::HashMap;

use cap_std::fs::{File, MetadataExt};

use super::error;
use crate::wit::filesystem::Error;

/// From this many files on, one sync of a whole file system is cheaper than one sync for each file.
const WHOLE_FROM: usize = 8;
/// Files kept open until they are synced. All of them are written before the first one is synced, so
/// that their syncs share one commit of the file system's journal.
const HELD: usize = 8;

/// Files and directories to sync together. They may be on several file systems: a directory below the
/// root may be a mount point, or a link to one.
pub(super) struct Group {
    /// Whether the group is large enough to sync whole file systems.
    is_large: bool,
    /// Not synced yet; at most `HELD`.
    held: Vec<File>,
    /// The devices seen so far, by number. A file of each device that is synced as a whole.
    devices: HashMap<u64, Option<File>>,
}

impl Group {
    /// Returns an empty group that is to have `length` members.
    pub(super) fn new(length: usize) -> Self {
        Group { is_large: length >= WHOLE_FROM, held: Vec::new(), devices: HashMap::new() }
    }

    /// Adds a file that has been written, or a directory.
    pub(super) fn add(&mut self, file: File) -> Result<(), Error> {
        if self.is_large && self.covers(&file)? {
            return Ok(());
        }
        self.held.push(file);
        if self.held.len() == HELD { self.sync_held() } else { Ok(()) }
    }

    /// Syncs every member. Afterwards all of them are on disk.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        self.sync_held()?;
        self.devices.values().flatten().try_for_each(sync_file_system)
    }

    fn sync_held(&mut self) -> Result<(), Error> {
        self.held.drain(..).try_for_each(|file| file.sync_all().map_err(error))
    }

    /// Whether the file is on a file system that is synced as a whole.
    fn covers(&mut self, file: &File) -> Result<bool, Error> {
        let device = file.metadata().map_err(error)?.dev();
        if let Some(known) = self.devices.get(&device) {
            return Ok(known.is_some());
        }
        let kept =
            if is_synced_as_a_whole(file) { Some(file.try_clone().map_err(error)?) } else { None };
        let covers = kept.is_some();
        self.devices.insert(device, kept);
        Ok(covers)
    }
}

#[cfg(target_os = "linux")]
fn sync_file_system(file: &File) -> Result<(), Error> {
    rustix::fs::syncfs(file).map_err(|errno| error(errno.into()))
}

/// Whether `syncfs` writes what this file's file system holds, and reports what could not be written.
#[cfg(target_os = "linux")]
fn is_synced_as_a_whole(file: &File) -> bool {
    rustix::fs::fstatfs(file).is_ok_and(|statfs| honors_syncfs(statfs.f_type as u64))
        && reports_failed_syncfs(rustix::system::uname().release().to_str().unwrap_or_default())
}

/// Whether `syncfs` does its work on file systems of this type (`f_type` of `statfs(2)`).
///
/// The list names those whose code does it. FUSE ignores the call and returns success, network file
/// systems leave it to their servers, and overlayfs passes it on to a layer that cannot be seen from
/// here. On tmpfs nothing is durable, and syncing a file costs nothing.
#[cfg(target_os = "linux")]
fn honors_syncfs(file_system: u64) -> bool {
    const EXT2_EXT3_EXT4: u32 = 0xEF53;
    const XFS: u32 = 0x5846_5342;
    const BTRFS: u32 = 0x9123_683E;
    const F2FS: u32 = 0xF2F5_2010;
    // Sign-extended where the field is a signed word of 32 bits.
    [EXT2_EXT3_EXT4, XFS, BTRFS, F2FS].contains(&(file_system as u32))
}

/// Whether `syncfs` fails when a file could not be written. Linux before 5.8 always returns success.
#[cfg(target_os = "linux")]
fn reports_failed_syncfs(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (5, 8),
        _ => false,
    }
}

/// Only Linux can sync a whole file system.
#[cfg(not(target_os = "linux"))]
fn is_synced_as_a_whole(_: &File) -> bool {
    false
}

#[cfg(not(target_os = "linux"))]
fn sync_file_system(file: &File) -> Result<(), Error> {
    file.sync_all().map_err(error)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn only_file_systems_known_to_honor_syncfs_are_synced_as_a_whole() {
        for known in [0xEF53, 0x5846_5342, 0x9123_683E, 0xF2F5_2010, 0xFFFF_FFFF_9123_683E] {
            assert!(honors_syncfs(known), "{known:#x}");
        }
        // FUSE, overlayfs, NFS, 9p, virtiofs-like and unknown ones.
        for other in [0x6573_5546, 0x794C_7630, 0x6969, 0x0102_1997, 0x0102_1994, 0] {
            assert!(!honors_syncfs(other), "{other:#x}");
        }
    }

    #[test]
    fn kernels_that_hide_a_failed_syncfs_are_not_trusted() {
        assert!(
            ["5.8.0", "5.10.0-28-amd64", "6.1.0", "10.0"].into_iter().all(reports_failed_syncfs)
        );
        assert!(!["5.7.19", "4.19.0", "", "x"].into_iter().any(reports_failed_syncfs));
    }
}
