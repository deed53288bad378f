//! When results are applied to the files of their items, and when the snapshot is written.
//!
//! The journal makes a result durable, so both may trail it; together they cost little however large the session
//! is. A snapshot covers only events whose results are in the files of their items: a resume reads only the
//! journal beyond the snapshot.

use crate::formats::journal::{Event, EventKind, Writer};
use crate::formats::progress::{self, Progress};
use crate::formats::result::ItemResult;
use crate::io::host::{Failure, Host};
use crate::session::ledger::Ledger;
use crate::session::saved;
use crate::time::Timestamp;
use crate::workload::Workload;
use crate::workload::results::{self, Unwritten};

/// How far results and snapshots may trail the journal, in milliseconds.
const INTERVAL: u64 = 1_000;
/// How often `updated_at` is refreshed, in milliseconds, so that others see that the session is alive.
const HEARTBEAT: u64 = 60_000;
/// Size in bytes up to which a snapshot is always rewritten. A larger one is rewritten when the journal has grown
/// by half its size.
const SMALL: u64 = 64 << 10;

/// Which files have to be updated from the journal.
#[derive(Debug)]
pub(super) struct Checkpoint {
    /// Results that are not in the files of their items yet.
    pending: Vec<ItemResult>,
    /// Results up to this event have been warned about.
    warned: u64,
    /// Whether another process is changing a file that results are waiting for.
    busy: bool,
    /// When files were last updated.
    last: Timestamp,
    /// When the snapshot was last written.
    snapshot_written: Timestamp,
    /// Size of the last snapshot in bytes.
    size: u64,
    /// How long the journal was then.
    journal: u64,
    /// True if an event was recorded since.
    changed: bool,
    /// Whether the session has a progress file.
    writes_snapshot: bool,
}

impl Checkpoint {
    /// Everything is up to date at `now`.
    pub(super) fn new(now: Timestamp, writes_snapshot: bool) -> Self {
        Checkpoint {
            pending: Vec::new(),
            warned: 0,
            busy: false,
            last: now,
            snapshot_written: now,
            size: 0,
            journal: 0,
            changed: false,
            writes_snapshot,
        }
    }

    /// Notes an event that was recorded.
    pub(super) fn note(&mut self, event: &Event) {
        self.changed = true;
        self.pending.extend(ItemResult::of(event));
    }

    /// Milliseconds until something is due.
    pub(super) fn due_in(&self, now: Timestamp, journal: &Writer) -> u64 {
        let pending = !self.pending.is_empty() || self.needs_snapshot(journal);
        let interval =
            if pending { INTERVAL.saturating_sub(age(now, self.last)) } else { u64::MAX };
        interval.min(HEARTBEAT.saturating_sub(age(now, self.snapshot_written)))
    }

    /// Does what is due. Returns the event that it recorded, if any.
    pub(super) fn run_if_due(
        &mut self,
        host: Host<'_>,
        workload: &dyn Workload,
        snapshot: &mut Progress,
        ledger: &Ledger,
        journal: &mut Writer,
    ) -> Result<Option<Event>, Failure> {
        let now = host.now();
        if self.due_in(now, journal) > 0 {
            return Ok(None);
        }
        let synced = self.apply_results(host, workload, journal)?;
        if self.needs_snapshot(journal) || age(now, self.snapshot_written) >= HEARTBEAT {
            self.write(host, snapshot, ledger, journal, false)?;
        }
        self.last = now;
        Ok(synced)
    }

    /// Applies the results to the files of their items, and records that.
    pub(super) fn apply_results(
        &mut self,
        host: Host<'_>,
        workload: &dyn Workload,
        journal: &mut Writer,
    ) -> Result<Option<Event>, Failure> {
        if self.pending.is_empty() {
            return Ok(None);
        }
        let unwritten = workload.apply_results(host, &self.pending)?;
        self.retry_later(host, unwritten);
        if !self.pending.is_empty() {
            return Ok(None);
        }
        let through = journal.last();
        let mut events = [Event::new(EventKind::Synced, host.now()).with("through", through)];
        journal.append(host, &mut events, false)?;
        let [synced] = events;
        Ok(Some(synced))
    }

    /// Retries results that could not be written at the next checkpoint. Warns about each one once.
    pub(super) fn retry_later(&mut self, host: Host<'_>, unwritten: Vec<Unwritten>) {
        let new = unwritten.iter().position(|it| it.result.seq > self.warned);
        results::warn_unwritten(host, new.map_or(&[], |new| &unwritten[new..]));
        self.busy = unwritten.iter().any(|it| it.busy);
        if !self.busy {
            self.warned = unwritten.last().map_or(self.warned, |it| it.result.seq);
        }
        self.pending = unwritten.into_iter().map(|it| it.result).collect();
    }

    /// Whether the session has a progress file.
    pub(super) fn writes_snapshot(&self) -> bool {
        self.writes_snapshot
    }

    /// Whether results wait for another process to finish changing a file.
    pub(super) fn is_busy(&self) -> bool {
        self.busy
    }

    /// The results that are not in the files of their items, as events to record again.
    pub(super) fn pending_events(&self, now: Timestamp) -> Vec<Event> {
        self.pending.iter().map(|result| result.to_event(now)).collect()
    }

    /// The pending results are recorded by these events now.
    pub(super) fn replace_pending(&mut self, events: &[Event]) {
        self.pending = events.iter().filter_map(ItemResult::of).collect();
    }

    /// The items whose results are not in their files.
    pub(super) fn pending_items(&self) -> impl Iterator<Item = &str> {
        self.pending.iter().map(|result| result.item.as_str())
    }

    /// The last event that a snapshot may cover: it is on disk, and before every result that could not be
    /// written. A resume reads what follows it.
    fn mark(&self, journal: &Writer) -> u64 {
        let first = self.pending.iter().map(|result| result.seq).min();
        first.map_or(u64::MAX, |seq| seq.saturating_sub(1)).min(journal.durable())
    }

    /// Writes the snapshot. Everything in it has been synced.
    pub(super) fn write(
        &mut self,
        host: Host<'_>,
        snapshot: &mut Progress,
        ledger: &Ledger,
        journal: &Writer,
        durable: bool,
    ) -> Result<(), Failure> {
        let now = host.now();
        self.snapshot_written = now;
        if !self.writes_snapshot {
            return Ok(());
        }
        snapshot.updated_at = now;
        self.size =
            progress::write(host, &saved::document(snapshot, ledger, self.mark(journal)), durable)?;
        self.journal = journal.bytes();
        self.changed = false;
        Ok(())
    }

    fn needs_snapshot(&self, journal: &Writer) -> bool {
        let grown = journal.bytes() - self.journal;
        self.writes_snapshot && self.changed && (self.size <= SMALL || grown >= self.size / 2)
    }
}

/// Milliseconds from `then` to `now`; infinite if the clock was set back, so that the work is done again.
fn age(now: Timestamp, then: Timestamp) -> u64 {
    if now < then { u64::MAX } else { now.since(then) }
}
