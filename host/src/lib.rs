//! A crash-safe batch runner for coding agents, and the host of its WebAssembly component.
//!
//! The command line is [`cli::main`], its exit codes are [`ExitCode`]. To embed the component in another Rust
//! program, see [`engine::Component`] and [`engine::Instance`]: they provide the exports of the WIT package
//! as methods, over a directory of the embedder's choice, with its imports implemented and its limits set.

pub mod ambient;
pub mod cli;
pub mod engine;
pub mod wit;

mod exit_code;
mod git;
mod process;
mod report;
mod repository;
mod run;
mod wasm;

pub use exit_code::{ExitCode, StopSignal};
