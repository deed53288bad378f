//! What the end of a call means for its item and for the session.

use crate::agents::Outcome;
use crate::bindings::exports::wreckit::batch::session::{Ended, Ending};
use crate::formats::journal::{Event, EventKind};
use crate::io::host::Host;
use crate::io::layout;
use crate::session::ledger::ItemIndex;
use crate::session::running::{ActiveAttempt, LONGEST_PAUSE, LONGEST_RETRY_DELAY, Session};
use crate::time::Timestamp;
use crate::workload::{CompletedPhase, Failing, Verdict};

/// Delay of the first retry, in milliseconds. Each further one is twice as long.
const FIRST_RETRY_DELAY: u64 = 1_000;

/// `reason` of a failure whose agent may still be running.
const LOST: &str = "lost";
/// `reason` of a failure by timeout.
const TIMED_OUT: &str = "timed-out";

impl Session {
    /// The call of an active attempt ended.
    pub(super) fn end(&mut self, host: Host<'_>, index: ItemIndex, ended: &Ended) {
        let Some(mut active) = self.active.remove(&index) else { return };
        let now = host.now();
        let watcher = active.watcher.take();
        let outcome = self.parts.agent.outcome(ended, watcher.as_ref());
        let workload = &self.parts.workload;
        let conclusion = workload.conclude(host, &ended.item, &mut active.work, outcome);
        if let Some(phase) = conclusion.phase {
            self.push_event(self.phase_completed(ended, phase, now));
        }
        match conclusion.verdict {
            Verdict::Completed { state, approved } => {
                self.complete(index, ended, state, approved, now);
            }
            Verdict::Continues => {
                self.reset_pause();
                active.awaiting_next_call = true;
                self.active.insert(index, active);
            }
            Verdict::Failed(failing) => self.fail(host, index, &active, Some(ended), failing),
            Verdict::Blocked { reason, awaits_approval } => {
                self.plan.queue.fail(self.plan.queue_index[&index]);
                let event = self.event(EventKind::ItemBlocked, ended, now);
                let event = event.with("reason", reason.clone());
                self.push_event(
                    event.with_some("awaits_approval", awaits_approval.then_some(true)),
                );
                self.blocked.push((index, reason));
            }
            Verdict::Outcome(outcome) => self.apply_outcome(host, index, &active, ended, outcome),
        }
    }

    fn apply_outcome(
        &mut self,
        host: Host<'_>,
        index: ItemIndex,
        active: &ActiveAttempt,
        ended: &Ended,
        outcome: Outcome,
    ) {
        let now = host.now();
        let failing = |error, reason: Option<&str>, may_retry| Failing {
            error,
            reason: reason.map(str::to_owned),
            may_retry,
        };
        match outcome {
            // Workloads conclude success themselves.
            Outcome::Completed => self.complete(index, ended, None, false, now),
            Outcome::Failed(error) => {
                self.fail(host, index, active, Some(ended), failing(error, None, true));
            }
            Outcome::TimedOut(error) => {
                let failing = failing(error, Some(TIMED_OUT), true);
                self.fail(host, index, active, Some(ended), failing);
            }
            // Beside an agent that is still running, no other one of the same item starts.
            Outcome::Lost(error) => {
                let failing = failing(error, Some(LOST), false);
                self.fail(host, index, active, Some(ended), failing);
            }
            Outcome::Interrupted => {
                self.is_stopping = true;
                self.interrupt(index, ended, None, now);
            }
            Outcome::HandedBack => {
                self.is_stopping = true;
                self.has_started_single = false;
                self.interrupt(index, ended, Some("not started".to_owned()), now);
            }
            Outcome::Paused(reason) => self.pause(index, ended, reason, now),
            Outcome::OutOfResources(error) if self.active.is_empty() => {
                self.fail(host, index, active, Some(ended), failing(error, None, true));
            }
            Outcome::OutOfResources(error) => {
                // No more agents can run than are running now.
                self.has_started_single = false;
                self.parts.limits.parallel = self.active.len();
                self.interrupt(index, ended, Some(error), now);
            }
        }
    }

    fn complete(
        &mut self,
        index: ItemIndex,
        ended: &Ended,
        state: Option<String>,
        approved: bool,
        now: Timestamp,
    ) {
        self.plan.queue.complete(self.plan.queue_index[&index]);
        self.reset_pause();
        let agent = self.parts.workload.feature().map(|_| self.parts.agent_name.clone());
        let event = self.event(EventKind::ItemCompleted, ended, now);
        let event = self.marked(event);
        let event = event.with_some("state", state).with_some("agent", agent);
        self.push_event(event.with_some("approved", approved.then_some(true)));
    }

