//! The capabilities of an instance, with failures that name the operation and the path.

use std::borrow::Cow;
use std::fmt;

use crate::bindings::exports::wreckit::batch::session::StorageFailure;
use crate::io::capabilities::{
    Capabilities, Entry, Environment, FileSystem, FsError, Kind, Leftover, Level, LockState,
    Metadata, ProcessInfo, ProcessStatus, ProcessToken, RecordedProcess, Replacement, StopSignal,
    Variable,
};
use crate::io::layout::{self, RootLayout};
use crate::time::Timestamp;

/// A file operation that failed.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The operation: `read`, `write`, …
    pub operation: Cow<'static, str>,
    /// The path, relative to the root of the instance.
    pub path: String,
    /// Why it failed.
    pub error: FsError,
    /// The path of the root, relative to the root of the repository.
    pub prefix: &'static str,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { operation, path, error, prefix } = self;
        write!(f, "cannot {operation} {prefix}{path}: {}", error.describe())
    }
}

impl std::error::Error for Failure {}

impl From<Failure> for StorageFailure {
    fn from(failure: Failure) -> Self {
        StorageFailure {
            operation: failure.operation.into_owned(),
            path: failure.path,
            error: failure.error,
        }
    }
}

/// The randomness that the host returned is shorter than what was asked for.
const SHORT_RANDOM: &str = "the host returned too few random bytes";

/// The capabilities of an instance. Cheap to copy.
///
/// Its methods are the functions of the imported interfaces. Those that return a [`Failure`] explain what
/// failed; where a missing file is expected, they say so in their type.
#[derive(Clone, Copy)]
pub struct Host<'c> {
    files: &'c dyn FileSystem,
    environment: &'c dyn Environment,
    layout: &'static RootLayout,
}

impl<'c> Host<'c> {
    /// The capabilities of an instance whose root is `.wreckit`.
    pub fn new(capabilities: &'c impl Capabilities) -> Self {
        Host::with_layout(capabilities, &layout::STATE)
    }

    /// The capabilities of an instance with this root.
    pub fn with_layout(capabilities: &'c impl Capabilities, layout: &'static RootLayout) -> Self {
        Host { files: capabilities, environment: capabilities, layout }
    }

