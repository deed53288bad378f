//! An open session: what was reported is recorded, and what comes next is decided.

use std::collections::HashMap;

use crate::formats::journal::{Event, EventKind, Writer};
use crate::formats::progress::Progress;
use crate::io::capabilities::Level;
use crate::io::host::{Failure, Host};
use crate::io::time::Timestamp;
use crate::session::Options;
use crate::session::checkpoint::Checkpoint;
use crate::session::ledger::{ItemIndex, Ledger};
use crate::session::plan::Plan;
use crate::session::protocol::{Counts, Ended, Report, Started, Step};
use crate::session::queue::Place;
use crate::workload::item_phases::Phase;

/// A pause never lasts longer than this, in milliseconds.
pub(super) const LONGEST_PAUSE: u64 = 60 * 60 * 1000;
/// A retry never comes later than this, in milliseconds.
pub(super) const LATEST_RETRY: u64 = 60_000;

/// Why a call on the session failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SessionError {
    /// An attempt that is not in hand was reported.
    #[error("attempt {attempt} of {item} is not in hand")]
    UnknownAttempt {
        /// The item.
        item: String,
        /// The attempt.
        attempt: u32,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    Storage(#[from] Failure),
}

/// An attempt in hand.
#[derive(Debug)]
pub(super) struct Hand {
    pub attempt: u32,
    /// The item's state when its last call was made.
    pub state: String,
    /// The phase of its last call, and the story, if items go through phases.
    pub phase: Option<(Phase, Option<String>)>,
    /// How many calls were made.
    pub calls: u32,
    /// How many of them were in the phase `implement`.
    pub iterations: u32,
    /// True if its last call has ended and the next one has not been made.
    pub rests: bool,
}

/// A session between `open` and `close`.
#[derive(Debug)]
pub struct Session {
    pub(super) head: Progress,
    pub(super) ledger: Ledger,
    pub(super) plan: Plan,
    pub(super) journal: Writer,
    pub(super) checkpoint: Checkpoint,
    /// Directories whose `item.json` cannot be used, and why.
    pub(super) invalid: Vec<(String, String)>,
    pub(super) options: Options,
    pub(super) hands: HashMap<ItemIndex, Hand>,
    /// What happened and could not be recorded yet.
    unrecorded: Vec<Event>,
    /// What was recorded and the caller has not been told yet.
    untold: Vec<Event>,
    /// Nothing may start before then.
    pub(super) pause: Option<Timestamp>,
    /// How long the next pause lasts, in milliseconds.
    pub(super) next_pause: u64,
    /// Items that failed and are tried again at a time.
    pub(super) retrying: Vec<(Timestamp, Place)>,
    /// How often each item failed and was to be tried again.
    pub(super) retries: HashMap<ItemIndex, u32>,
    /// How many items have failed since the session was opened.
    pub(super) failures: u32,
    /// True once a single run has started its item.
    pub(super) exhausted: bool,
    /// When the lock file was last seen to be there.
    pub(super) lock_checked: Timestamp,
}

impl Session {
    pub(super) fn new(
        head: Progress,
        ledger: Ledger,
        plan: Plan,
        journal: Writer,
        checkpoint: Checkpoint,
        invalid: Vec<(String, String)>,
        options: Options,
    ) -> Self {
        let next_pause = options.limit_wait.min(LONGEST_PAUSE);
        Session {
            head,
            ledger,
            plan,
            journal,
            checkpoint,
            invalid,
            options,
            hands: HashMap::new(),
            unrecorded: Vec::new(),
            untold: Vec::new(),
            pause: None,
            next_pause,
            retrying: Vec::new(),
            retries: HashMap::new(),
            failures: 0,
            exhausted: false,
            lock_checked: Timestamp::from_millis(0),
        }
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.head.session_id
    }

    /// Records what happened and says what to do next, with one sync for all of it.
    ///
    /// After a storage failure what was reported is kept and is recorded by the next call that
    /// succeeds; nothing was started.
    pub fn advance(
        &mut self,
        host: Host<'_>,
        reports: &[Report],
        slots: usize,
    ) -> Result<Step, SessionError> {
        self.take(host, reports)?;
        self.keep_files(host)?;
        let any_rests = self.hands.values().any(|hand| hand.rests);
        if any_rests || self.checkpoint.due_in(host.now(), &self.journal) == 0 {
            // What is reported counts even if the files cannot be brought up to date.
            self.record(host)?;
        }
        if any_rests {
            // The next agent of the item finds the state that the last one led to.
            self.sync(host)?;
        }
        self.untold.extend(self.checkpoint.run_if_due(
            host,
            &mut self.head,
            &self.ledger,
            &mut self.journal,
        )?);
        let chosen = self.choose(host, slots);
        if let Err(failure) = self.record(host) {
            self.give_back(chosen);
            return Err(failure.into());
        }
        let now = host.now();
        let next = self.retrying.iter().map(|(at, _)| *at).chain(self.pause).min();
        let next = next.map_or(u64::MAX, |at| at.since(now));
        Ok(Step {
            start: chosen.into_iter().map(|chosen| chosen.attempt).collect(),
            events: self.tell(),
            wake_after: self.checkpoint.due_in(now, &self.journal).min(next),
            finished: self.is_finished(),
            paused_until: self.pause.map(|until| until.to_string()),
            counts: Counts::of(&self.ledger),
        })
    }

    /// True if nothing is in hand and nothing more is to be started.
    fn is_finished(&self) -> bool {
        let has_run_its_item = self.exhausted && self.retrying.is_empty();
        self.hands.is_empty()
            && (has_run_its_item || self.has_failed_enough() || self.plan.queue.is_exhausted())
    }

    /// True if so many items have failed that nothing more is started.
    pub(super) fn has_failed_enough(&self) -> bool {
        (1..=self.failures).contains(&self.options.max_failures)
    }

    /// Takes note of what the caller reports.
    fn take(&mut self, host: Host<'_>, reports: &[Report]) -> Result<(), SessionError> {
        let parallel = self.options.parallel;
        let result = self.take_each(host, reports);
        if self.options.parallel < parallel {
            let text = format!(
                "the system has no room for {parallel} agents at once: from here on {} run at once",
                self.options.parallel
            );
            host.log(Level::Warning, &text);
        }
        result
    }

    fn take_each(&mut self, host: Host<'_>, reports: &[Report]) -> Result<(), SessionError> {
        for report in reports {
            let (item, attempt) = match report {
                Report::Started(Started { item, attempt, .. })
                | Report::Ended(Ended { item, attempt, .. }) => (item, *attempt),
            };
            let is_meant = |hand: &Hand| hand.attempt == attempt && !hand.rests;
            let index =
                self.ledger.find(item).filter(|index| self.hands.get(index).is_some_and(is_meant));
            let Some(index) = index else {
                return Err(SessionError::UnknownAttempt { item: item.clone(), attempt });
            };
            match report {
                Report::Started(started) => self.happened(started_event(started, host.now())),
                Report::Ended(ended) => self.end(host, index, ended),
            }
        }
        Ok(())
    }

    /// Puts what happened on disk; only then does it count.
    pub(super) fn record(&mut self, host: Host<'_>) -> Result<(), Failure> {
        // Which process works on an item need not be durable: the intent is.
        let durable = self.unrecorded.iter().any(|event| event.kind != EventKind::PhaseStarted);
        self.journal.append(host, &mut self.unrecorded, durable)?;
        for event in &self.unrecorded {
            self.ledger.apply(event);
            self.checkpoint.note(event);
        }
        self.untold.append(&mut self.unrecorded);
        Ok(())
    }

    /// Brings every result into its file.
    pub(super) fn sync(&mut self, host: Host<'_>) -> Result<(), Failure> {
        self.untold.extend(self.checkpoint.sync(host, &mut self.journal)?);
        Ok(())
    }

    /// What was recorded since the caller was told last.
    pub(super) fn tell(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.untold)
    }

    /// Adds an event to what is to be recorded.
    pub(super) fn happened(&mut self, event: Event) {
        self.unrecorded.push(event);
    }

    /// Takes back events that were to be recorded.
    pub(super) fn did_not_happen(&mut self, is_meant: impl Fn(&Event) -> bool) {
        self.unrecorded.retain(|event| !is_meant(event));
    }

    /// Takes every attempt that is still in hand for interrupted.
    pub(super) fn interrupt_all(&mut self, now: Timestamp) {
        let mut hands: Vec<(ItemIndex, Hand)> = self.hands.drain().collect();
        hands.sort_by_key(|(index, _)| *index);
        for (index, hand) in hands {
            let event = Event::of(EventKind::ItemInterrupted, now, self.ledger.id(index));
            self.unrecorded.push(event.attempt(hand.attempt));
        }
    }
}

fn started_event(started: &Started, now: Timestamp) -> Event {
    Event::of(EventKind::PhaseStarted, now, &started.item)
        .attempt(started.attempt)
        .with("phase", started.phase.clone())
        .with("pid", started.pid)
        .with("group", started.pid)
        .with_some("start_time", started.start_time)
}
