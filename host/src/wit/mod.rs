//! The types of the WIT package `wreckit:batch`, one module per interface. The package documents every item.

mod bindings;

pub(crate) use bindings::Component as Exports;
pub use bindings::exports::wreckit::batch::{batch, doctor, feature, session};
pub(crate) use bindings::wasi::clocks::wall_clock;
pub(crate) use bindings::wasi::random::random;
pub use bindings::wreckit::batch::{filesystem, log, processes, terminator};
