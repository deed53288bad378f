//! The imports of the component: everything that it can reach.

mod clock;
mod filesystem;
mod log;
mod processes;
mod random;
mod terminator;

pub(crate) use filesystem::temporary_name;

use cap_std::fs::Dir;

use self::filesystem::Tree;
use self::log::Messages;
use crate::process::Leftovers;

/// The host side of one instance.
pub(super) struct Imports {
    tree: Tree,
    /// The processes of this root; `None` if its directory cannot be duplicated.
    leftovers: Option<Leftovers>,
    /// What the component logged since the messages were last taken.
    pub(super) messages: Messages,
}

impl Imports {
    /// Creates the imports of an instance whose only root is `root`.
    pub(super) fn new(root: Dir) -> Self {
        let leftovers = root.try_clone().ok().map(Leftovers::new);
        Imports { tree: Tree::new(root), leftovers, messages: Messages::default() }
    }
}
