//! What the component may do to the world, and the primitives that every layer above builds on.

pub mod capabilities;
pub(crate) mod claim;
pub mod host;
pub mod layout;
pub mod lock;
#[cfg(test)]
pub(crate) mod memory;
pub mod owner;
pub mod root;
