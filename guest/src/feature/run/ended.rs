//! What is reported of an agent, and what becomes of its phase.

use serde_json::Value;

use super::{Hand, Run};
use crate::feature::FeatureError;
use crate::feature::document::PhaseStatus;
use crate::feature::moves::{self, Details, Move};
use crate::feature::store::{change, load};
use crate::formats::journal::{Event, EventKind};
use crate::io::time::Timestamp;
use crate::io::tree::Tree;
use crate::session::{Ended, Outcome, Report};

/// The first wait before a failed phase is tried again; the last ones are so long.
const FIRST_RETRY: u64 = 1000;
const LATEST_RETRY: u64 = 60_000;
/// The longest pause.
const LONGEST_PAUSE: u64 = 60 * 60 * 1000;

impl Run {
    pub(super) fn take_in(&mut self, tree: Tree<'_>, report: &Report) -> Result<(), FeatureError> {
        let now = tree.now();
        match report {
            Report::Started(started) => {
                let event = Event::of(EventKind::PhaseStarted, now, &started.item)
                    .attempt(started.attempt)
                    .with("pid", started.pid);
                self.happened(event);
                Ok(())
            }
            Report::Ended(ended) => {
                let is_ours =
                    |hand: &&Hand| hand.phase == ended.item && hand.number == ended.attempt;
                let Some(hand) = self.hand.as_ref().filter(is_ours).cloned() else {
                    return Ok(());
                };
                self.ended(tree, ended, &hand, now)?;
                self.hand = None;
                Ok(())
            }
        }
    }

    fn ended(
        &mut self,
        tree: Tree<'_>,
        ended: &Ended,
        hand: &Hand,
        now: Timestamp,
    ) -> Result<(), FeatureError> {
        let event = |kind| {
            Event::of(kind, now, &hand.phase)
                .attempt(hand.number)
                .with_some("exit_code", ended.exit_code)
                .with_some("signal", ended.signal)
                .with("duration_ms", ended.duration)
        };
        let failing = |kind, error: &str| {
            event(kind)
                .with("error", error)
                .with_some("log", ended.output.as_ref().map(|_| hand.log.clone()))
                .with_some("output", ended.output.clone())
        };
        if ended.outcome == Outcome::Completed {
            self.conclude(tree, &hand.phase)?;
        }
        // What the agent has said of its phase stands, however it ended.
        match load(tree, &self.id)?.phase_status(&hand.phase) {
            Some(PhaseStatus::InProgress) => {}
            Some(PhaseStatus::Complete) => {
                self.completed.push(hand.phase.clone());
                self.tries = 0;
                self.next_pause = self.options.limit_wait;
                self.happened(event(EventKind::ItemCompleted));
                self.is_over |= ended.outcome == Outcome::Interrupted;
                return Ok(());
            }
            status => {
                let why = self.stop_by_document(tree, &hand.phase)?;
                self.happened(match status {
                    Some(PhaseStatus::Failed) => failing(EventKind::ItemFailed, &why),
                    _ => event(EventKind::ItemBlocked).with("reason", why),
                });
                return Ok(());
            }
        }
        match &ended.outcome {
            Outcome::Completed => {}
            Outcome::Failed(error) | Outcome::NotStarted(error) => {
                self.try_again_or_fail(tree, hand, error, &failing)?;
            }
            Outcome::Lost(error) => {
                // Beside an agent that still runs there is no other one of the same phase.
                self.tries = self.options.retries;
                self.try_again_or_fail(tree, hand, error, &failing)?;
            }
            Outcome::TimedOut(seconds) => {
                let error = format!("timed out after {seconds} s");
                self.try_again_or_fail(tree, hand, &error, &failing)?;
            }
            Outcome::Interrupted => {
                self.interrupted = true;
                self.is_over = true;
                self.happened(event(EventKind::ItemInterrupted));
            }
            Outcome::Paused(reason) => {
                let until = now.after(self.next_pause);
                self.next_pause = self.next_pause.saturating_mul(2).min(LONGEST_PAUSE);
                self.wait = Some(until);
                self.is_paused = true;
                let event = event(EventKind::BatchPaused).with("reason", reason.clone());
                self.happened(event.with("until", until.to_string()));
            }
        }
        Ok(())
    }

    fn try_again_or_fail(
        &mut self,
        tree: Tree<'_>,
        hand: &Hand,
        error: &str,
        failing: &dyn Fn(EventKind, &str) -> Event,
    ) -> Result<(), FeatureError> {
        if self.tries < self.options.retries {
            let delay = FIRST_RETRY.saturating_mul(1 << self.tries.min(16)).min(LATEST_RETRY);
            let until = tree.now().after(delay);
            self.tries += 1;
            self.wait = Some(until);
            let event = failing(EventKind::ItemRetrying, error);
            self.happened(event.with("until", until.to_string()));
            return Ok(());
        }
        let now = tree.now();
        let details = Details { reason: Some(error.to_owned()), ..Details::default() };
        change(tree, &self.id, |document| {
            moves::apply(document, &hand.phase, Move::Fail, &details, now)
        })?;
        self.happened(failing(EventKind::ItemFailed, error));
        self.failed = Some((hand.phase.clone(), error.to_owned()));
        self.is_over = true;
        Ok(())
    }

    /// A phase that is neither done nor in progress ends the run; the document says why.
    fn stop_by_document(&mut self, tree: Tree<'_>, phase: &str) -> Result<String, FeatureError> {
        let document = load(tree, &self.id)?;
        let fields = document.phase(phase);
        let reason = fields.and_then(|fields| fields.get("reason")).and_then(Value::as_str);
        let status = document.phase_status(phase).unwrap_or(PhaseStatus::Failed);
        let reason = reason.map_or_else(|| format!("it is {}", status.name()), str::to_owned);
        let result = Some((phase.to_owned(), reason.clone()));
        match status {
            PhaseStatus::Failed => self.failed = result,
            _ => self.blocked = result,
        }
        self.is_over = true;
        Ok(reason)
    }
}
