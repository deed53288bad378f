//! What starts next.

use crate::agents::CallContext;
use crate::bindings::exports::wreckit::batch::session::Call;
use crate::formats::journal::{Event, EventKind};
use crate::io::host::{Failure, Host};
use crate::io::layout;
use crate::session::ledger::ItemIndex;
use crate::session::queue::QueueIndex;
use crate::session::running::{ActiveAttempt, LONGEST_PAUSE, LONGEST_RETRY_DELAY, Session};
use crate::time::Timestamp;
use crate::workload::{Begin, Done, Failing, Subject};

/// A call that is about to be handed out.
pub(super) struct Chosen {
    pub call: Call,
    index: ItemIndex,
}

impl Session {
    /// Chooses the calls to hand out. The intents of new attempts join the events to record.
    pub(super) fn choose(&mut self, host: Host<'_>, slots: usize) -> Result<Vec<Chosen>, Failure> {
        let now = host.now();
        self.requeue_retries(now);
        if self.is_pausing(now) {
            return Ok(Vec::new());
        }
        self.is_stopping &= slots == 0;
        let limits = &self.parts.limits;
        let lookahead = if self.is_stopping { 0 } else { limits.lookahead };
        let available = slots.saturating_add(lookahead);
        let in_flight = limits.parallel.saturating_add(lookahead);
        let mut chosen = self.continue_attempts(host, available);
        while chosen.len() < available
            && self.active.len() < in_flight
            && !self.has_started_single
            && !self.has_failed_enough()
        {
            let Some(queued) = self.plan.queue.take() else { break };
            match self.begin(host, queued) {
                Ok(begun) => chosen.extend(begun),
                Err(failure) => {
                    self.plan.queue.put_back(queued);
                    self.return_calls(chosen);
                    return Err(failure);
                }
            }
            if self.is_busy {
                break;
            }
        }
        Ok(chosen)
    }

    /// Undoes [`Session::choose`]: no call was handed out.
    pub(super) fn return_calls(&mut self, chosen: Vec<Chosen>) {
        for Chosen { call, index } in chosen {
            if let Some(active) = self.active.get_mut(&index)
                && call.number > 1
            {
                active.awaiting_next_call = true;
                active.calls -= 1;
                continue;
            }
            self.active.remove(&index);
            self.plan.queue.put_back(self.plan.queue_index[&index]);
            self.retract_events(|event| {
                event.is_kind(EventKind::ItemStarted) && event.item.as_deref() == Some(&call.item)
            });
            self.has_started_single = false;
        }
    }

    /// Attempts that need another call continue before another item starts.
    fn continue_attempts(&mut self, host: Host<'_>, available: usize) -> Vec<Chosen> {
        let waiting = self.active.iter().filter(|(_, active)| active.awaiting_next_call);
        let waiting: Vec<ItemIndex> = waiting.map(|(index, _)| *index).take(available).collect();
        let mut chosen = Vec::new();
        for index in waiting {
            let id = self.ledger.id(index).to_owned();
            let Some(mut active) = self.active.remove(&index) else { continue };
            let subject = self.parts.workload.next_call(host, &id, &active.work);
            let call = subject.and_then(|subject| self.call(host, &id, &mut active, subject));
            match call {
                Ok(call) => {
                    self.active.insert(index, active);
                    chosen.push(Chosen { call, index });
                }
                Err(error) => {
                    // Read when its last call ended; since then the session may have paused.
                    let failing = Failing { error, reason: None, may_retry: false };
                    self.fail_unstarted(host, index, &active, failing);
                }
            }
        }
        chosen
    }

