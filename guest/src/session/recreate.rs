//! Recreates the files of a running session that were removed.

use serde_json::{Map, Value};

use crate::formats::journal::{Event, EventKind};
use crate::io::capabilities::{FsError, Level};
use crate::io::host::{Failure, Host};
use crate::io::lock::{self, Purpose};
use crate::io::owner::Owner;
use crate::session::running::Session;
use crate::time::Timestamp;

/// How often the lock is checked, in milliseconds.
const LOCK_INTERVAL: u64 = 1_000;

impl Session {
    /// Ensures that the files of the session exist: a `git clean` or an agent may have removed them.
    pub(super) fn ensure_files(&mut self, host: Host<'_>) -> Result<(), Failure> {
        let now = host.now();
        if now < self.lock_checked || now.since(self.lock_checked) >= LOCK_INTERVAL {
            self.ensure_lock(host)?;
            self.lock_checked = now;
        }
        match self.journal.is_intact(host)? {
            true => Ok(()),
            false => self.recreate_journal(host, now),
        }
    }

    /// Takes the lock again if its file was removed. The lock on the directory has excluded others meanwhile.
    fn ensure_lock(&self, host: Host<'_>) -> Result<(), Failure> {
        match lock::acquire(host, &host.current_process(), Purpose::Session(self.id()), false)? {
            Ok(()) => Ok(()),
            // Another command has the new lock file for a moment, until it finds that the directory is locked.
            Err(holder) if holder.transient => Ok(()),
            Err(holder) => {
                let pid = holder.pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
                let words = format!(
                    "the lock file was removed, and another process{pid} has taken it: stop that one"
                );
                Err(host.failed("lock", host.layout().lock)(FsError::Failed(words)))
            }
        }
    }

    /// Starts a segment with the complete state of the session. Results that are not in their files yet are
    /// recorded again, because the lines that contained them were lost.
    fn recreate_journal(&mut self, host: Host<'_>, now: Timestamp) -> Result<(), Failure> {
        self.journal.begin_segment(host)?;
        let mut events = vec![self.complete_state(host, now)];
        events.extend(self.ledger.workers().map(|(item, worker)| {
            Event::of(EventKind::PhaseStarted, now, item)
                .with("pid", worker.pid)
                .with_some("token", worker.token.clone())
        }));
        events.extend(self.checkpoint.pending_events(now));
        self.journal.append(host, &mut events, true)?;
        self.checkpoint.replace_pending(&events);
        self.checkpoint.write(host, &mut self.snapshot, &self.ledger, &self.journal, true)?;
        host.log(
            Level::Warning,
            &format!(
                "Files in {}{} were removed or changed during the session. \
                 They were written again from memory. No results were lost.",
                host.layout().prefix,
                self.journal.directory()
            ),
        );
        Ok(())
    }

    /// The event that contains the complete state of the session.
    fn complete_state(&self, host: Host<'_>, now: Timestamp) -> Event {
        let in_flight = self.ledger.in_flight().iter().map(|item| self.ledger.id(*item));
        let attempts = self.ledger.open_attempts().into_iter();
        let attempts: Map<String, Value> =
            attempts.map(|(item, count)| (item, Value::from(count))).collect();
        let mut event = Event::new(EventKind::JournalRecreated, now)
            .with("session_id", self.id())
            .with("pid", self.snapshot.pid)
            .with("owner", Owner::of(&host.current_process()).to_json())
            .with("parallel", self.snapshot.parallel);
        if self.parts.limits.single {
            event = event.with("single", true);
        }
        if let Some(feature) = self.parts.workload.feature() {
            event = event.with("feature", feature.id);
        }
        event.more.extend(self.ledger.to_lists());
        event
            .with("in_flight", in_flight.collect::<Value>())
            .with("attempts", Value::Object(attempts))
    }
}
