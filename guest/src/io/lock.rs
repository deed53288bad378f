//! The lock of a root: one session, fix or single run at a time.

use serde_json::{Value, json};

use crate::bindings::exports::wreckit::batch::session::Holder;
use crate::io::capabilities::{FsError, Kind, Level, Metadata, ProcessInfo, ProcessStatus};
use crate::io::claim;
use crate::io::host::{Failure, Host};
use crate::io::layout;
use crate::io::owner::Owner;
use crate::json;
use crate::time::Timestamp;

impl Holder {
    /// A process of which nothing is known.
    pub fn unknown() -> Self {
        Holder {
            session: None,
            pid: None,
            since: None,
            status: None,
            locked: false,
            transient: false,
        }
    }
}

/// What a process takes the lock for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose<'s> {
    /// To open a session; which one is not known yet.
    Opening,
    /// To run this session.
    Session(&'s str),
    /// To fix, restore or remove files.
    Maintenance,
}

/// The note of a holder in its lock, for other processes to read.
pub fn note(host: Host<'_>, process: &ProcessInfo) -> Value {
    json!({
        "pid": process.pid,
        "since": host.now().to_string(),
        "owner": Owner::of(process).to_json(),
    })
}

/// Takes the lock and records the owner, or returns the holder. A process that already has the lock replaces
/// its note. `take_over` ignores an owner that may still be running, but never the lock.
pub fn acquire(
    host: Host<'_>,
    process: &ProcessInfo,
    purpose: Purpose<'_>,
    take_over: bool,
) -> Result<Result<(), Holder>, Failure> {
    let lock = host.layout().lock;
    // Checked before the lock is taken: taking it overwrites the note of a holder that it does not exclude.
    let claimed = claim::current_holder(host, lock, process)?;
    if let Some(claimed) = claimed.filter(|_| !take_over) {
        return Ok(Err(current_holder(host)?.unwrap_or(claimed)));
    }
    let mut note = note(host, process);
    match purpose {
        Purpose::Opening => note["session"] = Value::Null,
        Purpose::Session(session) => note["session"] = json!(session),
        Purpose::Maintenance => {}
    }
    check_kind(host)?;
    let state = host.lock(lock, note.to_string().as_bytes()).map_err(host.failed("lock", lock))?;
    if state.held {
        return Ok(Err(holder(host, &state.note)));
    }
    // The lock file may have been removed and be another one by now; the directory is the same. Where
    // directories cannot be locked, the lock of the file must suffice.
    if let Ok(state) = host.lock(layout::ROOT, b"")
        && state.held
    {
        unlock(host)?;
        return Ok(Err(holder(host, &state.note)));
    }
    let taken = claim::take(host, lock, process, &note, take_over);
    // A process that runs a session keeps the lock even if the record cannot be written.
    let is_new = !matches!(purpose, Purpose::Session(_));
    if is_new && !matches!(taken, Ok(Ok(()))) {
        unlock(host)?;
    }
    taken
}

/// Releases the lock.
pub fn release(host: Host<'_>) -> Result<(), Failure> {
    if let Err(failure) = claim::release(host, host.layout().lock, &host.current_process()) {
        // The record is void as soon as this process has exited.
        host.log(Level::Debug, &failure.to_string());
    }
    unlock(host)
}

fn unlock(host: Host<'_>) -> Result<(), Failure> {
    let lock = host.layout().lock;
    host.unlock(layout::ROOT).map_err(host.failed("unlock", layout::ROOT))?;
    host.unlock(lock).map_err(host.failed("unlock", lock))
}

/// The process that has the lock, or claims the root without it: through another mount, in another PID
/// namespace, on another machine.
pub fn current_holder(host: Host<'_>) -> Result<Option<Holder>, Failure> {
    let lock = host.layout().lock;
    check_kind(host)?;
    let state = host.lock_holder(lock).map_err(host.failed("inspect", lock))?;
    let note = state.held.then_some(state.note);
    let note = note.or_else(|| {
        let state = host.lock_holder(layout::ROOT).ok()?;
        state.held.then_some(state.note)
    });
    let claimed = claim::current_holder(host, lock, &host.current_process())?;
    Ok(match (note.map(|note| holder(host, &note)), claimed) {
        // The lock of the directory has no note.
        (Some(Holder { pid: None, .. }), Some(claimed)) => Some(Holder { locked: true, ..claimed }),
        (locked, claimed) => locked.or(claimed),
    })
}

/// Refuses a directory in place of the lock file: it could be locked as well, and has no note.
fn check_kind(host: Host<'_>) -> Result<(), Failure> {
    let lock = host.layout().lock;
    match host.stat(lock)? {
        Some(Metadata { kind: kind @ Kind::Directory, .. }) => {
            Err(host.failed("inspect", lock)(FsError::WrongKind(kind)))
        }
        _ => Ok(()),
    }
}

/// The holder that the note of a held lock names. The lock of a process that has exited is held by one of
/// its children, or by a process that only checks the lock: that is transient. So is a process that is only
/// opening its session.
pub fn holder(host: Host<'_>, note: &[u8]) -> Holder {
    let note = json::parse(note).unwrap_or_default();
    let pid = note.get("pid").and_then(json::integer);
    let owner = note.get("owner").and_then(Owner::from_json).unwrap_or_default();
    let since = note.get("since").and_then(Value::as_str);
    let seen = since.and_then(Timestamp::parse);
    let status = pid.map(|pid| host.process_status(&owner.recorded(pid, seen)));
    let session = note.get("session");
    let is_opening = session.is_some_and(Value::is_null);
    Holder {
        session: session.and_then(Value::as_str).map(str::to_owned),
        pid,
        since: since.map(str::to_owned),
        status,
        locked: true,
        transient: is_opening || status.is_none_or(|status| status == ProcessStatus::Exited),
    }
}
