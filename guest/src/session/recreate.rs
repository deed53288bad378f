//! Recreates the files of a running session after someone has removed them.

use serde_json::{Map, Value};

use crate::formats::journal::{Event, EventKind};
use crate::formats::layout;
use crate::formats::progress::Owner;
use crate::io::capabilities::{FsError, Level};
use crate::io::lock::{self, Work};
use crate::io::time::Timestamp;
use crate::io::tree::{Failure, Tree};
use crate::session::session::Session;

/// The lock file is looked for this often, in milliseconds.
const LOCK_INTERVAL: u64 = 1_000;

impl Session {
    /// Makes sure that what the session relies on is there: a `git clean` or an agent may have removed it.
    pub(super) fn keep_files(&mut self, tree: Tree<'_>) -> Result<(), Failure> {
        let now = tree.now();
        if now < self.lock_checked || now.since(self.lock_checked) >= LOCK_INTERVAL {
            self.keep_lock(tree)?;
            self.lock_checked = now;
        }
        match self.journal.is_intact(tree)? {
            true => Ok(()),
            false => self.recreate_journal(tree, now),
        }
    }

    /// The lock on the directory has kept everyone else out in the meantime.
    fn keep_lock(&self, tree: Tree<'_>) -> Result<(), Failure> {
        match lock::acquire(tree, &tree.current_process(), Work::Session(self.id()), false)? {
            Ok(()) => Ok(()),
            Err(holder) => {
                let pid = holder.pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
                let words = format!(
                    "the lock file was removed, and another process{pid} has taken it: stop that one"
                );
                Err(tree.failed("lock", layout::LOCK)(FsError::Failed(words)))
            }
        }
    }

    /// Begins a segment with the full state of the session. Results that are not in their files yet are
    /// recorded again, because the lines that held them were lost.
    fn recreate_journal(&mut self, tree: Tree<'_>, now: Timestamp) -> Result<(), Failure> {
        self.journal.begin_segment(tree)?;
        let mut events = vec![self.whole(tree, now)];
        events.extend(self.ledger.workers().map(|worker| {
            Event::of(EventKind::PhaseStarted, now, worker.item.as_deref().unwrap_or_default())
                .with("pid", worker.pid)
                .with("group", worker.pid)
                .with_some("start_time", worker.start_time)
        }));
        events.extend(self.checkpoint.unsynced_events(now));
        self.journal.append(tree, &mut events, true)?;
        self.checkpoint.replace_unsynced(&events);
        self.checkpoint.write(tree, &mut self.head, &self.ledger, &self.journal, true)?;
        tree.log(
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
    fn whole(&self, tree: Tree<'_>, now: Timestamp) -> Event {
        let in_flight = self.ledger.in_hand().iter().map(|item| self.ledger.id(*item));
        let attempts = self.ledger.open_attempts().into_iter();
        let attempts: Map<String, Value> =
            attempts.map(|(item, count)| (item, Value::from(count))).collect();
        let mut event = Event::new(EventKind::JournalRecreated, now)
            .with("session_id", self.id())
            .with("pid", self.head.pid)
            .with("owner", Owner::of(&tree.current_process()).to_json())
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
