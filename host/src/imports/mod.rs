//! The imports of the component: everything that it can reach.

mod clock;
mod filesystem;
mod log;
mod process;
mod random;

pub(crate) use filesystem::temporary_name;
pub(crate) use log::Level;

use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use cap_std::fs::Dir;

use self::filesystem::Tree;
use crate::leftovers::Root;
use crate::{ambient, marker};

/// The host side of one instance.
pub(crate) struct Imports {
    tree: Tree,
    /// Whose processes it may find and end; `None` if the root cannot be looked at.
    root: Option<Root>,
    /// What the component logged and nobody has taken yet.
    pub(crate) messages: Vec<(Level, String)>,
}

impl Imports {
    /// For an instance whose only root is `root`.
    pub(crate) fn new(root: Dir) -> Self {
        let of_processes = identify(&root);
        Imports { tree: Tree::new(root), root: of_processes, messages: Vec::new() }
    }
}

fn identify(root: &Dir) -> Option<Root> {
    let marker = marker::of_root(root).ok()?;
    // The directory by the descriptor: however it was reached, and where it is by now.
    let path = format!("/proc/self/fd/{}", root.as_fd().as_raw_fd());
    let path = ambient::read_link(path.as_ref()).ok();
    let directory = path.as_deref().and_then(Path::parent).map(Path::to_owned);
    Some(Root { marker, directory })
}
