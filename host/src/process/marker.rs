//! The marker that every agent of a repository carries in its environment, and so does what it starts:
//! it finds them again when the batch that started them is gone.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use cap_std::fs::Dir;
use rustix::process::Pid;

use crate::ambient;

/// The variable that names the repository.
pub(crate) const ROOT: &str = "WRECKIT_ROOT";
/// The variable that names the item.
pub(crate) const ITEM: &str = "WRECKIT_ITEM_ID";
/// The variable that numbers the start of the item.
pub(crate) const ATTEMPT: &str = "WRECKIT_ATTEMPT";

/// The file in a root with its id, 32 hexadecimal digits: the component makes it.
const ID_FILE: &str = ".repository-id";
/// Digits of an id.
const ID_LENGTH: usize = 32;

/// What names a root: `{id}:{device}:{inode}:{path}`.
///
/// The id is the same through every mount of the directory, and in every copy of it; device and inode
/// are the same wherever it is moved, and differ between mounts and copies; the path is where the agents
/// see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RootMark {
    /// `None` in the marker of earlier versions, `{device}:{inode}`, and for a root without one.
    pub(crate) id: Option<String>,
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) path: Option<PathBuf>,
}

impl RootMark {
    /// The mark of a directory as it is now.
    pub(crate) fn of(root: &Dir) -> io::Result<Self> {
        let metadata = root.try_clone()?.into_std_file().metadata()?;
        // By the descriptor: however it was reached, and where it is by now.
        let path = format!("/proc/self/fd/{}", root.as_fd().as_raw_fd());
        let path = ambient::read_link(path.as_ref()).ok();
        let (device, inode) = (metadata.dev(), metadata.ino());
        Ok(RootMark { id: id_of(root), device, inode, path })
    }

    /// As the value of a variable.
    pub(crate) fn to_value(&self) -> OsString {
        let RootMark { id, device, inode, path } = self;
        let (Some(id), Some(path)) = (id, path) else {
            return format!("{device}:{inode}").into();
        };
        let mut value = OsString::from(format!("{id}:{device}:{inode}:"));
        value.push(path);
        value
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
                path: Some(OsString::from_vec(path.to_owned()).into()),
            }),
            _ => None,
        }
    }
}

fn id_of(root: &Dir) -> Option<String> {
    // A link or a device is none of ours; the component makes a file.
    let is_file = root.symlink_metadata(ID_FILE).is_ok_and(|it| it.is_file() && it.len() < 1024);
    let id = is_file.then(|| root.read_to_string(ID_FILE).ok()).flatten()?;
    let id = id.trim();
    let is_id = id.len() == ID_LENGTH && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then(|| id.to_owned())
}

/// What the environment of a process says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Marker {
    /// The repository, as the variable has it.
    pub(crate) root: Option<OsString>,
    /// The item.
    pub(crate) item: Option<String>,
    /// The start of the item.
    pub(crate) attempt: Option<u32>,
}

impl Marker {
    /// The environment with which a process was started; empty where that cannot be seen: it is
    /// another user's, or it has exited.
    pub(crate) fn of_process(pid: Pid) -> Self {
        let path = format!("/proc/{}/environ", pid.as_raw_nonzero());
        Marker::parse(&ambient::read(path.as_ref()).unwrap_or_default())
    }

    /// The repository that it names.
    pub(crate) fn root_mark(&self) -> Option<RootMark> {
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
    fn a_root_is_named_with_any_path_and_as_earlier_versions_did() {
        let id = Some("0123456789abcdef0123456789abcdef".to_owned());
        let path = PathBuf::from(OsString::from_vec(b"/a:b/\xff=".to_vec()));
        let mark = RootMark { id, device: 66, inode: 7, path: Some(path) };
        assert_eq!(RootMark::parse(mark.to_value().as_bytes()), Some(mark));
        let earlier = RootMark { id: None, device: 66, inode: 7, path: None };
        assert_eq!(RootMark::parse(b"66:7"), Some(earlier.clone()));
        assert_eq!(earlier.to_value(), "66:7");
        for value in [&b""[..], b"66", b"a:b", b"x:1:2", b"x:y:2:/a"] {
            assert_eq!(RootMark::parse(value), None);
        }
    }
}
