//! The lock of a repository: one batch, fix or `next` at a time.

use serde_json::{Value, json};

use crate::capabilities::{Identity, Liveness, LockOutcome, Recorded};
use crate::layout;
use crate::progress::{Owner, Progress};
use crate::time::Timestamp;
use crate::tree::{Failure, Tree};

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

/// Takes the lock, or says who has it. Who has it already only changes what it says of itself.
pub fn acquire(
    tree: Tree<'_>,
    identity: &Identity,
    work: Work<'_>,
) -> Result<Result<(), Holder>, Failure> {
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
    let outcome = tree
        .lock(layout::LOCK, note.to_string().as_bytes())
        .map_err(tree.failed("lock", layout::LOCK))?;
    if let LockOutcome::Held(note) = outcome {
        return Ok(Err(holder(tree, &note)));
    }
    // The lock file may have been removed and be another one by now; the directory is the same. Where
    // directories cannot be locked, the file alone has to do.
    if let Ok(LockOutcome::Held(note)) = tree.lock(layout::ROOT, b"") {
        tree.unlock(layout::LOCK).map_err(tree.failed("unlock", layout::LOCK))?;
        return Ok(Err(holder(tree, &note)));
    }
    Ok(Ok(()))
}

/// Gives the lock back.
pub fn release(tree: Tree<'_>) -> Result<(), Failure> {
    tree.unlock(layout::ROOT).map_err(tree.failed("unlock", layout::ROOT))?;
    tree.unlock(layout::LOCK).map_err(tree.failed("unlock", layout::LOCK))
}

/// Who has the lock, if anybody does.
pub fn current_holder(tree: Tree<'_>) -> Result<Option<Holder>, Failure> {
    let note = tree.lock_holder(layout::LOCK).map_err(tree.failed("look at", layout::LOCK))?;
    let note = note.or_else(|| tree.lock_holder(layout::ROOT).ok().flatten());
    Ok(note.map(|note| holder(tree, &note)))
}

/// What the note of a held lock says. The lock of a process that is proven to have ended is held
/// by a child that it left, or by somebody who only looks: that passes. Who only begins will soon
/// say with what.
fn holder(tree: Tree<'_>, note: &[u8]) -> Holder {
    let note = crate::json::parse(note).unwrap_or_default();
    let pid = note.get("pid").and_then(crate::json::integer);
    let owner = note.get("owner").and_then(Owner::from_json).unwrap_or_default();
    let since = note.get("since").and_then(Value::as_str);
    let liveness = pid.map(|pid| {
        tree.liveness(&Recorded {
            pid,
            host: owner.host,
            boot_id: owner.boot_id,
            start_time: owner.start_time,
            seen: since.and_then(Timestamp::parse),
        })
    });
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
