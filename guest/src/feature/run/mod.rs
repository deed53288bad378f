//! Taking a feature through its phases with an agent: what is called next, and what becomes of it.
//!
//! The document is the checkpoint: a phase is in progress in it before its agent starts, and what the
//! agent came to is in it before the next one does. A run that is interrupted anywhere goes on there.

mod open;

pub use open::open_run;

use serde_json::{Value, json};

use super::document::{Document, PhaseStatus};
use super::moves::{self, Details, Move};
use super::store::{change, load, unlock};
use super::{FeatureError, approval, metrics};
use crate::batch::{
    Attempt, CloseReason, Counts, Ended, Outcome, Report, SessionError, Step, Summary,
};
use crate::journal::{Event, EventKind};
use crate::layout;
use crate::time::Timestamp;
use crate::tree::{Failure, Tree};

/// The first wait before a failed phase is tried again; the last ones are so long.
const FIRST_RETRY: u64 = 1000;
const LATEST_RETRY: u64 = 60_000;
/// The longest pause.
const LONGEST_PAUSE: u64 = 60 * 60 * 1000;
/// While somebody else changes the document, it is tried again after so long.
const BUSY: u64 = 20;
/// Nothing happens by itself.
const IDLE: u64 = 60_000;
/// How to run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunOptions {
    /// What the agent is called: a phase that does not say which agents it used gets it.
    pub agent: String,
    /// Phases that a person has approved.
    pub approve: Vec<String>,
    /// All of them.
    pub approve_all: bool,
    /// How long a first pause lasts.
    pub limit_wait: u64,
    /// How often a phase that failed is tried again.
    pub retries: u32,
}

/// A call of an agent that is in hand.
#[derive(Debug, Clone, PartialEq)]
struct Hand {
    phase: String,
    number: u32,
    log: String,
}

/// A feature that is being run.
#[derive(Debug)]
pub struct Run {
    id: String,
    options: RunOptions,
    hand: Option<Hand>,
    /// What was reported and could not be recorded yet.
    reports: Vec<Report>,
    /// Nothing starts before then.
    wait: Option<Timestamp>,
    is_paused: bool,
    next_pause: u64,
    /// How often the phase in hand has been tried again.
    tries: u32,
    /// Phases that were complete before.
    skipped: Vec<String>,
    completed: Vec<String>,
    failed: Option<(String, String)>,
    blocked: Option<(String, String)>,
    interrupted: bool,
    is_over: bool,
    seq: u64,
    events: Vec<Event>,
}

impl Run {
    /// Records what happened and says what to do next.
    pub fn advance(
        &mut self,
        tree: Tree<'_>,
        reports: &[Report],
        slots: usize,
    ) -> Result<Step, SessionError> {
        self.reports.extend_from_slice(reports);
        let mut start = Vec::new();
        let mut wake_after = IDLE;
        match self.work(tree, slots) {
            Ok(attempt) => start.extend(attempt),
            Err(FeatureError::Busy(_)) => wake_after = BUSY,
            Err(FeatureError::Storage(failure)) => return Err(failure.into()),
            // The document is not what it was: somebody else has moved or damaged it.
            Err(error) => self.stop(words(&error)),
        }
        if let Some(wait) = self.wait.filter(|_| self.hand.is_none()) {
            wake_after = wake_after.min(wait.since(tree.now()));
        }
        let counts = match load(tree, &self.id) {
            Ok(document) => self.counts(&document),
            Err(_) => Counts::default(),
        };
        Ok(Step {
            start,
            events: std::mem::take(&mut self.events),
            wake_after,
            finished: self.is_over && self.hand.is_none(),
            paused_until: self.wait.filter(|_| self.is_paused).map(|until| until.to_string()),
            counts,
        })
    }

    /// Takes in the reports, one by one, and chooses what is called next.
    fn work(&mut self, tree: Tree<'_>, slots: usize) -> Result<Option<Attempt>, FeatureError> {
        while let Some(report) = self.reports.first().cloned() {
            self.take_in(tree, &report)?;
            self.reports.remove(0);
        }
        if self.is_over || self.hand.is_some() || slots == 0 || self.waits(tree.now()) {
            return Ok(None);
        }
        self.next(tree)
    }

