//! What can go wrong with a component.

use std::io;
use std::path::PathBuf;

use super::batch::StorageFailure;
use super::filesystem::{Error as FileError, Kind};
use super::limits::Limits;

/// The component failed. What it had acknowledged is on disk.
#[derive(Debug, thiserror::Error)]
pub enum ComponentError {
    /// The file cannot be read.
    #[error("cannot read the component {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It is no component, or not one of this WIT package.
    #[error("the component cannot be used: {0}")]
    Unusable(String),
    /// One call took too much CPU time.
    #[error("the component computed for more than {} seconds in one call and was stopped", .0.computing.as_secs())]
    OutOfTime(Limits),
    /// One call spent too much time in imports.
    #[error("the component spent more than {} seconds in imports in one call and was stopped", .0.imports.as_secs())]
    StuckInImports(Limits),
    /// The program was asked to stop, and the call did not return.
    #[error("the component was stopped in the middle of a call")]
    Interrupted,
    /// Its memories and tables grew too large.
    #[error("the component asked for more than {} MiB of memory and was stopped", .0.memory >> 20)]
    OutOfMemory(Limits),
    /// It trapped.
    #[error("the component failed: {0}")]
    Trapped(String),
    /// It answered what makes no sense.
    #[error("the component answered nonsense: {0}")]
    Nonsense(String),
    /// The thread that counts its time could not be started.
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

/// The causes of an error in one line, without the backtrace of the WebAssembly code.
pub(super) fn one_line(error: &wasmtime::Error) -> String {
    let causes: Vec<String> = error
        .chain()
        .map(ToString::to_string)
        .filter(|cause| !cause.starts_with("error while executing at wasm backtrace"))
        .collect();
    causes.join(": ").replace('\n', " ")
}

/// A storage failure in one line; `place` is the root of the instance, from the repository's root.
pub(crate) fn describe(place: &str, failure: &StorageFailure) -> String {
    let why = match &failure.error {
        FileError::NotFound => "there is no such file or directory".to_owned(),
        FileError::Exists => "it exists already".to_owned(),
        FileError::Outside => "the path leads out of the directory".to_owned(),
        FileError::WrongKind(Kind::Directory) => "it is a directory".to_owned(),
        FileError::WrongKind(_) => "it is not a regular file".to_owned(),
        FileError::TooLarge(size) => format!("it has {size} bytes, which is too much"),
        FileError::CrossesDevices => {
            "it is on another file system, or in a lower layer of overlayfs; move it by hand (`cp -a`, then `rm -r`)".to_owned()
        }
        FileError::Full(words) | FileError::Failed(words) => words.clone(),
    };
    format!("cannot {} {place}/{}: {why}", failure.operation, failure.path)
}
