//! Everything that the logic may do to the world, as one trait: the imports of the WIT package.

use crate::io::time::Timestamp;

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link that was not followed.
    Link,
    /// A FIFO, a socket, a device.
    Other,
}

impl Kind {
    /// For messages: `is a directory`.
    pub fn describe(self) -> &'static str {
        match self {
            Kind::File => "a regular file",
            Kind::Directory => "a directory",
            Kind::Link => "a symbolic link",
            Kind::Other => "neither a file nor a directory (a FIFO, a socket or a device)",
        }
    }
}

/// Why a call on the file system did nothing; see `filesystem.error` in the WIT package.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FsError {
    /// Nothing stands at this path.
    #[error("there is no such file or directory")]
    NotFound,
    /// Something stands where nothing may.
    #[error("it exists already")]
    Exists,
    /// The path is malformed or leads out of the tree.
    #[error("the path leads out of the directory (a symbolic link, or `..`)")]
    Outside,
    /// Something of this kind is in the place of another.
    #[error("it is {}", .0.describe())]
    WrongKind(Kind),
    /// The file has this many bytes.
    #[error("it has {0} bytes, which is too much")]
    TooLarge(u64),
    /// There is no room left for any file; the system's own words.
    #[error("{0}")]
    Full(String),
    /// A directory cannot be renamed to another file system, or out of its layer of one.
    #[error(
        "it is on another file system, or in a lower layer of overlayfs; move it by hand (`cp -a`, then `rm -r`)"
    )]
    CrossesDevices,
    /// The system's own words.
    #[error("{0}")]
    Failed(String),
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name; U+FFFD in it stands for what is not UTF-8.
    pub name: String,
    /// What it is; links are not followed.
    pub kind: Kind,
}

/// What is known of a path without opening it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// What it is; a link is not followed.
    pub kind: Kind,
    /// Bytes of a regular file, else 0.
    pub size: u64,
    /// When the content was last modified.
    pub modified: Timestamp,
}

/// A file and its new content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replacement {
    /// Where.
    pub path: String,
    /// The whole new content.
    pub contents: Vec<u8>,
    /// When it is to count as last modified; `None`: now.
    pub modified: Option<Timestamp>,
    /// A file whose permissions it takes.
    pub like: Option<String>,
}

impl Replacement {
    /// New content, of now.
    pub fn new(path: impl Into<String>, contents: Vec<u8>) -> Self {
        Replacement { path: path.into(), contents, modified: None, like: None }
    }
}

/// Who has a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockOutcome {
    /// This instance.
    Acquired,
    /// Another one, with the note that it left.
    Held(Vec<u8>),
}

/// What tells a process from every other one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Process id.
    pub pid: u64,
    /// The machine.
    pub host: String,
    /// The boot.
    pub boot_id: Option<String>,
    /// Clock ticks from the boot to the start of the process.
    pub start_time: Option<u64>,
    /// The PID namespace that counts `pid`.
    pub pid_namespace: Option<String>,
}

/// A process as an earlier file recorded it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recorded {
    /// Process id.
    pub pid: u64,
    /// The machine.
    pub host: Option<String>,
    /// The boot.
    pub boot_id: Option<String>,
    /// Clock ticks from the boot to the start of the process.
    pub start_time: Option<u64>,
    /// The PID namespace that counts `pid`.
    pub pid_namespace: Option<String>,
    /// A time at which it was running.
    pub seen: Option<Timestamp>,
}

/// A process that works for this root, or did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Worker {
    /// Process id.
    pub pid: u64,
    /// Clock ticks from the boot to the start of the process.
    pub start_time: Option<u64>,
    /// The item that it works on.
    pub item: Option<String>,
    /// When it started, to a second or two.
    pub since: Option<Timestamp>,
    /// Whether the system proves that it belongs to this root.
    pub proven: bool,
}

/// What can be proven of a recorded process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// It runs.
    Running,
    /// It has ended.
    Exited,
    /// It cannot be told from here: never to be taken for `Exited`.
    Unknown,
}

/// How much a message matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// For those who asked for more.
    Debug,
    /// Good to know.
    Info,
    /// Something was not as it should be.
    Warning,
    /// A bug of ours.
    Error,
}

/// The imports of the component. Paths are relative to the root of the instance.
#[expect(missing_docs, reason = "each function is documented in the WIT package")]
pub trait Capabilities {
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
    fn lock(&self, path: &str, note: &[u8]) -> Result<LockOutcome, FsError>;
    fn unlock(&self, path: &str) -> Result<(), FsError>;
    fn lock_holder(&self, path: &str) -> Result<Option<Vec<u8>>, FsError>;

    fn current_process(&self) -> Identity;
    fn liveness(&self, process: &Recorded) -> Liveness;
    fn marked(&self, witness: Option<&str>) -> Vec<Worker>;
    fn leaders(&self, recorded: &[Worker], witness: Option<&str>) -> Vec<Worker>;
    fn end(&self, leaders: &[Worker], witness: Option<&str>) -> Vec<Worker>;

    fn log(&self, level: Level, message: &str);
    fn now(&self) -> Timestamp;
    fn random_bytes(&self, length: usize) -> Vec<u8>;
}
