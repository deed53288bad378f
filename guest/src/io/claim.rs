//! The owner record: names the process that works on a root, beside the lock.
//!
//! `flock` excludes another process only where both see one file: not through two mounts of one
//! directory (FUSE), and not from two machines on some network file systems. So the holder of a lock also
//! creates `{name}.owner.{n}`, one number above the newest. Creating a name is atomic wherever renaming or
//! linking is, and only one process can create a number, so two processes that saw the record of an exited process
//! cannot both replace it. For the same reason the newest record is never removed: a release is appended to it.
//!
//! A record is a JSON object per line; later lines add fields to the first. It gets its name when it is complete, so
//! after a `kill -9` there is either no record, or one of an exited process. Content that cannot be read (after a
//! power loss) claims nothing.

use serde_json::{Map, Value, json};

use crate::bindings::exports::wreckit::batch::session::Holder;
use crate::io::capabilities::{FsError, Kind, ProcessInfo, ProcessStatus};
use crate::io::host::{Failure, Host};
use crate::io::owner::Owner;
use crate::json;
use crate::time::Timestamp;

/// Maximum size of a record, in bytes.
const LIMIT: u64 = 64 << 10;
/// Maximum number of attempts to create a record while other processes create theirs.
const ATTEMPTS: usize = 16;

/// The newest record beside a lock.
struct Claim {
    path: String,
    number: u64,
    note: Map<String, Value>,
}

impl Claim {
    fn pid(&self) -> Option<u64> {
        self.note.get("pid").and_then(json::integer)
    }

    fn owner(&self) -> Owner {
        self.note.get("owner").and_then(Owner::from_json).unwrap_or_default()
    }

    fn is_released(&self) -> bool {
        self.pid().is_none() || self.note.get("released") == Some(&Value::Bool(true))
    }

    fn is_of(&self, process: &ProcessInfo) -> bool {
        !self.is_released() && self.owner().is(process)
    }

    /// The process that may still work, as far as it is known; `None` if there is none.
    fn holder(&self, host: Host<'_>) -> Option<Holder> {
        let pid = self.pid().filter(|_| !self.is_released())?;
        let text = |key: &str| self.note.get(key).and_then(Value::as_str).map(str::to_owned);
        let since = text("since");
        let seen = since.as_deref().and_then(Timestamp::parse);
        let status = host.process_status(&self.owner().recorded(pid, seen));
        let is_opening = self.note.get("session").is_some_and(Value::is_null);
        (status != ProcessStatus::Exited).then(|| Holder {
            session: text("session"),
            pid: Some(pid),
            since,
            status: Some(status),
            locked: false,
            transient: is_opening && status == ProcessStatus::Running,
        })
    }
}

/// The process that claims the root and is not proven to have exited; not this one.
pub(crate) fn current_holder(
    host: Host<'_>,
    lock: &str,
    process: &ProcessInfo,
) -> Result<Option<Holder>, Failure> {
    let newest = newest(host, lock)?.filter(|claim| !claim.is_of(process));
    Ok(newest.and_then(|claim| claim.holder(host)))
}

/// Records that this process works on the root, or returns who else does. The lock is held.
/// `take_over` ignores a claim whose process may still be running.
pub(crate) fn take(
    host: Host<'_>,
    lock: &str,
    process: &ProcessInfo,
    note: &Value,
    take_over: bool,
) -> Result<Result<(), Holder>, Failure> {
    let mut other = None;
    for _ in 0..ATTEMPTS {
        let newest = newest(host, lock)?;
        if let Some(claim) = &newest {
            if claim.is_of(process) {
                // Called every second: only changes are written.
                return match claim.note.get("session") == note.get("session") {
                    true => Ok(Ok(())),
                    false => add(host, &claim.path, note).map(Ok),
                };
            }
            if let Some(holder) = claim.holder(host).filter(|_| !take_over) {
                return Ok(Err(holder));
            }
        }
        let number = newest.map_or(0, |claim| claim.number) + 1;
        if create(host, lock, number, note)? {
            // A slower process may have created a number that had been removed by then.
            match claims(host, lock)?.iter().all(|(other, _)| *other <= number) {
                true => return remove_older(host, lock, number).map(Ok),
                false => host.remove(&path_of(lock, number))?,
            }
        }
        other = Some(Holder { transient: true, ..Holder::unknown() });
    }
    Ok(Err(other.unwrap_or_else(Holder::unknown)))
}

/// Notes that this process has finished. Not durable: after a power loss its boot is over, too.
pub(crate) fn release(host: Host<'_>, lock: &str, process: &ProcessInfo) -> Result<(), Failure> {
    match newest(host, lock)?.filter(|claim| claim.is_of(process)) {
        Some(claim) => add(host, &claim.path, &json!({"released": true})),
        None => Ok(()),
    }
}

/// The record that this process has created, if it holds the lock: a file that a copy of the directory
/// cannot have.
pub(crate) fn witness(host: Host<'_>, lock: &str) -> Option<String> {
    let process = host.current_process();
    newest(host, lock).ok()?.filter(|claim| claim.is_of(&process)).map(|claim| claim.path)
}

fn path_of(lock: &str, number: u64) -> String {
    format!("{}.owner.{number}", lock.trim_end_matches(".lock"))
}

/// The numbers and paths of all records beside a lock.
fn claims(host: Host<'_>, lock: &str) -> Result<Vec<(u64, String)>, Failure> {
    let number = |name: &str| {
        name.rsplit_once('.')?.1.parse().ok().filter(|n: &u64| *n < json::COUNTER_LIMIT)
    };
    let entries = host.list(".")?.into_iter().filter(|entry| entry.kind == Kind::File);
    let numbers = entries.filter_map(|entry| Some((number(&entry.name)?, entry.name)));
    Ok(numbers.filter(|(number, name)| *name == path_of(lock, *number)).collect())
}

