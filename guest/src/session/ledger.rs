//! Where every item of a session is: what the snapshot says, brought forward by journal events.
//!
//! The running batch and a resume change it by the same function, [`Ledger::apply`], so what is
//! recovered after a crash is what was known before it.

use std::collections::HashMap;
use std::rc::Rc;

use serde_json::{Map, Value};

use crate::formats::journal::{Event, EventKind};
use crate::formats::json;
use crate::formats::progress::Progress;
use crate::io::capabilities::Worker;

/// Index of an item in the ledger.
pub type ItemIndex = usize;

/// Where an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// To do.
    Queued,
    /// An agent works on it, or did when the session was interrupted.
    InHand,
    /// Completed in this session.
    Completed,
    /// Failed in this session.
    Failed,
    /// Found done.
    Skipped,
}

/// The lists of results, as a `batch-started` may carry them.
const RESULT_LISTS: [(&str, Standing); 3] = [
    ("completed", Standing::Completed),
    ("failed", Standing::Failed),
    ("skipped", Standing::Skipped),
];

/// The items of a session and where they are.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Ledger {
    ids: Vec<Rc<str>>,
    index: HashMap<Rc<str>, ItemIndex>,
    standing: Vec<Standing>,
    in_queue: Vec<bool>,
    queue: Vec<ItemIndex>,
    completed: Vec<ItemIndex>,
    failed: Vec<ItemIndex>,
    skipped: Vec<ItemIndex>,
    in_hand: Vec<ItemIndex>,
    errors: HashMap<ItemIndex, String>,
    attempts: HashMap<ItemIndex, u32>,
    /// The process that works on an item, or did when the session was interrupted.
    workers: HashMap<ItemIndex, Worker>,
    /// How much of `queue` is still to do: kept, because it is asked for at every step.
    left: usize,
}

impl Ledger {
    /// The state that a snapshot holds. An item in two result lists counts for the better one.
    pub fn from_progress(progress: &Progress) -> Self {
        let mut ledger = Ledger::default();
        for id in &progress.completed {
            ledger.settle(id, Standing::Completed);
        }
        for id in &progress.failed {
            ledger.settle(id, Standing::Failed);
        }
        for id in &progress.skipped {
            ledger.settle(id, Standing::Skipped);
        }
        for id in &progress.queued_items {
            ledger.enqueue(id);
        }
        for id in progress.in_flight.iter().chain(&progress.current_item) {
            ledger.take_in_hand(id);
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
        for worker in progress.journal.iter().flat_map(|mark| &mark.workers) {
            let item = ledger.intern(worker.item.as_deref().unwrap_or_default());
            ledger.workers.insert(item, worker.clone());
        }
        ledger
    }

    /// Brings the state forward by one event.
    pub fn apply(&mut self, event: &Event) {
        match event.kind {
            EventKind::BatchStarted => {
                // Whoever opens the session has ended what was left.
                self.workers.clear();
                self.requeue_failed(&event.strings("retried"));
                self.apply_lists(event);
            }
            EventKind::JournalRecreated => {
                self.apply_lists(event);
                for id in event.strings("in_flight") {
                    self.take_in_hand(&id);
                }
                let attempts = event.more.get("attempts").and_then(Value::as_object);
                for (id, count) in attempts.into_iter().flatten() {
                    let count = json::integer(count).and_then(|count| u32::try_from(count).ok());
                    let item = self.intern(id);
                    self.attempts.insert(item, count.unwrap_or(u32::MAX));
                }
            }
            EventKind::ItemStarted => {
                if let Some(id) = &event.item {
                    let item = self.take_in_hand(id);
                    self.attempts.insert(item, event.attempt.unwrap_or(1));
                }
            }
            EventKind::PhaseStarted => self.note_worker(event),
            EventKind::ItemCompleted => {
                if let Some(id) = &event.item {
                    let item = self.settle(id, Standing::Completed);
                    self.errors.remove(&item);
                    self.attempts.remove(&item);
                    self.workers.remove(&item);
                }
            }
            EventKind::ItemFailed => {
                if let Some(id) = &event.item {
                    let item = self.settle(id, Standing::Failed);
                    self.errors.insert(item, event.text("error").unwrap_or_default().to_owned());
                    self.workers.remove(&item);
                }
            }
            // Such an item stays in hand: it goes on, or goes first at the next start.
            EventKind::PhaseCompleted
            | EventKind::ItemRetrying
            | EventKind::ItemInterrupted
            | EventKind::BatchPaused => {
                if let Some(item) = event.item.as_deref().and_then(|id| self.find(id)) {
                    self.workers.remove(&item);
                }
            }
            _ => {}
        }
    }

    /// How many items there are.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// True if there are none.
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

    /// Where an item is.
    pub fn standing(&self, item: ItemIndex) -> Standing {
        self.standing[item]
    }

    /// The queue, in its order, finished items included.
    pub fn queue(&self) -> &[ItemIndex] {
        &self.queue
    }

    /// The items in hand.
    pub fn in_hand(&self) -> &[ItemIndex] {
        &self.in_hand
    }

    /// What failed.
    pub fn failed(&self) -> &[ItemIndex] {
        &self.failed
    }

    /// What completed, in the order of completion.
    pub fn completed(&self) -> &[ItemIndex] {
        &self.completed
    }

    /// What was found done.
    pub fn skipped(&self) -> &[ItemIndex] {
        &self.skipped
    }

    /// Why an item failed.
    pub fn error(&self, item: ItemIndex) -> &str {
        self.errors.get(&item).map_or("", String::as_str)
    }

    /// How often an item was started.
    pub fn attempts(&self, item: ItemIndex) -> u32 {
        self.attempts.get(&item).copied().unwrap_or(0)
    }

    /// What of the queue is still to do, in its order.
    pub fn left(&self) -> impl Iterator<Item = ItemIndex> {
        self.queue.iter().copied().filter(|item| self.is_left(*item))
    }

    /// How much of the queue is still to do.
    pub fn left_count(&self) -> usize {
        self.left
    }

    /// True if an item is still to do.
    pub fn is_left(&self, item: ItemIndex) -> bool {
        matches!(self.standing[item], Standing::Queued | Standing::InHand)
    }

    /// Fills in the lists of a snapshot.
    pub fn write_to<'l>(&'l self, progress: &mut Progress<&'l str>) {
        let names =
            |items: &[ItemIndex]| items.iter().map(|item| self.id(*item)).collect::<Vec<_>>();
        progress.queued_items = names(&self.queue);
        progress.completed = names(&self.completed);
        progress.failed = names(&self.failed);
        progress.skipped = names(&self.skipped);
        progress.in_flight = names(&self.in_hand);
        progress.current_item = match (progress.parallel, self.in_hand.first()) {
            (1, Some(item)) => Some(self.id(*item)),
            _ => None,
        };
        progress.errors = self
            .failed
            .iter()
            .map(|item| (self.id(*item).to_owned(), Value::from(self.error(*item))))
            .collect::<Map<_, _>>();
    }

