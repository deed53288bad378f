//! The state of every item of a session: what the snapshot says, updated by journal events.
//!
//! A running session and a resume update it with the same function, [`Ledger::apply`], so what is recovered
//! after a crash is what was known before it.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use serde_json::{Map, Value};

use crate::formats::journal::{Event, EventKind};
use crate::formats::progress::{Progress, Worker};
use crate::json;
use crate::workload::Recorded;

/// Index of an item in the ledger.
pub type ItemIndex = usize;

/// The state of an item in its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemState {
    /// It waits in the queue.
    Queued,
    /// It has an attempt in flight, or had one when the session was interrupted.
    InFlight,
    /// Completed in this session.
    Completed,
    /// Failed in this session.
    Failed,
    /// It was done before the session.
    Skipped,
}

/// The lists of results, as a `batch-started` may carry them.
const RESULT_LISTS: [(&str, ItemState); 3] = [
    ("completed", ItemState::Completed),
    ("failed", ItemState::Failed),
    ("skipped", ItemState::Skipped),
];

/// The items of a session and their states.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Ledger {
    ids: Vec<Rc<str>>,
    index: HashMap<Rc<str>, ItemIndex>,
    state: Vec<ItemState>,
    in_queue: Vec<bool>,
    queue: Vec<ItemIndex>,
    completed: Vec<ItemIndex>,
    failed: Vec<ItemIndex>,
    skipped: Vec<ItemIndex>,
    in_flight: Vec<ItemIndex>,
    errors: HashMap<ItemIndex, String>,
    attempts: HashMap<ItemIndex, u32>,
    /// The process that works on an item, or did when the session was interrupted.
    workers: BTreeMap<ItemIndex, Worker>,
    /// How many queued items are neither completed nor failed. Cached, because every step needs it.
    remaining: usize,
}

impl Recorded for Ledger {
    fn is_pending(&self, id: &str) -> Option<bool> {
        self.find(id).map(|item| self.is_remaining(item))
    }

    fn pending(&self) -> Vec<&str> {
        self.remaining().map(|item| self.id(item)).collect()
    }
}

impl Ledger {
    /// The state in a snapshot. An item in two result lists counts as in the first of completed, failed, skipped.
    pub fn from_progress(progress: &Progress) -> Self {
        let mut ledger = Ledger::default();
        for id in &progress.completed {
            ledger.set_outcome(id, ItemState::Completed);
        }
        for id in &progress.failed {
            ledger.set_outcome(id, ItemState::Failed);
        }
        for id in &progress.skipped {
            ledger.set_outcome(id, ItemState::Skipped);
        }
        for id in &progress.queued_items {
            ledger.enqueue(id);
        }
        for id in progress.in_flight.iter().chain(&progress.current_item) {
            ledger.start_attempt(id);
        }
        for (id, error) in &progress.errors {
            if let (Some(item), Some(error)) = (ledger.find(id), error.as_str()) {
                ledger.errors.insert(item, error.to_owned());
            }
        }
        for (id, count) in progress.journal.iter().flat_map(|mark| &mark.attempts) {
            let item = ledger.intern(id);
            ledger.attempts.insert(item, *count);
        }
        for (id, worker) in progress.journal.iter().flat_map(|mark| &mark.workers) {
            let item = ledger.intern(id);
            ledger.workers.insert(item, worker.clone());
        }
        ledger
    }

    /// Updates the state by one event.
    pub fn apply(&mut self, event: &Event) {
        let Some(kind) = event.kind else { return };
        match kind {
            EventKind::BatchStarted => {
                // The process that opens a session has ended its leftover processes.
                self.workers.clear();
                self.requeue_failed(&event.strings("retried"));
                self.apply_lists(event);
            }
            EventKind::JournalRecreated => self.apply_complete_state(event),
            EventKind::ItemStarted => {
                if let Some(id) = &event.item {
                    let item = self.start_attempt(id);
                    self.attempts.insert(item, event.attempt.unwrap_or(1));
                }
            }
            EventKind::PhaseStarted => self.note_worker(event),
            EventKind::ItemCompleted => {
                if let Some(id) = &event.item {
                    let item = self.set_outcome(id, ItemState::Completed);
                    self.errors.remove(&item);
                    self.attempts.remove(&item);
                    self.workers.remove(&item);
                }
            }
            EventKind::ItemFailed => {
                if let Some(id) = &event.item {
                    let item = self.set_outcome(id, ItemState::Failed);
                    self.errors.insert(item, event.text("error").unwrap_or_default().to_owned());
                    self.workers.remove(&item);
                }
            }
            EventKind::ItemBlocked => {
                if let Some(item) = event.item.as_deref().and_then(|id| self.find(id)) {
                    self.requeue_blocked(item);
                }
            }
            // Such an item stays in flight: its attempt continues, or it is the first to start after a resume.
            EventKind::PhaseCompleted
            | EventKind::ItemRetrying
            | EventKind::ItemInterrupted
            | EventKind::BatchPaused => {
                if let Some(item) = event.item.as_deref().and_then(|id| self.find(id)) {
                    self.workers.remove(&item);
                }
            }
            EventKind::BatchResumed
            | EventKind::ItemInvalid
            | EventKind::Synced
            | EventKind::BatchFinished => {}
        }
    }

