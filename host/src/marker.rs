//! What every agent of a repository carries in its environment, and so does what it starts: by this
//! they are found again when the batch that started them is gone.

use std::io;
use std::os::unix::fs::MetadataExt;

use cap_std::fs::Dir;
use rustix::process::Pid;

use crate::ambient;

/// The variable that names the repository.
pub(crate) const ROOT: &str = "WRECKIT_ROOT";
/// The variable that names the item.
pub(crate) const ITEM: &str = "WRECKIT_ITEM_ID";
/// The variable that numbers the start of the item.
pub(crate) const ATTEMPT: &str = "WRECKIT_ATTEMPT";

/// The marker of a `.wreckit`: its device and inode, the same however it is reached or moved.
pub(crate) fn of_root(state: &Dir) -> io::Result<String> {
    let metadata = state.try_clone()?.into_std_file().metadata()?;
    Ok(format!("{}:{}", metadata.dev(), metadata.ino()))
}

/// What the environment of a process says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Marker {
    /// The repository.
    pub(crate) root: Option<String>,
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

    fn parse(environment: &[u8]) -> Self {
        let mut marker = Marker::default();
        for variable in environment.split(|byte| *byte == 0) {
            let Some((name, value)) =
                str::from_utf8(variable).ok().and_then(|text| text.split_once('='))
            else {
                continue;
            };
            match name {
                ROOT => marker.root = Some(value.to_owned()),
                ITEM => marker.item = Some(value.to_owned()),
                ATTEMPT => marker.attempt = value.parse().ok(),
                _ => {}
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
        assert_eq!((marker.root.as_deref(), marker.item.as_deref()), (Some("1:2"), Some("001-a")));
        assert_eq!(marker.attempt, Some(3));
        assert_eq!(Marker::parse(b""), Marker::default());
        assert_eq!(Marker::parse(b"NOT_WRECKIT_ROOT=1:2\0"), Marker::default());
    }
}
