//! Taking a feature through its phases with an agent: what is called next, and what becomes of it.
//!
//! The document is the checkpoint: a phase is in progress in it before its agent starts, and what the
//! agent came to is in it before the next one does. A run that is interrupted anywhere goes on there.

mod approval;
mod ended;
mod open;

pub use open::open_run;

use serde_json::{Value, json};

use super::document::{Document, PhaseStatus};
use super::moves::{self, Details, Move};
use super::store::{change, load, unlock_run};
use super::{FeatureError, metrics};
use crate::formats::journal::{Event, EventKind};
use crate::formats::layout;
use crate::io::time::Timestamp;
use crate::io::tree::{Failure, Tree};
use crate::session::{Attempt, CloseReason, Counts, Report, SessionError, Step, Summary};

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
    /// Passes over a run whose process is not proven to have ended.
    pub take_over: bool,
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
        unlock_run(tree)?;
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
                error: crate::io::capabilities::FsError::Failed(words(&error)),
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

/// The number of the next log of a phase: none is written over.
fn next_log(tree: Tree<'_>, id: &str, phase: &str) -> Result<u32, FeatureError> {
    let number = |name: &str| -> Option<u32> {
        name.strip_prefix(phase)?.strip_prefix('.')?.strip_suffix(".log")?.parse().ok()
    };
    let entries = tree.list(&format!("{id}/logs"))?;
    let last = entries.iter().filter_map(|entry| number(&entry.name)).max().unwrap_or(0);
    Ok(last.saturating_add(1))
}