    /// How many items there are.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// True if there are no items.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The id of an item.
    pub fn id(&self, item: ItemIndex) -> &str {
        &self.ids[item]
    }

    /// The item of an id.
    pub fn find(&self, id: &str) -> Option<ItemIndex> {
        self.index.get(id).copied()
    }

    /// True if an id is in the queue.
    pub fn is_queued(&self, id: &str) -> bool {
        self.find(id).is_some_and(|item| self.in_queue[item])
    }

    /// The state of an item in its session.
    pub fn state(&self, item: ItemIndex) -> ItemState {
        self.state[item]
    }

    /// The queue, in its order, finished items included.
    pub fn queue(&self) -> &[ItemIndex] {
        &self.queue
    }

    /// The items in flight.
    pub fn in_flight(&self) -> &[ItemIndex] {
        &self.in_flight
    }

    /// The items that failed.
    pub fn failed(&self) -> &[ItemIndex] {
        &self.failed
    }

    /// The items that completed, in order of completion.
    pub fn completed(&self) -> &[ItemIndex] {
        &self.completed
    }

    /// The items that were done before the session.
    pub fn skipped(&self) -> &[ItemIndex] {
        &self.skipped
    }

    /// Why an item failed.
    pub fn error(&self, item: ItemIndex) -> &str {
        self.errors.get(&item).map_or("", String::as_str)
    }

    /// The number of attempts of an item.
    pub fn attempts(&self, item: ItemIndex) -> u32 {
        self.attempts.get(&item).copied().unwrap_or(0)
    }

    /// The queued items that have neither completed nor failed, in queue order.
    pub fn remaining(&self) -> impl Iterator<Item = ItemIndex> {
        self.queue.iter().copied().filter(|item| self.is_remaining(*item))
    }

    /// How many queued items have neither completed nor failed.
    pub fn remaining_count(&self) -> usize {
        self.remaining
    }

    /// True if an item has neither completed nor failed.
    pub fn is_remaining(&self, item: ItemIndex) -> bool {
        matches!(self.state[item], ItemState::Queued | ItemState::InFlight)
    }

