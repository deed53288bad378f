//! The imports of the component: everything that it can reach.

mod clock;
mod filesystem;
mod log;
mod process;
mod random;

pub(crate) use log::Level;

use cap_std::fs::Dir;

use self::filesystem::Tree;

/// The host side of one instance.
pub(crate) struct Imports {
    tree: Tree,
    /// What the component logged and nobody has taken yet.
    pub(crate) messages: Vec<(Level, String)>,
}

impl Imports {
    /// For an instance whose only root is `root`.
    pub(crate) fn new(root: Dir) -> Self {
        Imports { tree: Tree::new(root), messages: Vec::new() }
    }
}
