//! The imports of the component as the capabilities of the logic.

use crate::bindings::wasi::clocks::wall_clock;
use crate::bindings::wasi::random::random;
use crate::bindings::wreckit::batch::{filesystem, log, processes, terminator};
use crate::io::capabilities::{
    Clock, Entry, FileSystem, FsError, Leftover, Level, LockState, Log, Metadata, ProcessInfo,
    ProcessStatus, ProcessToken, Processes, Random, RecordedProcess, Replacement, StopSignal,
    Terminator, Variable,
};
use crate::time::Timestamp;

/// What the instance was given.
pub(super) struct Imports;

impl FileSystem for Imports {
    fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, FsError> {
        filesystem::read(path, limit)
    }

    fn read_at(&self, path: &str, offset: u64, length: u64) -> Result<Vec<u8>, FsError> {
        filesystem::read_at(path, offset, length)
    }

    fn replace(&self, files: Vec<Replacement>, durable: bool) -> Result<(), FsError> {
        filesystem::replace(&files, durable)
    }

    fn append(&self, path: &str, contents: &[u8], durable: bool) -> Result<(), FsError> {
        filesystem::append(path, contents, durable)
    }

    fn sync(&self, paths: &[String]) -> Result<(), FsError> {
        filesystem::sync(paths)
    }

    fn remove(&self, path: &str) -> Result<(), FsError> {
        filesystem::remove(path)
    }

    fn rename(&self, source: &str, target: &str) -> Result<(), FsError> {
        filesystem::rename(source, target)
    }

    fn create_directory(&self, path: &str) -> Result<(), FsError> {
        filesystem::create_directory(path)
    }

    fn list(&self, path: &str) -> Result<Vec<Entry>, FsError> {
        filesystem::list(path)
    }

    fn stat(&self, path: &str) -> Result<Metadata, FsError> {
        filesystem::stat(path)
    }

    fn lock(&self, path: &str, note: &[u8]) -> Result<LockState, FsError> {
        filesystem::lock(path, note)
    }

    fn unlock(&self, path: &str) -> Result<(), FsError> {
        filesystem::unlock(path)
    }

    fn lock_holder(&self, path: &str) -> Result<LockState, FsError> {
        filesystem::lock_holder(path)
    }
}

impl Processes for Imports {
    fn current(&self) -> ProcessInfo {
        processes::current()
    }

    fn status(&self, process: &RecordedProcess) -> ProcessStatus {
        processes::status(process)
    }
}

impl Terminator for Imports {
    fn marker(&self) -> Vec<Variable> {
        terminator::marker()
    }

    fn list_leftovers(&self, recorded: &[ProcessToken], witness: Option<&str>) -> Vec<Leftover> {
        terminator::list_leftovers(recorded, witness)
    }

    fn signal(&self, targets: &[ProcessToken], signal: StopSignal, witness: Option<&str>) {
        terminator::signal(targets, signal, witness);
    }
}

impl Log for Imports {
    fn write(&self, level: Level, message: &str) {
        log::write(level, message);
    }
}

impl Clock for Imports {
    fn now(&self) -> Timestamp {
        let now = wall_clock::now();
        let milliseconds = u64::from(now.nanoseconds / 1_000_000);
        Timestamp::from_millis(now.seconds.saturating_mul(1000).saturating_add(milliseconds))
    }
}

impl Random for Imports {
    fn bytes(&self, length: usize) -> Vec<u8> {
        random::get_random_bytes(length as u64)
    }
}