    fn waits(&mut self, now: Timestamp) -> bool {
        if self.wait.is_some_and(|until| until > now) {
            return true;
        }
        self.wait = None;
        if std::mem::take(&mut self.is_paused) {
            self.happened(Event::new(EventKind::BatchResumed, now));
        }
        false
    }

    fn take_in(&mut self, tree: Tree<'_>, report: &Report) -> Result<(), FeatureError> {
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
            Outcome::Failed(error) => self.try_again_or_fail(tree, hand, error, &failing)?,
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

    /// What the document says of a phase whose agent did what it should: the agent may have moved it
    /// itself, and one that wants approval waits for a person.
    fn conclude(&self, tree: Tree<'_>, phase: &str) -> Result<(), FeatureError> {
        let now = tree.now();
        change(tree, &self.id, |document| {
            if document.phase_status(phase) != Some(PhaseStatus::InProgress) {
                return Ok(String::new());
            }
            let is_wanted = document.phase(phase).is_some_and(approval::is_wanted);
            match is_wanted && !self.is_approved(phase) {
                true => approval::await_it(document, phase, now),
                false => complete(document, phase, &self.options.agent, now),
            }
        })
        .map(drop)
    }

    fn is_approved(&self, phase: &str) -> bool {
        self.options.approve_all || self.options.approve.iter().any(|name| name == phase)
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

    fn stop(&mut self, why: String) {
        let phase = self.hand.take().map_or_else(|| self.id.clone(), |hand| hand.phase);
        self.reports.clear();
        self.failed.get_or_insert((phase, why));
        self.is_over = true;
    }

    /// Chooses the next phase and records that it is in progress.
    fn next(&mut self, tree: Tree<'_>) -> Result<Option<Attempt>, FeatureError> {
        let document = load(tree, &self.id)?;
        if document.is_aborted() {
            self.blocked = Some((self.id.clone(), "the feature was aborted".to_owned()));
            self.is_over = true;
            return Ok(None);
        }
        if let Some(phase) = approval::missing(&document) {
            return self.approve(tree, phase);
        }
        let working = document.in_status(&PhaseStatus::InProgress);
        let Some(phase) = working.first().copied().or_else(|| document.next_phase()) else {
            self.is_over = true;
            return Ok(None);
        };
        let phase = phase.to_owned();
        let now = tree.now();
        change(tree, &self.id, |document| {
            if document.phase_status(&phase) != Some(PhaseStatus::InProgress) {
                moves::apply(document, &phase, Move::Start, &Details::default(), now)?;
            }
            metrics::count_agent(document)?;
            Ok(String::new())
        })?;
        let number = next_log(tree, &self.id, &phase)?;
        let log = format!("{}/logs/{phase}.{number}.log", self.id);
        self.happened(Event::of(EventKind::ItemStarted, now, &phase).attempt(number));
        self.hand = Some(Hand { phase: phase.clone(), number, log: log.clone() });
        Ok(Some(Attempt {
            item: phase.clone(),
            number,
            call: 1,
            phase,
            story: None,
            title: document.text("feature_name").to_owned(),
            overview: String::new(),
            section: None,
            branch: None,
            directory: self.id.clone(),
            log,
        }))
    }

    /// A phase whose agent is done waits for a person: it goes on if that person is there, or ends the
    /// run.
    fn approve(&mut self, tree: Tree<'_>, phase: &str) -> Result<Option<Attempt>, FeatureError> {
        let now = tree.now();
        if !self.is_approved(phase) {
            self.blocked = Some((phase.to_owned(), approval::waits(phase)));
            self.is_over = true;
            return Ok(None);
        }
        change(tree, &self.id, |document| match document.phase_status(phase) {
            Some(PhaseStatus::Complete) => approval::give(document, phase),
            _ => complete(document, phase, &self.options.agent, now),
        })?;
        if !self.skipped.iter().chain(&self.completed).any(|name| name == phase) {
            self.completed.push(phase.to_owned());
        }
        self.happened(Event::of(EventKind::ItemCompleted, now, phase).with("reason", "approved"));
        self.next(tree)
    }

    /// Ends the run.
    pub fn close(&mut self, tree: Tree<'_>, reason: CloseReason) -> Result<Summary, SessionError> {
        let document = load(tree, &self.id).ok();
        let is_aborted = document.as_ref().is_none_or(Document::is_aborted);
        let left: Vec<String> = document
            .iter()
            .flat_map(Document::phases)
            .map(|(name, _)| name.to_owned())
            .filter(|name| !self.completed.contains(name) && !self.skipped.contains(name))
            .collect();
        let is_failed = |name: &String| self.failed.as_ref().is_some_and(|(it, _)| it == name);
        let remaining: Vec<String> = left.into_iter().filter(|name| !is_failed(name)).collect();
        let word = match (reason, &self.blocked) {
            (CloseReason::Interrupted, _) => "interrupted",
            (CloseReason::Ended, Some(_)) => "blocked",
            (CloseReason::Ended, None) => "ended",
        };
        let failed: Vec<(String, String)> = self.failed.clone().into_iter().collect();
        let finished = Event::new(EventKind::BatchFinished, tree.now())
            .with("reason", word)
            .with("session_id", self.id.clone())
            .with("completed", json!(self.completed))
            .with("failed", failed.iter().map(|(name, _)| name.as_str()).collect::<Value>())
            .with("skipped", json!(self.skipped))
            .with("remaining", json!(remaining))
            .with("invalid", json!([]));
        self.happened(finished);
        unlock(tree, layout::RUN_LOCK)?;
        Ok(Summary {
            session: self.id.clone(),
            completed: self.completed.clone(),
            resumable: failed.is_empty() && !remaining.is_empty() && !is_aborted,
            failed,
            skipped: self.skipped.clone(),
            remaining,
            blocked: self.blocked.clone().into_iter().collect(),
            invalid: Vec::new(),
            awaits: document.as_ref().and_then(approval::missing).map(str::to_owned),
            events: std::mem::take(&mut self.events),
        })
    }

    fn happened(&mut self, event: Event) {
        self.seq += 1;
        self.events.push(Event { seq: self.seq, ..event });
    }

    fn counts(&self, document: &Document) -> Counts {
        let all = document.phases().count();
        let complete = document.in_status(&PhaseStatus::Complete).len();
        Counts {
            queued: all.saturating_sub(self.skipped.len()),
            completed: complete.saturating_sub(self.skipped.len()),
            failed: usize::from(self.failed.is_some()),
            skipped: self.skipped.len(),
            in_flight: usize::from(self.hand.is_some()),
            left: all - complete,
        }
    }
}

impl From<FeatureError> for SessionError {
    fn from(error: FeatureError) -> Self {
        match error {
            FeatureError::Storage(failure) => SessionError::Storage(failure),
            // What cannot be said otherwise is said as it is.
            error => SessionError::Storage(Failure {
                operation: "go on with",
                path: String::new(),
                error: crate::capabilities::FsError::Failed(words(&error)),
                prefix: layout::FEATURES.prefix,
            }),
        }
    }
}

fn words(error: &FeatureError) -> String {
    match error {
        FeatureError::Busy(_) => "somebody else changes it".to_owned(),
        FeatureError::Unknown(words) => format!("there is no feature {:?}", words.given),
        FeatureError::Invalid(message)
        | FeatureError::Corrupt(message)
        | FeatureError::Illegal { message, .. } => message.clone(),
        FeatureError::Storage(failure) => failure.to_string(),
    }
}

/// A phase whose agent did what it should is done, and approved if that was wanted.
fn complete(
    document: &mut Document,
    phase: &str,
    agent: &str,
    now: Timestamp,
) -> Result<String, FeatureError> {
    if let Some(fields) = document.phase_mut(phase)
        && !fields.contains_key("agent_used")
        && !fields.contains_key("agents_used")
    {
        fields.insert("agent_used".to_owned(), json!(agent));
    }
    let is_wanted = document.phase(phase).is_some_and(approval::is_wanted);
    let approved = is_wanted.then(|| (approval::APPROVED.to_owned(), "true".to_owned()));
    let details = Details { set: approved.into_iter().collect(), ..Details::default() };
    moves::apply(document, phase, Move::Complete, &details, now)
}

/// The number of the next log of a phase: none is written over.
fn next_log(tree: Tree<'_>, id: &str, phase: &str) -> Result<u32, FeatureError> {
    let number = |name: &str| -> Option<u32> {
        name.strip_prefix(phase)?.strip_prefix('.')?.strip_suffix(".log")?.parse().ok()
    };
    let entries = tree.list(&format!("{id}/logs"))?;
    let last = entries.iter().filter_map(|entry| number(&entry.name)).max().unwrap_or(0);
    Ok(last.saturating_add(1))
}
