//! What can go wrong with a component.

use std::io;
use std::path::PathBuf;

use super::limits::Limits;
use crate::wasm::one_line;

/// The component failed. What it had acknowledged is on disk.
#[derive(Debug, thiserror::Error)]
pub enum ComponentError {
    /// Its file cannot be read.
    #[error("cannot read the component {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Its file is not a component, or not one of this WIT package.
    #[error("the component cannot be used: {0}")]
    Unusable(String),
    /// A call used too much CPU time.
    #[error("the component computed for more than {} seconds in one call and was stopped", .0.computing.as_secs())]
    OutOfTime(Limits),
    /// A call spent too much time in imports.
    #[error("the component spent more than {} seconds in imports in one call and was stopped", .0.imports.as_secs())]
    StuckInImports(Limits),
    /// The program was asked to stop, and the call did not return in time.
    #[error("the component was stopped in the middle of a call")]
    Interrupted,
    /// Its memories and tables grew too large.
    #[error("the component asked for more than {} MiB of memory and was stopped", .0.memory >> 20)]
    OutOfMemory(Limits),
    /// It trapped.
    #[error("the component failed: {0}")]
    Trapped(String),
    /// It returned something that the protocol rules out.
    #[error("the component violated the protocol: {0}")]
    Protocol(String),
    /// The thread that measures its time could not be started.
    #[error("cannot start a thread: {0}")]
    NoThread(io::Error),
    /// This program cannot compile WebAssembly.
    #[error("this build has no compiler for --component; build it with the feature `compile`")]
    NoCompiler,
}

impl ComponentError {
    pub(super) fn unusable(error: wasmtime::Error) -> Self {
        ComponentError::Unusable(one_line(&error))
    }
}
