//! The marker in the environment of every agent of a root, and of the processes that the agent starts. It
//! finds them again after the batch that started them has gone.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use cap_std::fs::Dir;
use rustix::process::Pid;

use crate::ambient;

/// The variable that names the root.
pub(crate) const ROOT: &str = "WRECKIT_ROOT";
/// The variable that names the item.
pub(super) const ITEM: &str = "WRECKIT_ITEM_ID";
/// The variable with the number of the attempt.
pub(super) const ATTEMPT: &str = "WRECKIT_ATTEMPT";

/// The file in a root that contains its id, 32 hexadecimal digits. The component creates it.
const ID_FILE: &str = ".repository-id";
/// Number of digits of an id.
const ID_LENGTH: usize = 32;

/// Identifies a root: `{id}:{device}:{inode}:{path}`.
///
/// The id is the same through every mount of the directory, and in every copy of it. Device and inode are the
/// same wherever the directory is moved, and differ between mounts and copies. The path is the one that
/// agents see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RootMark {
    /// `None` for a root without an id, and in the markers of early builds: `{device}:{inode}`.
    pub(super) id: Option<String>,
    pub(super) device: u64,
    pub(super) inode: u64,
    /// `None` if it is not known or not UTF-8: an environment variable of a launch is text.
    pub(super) path: Option<PathBuf>,
}

impl RootMark {
    /// Returns the mark of a directory as it is now.
    pub(super) fn of(root: &Dir) -> io::Result<Self> {
        let metadata = root.try_clone()?.into_std_file().metadata()?;
        // By the descriptor: however it was reached, and wherever it was moved.
        let path = format!("/proc/self/fd/{}", root.as_fd().as_raw_fd());
        let path = ambient::read_link(path.as_ref()).ok();
        let (device, inode) = (metadata.dev(), metadata.ino());
        Ok(RootMark { id: id_of(root), device, inode, path })
    }

    /// Returns the mark as the value of a variable.
    pub(super) fn to_value(&self) -> String {
        let RootMark { id, device, inode, path } = self;
        let path = path.as_deref().and_then(|path| path.to_str()).unwrap_or_default();
        match id {
            Some(id) => format!("{id}:{device}:{inode}:{path}"),
            None => format!("{device}:{inode}"),
        }
    }

    fn parse(value: &[u8]) -> Option<Self> {
        let text = |part: &[u8]| str::from_utf8(part).ok().map(str::to_owned);
        let number = |part: &[u8]| text(part)?.parse().ok();
        let parts: Vec<&[u8]> = value.splitn(4, |byte| *byte == b':').collect();
        match parts[..] {
            [device, inode] => Some(RootMark {
                id: None,
                device: number(device)?,
                inode: number(inode)?,
                path: None,
            }),
            [id, device, inode, path] => Some(RootMark {
                id: text(id),
                device: number(device)?,
                inode: number(inode)?,
                path: (!path.is_empty()).then(|| OsString::from_vec(path.to_owned()).into()),
            }),
            _ => None,
        }
    }
}

fn id_of(root: &Dir) -> Option<String> {
    // The component creates a regular file. Anything else is not ours.
    let is_file = root.symlink_metadata(ID_FILE).is_ok_and(|it| it.is_file() && it.len() < 1024);
    let id = is_file.then(|| root.read_to_string(ID_FILE).ok()).flatten()?;
    let id = id.trim();
    let is_id = id.len() == ID_LENGTH && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then(|| id.to_owned())
}

/// The marker of a process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Marker {
    /// The root, as in the variable.
    pub(super) root: Option<OsString>,
    /// The item.
    pub(super) item: Option<String>,
    /// The attempt.
    pub(super) attempt: Option<u32>,
}

impl Marker {
    /// Returns the marker in the environment with which a process was started. It is empty if the environment
    /// cannot be read: the process is another user's, or it has exited.
    pub(super) fn of_process(pid: Pid) -> Self {
        let path = format!("/proc/{}/environ", pid.as_raw_nonzero());
        Marker::parse(&ambient::read(path.as_ref()).unwrap_or_default())
    }

    /// Returns the root that it names.
    pub(super) fn root_mark(&self) -> Option<RootMark> {
        RootMark::parse(self.root.as_ref()?.as_bytes())
    }

    fn parse(environment: &[u8]) -> Self {
        let mut marker = Marker::default();
        for variable in environment.split(|byte| *byte == 0) {
            let Some(end) = variable.iter().position(|byte| *byte == b'=') else { continue };
            let (name, value) = (&variable[..end], &variable[end + 1..]);
            let text = || str::from_utf8(value).ok();
            if name == ROOT.as_bytes() {
                marker.root = Some(OsStr::from_bytes(value).to_owned());
            } else if name == ITEM.as_bytes() {
                marker.item = text().map(str::to_owned);
            } else if name == ATTEMPT.as_bytes() {
                marker.attempt = text().and_then(|text| text.parse().ok());
            }
        }
        marker
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marker_is_found_among_other_variables() {
        let environment =
            b"HOME=/root\0X=\xff\0WRECKIT_ROOT=1:2\0NONSENSE\0WRECKIT_ITEM_ID=001-a\0WRECKIT_ATTEMPT=3\0";
        let marker = Marker::parse(environment);
        assert_eq!(marker.root.as_deref(), Some(OsStr::new("1:2")));
        assert_eq!((marker.item.as_deref(), marker.attempt), (Some("001-a"), Some(3)));
        assert_eq!(Marker::parse(b""), Marker::default());
        assert_eq!(Marker::parse(b"NOT_WRECKIT_ROOT=1:2\0"), Marker::default());
    }

    #[test]
    fn a_root_is_named_with_its_path_and_as_early_builds_did() {
        let id = Some("0123456789abcdef0123456789abcdef".to_owned());
        let mark = RootMark { id, device: 66, inode: 7, path: Some(PathBuf::from("/a:b/é=")) };
        assert_eq!(RootMark::parse(mark.to_value().as_bytes()), Some(mark.clone()));
        let path = OsString::from_vec(b"/a/\xff".to_vec());
        let unnamed = RootMark { path: Some(path.into()), ..mark.clone() };
        let parsed = RootMark::parse(unnamed.to_value().as_bytes());
        assert_eq!(
            parsed,
            Some(RootMark { path: None, ..mark }),
            "a path that is not text is omitted"
        );
        let earlier = RootMark { id: None, device: 66, inode: 7, path: None };
        assert_eq!(RootMark::parse(b"66:7"), Some(earlier.clone()));
        assert_eq!(earlier.to_value(), "66:7");
        for value in [&b""[..], b"66", b"a:b", b"x:1:2", b"x:y:2:/a"] {
            assert_eq!(RootMark::parse(value), None);
        }
    }
}
