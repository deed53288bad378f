//! The logic of wreckit-host: what runs next, what is recorded when, how a session resumes after a crash, and what
//! `doctor` finds and fixes.
//!
//! It is deterministic: every effect goes through [`io::capabilities::Capabilities`]. Compiled to WebAssembly
//! this crate is the component (`component.rs` binds it to the WIT package in `wit/`); compiled
//! natively it is tested against an in-memory implementation of the same trait.
//!
//! `guest/tests/layers.rs` has the layers of its modules.

pub mod agents;
pub mod backup;
mod bindings;
pub mod doctor;
pub mod feature;
pub mod formats;
pub mod io;
pub mod json;
pub mod select;
pub mod session;
pub mod time;
pub mod workload;

#[cfg(target_arch = "wasm32")]
mod component;
