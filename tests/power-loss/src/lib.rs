//! A file system that loses what was not synced, and a campaign of power losses over it.
//!
//! See `docs/architecture.md`, "How durability is tested".

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the campaign stands outside of the program and makes its world"
)]

pub mod campaign;
pub mod disk;
pub mod mount;
pub mod oracle;
pub mod random;
pub mod world;

mod feature;
