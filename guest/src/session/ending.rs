//! What the end of a call means for its item and for the batch.

use crate::formats::item;
use crate::formats::journal::{Event, EventKind};
use crate::formats::layout;
use crate::io::host::Host;
use crate::io::time::Timestamp;
use crate::session::ledger::ItemIndex;
use crate::session::protocol::{Ended, Outcome};
use crate::session::session::{Hand, LATEST_RETRY, LONGEST_PAUSE, Session};
use crate::workload::item_phases::{self, Next, Phase};

/// A retry comes after so many milliseconds at first, and then twice as many each time.
const FIRST_RETRY: u64 = 1_000;

/// The reason of a failure that leaves an agent running.
const LOST: &str = "lost";

/// What a call that ended well has brought.
enum Brought {
    /// The item is complete.
    Everything,
    /// There is more to do in this attempt.
    Part,
}

/// How an item failed.
struct Failing {
    error: String,
    /// A word for the kind of it.
    reason: Option<&'static str>,
}

impl From<String> for Failing {
    fn from(error: String) -> Self {
        Failing { error, reason: None }
    }
}

impl Session {
    /// A call of an attempt in hand ended.
    pub(super) fn end(&mut self, host: Host<'_>, index: ItemIndex, ended: &Ended) {
        let Some(mut hand) = self.hands.remove(&index) else { return };
        let now = host.now();
        match &ended.outcome {
            Outcome::Completed => match self.look_at_work(host, &mut hand, ended, now) {
                Ok(Brought::Part) => {
                    self.next_pause = self.options.limit_wait.min(LONGEST_PAUSE);
                    hand.rests = true;
                    self.hands.insert(index, hand);
                }
                Ok(Brought::Everything) => {
                    self.plan.queue.complete(self.plan.place_of[&index]);
                    self.next_pause = self.options.limit_wait.min(LONGEST_PAUSE);
                    let event = self.marked(event(EventKind::ItemCompleted, ended, now));
                    // An agent that put it into review has had the last word.
                    let ends_here = hand.phase.is_none() || item_phases::is_within(&hand.state);
                    self.happened(event.with_some("state", ends_here.then_some(hand.state)));
                }
                Err(failing) => self.fail(index, &hand, ended, failing, now),
            },
            Outcome::Failed(error) => self.fail(index, &hand, ended, error.clone().into(), now),
            Outcome::TimedOut(seconds) => {
                let error = format!("timed out after {seconds} s");
                let failing = Failing { error, reason: Some("timed-out") };
                self.fail(index, &hand, ended, failing, now);
            }
            Outcome::Interrupted => {
                self.plan.queue.put_back(self.plan.place_of[&index]);
                self.happened(event(EventKind::ItemInterrupted, ended, now));
            }
            Outcome::Paused(reason) => self.pause(index, ended, reason, now),
            Outcome::NotStarted(reason) if self.hands.is_empty() => {
                self.fail(index, &hand, ended, reason.clone().into(), now);
            }
            Outcome::NotStarted(reason) => self.lower_parallelism(index, ended, reason, now),
            Outcome::Lost(error) => {
                let failing = Failing { error: error.clone(), reason: Some(LOST) };
                self.fail(index, &hand, ended, failing, now);
            }
        }
    }

