//! Closing a session.

use serde_json::json;

use crate::formats::journal::{Event, EventKind};
use crate::formats::progress;
use crate::io::capabilities::Level;
use crate::io::host::Host;
use crate::io::lock;
use crate::session::ledger::ItemIndex;
use crate::session::runs;
use crate::session::session::{Session, SessionError};

/// Why a session is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// Nothing more can run.
    Ended,
    /// A signal or a failure.
    Interrupted,
}

/// A session that was closed.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Its id.
    pub session: String,
    /// Completed, in the order of completion.
    pub completed: Vec<String>,
    /// Failed, and why.
    pub failed: Vec<(String, String)>,
    /// Found done.
    pub skipped: Vec<String>,
    /// Still to do, in queue order.
    pub remaining: Vec<String>,
    /// What could not run, and why.
    pub blocked: Vec<(String, String)>,
    /// What cannot be used, and why.
    pub invalid: Vec<(String, String)>,
    /// True if the next `open` goes on with this session.
    pub resumable: bool,
    /// The phase of a feature that a person has to approve before anything goes on.
    pub awaits: Option<String>,
    /// What was recorded; `batch-finished` is the last.
    pub events: Vec<Event>,
}

impl Session {
    /// Ends the session: every result goes into its `item.json`, then the last checkpoint is
    /// written, then the lock is given back. After an error it can be called again.
    pub fn close(&mut self, host: Host<'_>, reason: CloseReason) -> Result<Summary, SessionError> {
        let now = host.now();
        self.interrupt_all(now);
        self.keep_files(host)?;
        self.record(host)?;
        self.sync(host)?;

        let blocked = match reason {
            // A single run that ran its item has nothing to say of the others.
            CloseReason::Ended if !self.ran_its_item() => self.plan.blocked(&self.ledger),
            CloseReason::Ended | CloseReason::Interrupted => Vec::new(),
        };
        let blocked = self.named(&blocked);
        for (id, reason) in &blocked {
            self.happened(
                Event::of(EventKind::ItemBlocked, now, id).with("reason", reason.clone()),
            );
        }
        let unsynced: Vec<String> = self.checkpoint.unsynced().map(str::to_owned).collect();
        for id in &unsynced {
            if !self.invalid.iter().any(|(invalid, _)| invalid == id) {
                self.invalid
                    .push((id.clone(), "its result cannot be written into item.json".to_owned()));
            }
        }
        let remaining = self.remaining(host)?;
        let is_open = !remaining.is_empty() || !unsynced.is_empty();
        let resumable = is_open && !self.options.single;
        let word = match reason {
            CloseReason::Interrupted => "interrupted",
            CloseReason::Ended if self.has_failed_enough() => "max-failures",
            CloseReason::Ended if blocked.is_empty() => "ended",
            CloseReason::Ended => "blocked",
        };
        self.happened(runs::finished(now, word, resumable, unsynced.len()));
        self.record(host)?;

        if resumable {
            if let Some(owner) = &mut self.head.owner {
                owner.released = true;
            }
            self.checkpoint.write(host, &mut self.head, &self.ledger, &self.journal, true)?;
        } else {
            if !self.options.single {
                progress::clear(host)?;
            }
            if let Err(failure) = runs::prune(host, self.journal.directory()) {
                host.log(Level::Warning, &failure.to_string());
            }
        }
        lock::release(host)?;

        let mut summary = Summary {
            session: self.id().to_owned(),
            completed: self.ids(self.ledger.completed()),
            failed: self.named(&self.failed()),
            skipped: self.ids(self.ledger.skipped()),
            remaining,
            blocked,
            invalid: self.invalid.clone(),
            resumable,
            awaits: None,
            events: self.tell(),
        };
        summary.complete_last_event();
        Ok(summary)
    }

    fn ran_its_item(&self) -> bool {
        self.options.single && self.ledger.completed().len() + self.ledger.failed().len() > 0
    }

    /// What is left and could run some day: not what is gone or cannot be used.
    fn remaining(&self, host: Host<'_>) -> Result<Vec<String>, SessionError> {
        let existing = crate::formats::item::ids(host)?;
        let remaining = self.ledger.remaining().map(|item| self.ledger.id(item)).filter(|id| {
            existing.binary_search_by(|other| crate::formats::item::compare(other, id)).is_ok()
                && !self.invalid.iter().any(|(invalid, _)| invalid == id)
        });
        Ok(remaining.map(str::to_owned).collect())
    }

    fn failed(&self) -> Vec<(ItemIndex, String)> {
        let failed = self.ledger.failed().iter();
        failed.map(|item| (*item, self.ledger.error(*item).to_owned())).collect()
    }

    fn ids(&self, items: &[ItemIndex]) -> Vec<String> {
        items.iter().map(|item| self.ledger.id(*item).to_owned()).collect()
    }

    fn named(&self, items: &[(ItemIndex, String)]) -> Vec<(String, String)> {
        items.iter().map(|(item, text)| (self.ledger.id(*item).to_owned(), text.clone())).collect()
    }
}

impl Summary {
    /// The last event tells the whole result to those who follow the events. In the journal it
    /// does not repeat what stands before it.
    fn complete_last_event(&mut self) {
        let Some(event) = self.events.last_mut() else { return };
        let ids =
            |list: &[(String, String)]| json!(list.iter().map(|(id, _)| id).collect::<Vec<_>>());
        event.more.insert("session_id".into(), json!(self.session));
        event.more.insert("completed".into(), json!(self.completed));
        event.more.insert("failed".into(), ids(&self.failed));
        event.more.insert("skipped".into(), json!(self.skipped));
        event.more.insert("remaining".into(), json!(self.remaining));
        event.more.insert("invalid".into(), ids(&self.invalid));
    }
}