    /// All of it as the lists of a `batch-started`.
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

    /// How often each item that has not completed was started, by id.
    pub fn open_attempts(&self) -> Vec<(String, u32)> {
        let mut attempts: Vec<_> =
            self.attempts.iter().map(|(item, count)| (self.id(*item).to_owned(), *count)).collect();
        attempts.sort();
        attempts
    }

    /// The processes that work on items, or did when the session was interrupted.
    pub fn workers(&self) -> impl Iterator<Item = Worker> {
        self.workers.values().cloned()
    }

    fn apply_lists(&mut self, event: &Event) {
        for (list, standing) in RESULT_LISTS {
            for id in event.strings(list) {
                self.settle(&id, standing);
            }
        }
        for id in event.strings("queue") {
            self.enqueue(&id);
        }
    }

    fn note_worker(&mut self, event: &Event) {
        if let (Some(id), Some(pid)) = (&event.item, event.integer("pid")) {
            let start_time = event.integer("start_time");
            let item = self.intern(id);
            let since = Some(event.time);
            self.workers.insert(
                item,
                Worker { pid, start_time, item: Some(id.clone()), since, proven: false },
            );
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
        self.standing.push(Standing::Queued);
        self.in_queue.push(false);
        item
    }

    fn enqueue(&mut self, id: &str) {
        let item = self.intern(id);
        if !self.in_queue[item] {
            self.in_queue[item] = true;
            self.queue.push(item);
            self.left += usize::from(self.is_left(item));
        }
    }

    fn take_in_hand(&mut self, id: &str) -> ItemIndex {
        let item = self.intern(id);
        if self.standing[item] == Standing::Failed {
            self.requeue_failed(&[id.to_owned()]);
        }
        if self.standing[item] == Standing::Queued {
            self.standing[item] = Standing::InHand;
            self.in_hand.push(item);
        }
        item
    }

    /// Puts an item into a result list, once.
    fn settle(&mut self, id: &str, standing: Standing) -> ItemIndex {
        let item = self.intern(id);
        self.left -= usize::from(self.in_queue[item] && self.is_left(item));
        match self.standing[item] {
            Standing::Queued => {}
            Standing::InHand => self.in_hand.retain(|other| *other != item),
            Standing::Failed if standing == Standing::Completed => {
                self.failed.retain(|other| *other != item);
            }
            Standing::Failed | Standing::Completed | Standing::Skipped => return item,
        }
        self.standing[item] = standing;
        match standing {
            Standing::Completed => self.completed.push(item),
            Standing::Failed => self.failed.push(item),
            Standing::Skipped => self.skipped.push(item),
            Standing::Queued | Standing::InHand => {}
        }
        item
    }

    fn requeue_failed(&mut self, ids: &[String]) {
        for id in ids {
            if let Some(item) = self.find(id)
                && self.standing[item] == Standing::Failed
            {
                self.errors.remove(&item);
                self.standing[item] = Standing::Queued;
                self.left += usize::from(self.in_queue[item]);
            }
        }
        self.failed.retain(|item| self.standing[*item] == Standing::Failed);
    }
}