    fn phase_completed(&self, ended: &Ended, phase: CompletedPhase, now: Timestamp) -> Event {
        let event = self
            .event(EventKind::PhaseCompleted, ended, now)
            .with("phase", phase.phase)
            .with_some("story", phase.story);
        match phase.change {
            Some((from, to)) => event.with("from", from).with("state", to),
            None => event,
        }
    }

    /// An attempt whose call could not be made has failed.
    pub(super) fn fail_unstarted(
        &mut self,
        host: Host<'_>,
        index: ItemIndex,
        active: &ActiveAttempt,
        failing: Failing,
    ) {
        self.fail(host, index, active, None, failing);
    }

    /// The item is retried, or it has failed.
    fn fail(
        &mut self,
        host: Host<'_>,
        index: ItemIndex,
        active: &ActiveAttempt,
        ended: Option<&Ended>,
        failing: Failing,
    ) {
        let now = host.now();
        let id = self.ledger.id(index).to_owned();
        let describe = |session: &Session, kind| {
            let event = match ended {
                Some(ended) => session.event(kind, ended, now),
                None => Event::of(kind, now, &id).attempt(active.attempt),
            };
            let output = ended.and_then(|ended| ended.output.clone());
            let log = layout::log_file(session.journal.directory(), &id, active.attempt);
            event
                .with("error", failing.error.clone())
                .with_some("reason", failing.reason.clone())
                .with_some("phase", active.work.phase_name())
                .with_some("log", output.as_ref().map(|_| log))
                .with_some("output", output)
        };
        let queued = self.plan.queue_index[&index];
        let retries = self.retries.get(&index).copied().unwrap_or(0);
        if failing.may_retry && retries < self.parts.limits.retries {
            let delay = FIRST_RETRY_DELAY.saturating_mul(1 << retries.min(16));
            let at = now.after(delay.min(LONGEST_RETRY_DELAY));
            let event = describe(self, EventKind::ItemRetrying);
            self.push_event(event.with("until", at.to_string()));
            self.retries.insert(index, retries + 1);
            self.retrying.push((at, queued));
        } else {
            let event = self.marked(describe(self, EventKind::ItemFailed));
            self.push_event(event);
            self.plan.queue.fail(queued);
            self.failures += 1;
        }
    }

    /// The item has not failed, and is the next to start.
    fn interrupt(
        &mut self,
        index: ItemIndex,
        ended: &Ended,
        reason: Option<String>,
        now: Timestamp,
    ) {
        self.plan.queue.put_back(self.plan.queue_index[&index]);
        let event = self.event(EventKind::ItemInterrupted, ended, now);
        self.push_event(event.with_some("reason", reason));
    }

    /// Nothing starts for a while; then this item is the first.
    fn pause(&mut self, index: ItemIndex, ended: &Ended, reason: String, now: Timestamp) {
        self.plan.queue.put_back(self.plan.queue_index[&index]);
        self.has_started_single = false;
        // Of several agents that reach the same limit, only the first makes the next pause longer.
        let is_new = self.pause.is_none_or(|until| until <= now);
        let until = match self.pause {
            Some(until) if !is_new => until,
            _ => now.after(self.next_pause),
        };
        if is_new {
            self.next_pause = self.next_pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
        self.pause = Some(until);
        let event = self.event(EventKind::BatchPaused, ended, now);
        self.push_event(event.with("reason", reason).with("until", until.to_string()));
    }

    fn reset_pause(&mut self) {
        self.next_pause = self.parts.limits.limit_wait.min(LONGEST_PAUSE);
    }

    /// Results of the mock agent are marked: they change no file.
    fn marked(&self, event: Event) -> Event {
        if self.parts.agent.is_mock() { event.with("mock", true) } else { event }
    }

    fn event(&self, kind: EventKind, ended: &Ended, now: Timestamp) -> Event {
        let (exit_code, signal) = match ended.ending {
            // The mock agent has no process.
            _ if self.parts.agent.is_mock() => (None, None),
            Ending::Exited(code) => (Some(code), None),
            Ending::Signaled(signal) => (None, Some(signal)),
            Ending::NotStarted(_) | Ending::Lost(_) => (None, None),
        };
        Event::of(kind, now, &ended.item)
            .attempt(ended.attempt)
            .with_some("exit_code", exit_code)
            .with_some("signal", signal)
            .with("duration_ms", ended.duration)
    }
}
