//! The imports of the component as [`Capabilities`].

use super::bindings::wasi::clocks::wall_clock;
use super::bindings::wasi::random::random;
use super::bindings::wreckit::batch::{filesystem, log, process};
use crate::io::capabilities::{
    Capabilities, Entry, FsError, Identity, Kind, Level, LockOutcome, Metadata, ProcessStatus,
    Recorded, Replacement, Worker,
};
use crate::io::time::Timestamp;

/// What the component was given.
pub(super) struct Imports;

impl Capabilities for Imports {
    fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, FsError> {
        Ok(filesystem::read(path, limit)?)
    }

    fn read_at(&self, path: &str, offset: u64, length: u64) -> Result<Vec<u8>, FsError> {
        Ok(filesystem::read_at(path, offset, length)?)
    }

    fn replace(&self, files: Vec<Replacement>, durable: bool) -> Result<(), FsError> {
        let files: Vec<filesystem::Replacement> = files
            .into_iter()
            .map(|file| filesystem::Replacement {
                path: file.path,
                contents: file.contents,
                modified: file.modified.map(Timestamp::as_millis),
                like: file.like,
            })
            .collect();
        Ok(filesystem::replace(&files, durable)?)
    }

    fn append(&self, path: &str, contents: &[u8], durable: bool) -> Result<(), FsError> {
        Ok(filesystem::append(path, contents, durable)?)
    }

    fn sync(&self, paths: &[String]) -> Result<(), FsError> {
        Ok(filesystem::sync(paths)?)
    }

    fn remove(&self, path: &str) -> Result<(), FsError> {
        Ok(filesystem::remove(path)?)
    }

    fn rename(&self, source: &str, target: &str) -> Result<(), FsError> {
        Ok(filesystem::rename(source, target)?)
    }

    fn create_directory(&self, path: &str) -> Result<(), FsError> {
        Ok(filesystem::create_directory(path)?)
    }

    fn list(&self, path: &str) -> Result<Vec<Entry>, FsError> {
        let entries = filesystem::list(path)?;
        Ok(entries
            .into_iter()
            .map(|entry| Entry { name: entry.name, kind: entry.kind.into() })
            .collect())
    }

    fn stat(&self, path: &str) -> Result<Metadata, FsError> {
        let metadata = filesystem::stat(path)?;
        Ok(Metadata {
            kind: metadata.kind.into(),
            size: metadata.size,
            modified: Timestamp::from_millis(metadata.modified),
        })
    }

    fn lock(&self, path: &str, note: &[u8]) -> Result<LockOutcome, FsError> {
        Ok(match filesystem::lock(path, note)? {
            filesystem::LockOutcome::Acquired => LockOutcome::Acquired,
            filesystem::LockOutcome::Held(note) => LockOutcome::Held(note),
        })
    }

    fn unlock(&self, path: &str) -> Result<(), FsError> {
        Ok(filesystem::unlock(path)?)
    }

    fn lock_holder(&self, path: &str) -> Result<Option<Vec<u8>>, FsError> {
        Ok(filesystem::lock_holder(path)?)
    }

    fn current_process(&self) -> Identity {
        let identity = process::current();
        Identity {
            pid: identity.pid,
            host: identity.host,
            boot_id: identity.boot_id,
            start_time: identity.start_time,
            pid_namespace: identity.pid_namespace,
        }
    }

    fn liveness(&self, recorded: &Recorded) -> ProcessStatus {
        let liveness = process::query(&process::Recorded {
            pid: recorded.pid,
            host: recorded.host.clone(),
            boot_id: recorded.boot_id.clone(),
            start_time: recorded.start_time,
            pid_namespace: recorded.pid_namespace.clone(),
            seen: recorded.seen.map(Timestamp::as_millis),
        });
        match liveness {
            process::ProcessStatus::Running => ProcessStatus::Running,
            process::ProcessStatus::Exited => ProcessStatus::Exited,
            process::ProcessStatus::Unknown => ProcessStatus::Unknown,
        }
    }

    fn marked(&self, witness: Option<&str>) -> Vec<Worker> {
        process::marked(witness).into_iter().map(Into::into).collect()
    }

    fn leaders(&self, recorded: &[Worker], witness: Option<&str>) -> Vec<Worker> {
        let recorded: Vec<process::Worker> = recorded.iter().cloned().map(Into::into).collect();
        process::leaders(&recorded, witness).into_iter().map(Into::into).collect()
    }

    fn end(&self, leaders: &[Worker], witness: Option<&str>) -> Vec<Worker> {
        let leaders: Vec<process::Worker> = leaders.iter().cloned().map(Into::into).collect();
        process::end(&leaders, witness).into_iter().map(Into::into).collect()
    }

    fn log(&self, level: Level, message: &str) {
        let level = match level {
            Level::Debug => log::Level::Debug,
            Level::Info => log::Level::Info,
            Level::Warning => log::Level::Warning,
            Level::Error => log::Level::Error,
        };
        log::write(level, message);
    }

    fn now(&self) -> Timestamp {
        let now = wall_clock::now();
        Timestamp::from_millis(
            now.seconds.saturating_mul(1000).saturating_add(u64::from(now.nanoseconds / 1_000_000)),
        )
    }

    fn random_bytes(&self, length: usize) -> Vec<u8> {
        random::get_random_bytes(length as u64)
    }
}

impl From<process::Worker> for Worker {
    fn from(worker: process::Worker) -> Self {
        Worker {
            pid: worker.pid,
            start_time: worker.start_time,
            item: worker.item,
            since: worker.since.map(Timestamp::from_millis),
            proven: worker.proven,
        }
    }
}

impl From<Worker> for process::Worker {
    fn from(worker: Worker) -> Self {
        process::Worker {
            pid: worker.pid,
            start_time: worker.start_time,
            item: worker.item,
            since: worker.since.map(Timestamp::as_millis),
            proven: worker.proven,
        }
    }
}

impl From<filesystem::Error> for FsError {
    fn from(error: filesystem::Error) -> Self {
        match error {
            filesystem::Error::NotFound => FsError::NotFound,
            filesystem::Error::Exists => FsError::Exists,
            filesystem::Error::Outside => FsError::Outside,
            filesystem::Error::WrongKind(kind) => FsError::WrongKind(kind.into()),
            filesystem::Error::TooLarge(size) => FsError::TooLarge(size),
            filesystem::Error::Full(words) => FsError::Full(words),
            filesystem::Error::CrossesDevices => FsError::CrossesDevices,
            filesystem::Error::Failed(words) => FsError::Failed(words),
        }
    }
}

impl From<filesystem::Kind> for Kind {
    fn from(kind: filesystem::Kind) -> Self {
        match kind {
            filesystem::Kind::File => Kind::File,
            filesystem::Kind::Directory => Kind::Directory,
            filesystem::Kind::Link => Kind::Link,
            filesystem::Kind::Other => Kind::Other,
        }
    }
}
