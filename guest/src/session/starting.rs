//! What is started next.

use crate::formats::item::{self, Item};
use crate::formats::journal::{Event, EventKind};
use crate::formats::layout;
use crate::io::host::Host;
use crate::io::time::Timestamp;
use crate::session::ledger::ItemIndex;
use crate::session::protocol::Attempt;
use crate::session::queue::Place;
use crate::session::session::{Hand, LATEST_RETRY, LONGEST_PAUSE, Session};
use crate::workload::item_phases::{self, Next, Phase};

/// A call that is to be made.
pub(super) struct Chosen {
    pub attempt: Attempt,
    index: ItemIndex,
}

impl Session {
    /// Chooses what to start; the intents join what is to be recorded.
    pub(super) fn choose(&mut self, host: Host<'_>, slots: usize) -> Vec<Chosen> {
        let now = host.now();
        self.take_up_retries(now);
        if self.is_pausing(now) {
            return Vec::new();
        }
        let mut chosen = self.continue_attempts(host, slots);
        let free = (self.options.parallel as usize).saturating_sub(self.hands.len());
        let mut free = free.min(slots - chosen.len());
        while free > 0 && !self.exhausted && !self.has_failed_enough() {
            let Some(place) = self.plan.queue.take() else { break };
            let started = self.begin(host, place);
            free -= usize::from(started.is_some());
            self.exhausted = self.options.single && started.is_some();
            chosen.extend(started);
        }
        chosen
    }

    /// Undoes [`Session::choose`]: nothing was started.
    pub(super) fn give_back(&mut self, chosen: Vec<Chosen>) {
        for Chosen { attempt, index } in chosen {
            if let Some(hand) = self.hands.get_mut(&index)
                && attempt.call > 1
            {
                hand.rests = true;
                hand.calls -= 1;
                hand.iterations = hand.iterations.saturating_sub(1);
                continue;
            }
            self.hands.remove(&index);
            self.plan.queue.put_back(self.plan.place_of[&index]);
            self.did_not_happen(|event| {
                event.kind == EventKind::ItemStarted && event.item.as_deref() == Some(&attempt.item)
            });
            self.exhausted = false;
        }
    }

    /// Attempts whose last call has ended well go on before another item starts.
    fn continue_attempts(&mut self, host: Host<'_>, slots: usize) -> Vec<Chosen> {
        let resting = self.hands.iter().filter(|(_, hand)| hand.rests);
        let mut resting: Vec<ItemIndex> = resting.map(|(index, _)| *index).collect();
        resting.sort_unstable();
        let mut chosen = Vec::new();
        for index in resting.into_iter().take(slots) {
            let id = self.ledger.id(index).to_owned();
            let Some(hand) = self.hands.get_mut(&index) else { continue };
            match item::read(host, &id) {
                Ok(item) => {
                    let attempt = call(hand, id, item, self.journal.directory());
                    chosen.push(Chosen { attempt, index });
                }
                // It was read when its last call ended; since then the batch may have paused.
                Err(problem) => {
                    let event = Event::of(EventKind::ItemFailed, host.now(), &id);
                    let event = event.attempt(hand.attempt).with("error", problem);
                    self.hands.remove(&index);
                    self.plan.queue.fail(self.plan.place_of[&index]);
                    self.failures += 1;
                    self.happened(event);
                }
            }
        }
        chosen
    }

    /// Begins an attempt of the item at a place of the queue, if there is anything to do.
    fn begin(&mut self, host: Host<'_>, place: Place) -> Option<Chosen> {
        let now = host.now();
        let index = self.plan.places[place];
        let id = self.ledger.id(index).to_owned();
        // Read again: hours may have passed since the session was opened.
        let item = match item::read_to_run(host, &id) {
            Ok(item) => item,
            Err(problem) => {
                self.plan.queue.fail(place);
                let event = Event::of(EventKind::ItemInvalid, now, &id);
                self.happened(event.with("error", problem.clone()));
                self.invalid.push((id, problem));
                return None;
            }
        };
        let next = match self.options.phases {
            true => item_phases::next(host, &id, &item.state),
            false => Next::Nothing,
        };
        let phase = match next {
            Next::Call(phase, story) => Some((phase, story)),
            Next::Nothing if self.options.phases || item.state == item::DONE => {
                self.plan.queue.complete(place);
                self.happened(found_done(&id, &item, now));
                return None;
            }
            Next::Nothing => None,
        };
        let number = self.ledger.attempts(index).saturating_add(1);
        let event = Event::of(EventKind::ItemStarted, now, &id);
        self.happened(event.attempt(number).with("state", item.state.clone()));
        let mut hand = Hand {
            attempt: number,
            state: item.state.clone(),
            phase,
            calls: 0,
            iterations: 0,
            rests: false,
        };
        let attempt = call(&mut hand, id, item, self.journal.directory());
        self.hands.insert(index, hand);
        Some(Chosen { attempt, index })
    }

    /// Items that failed and whose time has come are ready again.
    fn take_up_retries(&mut self, now: Timestamp) {
        let (due, waiting): (Vec<_>, Vec<_>) =
            self.retrying.drain(..).partition(|(at, _)| is_over(*at, now, LATEST_RETRY));
        self.retrying = waiting;
        for (_, place) in due {
            self.plan.queue.put_back(place);
            // A single run has not run its item yet.
            self.exhausted = false;
        }
    }

    /// True while nothing may start; records the end of a pause.
    fn is_pausing(&mut self, now: Timestamp) -> bool {
        match self.pause {
            Some(until) if !is_over(until, now, LONGEST_PAUSE) => true,
            Some(_) => {
                self.pause = None;
                self.happened(Event::new(EventKind::BatchResumed, now));
                false
            }
            None => false,
        }
    }
}

/// True if a wait that lasts `longest` at most is over. One that would last longer began before the
/// clock was set back.
fn is_over(until: Timestamp, now: Timestamp, longest: u64) -> bool {
    until <= now || until.since(now) > longest
}

/// The next call of an attempt.
fn call(hand: &mut Hand, id: String, item: Item, run_directory: &str) -> Attempt {
    hand.rests = false;
    hand.calls += 1;
    let (phase, story) = match &hand.phase {
        Some((phase, story)) => {
            hand.iterations += u32::from(*phase == Phase::Implement);
            (phase.name(), story.clone())
        }
        None => ("run", None),
    };
    Attempt {
        number: hand.attempt,
        call: hand.calls,
        phase: phase.to_owned(),
        story,
        title: item.title,
        overview: item.overview,
        section: item.section,
        branch: item.branch,
        directory: layout::item_directory(&id),
        log: layout::log_file(run_directory, &id, hand.attempt),
        item: id,
    }
}

/// Somebody else has done it, or an interrupted attempt had: only its state is missing.
fn found_done(id: &str, item: &Item, now: Timestamp) -> Event {
    let event = Event::of(EventKind::ItemCompleted, now, id);
    match item.state.as_str() {
        "planned" | "implementing" => {
            event.with("reason", "every story is done").with("state", item.state.clone())
        }
        state => event.with("reason", format!("found {state}")),
    }
}
