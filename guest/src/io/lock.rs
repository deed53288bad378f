//! The lock of a repository: one batch, fix or `next` at a time.

use serde_json::{Value, json};

use crate::formats::layout;
use crate::formats::progress::{Owner, Progress};
use crate::io::capabilities::{FsError, Identity, Kind, Level, Liveness, LockOutcome, Metadata};
use crate::io::claim;
use crate::io::time::Timestamp;
use crate::io::tree::{Failure, Tree};

/// Who else works on the repository, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Holder {
    /// The session.
    pub session: Option<String>,
    /// The process.
    pub pid: Option<u64>,
    /// Since when.
    pub since: Option<String>,
    /// Whether that process runs.
    pub liveness: Option<Liveness>,
    /// True if the lock itself is held.
    pub locked: bool,
    /// True if this may pass in a moment.
    pub momentary: bool,
}

impl Holder {
    /// The owner of a progress file.
    pub fn of_progress(progress: &Progress, liveness: Liveness) -> Self {
        Holder {
            session: Some(progress.session_id.clone()),
            pid: Some(progress.pid),
            since: Some(progress.started_at.to_string()),
            liveness: Some(liveness),
            locked: false,
            momentary: false,
        }
    }
}

/// What the holder of the lock does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work<'s> {
    /// It begins a batch or a single run; which session is not known yet.
    Beginning,
    /// It runs this session.
    Session(&'s str),
    /// It mends or restores files.
    Repair,
}

/// Takes the lock and records the owner, or says who has it. Who has it already only changes what it
/// says of itself. `take_over` passes over an owner that may still run, never over the lock.
pub fn acquire(
    tree: Tree<'_>,
    identity: &Identity,
    work: Work<'_>,
    take_over: bool,
) -> Result<Result<(), Holder>, Failure> {
    // Before the lock: taking it overwrites the note of a holder whom it does not exclude.
    let claimed = claim::current_holder(tree, layout::LOCK, identity)?;
    if let Some(claimed) = claimed.filter(|_| !take_over) {
        return Ok(Err(current_holder(tree)?.unwrap_or(claimed)));
    }
    let mut note = json!({
        "pid": identity.pid,
        "since": tree.now().to_string(),
        "owner": Owner::of(identity).to_json(),
    });
    match work {
        Work::Beginning => note["session"] = Value::Null,
        Work::Session(session) => note["session"] = json!(session),
        Work::Repair => {}
    }
    check_kind(tree)?;
    let outcome = tree
        .lock(layout::LOCK, note.to_string().as_bytes())
        .map_err(tree.failed("lock", layout::LOCK))?;
    if let LockOutcome::Held(note) = outcome {
        return Ok(Err(holder(tree, &note)));
    }
    // The lock file may have been removed and be another one by now; the directory is the same. Where
    // directories cannot be locked, the file alone has to do.
    if let Ok(LockOutcome::Held(note)) = tree.lock(layout::ROOT, b"") {
        unlock(tree)?;
        return Ok(Err(holder(tree, &note)));
    }
    let taken = claim::take(tree, layout::LOCK, identity, &note, take_over);
    // Who runs a session already keeps the lock whatever becomes of the record.
    let is_new = !matches!(work, Work::Session(_));
    if is_new && !matches!(taken, Ok(Ok(()))) {
        unlock(tree)?;
    }
    taken
}

/// Gives the lock back.
pub fn release(tree: Tree<'_>) -> Result<(), Failure> {
    if let Err(failure) = claim::release(tree, layout::LOCK, &tree.current_process()) {
        // The record is void as soon as this process has exited.
        tree.log(Level::Debug, &failure.to_string());
    }
    unlock(tree)
}

fn unlock(tree: Tree<'_>) -> Result<(), Failure> {
    tree.unlock(layout::ROOT).map_err(tree.failed("unlock", layout::ROOT))?;
    tree.unlock(layout::LOCK).map_err(tree.failed("unlock", layout::LOCK))
}

/// Who has the lock, or claims the repository without it (through another mount, in another PID
/// namespace, on another machine), if anybody does.
pub fn current_holder(tree: Tree<'_>) -> Result<Option<Holder>, Failure> {
    check_kind(tree)?;
    let note = tree.lock_holder(layout::LOCK).map_err(tree.failed("look at", layout::LOCK))?;
    let note = note.or_else(|| tree.lock_holder(layout::ROOT).ok().flatten());
    let claimed = claim::current_holder(tree, layout::LOCK, &tree.current_process())?;
    Ok(match (note.map(|note| holder(tree, &note)), claimed) {
        // The lock of the directory has no note.
        (Some(Holder { pid: None, .. }), Some(claimed)) => Some(Holder { locked: true, ..claimed }),
        (locked, claimed) => locked.or(claimed),
    })
}

/// A directory could be locked as well, and would not say by whom.
fn check_kind(tree: Tree<'_>) -> Result<(), Failure> {
    match tree.stat(layout::LOCK)? {
        Some(Metadata { kind: kind @ Kind::Directory, .. }) => {
            Err(tree.failed("look at", layout::LOCK)(FsError::WrongKind(kind)))
        }
        _ => Ok(()),
    }
}

/// What the note of a held lock says. The lock of a process that is proven to have ended is held
/// by a child that it left, or by somebody who only looks: that passes. Who only begins will soon
/// say with what.
fn holder(tree: Tree<'_>, note: &[u8]) -> Holder {
    let note = crate::formats::json::parse(note).unwrap_or_default();
    let pid = note.get("pid").and_then(crate::formats::json::integer);
    let owner = note.get("owner").and_then(Owner::from_json).unwrap_or_default();
    let since = note.get("since").and_then(Value::as_str);
    let seen = since.and_then(Timestamp::parse);
    let liveness = pid.map(|pid| tree.liveness(&owner.recorded(pid, seen)));
    let session = note.get("session");
    let beginning = session.is_some_and(Value::is_null);
    Holder {
        session: session.and_then(Value::as_str).map(str::to_owned),
        pid,
        since: since.map(str::to_owned),
        liveness,
        locked: true,
        momentary: beginning || liveness.is_none_or(|liveness| liveness == Liveness::Exited),
    }
}
