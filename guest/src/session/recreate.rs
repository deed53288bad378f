//! Recreates the files of a running session after someone has removed them.

use serde_json::{Map, Value};

use crate::formats::journal::{Event, EventKind};
use crate::formats::layout;
use crate::formats::progress::Owner;
use crate::io::capabilities::{FsError, Level};
use crate::io::host::{Failure, Host};
use crate::io::lock::{self, Work};
use crate::io::time::Timestamp;
use crate::session::session::Session;

/// The lock file is looked for this often, in milliseconds.
const LOCK_INTERVAL: u64 = 1_000;

impl Session {
    /// Makes sure that what the session relies on is there: a `git clean` or an agent may have removed it.
    pub(super) fn keep_files(&mut self, host: Host<'_>) -> Result<(), Failure> {
        let now = host.now();
        if now < self.lock_checked || now.since(self.lock_checked) >= LOCK_INTERVAL {
            self.keep_lock(host)?;
            self.lock_checked = now;
        }
        match self.journal.is_intact(host)? {
            true => Ok(()),
            false => self.recreate_journal(host, now),
        }
    }

    /// The lock on the directory has kept everyone else out in the meantime.
    fn keep_lock(&self, host: Host<'_>) -> Result<(), Failure> {
        match lock::acquire(host, &host.current_process(), Work::Session(self.id()), false)? {
            Ok(()) => Ok(()),
            Err(holder) => {
                let pid = holder.pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
                let words = format!(
                    "the lock file was removed, and another process{pid} has taken it: stop that one"
                );
                Err(host.failed("lock", layout::LOCK)(FsError::Failed(words)))
            }
        }
    }

    /// Begins a segment with the full state of the session. Results that are not in their files yet are
    /// recorded again, because the lines that held them were lost.
    fn recreate_journal(&mut self, host: Host<'_>, now: Timestamp) -> Result<(), Failure> {
        self.journal.begin_segment(host)?;
        let mut events = vec![self.whole(host, now)];
        events.extend(self.ledger.workers().map(|(item, worker)| {
            Event::of(EventKind::PhaseStarted, now, item)
                .with("pid", worker.pid)
                .with_some("token", worker.token.clone())
        }));
        events.extend(self.checkpoint.unsynced_events(now));
        self.journal.append(host, &mut events, true)?;
        self.checkpoint.replace_unsynced(&events);
        self.checkpoint.write(host, &mut self.head, &self.ledger, &self.journal, true)?;
        host.log(
            Level::Warning,
            &format!(
                "Files in {}{} were removed or changed while the batch is running. \
                 They were written again from memory. No results were lost.",
                layout::PREFIX,
                self.journal.directory()
            ),
        );
        Ok(())
    }

    /// The event that holds the full state of the session.
    fn whole(&self, host: Host<'_>, now: Timestamp) -> Event {
        let in_flight = self.ledger.in_flight().iter().map(|item| self.ledger.id(*item));
        let attempts = self.ledger.open_attempts().into_iter();
        let attempts: Map<String, Value> =
            attempts.map(|(item, count)| (item, Value::from(count))).collect();
        let mut event = Event::new(EventKind::JournalRecreated, now)
            .with("session_id", self.id())
            .with("pid", self.head.pid)
            .with("owner", Owner::of(&host.current_process()).to_json())
            .with("parallel", self.head.parallel);
        if self.options.single {
            event = event.with("single", true);
        }
        event.more.extend(self.ledger.to_lists());
        event
            .with("in_flight", in_flight.collect::<Value>())
            .with("attempts", Value::Object(attempts))
    }
}
