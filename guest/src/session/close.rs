//! Closing a session.

use std::collections::HashSet;

use serde_json::json;

use crate::bindings::exports::wreckit::batch::session::{
    BlockedItem, CloseReason, FailedItem, SessionError, Summary,
};
use crate::formats::journal::{Event, EventKind};
use crate::formats::progress;
use crate::io::capabilities::Level;
use crate::io::host::{Failure, Host};
use crate::io::lock;
use crate::session::events::publish;
use crate::session::ledger::ItemIndex;
use crate::session::running::Session;
use crate::session::runs;

impl Session {
    /// Closes the session: applies every result, writes the last snapshot and releases the lock. After an
    /// error it can be called again.
    pub fn close(&mut self, host: Host<'_>, reason: CloseReason) -> Result<Summary, SessionError> {
        self.interrupt_all(host.now());
        self.ensure_files(host)?;
        self.record(host)?;
        self.apply_results(host)?;

        let blocked = self.blocked_items(reason);
        for (id, why) in &blocked {
            let event = Event::of(EventKind::ItemBlocked, host.now(), id);
            self.push_event(event.with("reason", why.clone()));
        }
        let pending: Vec<String> = self.checkpoint.pending_items().map(str::to_owned).collect();
        for id in &pending {
            if !self.invalid.iter().any(|(invalid, _)| invalid == id) {
                self.invalid.push((id.clone(), "its result cannot be written".to_owned()));
            }
        }
        let remaining = self.remaining(host)?;
        let is_open = !remaining.is_empty() || !pending.is_empty();
        let has_failed = !self.ledger.failed().is_empty();
        let resumable = is_open
            && !self.parts.limits.single
            && self.parts.workload.is_resumable(host, has_failed);
        let word = match reason {
            CloseReason::Interrupted => "interrupted",
            CloseReason::Ended if self.has_failed_enough() => "max-failures",
            CloseReason::Ended if blocked.is_empty() => "ended",
            CloseReason::Ended => "blocked",
        };
        self.push_event(runs::finished(host.now(), word, resumable, pending.len()));
        self.record(host)?;
        self.write_end(host, resumable)?;
        lock::release(host)?;
        Ok(self.summary(host, remaining, blocked, resumable))
    }

    /// Writes the snapshot that the next run resumes from, or removes it.
    fn write_end(&mut self, host: Host<'_>, resumable: bool) -> Result<(), Failure> {
        if resumable {
            if let Some(owner) = &mut self.snapshot.owner {
                owner.released = true;
            }
            self.checkpoint.write(host, &mut self.snapshot, &self.ledger, &self.journal, true)?;
            return Ok(());
        }
        if self.checkpoint.writes_snapshot() {
            progress::clear(host)?;
        }
        if let Err(failure) = runs::prune(host, self.journal.directory()) {
            host.log(Level::Warning, &failure.to_string());
        }
        Ok(())
    }

    /// The items that could not start, with the reason.
    fn blocked_items(&self, reason: CloseReason) -> Vec<(String, String)> {
        match reason {
            // A single run that has run its item says nothing about the others.
            CloseReason::Ended if !self.has_run_single() => {}
            CloseReason::Ended | CloseReason::Interrupted => return Vec::new(),
        }
        // Each phase depends on the one before: the first one that is blocked explains the rest.
        match self.parts.workload.feature() {
            Some(_) => self.named(&self.blocked),
            None => self.named(&self.plan.blocked(&self.ledger)),
        }
    }

    fn has_run_single(&self) -> bool {
        let ended = self.ledger.completed().len() + self.ledger.failed().len();
        self.parts.limits.single && ended > 0
    }

    /// The items that remain and may run some day: not those that are gone or cannot be used.
    fn remaining(&self, host: Host<'_>) -> Result<Vec<String>, SessionError> {
        let existing: HashSet<String> = self.parts.workload.ids(host)?.into_iter().collect();
        let remaining = self.ledger.remaining().map(|item| self.ledger.id(item)).filter(|id| {
            existing.contains(*id) && !self.invalid.iter().any(|(invalid, _)| invalid == id)
        });
        Ok(remaining.map(str::to_owned).collect())
    }

    fn ids(&self, items: &[ItemIndex]) -> Vec<String> {
        items.iter().map(|item| self.ledger.id(*item).to_owned()).collect()
    }

    fn named(&self, items: &[(ItemIndex, String)]) -> Vec<(String, String)> {
        items.iter().map(|(item, text)| (self.ledger.id(*item).to_owned(), text.clone())).collect()
    }

    fn summary(
        &mut self,
        host: Host<'_>,
        remaining: Vec<String>,
        blocked: Vec<(String, String)>,
        resumable: bool,
    ) -> Summary {
        let failed = self.ledger.failed().iter().map(|item| FailedItem {
            item: self.ledger.id(*item).to_owned(),
            error: self.ledger.error(*item).to_owned(),
        });
        let mut summary = Summary {
            session: self.id().to_owned(),
            completed: self.ids(self.ledger.completed()),
            failed: failed.collect(),
            skipped: self.ids(self.ledger.skipped()),
            remaining,
            blocked: blocked
                .into_iter()
                .map(|(item, reason)| BlockedItem { item, reason })
                .collect(),
            invalid: self
                .invalid
                .iter()
                .map(|(item, error)| FailedItem { item: item.clone(), error: error.clone() })
                .collect(),
            resumable,
            awaiting_approval: self.parts.workload.awaiting_approval(host),
            events: Vec::new(),
        };
        let mut events = self.take_events();
        list_results(&mut events, &summary);
        summary.events = publish(&events);
        summary
    }
}

/// Adds the complete result to the last event, for programs that follow the events. The journal does not repeat
/// it.
fn list_results(events: &mut [Event], summary: &Summary) {
    let Some(event) = events.last_mut() else { return };
    let ids = |list: &[FailedItem]| json!(list.iter().map(|it| &it.item).collect::<Vec<_>>());
    event.more.insert("session_id".into(), json!(summary.session));
    event.more.insert("completed".into(), json!(summary.completed));
    event.more.insert("failed".into(), ids(&summary.failed));
    event.more.insert("skipped".into(), json!(summary.skipped));
    event.more.insert("remaining".into(), json!(summary.remaining));
    event.more.insert("invalid".into(), ids(&summary.invalid));
}
