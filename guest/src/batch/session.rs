//! An open session: what was reported is recorded, and what comes next is decided.

use std::collections::HashMap;

use crate::batch::checkpoint::Checkpoint;
use crate::batch::plan::Plan;
use crate::items;
use crate::journal::{Event, EventKind, Writer};
use crate::layout;
use crate::ledger::{ItemIndex, Ledger};
use crate::progress::Progress;
use crate::time::Timestamp;
use crate::tree::{Failure, Tree};

/// A pause never lasts longer than this, in milliseconds.
const LONGEST_PAUSE: u64 = 60 * 60 * 1000;

/// One start of an item's agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The item.
    pub item: String,
    /// Which start of it.
    pub number: u32,
    /// Its title.
    pub title: String,
    /// Its directory.
    pub directory: String,
    /// Where its agent's output belongs.
    pub log: String,
}

/// A process that works on an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// The item.
    pub item: String,
    /// Which start of it.
    pub attempt: u32,
    /// What the process does.
    pub phase: String,
    /// Process id and process group.
    pub pid: u64,
    /// Clock ticks from the boot to its start.
    pub start_time: Option<u64>,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Well.
    Completed,
    /// Not; why.
    Failed(String),
    /// By the batch, which is stopping.
    Interrupted,
    /// For no fault of the item; why.
    Paused(String),
}

/// An attempt that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The item.
    pub item: String,
    /// Which start of it.
    pub attempt: u32,
    /// How.
    pub outcome: Outcome,
    /// The exit code of its process.
    pub exit_code: Option<i32>,
    /// The signal that ended its process.
    pub signal: Option<i32>,
    /// How long it took, in milliseconds.
    pub duration: u64,
}

/// What the caller has to say of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// Its process runs.
    Started(Started),
    /// It ended.
    Ended(Ended),
}

/// How many items are where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Length of the queue.
    pub queued: usize,
    /// Completed in this session.
    pub completed: usize,
    /// Failed in this session.
    pub failed: usize,
    /// Found done.
    pub skipped: usize,
    /// In hand, or were when the session stopped.
    pub in_flight: usize,
    /// Of the queue, what is still to do; those in hand included.
    pub left: usize,
}

impl Counts {
    /// The counts of a session.
    pub fn of(ledger: &Ledger) -> Self {
        Counts {
            queued: ledger.queue().len(),
            completed: ledger.completed().len(),
            failed: ledger.failed().len(),
            skipped: ledger.skipped().len(),
            in_flight: ledger.in_hand().len(),
            left: ledger.left_count(),
        }
    }
}

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Start an agent for each of these.
    pub start: Vec<Attempt>,
    /// What was recorded.
    pub events: Vec<Event>,
    /// Call again after so many milliseconds at the latest.
    pub wake_after: u64,
    /// True if nothing is in hand and nothing more can run.
    pub finished: bool,
    /// The state now.
    pub counts: Counts,
}

/// Why a call on the session failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
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
struct Hand {
    attempt: u32,
    /// The item's state when it was started.
    state: String,
}

/// The batch is waiting.
#[derive(Debug)]
struct Pause {
    until: Timestamp,
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
    pub(super) options: super::Options,
    hands: HashMap<ItemIndex, Hand>,
    /// What happened and could not be recorded yet.
    unrecorded: Vec<Event>,
    pause: Option<Pause>,
    /// How long the next pause lasts.
    next_pause: u64,
    /// True once a single run has started its item.
    exhausted: bool,
}

impl Session {
    pub(super) fn new(
        head: Progress,
        ledger: Ledger,
        plan: Plan,
        journal: Writer,
        checkpoint: Checkpoint,
        invalid: Vec<(String, String)>,
        options: super::Options,
    ) -> Self {
        let next_pause = options.limit_wait;
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
            pause: None,
            next_pause,
            exhausted: false,
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
        tree: Tree<'_>,
        reports: &[Report],
        slots: usize,
    ) -> Result<Step, SessionError> {
        self.take(tree, reports)?;
        let synced =
            self.checkpoint.run_if_due(tree, &mut self.head, &self.ledger, &mut self.journal)?;
        let (starts, taken) = self.choose(tree, slots);
        let mut events: Vec<Event> = synced.into_iter().collect();
        match self.record(tree) {
            Ok(recorded) => events.extend(recorded),
            Err(failure) => {
                self.give_back(&taken);
                return Err(failure.into());
            }
        }
        let now = tree.now();
        let pause = self.pause.as_ref().map_or(u64::MAX, |pause| pause.until.since(now));
        Ok(Step {
            start: starts,
            events,
            wake_after: self.checkpoint.due_in(now, &self.journal).min(pause),
            finished: self.hands.is_empty() && (self.exhausted || self.plan.queue.is_exhausted()),
            counts: Counts::of(&self.ledger),
        })
    }

    /// Takes note of what the caller reports.
    fn take(&mut self, tree: Tree<'_>, reports: &[Report]) -> Result<(), SessionError> {
        for report in reports {
            let (item, attempt) = match report {
                Report::Started(Started { item, attempt, .. })
                | Report::Ended(Ended { item, attempt, .. }) => (item, *attempt),
            };
            let index = self
                .ledger
                .find(item)
                .filter(|index| self.hands.get(index).is_some_and(|hand| hand.attempt == attempt));
            let Some(index) = index else {
                return Err(SessionError::UnknownAttempt { item: item.clone(), attempt });
            };
            let now = tree.now();
            match report {
                Report::Started(started) => self.unrecorded.push(started_event(started, now)),
                Report::Ended(ended) => self.end(index, ended, now),
            }
        }
        Ok(())
    }

