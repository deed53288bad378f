//! When results go into the items' files, and when the snapshot is rewritten.
//!
//! The journal is what makes a result durable, so both may trail it; together they cost little
//! however large the batch is. A snapshot only claims events whose results are in their items'
//! files: a resume then has only the journal beyond the snapshot to look at.

use crate::formats::journal::{Event, EventKind, Writer};
use crate::formats::progress::{self, Progress};
use crate::io::host::{Failure, Host};
use crate::io::time::Timestamp;
use crate::session::ledger::Ledger;
use crate::session::saved;
use crate::session::settle::{self, Outcome, Unwritten};

/// Results and snapshots trail the journal by so many milliseconds at most.
const INTERVAL: u64 = 1_000;
/// `updated_at` is refreshed this often, so that others see that the batch is alive.
const HEARTBEAT: u64 = 60_000;
/// A snapshot larger than this is only rewritten when the journal has grown by half its size.
const SMALL: u64 = 64 << 10;

/// What the files lag behind the journal.
#[derive(Debug)]
pub(super) struct Checkpoint {
    /// Results that are not in their `item.json` yet.
    unsynced: Vec<Outcome>,
    /// Up to this event the user was told of what cannot be written.
    complained: u64,
    /// When files were last brought up to date.
    last: Timestamp,
    /// When the snapshot was last written.
    snapshot: Timestamp,
    /// Size of the last snapshot in bytes.
    size: u64,
    /// How long the journal was then.
    journal: u64,
    /// True if something was recorded since.
    changed: bool,
    /// False for a run without a progress file.
    keeps_progress: bool,
}

impl Checkpoint {
    /// Nothing lags at `now`.
    pub(super) fn new(now: Timestamp, keeps_progress: bool) -> Self {
        Checkpoint {
            unsynced: Vec::new(),
            complained: 0,
            last: now,
            snapshot: now,
            size: 0,
            journal: 0,
            changed: false,
            keeps_progress,
        }
    }

    /// Takes note of an event that was recorded.
    pub(super) fn note(&mut self, event: &Event) {
        self.changed = true;
        self.unsynced.extend(Outcome::of(event));
    }

    /// Milliseconds until something is due.
    pub(super) fn due_in(&self, now: Timestamp, journal: &Writer) -> u64 {
        let pending = !self.unsynced.is_empty() || self.snapshot_wanted(journal);
        let interval =
            if pending { INTERVAL.saturating_sub(age(now, self.last)) } else { u64::MAX };
        interval.min(HEARTBEAT.saturating_sub(age(now, self.snapshot)))
    }

    /// Does what is due; what that recorded.
    pub(super) fn run_if_due(
        &mut self,
        host: Host<'_>,
        head: &mut Progress,
        ledger: &Ledger,
        journal: &mut Writer,
    ) -> Result<Option<Event>, Failure> {
        let now = host.now();
        if self.due_in(now, journal) > 0 {
            return Ok(None);
        }
        let synced = self.sync(host, journal)?;
        if self.snapshot_wanted(journal) || age(now, self.snapshot) >= HEARTBEAT {
            self.write(host, head, ledger, journal, false)?;
        }
        self.last = now;
        Ok(synced)
    }

    /// Brings the results into their items' files, and records that they are there.
    pub(super) fn sync(
        &mut self,
        host: Host<'_>,
        journal: &mut Writer,
    ) -> Result<Option<Event>, Failure> {
        if self.unsynced.is_empty() {
            return Ok(None);
        }
        let unwritten = settle::settle(host, &self.unsynced)?;
        self.keep(host, unwritten);
        if !self.unsynced.is_empty() {
            return Ok(None);
        }
        let through = journal.last();
        let mut events = [Event::new(EventKind::Synced, host.now()).with("through", through)];
        journal.append(host, &mut events, false)?;
        let [synced] = events;
        Ok(Some(synced))
    }

    /// What could not be written stays to be written; each is complained of once.
    pub(super) fn keep(&mut self, host: Host<'_>, unwritten: Vec<Unwritten>) {
        let new = unwritten.iter().position(|(outcome, _)| outcome.seq > self.complained);
        settle::complain(host, new.map_or(&[], |new| &unwritten[new..]));
        self.complained = unwritten.last().map_or(self.complained, |(outcome, _)| outcome.seq);
        self.unsynced = unwritten.into_iter().map(|(outcome, _)| outcome).collect();
    }

    /// The results that are not in their files, as events to record again.
    pub(super) fn unsynced_events(&self, now: Timestamp) -> Vec<Event> {
        self.unsynced.iter().map(|outcome| outcome.to_event(now)).collect()
    }

    /// They are recorded by these events now.
    pub(super) fn replace_unsynced(&mut self, events: &[Event]) {
        self.unsynced = events.iter().filter_map(Outcome::of).collect();
    }

    /// The items whose results are not in their files.
    pub(super) fn unsynced(&self) -> impl Iterator<Item = &str> {
        self.unsynced.iter().map(|outcome| outcome.item.as_str())
    }

    /// The last event that a snapshot may claim: one that is on disk, and before every result that
    /// could not be written. A resume reads what follows it.
    fn mark(&self, journal: &Writer) -> u64 {
        let first = self.unsynced.iter().map(|outcome| outcome.seq).min();
        first.map_or(u64::MAX, |seq| seq.saturating_sub(1)).min(journal.durable())
    }

    /// Rewrites the snapshot. Everything in it has been synced.
    pub(super) fn write(
        &mut self,
        host: Host<'_>,
        head: &mut Progress,
        ledger: &Ledger,
        journal: &Writer,
        durable: bool,
    ) -> Result<(), Failure> {
        let now = host.now();
        self.snapshot = now;
        if !self.keeps_progress {
            return Ok(());
        }
        head.updated_at = now;
        self.size =
            progress::write(host, &saved::document(head, ledger, self.mark(journal)), durable)?;
        self.journal = journal.bytes();
        self.changed = false;
        Ok(())
    }

    fn snapshot_wanted(&self, journal: &Writer) -> bool {
        let grown = journal.bytes() - self.journal;
        self.keeps_progress && self.changed && (self.size <= SMALL || grown >= self.size / 2)
    }
}

/// How long ago something was; endless if the clock jumped back, so that it is done again.
fn age(now: Timestamp, then: Timestamp) -> u64 {
    if now < then { u64::MAX } else { now.since(then) }
}