fn newest(host: Host<'_>, lock: &str) -> Result<Option<Claim>, Failure> {
    let Some((number, path)) = claims(host, lock)?.into_iter().max() else { return Ok(None) };
    let contents = match host.read(&path, LIMIT) {
        Ok(contents) => contents,
        Err(FsError::NotFound | FsError::TooLarge(_)) => Vec::new(),
        Err(error) => return Err(host.failed("read", &path)(error)),
    };
    let mut note = Map::new();
    for line in contents.split(|byte| *byte == b'\n') {
        if let Ok(Value::Object(object)) = serde_json::from_slice(line) {
            note.extend(object);
        }
    }
    Ok(Some(Claim { path, number, note }))
}

/// Creates a record with its content; false if the number is taken.
fn create(host: Host<'_>, lock: &str, number: u64, note: &Value) -> Result<bool, Failure> {
    let path = path_of(lock, number);
    let suffix = json::hex(&host.random_bytes(6)?);
    let temporary = format!("{path}.{suffix}.tmp");
    add(host, &temporary, note)?;
    match host.rename(&temporary, &path) {
        Ok(()) => Ok(true),
        Err(failure) => {
            host.remove(&temporary)?;
            if failure.error == FsError::Exists { Ok(false) } else { Err(failure) }
        }
    }
}

fn add(host: Host<'_>, path: &str, note: &Value) -> Result<(), Failure> {
    host.append(path, format!("{note}\n").as_bytes(), false)
}

fn remove_older(host: Host<'_>, lock: &str, number: u64) -> Result<(), Failure> {
    let older = claims(host, lock)?.into_iter().filter(|(other, _)| *other < number);
    older.into_iter().try_for_each(|(_, path)| host.remove(&path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::layout;
    use crate::io::lock;
    use crate::io::memory::{Machine, Process};

    const LOCK: &str = layout::LOCK;

    fn claim(process: &Process, take_over: bool) -> Result<Result<(), Holder>, Failure> {
        let host = Host::new(process);
        let process = host.current_process();
        let mut note = lock::note(host, &process);
        note["session"] = Value::Null;
        take(host, LOCK, &process, &note, take_over)
    }

    #[test]
    fn only_the_claim_of_an_exited_process_is_replaced() {
        let machine = Machine::new();
        let (one, two, three) = (machine.process(1), machine.process(2), machine.process(3));
        claim(&one, false).unwrap().unwrap();
        let written = machine.operations().len();
        claim(&one, false).unwrap().unwrap();
        assert_eq!(machine.operations().len(), written, "nothing is new");
        let holder = claim(&two, false).unwrap().unwrap_err();
        assert_eq!((holder.pid, holder.status), (Some(1), Some(ProcessStatus::Running)));
        assert!(holder.transient && !holder.locked);
        machine.kill(1);
        claim(&two, false).unwrap().unwrap();
        let host = Host::new(&two);
        assert_eq!(witness(host, LOCK).as_deref(), Some("batch.owner.2"));
        assert_eq!(claim(&three, false).unwrap().unwrap_err().pid, Some(2));
        release(host, LOCK, &host.current_process()).unwrap();
        assert_eq!(witness(host, LOCK), None);
        claim(&three, false).unwrap().unwrap();
        let records = machine.paths().into_iter().filter(|path| path.contains("owner"));
        assert_eq!(records.collect::<Vec<_>>(), ["batch.owner.3"]);
    }

    #[test]
    fn a_process_with_unknown_status_blocks_until_taken_over() {
        let machine = Machine::new();
        claim(&machine.process(1), false).unwrap().unwrap();
        machine.unknown.borrow_mut().push(1);
        let two = machine.process(2);
        let holder = claim(&two, false).unwrap().unwrap_err();
        assert_eq!(holder.status, Some(ProcessStatus::Unknown));
        assert!(!holder.transient);
        claim(&two, true).unwrap().unwrap();
        // Now the second process has the claim.
        assert_eq!(claim(&machine.process(3), false).unwrap().unwrap_err().pid, Some(2));
    }

    #[test]
    fn a_kill_at_any_operation_does_not_block_later_processes() {
        for operations in 0..8 {
            let machine = Machine::new();
            claim(&machine.process(1), false).unwrap().unwrap();
            machine.kill(1);
            machine.power_until.set(machine.operations().len() + operations);
            let _ = claim(&machine.process(2), false);
            machine.kill(2);
            machine.power_until.set(usize::MAX);
            claim(&machine.process(3), false).unwrap().unwrap();
            assert!(witness(Host::new(&machine.process(3)), LOCK).is_some(), "{operations}");
        }
    }

    #[test]
    fn files_without_a_valid_record_claim_nothing() {
        let machine = Machine::new();
        for (name, text) in [
            ("batch.owner.7", ""),
            ("batch.owner.8", "{\"pid\": 1, \"owner\""),
            ("batch.owner.x", "{\"pid\": 1}"),
            ("batch.owner.18446744073709551615", "{\"pid\": 1}"),
        ] {
            machine.put(name, text);
        }
        machine.process(1);
        let two = machine.process(2);
        claim(&two, false).unwrap().unwrap();
        assert_eq!(witness(Host::new(&two), LOCK).as_deref(), Some("batch.owner.9"));
    }
}