    /// Looks at what a call has brought; with phases it is the files that say so.
    fn look_at_work(
        &mut self,
        host: Host<'_>,
        hand: &mut Hand,
        ended: &Ended,
        now: Timestamp,
    ) -> Result<Brought, Failing> {
        let Some((phase, story)) = &hand.phase else { return Ok(Brought::Everything) };
        let phase = *phase;
        let item = item::read(host, &ended.item)?;
        item_phases::check(host, &ended.item, phase)?;
        let mut completed =
            event(EventKind::PhaseCompleted, ended, now).with("phase", phase.name());
        completed = completed.with_some("story", story.clone());
        if item.state == hand.state && item.state != phase.state_after() {
            hand.state = phase.state_after().to_owned();
            completed = completed.with("from", item.state).with("state", hand.state.clone());
        } else {
            // The agent moved it: that stands.
            hand.state = item.state;
        }
        self.happened(completed);
        match item_phases::after(host, &ended.item, phase, &hand.state) {
            Next::Nothing => Ok(Brought::Everything),
            Next::Call(Phase::Implement, _) if hand.iterations >= self.options.max_iterations => {
                Err(Failing {
                    error: format!(
                        "stories are still pending in prd.json after {} calls (max_iterations)",
                        hand.iterations
                    ),
                    reason: Some("max-iterations"),
                })
            }
            Next::Call(phase, story) => {
                hand.phase = Some((phase, story));
                Ok(Brought::Part)
            }
        }
    }

    /// The item is tried again, or it has failed.
    fn fail(
        &mut self,
        index: ItemIndex,
        hand: &Hand,
        ended: &Ended,
        failing: Failing,
        now: Timestamp,
    ) {
        let describe = |event: Event| {
            let phase = hand.phase.as_ref().map(|(phase, _)| phase.name());
            let log = layout::log_file(self.journal.directory(), &ended.item, ended.attempt);
            event
                .with("error", failing.error.clone())
                .with_some("reason", failing.reason)
                .with_some("phase", phase)
                .with_some("log", ended.output.as_ref().map(|_| log))
                .with_some("output", ended.output.clone())
        };
        let place = self.plan.place_of[&index];
        let tries = self.retries.get(&index).copied().unwrap_or(0);
        // Beside an agent that still runs there is no other one of the same item.
        let may_retry = failing.reason != Some(LOST);
        if may_retry && tries < self.options.retries {
            let delay = FIRST_RETRY.saturating_mul(1 << tries.min(16)).min(LATEST_RETRY);
            let at = now.after(delay);
            let event = describe(event(EventKind::ItemRetrying, ended, now));
            self.happened(event.with("until", at.to_string()));
            self.retries.insert(index, tries + 1);
            self.retrying.push((at, place));
        } else {
            let event = describe(event(EventKind::ItemFailed, ended, now));
            let event = self.marked(event);
            self.happened(event);
            self.plan.queue.fail(place);
            self.failures += 1;
        }
    }

    /// As many agents as run are as many as there can be; the item is the next to start.
    fn lower_parallelism(&mut self, index: ItemIndex, ended: &Ended, reason: &str, now: Timestamp) {
        self.plan.queue.put_back(self.plan.place_of[&index]);
        self.exhausted = false;
        self.options.parallel = u32::try_from(self.hands.len()).unwrap_or(u32::MAX);
        let event = event(EventKind::ItemInterrupted, ended, now);
        self.happened(event.with("reason", reason));
    }

    /// Nothing starts for a while; then this item is the first.
    fn pause(&mut self, index: ItemIndex, ended: &Ended, reason: &str, now: Timestamp) {
        self.plan.queue.put_back(self.plan.place_of[&index]);
        self.exhausted = false;
        // Of several that run into the same limit only the first makes the next wait longer.
        let is_new = self.pause.is_none_or(|until| until <= now);
        let until = match self.pause {
            Some(until) if !is_new => until,
            _ => now.after(self.next_pause),
        };
        if is_new {
            self.next_pause = self.next_pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
        self.pause = Some(until);
        self.happened(
            event(EventKind::BatchPaused, ended, now)
                .with("reason", reason)
                .with("until", until.to_string()),
        );
    }

    /// Results of the mock agent are marked: they change no file.
    fn marked(&self, event: Event) -> Event {
        if self.options.mock { event.with("mock", true) } else { event }
    }
}

fn event(kind: EventKind, ended: &Ended, now: Timestamp) -> Event {
    Event::of(kind, now, &ended.item)
        .attempt(ended.attempt)
        .with_some("exit_code", ended.exit_code)
        .with_some("signal", ended.signal)
        .with("duration_ms", ended.duration)
}