    /// Begins an attempt of a queued item, if there is anything to do.
    fn begin(&mut self, host: Host<'_>, queued: QueueIndex) -> Result<Option<Chosen>, Failure> {
        let now = host.now();
        let index = self.plan.items[queued];
        let id = self.ledger.id(index).to_owned();
        match self.parts.workload.begin(host, &id)? {
            Begin::Start(work, subject) => {
                let number = self.ledger.attempts(index).saturating_add(1);
                let event = Event::of(EventKind::ItemStarted, now, &id).attempt(number);
                let state = Some(work.state()).filter(|state| !state.is_empty());
                self.push_event(event.with_some("state", state));
                self.has_started_single = self.parts.limits.single;
                let mut active = ActiveAttempt {
                    attempt: number,
                    work,
                    calls: 0,
                    awaiting_next_call: false,
                    watcher: None,
                };
                match self.call(host, &id, &mut active, *subject) {
                    Ok(call) => {
                        self.active.insert(index, active);
                        return Ok(Some(Chosen { call, index }));
                    }
                    Err(error) => self.fail_unstarted(host, index, &active, error.into()),
                }
            }
            Begin::Done(done) => {
                self.plan.queue.complete(queued);
                self.push_event(found_done(&id, done, now));
            }
            Begin::Invalid(problem) => {
                self.plan.queue.fail(queued);
                let event = Event::of(EventKind::ItemInvalid, now, &id);
                self.push_event(event.with("error", problem.clone()));
                self.invalid.push((id, problem));
            }
            Begin::Blocked(reason) => {
                self.plan.queue.fail(queued);
                self.blocked.push((index, reason));
            }
            Begin::Busy => {
                self.plan.queue.put_back(queued);
                self.is_busy = true;
            }
        }
        Ok(None)
    }

    /// The next call of an attempt. On failure, why it cannot be made.
    fn call(
        &self,
        host: Host<'_>,
        id: &str,
        active: &mut ActiveAttempt,
        subject: Subject,
    ) -> Result<Call, String> {
        let number = active.calls + 1;
        let log = layout::log_file(self.journal.directory(), id, active.attempt);
        let launch = self.parts.agent.launch(&CallContext {
            host,
            session: self.id(),
            item: id,
            attempt: active.attempt,
            number,
            phase: &subject.phase,
            story: subject.story.as_deref(),
            title: &subject.title,
            overview: &subject.overview,
            section: subject.section.as_deref(),
            branch: subject.branch.as_deref(),
            directory: &subject.directory,
            log: &log,
            repository: &self.parts.repository,
            marker: &self.marker,
            feature: self.parts.workload.feature(),
        })?;
        active.calls = number;
        active.awaiting_next_call = false;
        active.watcher = self.parts.agent.watcher();
        Ok(Call {
            item: id.to_owned(),
            attempt: active.attempt,
            number,
            phase: subject.phase,
            story: subject.story,
            title: subject.title,
            overview: subject.overview,
            directory: subject.directory,
            launch,
        })
    }

    /// Items whose retry is due are ready again.
    fn requeue_retries(&mut self, now: Timestamp) {
        let (due, waiting): (Vec<_>, Vec<_>) =
            self.retrying.drain(..).partition(|(at, _)| is_over(*at, now, LONGEST_RETRY_DELAY));
        self.retrying = waiting;
        for (_, queued) in due {
            self.plan.queue.put_back(queued);
            // A single run has not run its item yet.
            self.has_started_single = false;
        }
    }

    /// True while nothing may start. Records the end of a pause.
    fn is_pausing(&mut self, now: Timestamp) -> bool {
        match self.pause {
            Some(until) if !is_over(until, now, LONGEST_PAUSE) => true,
            Some(_) => {
                self.pause = None;
                self.push_event(Event::new(EventKind::BatchResumed, now));
                false
            }
            None => false,
        }
    }
}

/// True if a wait that lasts at most `longest` is over. If more than that remains, the clock was set back.
fn is_over(until: Timestamp, now: Timestamp, longest: u64) -> bool {
    until <= now || until.since(now) > longest
}

fn found_done(id: &str, done: Done, now: Timestamp) -> Event {
    let event = Event::of(EventKind::ItemCompleted, now, id).with("reason", done.reason);
    event.with_some("state", done.state).with_some("approved", done.approved.then_some(true))
}
