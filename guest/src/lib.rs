//! The logic of wreckit-host: what runs next, what is recorded when, how a session goes on after a
//! crash, and what `doctor` finds and mends.
//!
//! Deterministic: every effect goes through [`capabilities::Capabilities`]. Compiled to WebAssembly
//! this crate is the component (`component.rs` binds it to the WIT package in `wit/`); compiled
//! natively it is tested against an in-memory implementation of the same trait.

pub mod backup;
pub mod batch;
pub mod capabilities;
mod claim;
pub mod doctor;
pub mod feature;
pub mod items;
pub mod journal;
pub mod json;
pub mod layout;
pub mod ledger;
pub mod lock;
pub mod orphans;
pub mod phases;
pub mod prd;
pub mod progress;
pub mod queue;
pub mod resume;
pub mod runs;
pub mod saved;
pub mod select;
pub mod settle;
pub mod time;
pub mod tree;

#[cfg(target_arch = "wasm32")]
mod component;

#[cfg(test)]
mod memory;