    fn end(&mut self, index: ItemIndex, ended: &Ended, now: Timestamp) {
        let Some(hand) = self.hands.remove(&index) else { return };
        let place = self.plan.place_of[&index];
        let event = |kind| {
            Event::of(kind, now, &ended.item)
                .attempt(ended.attempt)
                .with_some("exit_code", ended.exit_code)
                .with_some("signal", ended.signal)
                .with("duration_ms", ended.duration)
        };
        let mock = |event: Event| if self.options.mock { event.with("mock", true) } else { event };
        let event = match &ended.outcome {
            Outcome::Completed => {
                self.plan.queue.complete(place);
                self.next_pause = self.options.limit_wait;
                mock(event(EventKind::ItemCompleted)).with("state", hand.state)
            }
            Outcome::Failed(error) => {
                self.plan.queue.fail(place);
                mock(event(EventKind::ItemFailed)).with("error", error.clone())
            }
            Outcome::Interrupted => {
                self.plan.queue.put_back(place);
                event(EventKind::ItemInterrupted)
            }
            Outcome::Paused(reason) => {
                self.plan.queue.put_back(place);
                let until = now.after(self.next_pause);
                self.next_pause = self.next_pause.saturating_mul(2).min(LONGEST_PAUSE);
                self.pause = Some(Pause { until });
                // A single run has not run its item yet.
                self.exhausted = false;
                event(EventKind::BatchPaused)
                    .with("reason", reason.clone())
                    .with("until", until.to_string())
            }
        };
        self.unrecorded.push(event);
    }

    /// Chooses what to start; the intents join what is to be recorded.
    fn choose(&mut self, tree: Tree<'_>, slots: usize) -> (Vec<Attempt>, Vec<ItemIndex>) {
        let (mut starts, mut taken) = (Vec::new(), Vec::new());
        let free = (self.options.parallel as usize).saturating_sub(self.hands.len());
        let slots = slots.min(free);
        if self.is_pausing(tree.now()) {
            return (starts, taken);
        }
        while starts.len() < slots && !self.exhausted {
            let Some(place) = self.plan.queue.take() else { break };
            let index = self.plan.places[place];
            let id = self.ledger.id(index).to_owned();
            // Read again: hours may have passed since the session was opened.
            match items::read(tree, &id) {
                Ok(item) if item.state == items::DONE => {
                    self.plan.queue.complete(place);
                    let event = Event::of(EventKind::ItemCompleted, tree.now(), &id);
                    self.unrecorded.push(event.with("reason", "found done"));
                }
                Ok(item) => {
                    let number = self.ledger.attempts(index).saturating_add(1);
                    let event = Event::of(EventKind::ItemStarted, tree.now(), &id);
                    self.unrecorded.push(event.attempt(number).with("state", item.state.clone()));
                    self.hands.insert(index, Hand { attempt: number, state: item.state });
                    starts.push(Attempt {
                        number,
                        title: item.title,
                        directory: layout::item_directory(&id),
                        log: layout::log_file(self.journal.directory(), &id, number),
                        item: id,
                    });
                    taken.push(index);
                    self.exhausted = self.options.single;
                }
                Err(problem) => {
                    self.plan.queue.fail(place);
                    let event = Event::of(EventKind::ItemInvalid, tree.now(), &id);
                    self.unrecorded.push(event.with("error", problem.clone()));
                    self.invalid.push((id, problem));
                }
            }
        }
        (starts, taken)
    }

    /// Undoes [`Session::choose`]: nothing was started.
    fn give_back(&mut self, taken: &[ItemIndex]) {
        for index in taken {
            self.hands.remove(index);
            self.plan.queue.put_back(self.plan.place_of[index]);
            let id = self.ledger.id(*index);
            self.unrecorded.retain(|event| {
                event.kind != EventKind::ItemStarted || event.item.as_deref() != Some(id)
            });
            self.exhausted = false;
        }
    }

    /// True while nothing may start; records the end of a pause.
    fn is_pausing(&mut self, now: Timestamp) -> bool {
        match &self.pause {
            Some(pause) if now < pause.until => true,
            Some(_) => {
                self.pause = None;
                self.unrecorded.push(Event::new(EventKind::BatchResumed, now));
                false
            }
            None => false,
        }
    }

    /// Puts what happened on disk; only then does it count.
    pub(super) fn record(&mut self, tree: Tree<'_>) -> Result<Vec<Event>, Failure> {
        // Which process works on an item need not be durable: the intent is.
        let durable = self.unrecorded.iter().any(|event| event.kind != EventKind::PhaseStarted);
        self.journal.append(tree, &mut self.unrecorded, durable)?;
        for event in &self.unrecorded {
            self.ledger.apply(event);
            self.checkpoint.note(event);
        }
        Ok(std::mem::take(&mut self.unrecorded))
    }

    /// Adds an event to what is to be recorded.
    pub(super) fn happened(&mut self, event: Event) {
        self.unrecorded.push(event);
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