    /// Writes the lists into a snapshot.
    pub fn write_to<'l>(&'l self, progress: &mut Progress<&'l str>) {
        let names =
            |items: &[ItemIndex]| items.iter().map(|item| self.id(*item)).collect::<Vec<_>>();
        progress.queued_items = names(&self.queue);
        progress.completed = names(&self.completed);
        progress.failed = names(&self.failed);
        progress.skipped = names(&self.skipped);
        progress.in_flight = names(&self.in_flight);
        progress.current_item = match (progress.parallel, self.in_flight.first()) {
            (1, Some(item)) => Some(self.id(*item)),
            _ => None,
        };
        progress.errors = self
            .failed
            .iter()
            .map(|item| (self.id(*item).to_owned(), Value::from(self.error(*item))))
            .collect::<Map<_, _>>();
    }

    /// All lists, as the fields of a `batch-started` event.
    pub fn to_lists(&self) -> Map<String, Value> {
        let names =
            |items: &[ItemIndex]| items.iter().map(|item| self.id(*item)).collect::<Value>();
        Map::from_iter([
            ("queue".to_owned(), names(&self.queue)),
            ("completed".to_owned(), names(&self.completed)),
            ("failed".to_owned(), names(&self.failed)),
            ("skipped".to_owned(), names(&self.skipped)),
        ])
    }

    /// The number of attempts of each item that has not completed, by id.
    pub fn open_attempts(&self) -> Vec<(String, u32)> {
        let mut attempts: Vec<_> =
            self.attempts.iter().map(|(item, count)| (self.id(*item).to_owned(), *count)).collect();
        attempts.sort();
        attempts
    }

    /// The processes that work on items, or did when the session was interrupted, in the order in which their
    /// items became known.
    pub fn workers(&self) -> impl Iterator<Item = (&str, &Worker)> {
        self.workers.iter().map(|(item, worker)| (self.id(*item), worker))
    }

    fn apply_lists(&mut self, event: &Event) {
        for (list, state) in RESULT_LISTS {
            for id in event.strings(list) {
                self.set_outcome(&id, state);
            }
        }
        for id in event.strings("queue") {
            self.enqueue(&id);
        }
    }

    /// Applies the event that a recreated journal begins with.
    fn apply_complete_state(&mut self, event: &Event) {
        self.apply_lists(event);
        for id in event.strings("in_flight") {
            self.start_attempt(&id);
        }
        let attempts = event.more.get("attempts").and_then(Value::as_object);
        for (id, count) in attempts.into_iter().flatten() {
            let count = json::integer(count).and_then(|count| u32::try_from(count).ok());
            let item = self.intern(id);
            self.attempts.insert(item, count.unwrap_or(u32::MAX));
        }
    }

    fn note_worker(&mut self, event: &Event) {
        if let (Some(id), Some(pid)) = (&event.item, event.integer("pid")) {
            let worker = Worker {
                token: event.text("token").map(str::to_owned),
                pid,
                since: Some(event.time),
                start_time: event.integer("start_time"),
            };
            let item = self.intern(id);
            self.workers.insert(item, worker);
        }
    }

    fn intern(&mut self, id: &str) -> ItemIndex {
        if let Some(item) = self.find(id) {
            return item;
        }
        let item = self.ids.len();
        let id: Rc<str> = id.into();
        self.ids.push(Rc::clone(&id));
        self.index.insert(id, item);
        self.state.push(ItemState::Queued);
        self.in_queue.push(false);
        item
    }

    fn enqueue(&mut self, id: &str) {
        let item = self.intern(id);
        if !self.in_queue[item] {
            self.in_queue[item] = true;
            self.queue.push(item);
            self.remaining += usize::from(self.is_remaining(item));
        }
    }

    fn start_attempt(&mut self, id: &str) -> ItemIndex {
        let item = self.intern(id);
        if self.state[item] == ItemState::Failed {
            self.requeue_failed(&[id.to_owned()]);
        }
        if self.state[item] == ItemState::Queued {
            self.state[item] = ItemState::InFlight;
            self.in_flight.push(item);
        }
        item
    }

    /// Adds an item to the list of a result, once.
    fn set_outcome(&mut self, id: &str, state: ItemState) -> ItemIndex {
        let item = self.intern(id);
        self.remaining -= usize::from(self.in_queue[item] && self.is_remaining(item));
        match self.state[item] {
            ItemState::Queued => {}
            ItemState::InFlight => self.in_flight.retain(|other| *other != item),
            ItemState::Failed if state == ItemState::Completed => {
                self.failed.retain(|other| *other != item);
            }
            ItemState::Failed | ItemState::Completed | ItemState::Skipped => return item,
        }
        self.state[item] = state;
        match state {
            ItemState::Completed => self.completed.push(item),
            ItemState::Failed => self.failed.push(item),
            ItemState::Skipped => self.skipped.push(item),
            ItemState::Queued | ItemState::InFlight => {}
        }
        item
    }

    /// A blocked item waits in the queue again, if it had an attempt in flight.
    fn requeue_blocked(&mut self, item: ItemIndex) {
        if self.state[item] == ItemState::InFlight {
            self.in_flight.retain(|other| *other != item);
            self.state[item] = ItemState::Queued;
        }
        self.workers.remove(&item);
    }

    fn requeue_failed(&mut self, ids: &[String]) {
        for id in ids {
            if let Some(item) = self.find(id)
                && self.state[item] == ItemState::Failed
            {
                self.errors.remove(&item);
                self.state[item] = ItemState::Queued;
                self.remaining += usize::from(self.in_queue[item]);
            }
        }
        self.failed.retain(|item| self.state[*item] == ItemState::Failed);
    }
}
