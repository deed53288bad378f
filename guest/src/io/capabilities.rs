//! What the logic may do to the world: one trait for each interface that the component imports.
//!
//! The types are those of the WIT package, which documents them.

pub use crate::bindings::wreckit::batch::filesystem::{
    Entry, Error as FsError, Kind, LockState, Metadata, Replacement,
};
pub use crate::bindings::wreckit::batch::log::Level;
pub use crate::bindings::wreckit::batch::processes::{
    BareProcess, Process as ProcessInfo, ProcessStatus, ProcessToken, RecordedProcess,
};
pub use crate::bindings::wreckit::batch::terminator::{Leftover, StopSignal, Variable};
use crate::time::Timestamp;

impl Kind {
    /// The type in words: `a directory`.
    pub fn describe(self) -> &'static str {
        match self {
            Kind::File => "a regular file",
            Kind::Directory => "a directory",
            Kind::Link => "a symbolic link",
            Kind::Other => "neither a file nor a directory (a FIFO, a socket or a device)",
        }
    }
}

impl FsError {
    /// The error in words. `Display` is generated, for debugging.
    pub fn describe(&self) -> String {
        match self {
            FsError::NotFound => "no such file or directory".to_owned(),
            FsError::Exists => "it already exists".to_owned(),
            FsError::Outside => {
                "the path leads out of the directory (a symbolic link, or `..`)".to_owned()
            }
            FsError::WrongKind(kind) => format!("it is {}", kind.describe()),
            FsError::TooLarge(size) => format!("it has {size} bytes, which is too large"),
            FsError::CrossesDevices => "it is on another file system, or in a lower layer of \
                 overlayfs; move it by hand (`cp -a`, then `rm -r`)"
                .to_owned(),
            FsError::Full(message) | FsError::Failed(message) => message.clone(),
        }
    }
}

impl Replacement {
    /// New content, with the modification time of now and the permissions of the file it replaces.
    pub fn new(path: impl Into<String>, contents: Vec<u8>) -> Self {
        Replacement { path: path.into(), contents, modified: None, like: None }
    }
}

/// The interface `filesystem`. Paths are relative to the root of the instance.
#[expect(missing_docs, reason = "each function is documented in the WIT package")]
pub trait FileSystem {
    fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, FsError>;
    fn read_at(&self, path: &str, offset: u64, length: u64) -> Result<Vec<u8>, FsError>;
    fn replace(&self, files: Vec<Replacement>, durable: bool) -> Result<(), FsError>;
    fn append(&self, path: &str, contents: &[u8], durable: bool) -> Result<(), FsError>;
    fn sync(&self, paths: &[String]) -> Result<(), FsError>;
    fn remove(&self, path: &str) -> Result<(), FsError>;
    fn rename(&self, source: &str, target: &str) -> Result<(), FsError>;
    fn create_directory(&self, path: &str) -> Result<(), FsError>;
    fn list(&self, path: &str) -> Result<Vec<Entry>, FsError>;
    fn stat(&self, path: &str) -> Result<Metadata, FsError>;
    fn lock(&self, path: &str, note: &[u8]) -> Result<LockState, FsError>;
    fn unlock(&self, path: &str) -> Result<(), FsError>;
    fn lock_holder(&self, path: &str) -> Result<LockState, FsError>;
}

/// The interface `processes`.
#[expect(missing_docs, reason = "each function is documented in the WIT package")]
pub trait Processes {
    fn current(&self) -> ProcessInfo;
    fn status(&self, process: &RecordedProcess) -> ProcessStatus;
}

/// The interface `terminator`.
#[expect(missing_docs, reason = "each function is documented in the WIT package")]
pub trait Terminator {
    fn marker(&self) -> Vec<Variable>;
    fn list_leftovers(&self, recorded: &[ProcessToken], witness: Option<&str>) -> Vec<Leftover>;
    fn signal(&self, targets: &[ProcessToken], signal: StopSignal, witness: Option<&str>);
}

/// The interface `log`.
pub trait Log {
    /// Writes a message for the person who runs the component.
    fn write(&self, level: Level, message: &str);
}

/// `wasi:clocks/wall-clock`.
pub trait Clock {
    /// The current time.
    fn now(&self) -> Timestamp;
}

/// `wasi:random/random`.
pub trait Random {
    /// Returns `length` random bytes. The host may return fewer.
    fn bytes(&self, length: usize) -> Vec<u8>;
}

/// Everything that the world `component` imports apart from the file system.
pub trait Environment: Processes + Terminator + Log + Clock + Random {}

impl<C: Processes + Terminator + Log + Clock + Random> Environment for C {}

/// Everything that the world `component` imports.
pub trait Capabilities: FileSystem + Environment {}

impl<C: FileSystem + Environment> Capabilities for C {}
