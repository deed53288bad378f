//! A crash-safe batch runner for coding-agent work, and the host of its WebAssembly component.
//!
//! The command line is [`cli::main`]. To embed the component in another Rust program, see
//! [`engine::Component`] and [`engine::Instance`]: they give the exports of the WIT package as
//! methods, over a directory of the caller's, with its imports implemented and its limits set.

pub mod ambient;
pub mod cli;
pub mod engine;

mod agents;
mod config;
mod durable;
mod features;
mod git;
mod imports;
mod json;
mod leftovers;
mod liveness;
mod marker;
mod output;
mod ownership;
mod repository;
mod run;
