//! The imports of the component: everything that it can reach.

mod clock;
mod filesystem;
mod log;
mod process;
mod random;

pub(crate) use filesystem::temporary_name;
pub(crate) use log::{Level, Messages};

use cap_std::fs::Dir;

use self::filesystem::Tree;
use crate::leftovers::Root;

/// The host side of one instance.
pub(crate) struct Imports {
    tree: Tree,
    /// Whose processes it may find and end; `None` if the root cannot be looked at.
    root: Option<Root>,
    /// What the component logged since it was last taken.
    pub(crate) messages: Messages,
}

impl Imports {
    /// For an instance whose only root is `root`.
    pub(crate) fn new(root: Dir) -> Self {
        let of_processes = root.try_clone().ok().map(Root::new);
        Imports { tree: Tree::new(root), root: of_processes, messages: Messages::default() }
    }
}