    /// The same capabilities with another file system, which records or redirects changes.
    pub fn with_files<'f>(self, files: &'f dyn FileSystem) -> Host<'f>
    where
        'c: 'f,
    {
        Host { files, ..self }
    }

    /// The file system, with errors that name nothing.
    pub fn files(&self) -> &'c dyn FileSystem {
        self.files
    }

    /// Where files are in the root.
    pub fn layout(&self) -> &'static RootLayout {
        self.layout
    }

    /// The current time.
    pub fn now(&self) -> Timestamp {
        self.environment.now()
    }

    /// Writes a message for the person who runs the component.
    pub fn log(&self, level: Level, message: &str) {
        self.environment.write(level, message);
    }

    /// Returns exactly `length` random bytes.
    pub fn random_bytes(&self, length: usize) -> Result<Vec<u8>, Failure> {
        let bytes = self.environment.bytes(length);
        match bytes.len() == length {
            true => Ok(bytes),
            false => Err(Failure {
                operation: Cow::Borrowed("get"),
                path: format!("{length} random bytes"),
                error: FsError::Failed(SHORT_RANDOM.to_owned()),
                prefix: "",
            }),
        }
    }

    /// This process.
    pub fn current_process(&self) -> ProcessInfo {
        self.environment.current()
    }

    /// Whether a recorded process is still running.
    pub fn process_status(&self, process: &RecordedProcess) -> ProcessStatus {
        self.environment.status(process)
    }

    /// The environment variables that mark an agent of this root.
    pub fn marker(&self) -> Vec<Variable> {
        self.environment.marker()
    }

    /// The processes that agents of this root left running.
    pub fn list_leftovers(
        &self,
        recorded: &[ProcessToken],
        witness: Option<&str>,
    ) -> Vec<Leftover> {
        self.environment.list_leftovers(recorded, witness)
    }

    /// Signals processes, as far as they are proven to belong to this root.
    pub fn signal(&self, targets: &[ProcessToken], signal: StopSignal, witness: Option<&str>) {
        self.environment.signal(targets, signal, witness);
    }

    /// Reads a regular file of at most `limit` bytes.
    pub fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, FsError> {
        self.files.read(path, limit)
    }

    /// Takes a lock, or returns the note of the instance that holds it.
    pub fn lock(&self, path: &str, note: &[u8]) -> Result<LockState, FsError> {
        self.files.lock(path, note)
    }

    /// Releases a lock.
    pub fn unlock(&self, path: &str) -> Result<(), FsError> {
        self.files.unlock(path)
    }

    /// Who holds a lock.
    pub fn lock_holder(&self, path: &str) -> Result<LockState, FsError> {
        self.files.lock_holder(path)
    }

    /// Turns an error into a failure of this operation on this path.
    pub fn failed(
        &self,
        operation: &'static str,
        path: &str,
    ) -> impl FnOnce(FsError) -> Failure + use<> {
        let path = path.to_owned();
        let prefix = self.layout.prefix;
        move |error| Failure { operation: Cow::Borrowed(operation), path, error, prefix }
    }

    /// A failure in this root that left the component and came back.
    pub fn failure(&self, failure: StorageFailure) -> Failure {
        Failure {
            operation: Cow::Owned(failure.operation),
            path: failure.path,
            error: failure.error,
            prefix: self.layout.prefix,
        }
    }

    /// Replaces the content of files.
    pub fn replace(&self, files: Vec<Replacement>, durable: bool) -> Result<(), Failure> {
        let path = files.first().map_or(".", |file| &file.path).to_owned();
        self.files.replace(files, durable).map_err(self.failed("write", &path))
    }

    /// Replaces the content of one file, durably.
    pub fn write(&self, path: &str, contents: Vec<u8>) -> Result<(), Failure> {
        self.replace(vec![Replacement::new(path, contents)], true)
    }

    /// Appends to a file.
    pub fn append(&self, path: &str, contents: &[u8], durable: bool) -> Result<(), Failure> {
        self.files.append(path, contents, durable).map_err(self.failed("append to", path))
    }

    /// Makes the current content of files durable, whoever wrote it.
    pub fn sync(&self, paths: &[String]) -> Result<(), Failure> {
        let Some(first) = paths.first() else { return Ok(()) };
        self.files.sync(paths).map_err(self.failed("sync", first))
    }

    /// Removes a file or an empty directory, if it exists.
    pub fn remove(&self, path: &str) -> Result<(), Failure> {
        match self.files.remove(path) {
            Err(FsError::NotFound) => Ok(()),
            other => other.map_err(self.failed("remove", path)),
        }
    }

    /// Removes a file, or a directory with everything in it, if it exists. Links are removed, never followed.
    pub fn remove_tree(&self, path: &str) -> Result<(), Failure> {
        if self.stat(path)?.is_some_and(|found| found.kind == Kind::Directory) {
            for entry in self.list(path)? {
                self.remove_tree(&format!("{path}/{}", entry.name))?;
            }
        }
        self.remove(path)
    }

    /// Renames a file or directory.
    pub fn rename(&self, source: &str, target: &str) -> Result<(), Failure> {
        self.files.rename(source, target).map_err(self.failed("move", source))
    }

    /// Creates a directory and its parents.
    pub fn create_directory(&self, path: &str) -> Result<(), Failure> {
        self.files.create_directory(path).map_err(self.failed("create", path))
    }

    /// The entries of a directory, sorted by name; empty if it does not exist.
    pub fn list(&self, path: &str) -> Result<Vec<Entry>, Failure> {
        match self.files.list(path) {
            Err(FsError::NotFound) => Ok(Vec::new()),
            Err(error) => Err(self.failed("list", path)(error)),
            Ok(mut entries) => {
                entries.sort_by(|a, b| a.name.cmp(&b.name));
                Ok(entries)
            }
        }
    }

    /// The metadata of a path, if it exists.
    pub fn stat(&self, path: &str) -> Result<Option<Metadata>, Failure> {
        match self.files.stat(path) {
            Err(FsError::NotFound) => Ok(None),
            other => other.map(Some).map_err(self.failed("inspect", path)),
        }
    }

    /// Reads a part of a file.
    pub fn read_at(&self, path: &str, offset: u64, length: u64) -> Result<Vec<u8>, Failure> {
        self.files.read_at(path, offset, length).map_err(self.failed("read", path))
    }
}
