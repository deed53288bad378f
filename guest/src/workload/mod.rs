//! What a session runs: the items of a batch, or the phases of a feature.
//!
//! The session owns the queue, the journal, retries and pauses. A workload knows what a unit of work is, what
//! its next call is about, whether the call achieved it, and which file records the result.

mod item_phases;
pub mod items;
pub mod phases;
pub mod results;

use std::fmt;

use self::item_phases::Phase;
use self::results::Unwritten;
use crate::agents::{FeatureContext, Outcome};
use crate::formats::result::ItemResult;
use crate::io::host::{Failure, Host};

/// Writes the results of a saved session into the files of their items. `feature` is the feature whose phases
/// it ran; otherwise it was a batch.
pub fn apply_results(
    host: Host<'_>,
    feature: Option<&str>,
    results: &[ItemResult],
) -> Result<Vec<Unwritten>, Failure> {
    match feature {
        Some(feature) => phases::apply_results(host, feature, results),
        None => results::apply(host, results),
    }
}

/// What a session runs. Its units are called items, also where they are the phases of a feature.
pub trait Workload: fmt::Debug {
    /// Examines every item that has no result in the session. `chosen` limits the items that are new to the
    /// session; queued ones are examined in any case.
    fn survey(
        &self,
        host: Host<'_>,
        session: &dyn Recorded,
        chosen: &[String],
    ) -> Result<Survey, Failure>;

    /// Why a dependency that is not part of the queue will not complete (`depends on X, which …`); `None` if
    /// it is done.
    fn unmet(&self, host: Host<'_>, survey: &Survey, id: &str) -> Option<String>;

    /// Whether an item that failed in the session is done now.
    fn is_done(&self, host: Host<'_>, id: &str) -> bool;

    /// The ids of all items that exist.
    fn ids(&self, host: Host<'_>) -> Result<Vec<String>, Failure>;

    /// Prepares an attempt of an item. Everything that it changes is durable when it returns.
    fn begin(&mut self, host: Host<'_>, id: &str) -> Result<Begin, Failure>;

    /// What the next call of an attempt is about. On failure, why the attempt fails.
    fn next_call(&self, host: Host<'_>, id: &str, work: &Work) -> Result<Subject, String>;

    /// What the end of a call means for its item.
    fn conclude(&self, host: Host<'_>, id: &str, work: &mut Work, outcome: Outcome) -> Conclusion;

    /// Writes results into the files of their items, durably. Returns those that could not be written.
    fn apply_results(
        &self,
        host: Host<'_>,
        results: &[ItemResult],
    ) -> Result<Vec<Unwritten>, Failure>;

    /// Whether the result of an item must be in its file before another one starts.
    fn applies_results_at_once(&self) -> bool;

    /// The phase that needs approval before the session can continue.
    fn awaiting_approval(&self, host: Host<'_>) -> Option<String>;

    /// Whether a later run can resume the session, if something remains to be done.
    fn is_resumable(&self, _host: Host<'_>, _has_failed: bool) -> bool {
        true
    }

    /// The feature whose phases are run, if it is one.
    fn feature(&self) -> Option<FeatureContext<'_>>;
}

/// What a session has recorded about items, as far as a survey needs it.
pub trait Recorded {
    /// Whether an item has neither completed nor failed; `None` if the session does not know it.
    fn is_pending(&self, id: &str) -> Option<bool>;

    /// The queued items that have neither completed nor failed, in queue order.
    fn pending(&self) -> Vec<&str>;
}

/// The work to do, beyond the results that a session has.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Survey {
    /// Every item that exists, in running order.
    pub ids: Vec<String>,
    /// Items to run, in running order: their index in `ids`, and what they depend on.
    pub open: Vec<(usize, Vec<String>)>,
    /// Items that are done.
    pub done: Vec<String>,
    /// Items that cannot be used, and why.
    pub invalid: Vec<(String, String)>,
    /// Items that are queued and do not exist any more.
    pub gone: Vec<String>,
}

impl Survey {
    /// The ids of the items to run.
    pub fn open_ids(&self) -> impl Iterator<Item = &str> {
        self.open.iter().map(|(index, _)| self.ids[*index].as_str())
    }
}

/// What an attempt works on, across its calls.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Work {
    /// The state of the item before the call.
    state: String,
    /// The phase of the item, if the agent is called once per phase.
    phase: Option<Phase>,
    /// The story to work on.
    story: Option<String>,
    /// How many calls of the phase `implement` have ended.
    iterations: u32,
}

impl Work {
    /// The state of the item before the call.
    pub fn state(&self) -> &str {
        &self.state
    }

    /// The name of the phase of the item, if it has phases.
    pub fn phase_name(&self) -> Option<&'static str> {
        self.phase.map(Phase::name)
    }
}

/// What a call is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// `run`, or the phase.
    pub phase: String,
    /// The story to work on.
    pub story: Option<String>,
    /// The title of the item, or the name of the feature.
    pub title: String,
    /// The description of the item.
    pub overview: String,
    /// The section of the item.
    pub section: Option<String>,
    /// The branch of the item.
    pub branch: Option<String>,
    /// The directory of the item, relative to the root of the instance.
    pub directory: String,
}

/// What came of preparing an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begin {
    /// The attempt can start.
    Start(Work, Box<Subject>),
    /// Nothing remains to be done.
    Done(Done),
    /// The item cannot be used; why.
    Invalid(String),
    /// Something must happen first; what.
    Blocked(String),
    /// Another process is changing the file: retry in a moment.
    Busy,
}

/// How an item turned out to be done without an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// How: `found done`, `every story is done`, `approved`.
    pub reason: String,
    /// The state of the item, if it must still be set to done.
    pub state: Option<String>,
    /// Whether a person's approval completes it.
    pub approved: bool,
}

/// What the end of a call means.
#[derive(Debug, Clone, PartialEq)]
pub struct Conclusion {
    /// The phase of the item that the call completed.
    pub phase: Option<CompletedPhase>,
    /// What it means for the item.
    pub verdict: Verdict,
}

impl From<Verdict> for Conclusion {
    fn from(verdict: Verdict) -> Self {
        Conclusion { phase: None, verdict }
    }
}

/// A phase of an item that completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletedPhase {
    /// Its name.
    pub phase: &'static str,
    /// Its story.
    pub story: Option<String>,
    /// The state of the item before and after, if the session has to change it.
    pub change: Option<(String, String)>,
}

/// What the end of a call means for its item.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// The item completed.
    Completed {
        /// Its state, if it must still be set to done.
        state: Option<String>,
        /// Whether a person's approval is to be recorded.
        approved: bool,
    },
    /// The attempt continues with another call.
    Continues,
    /// The attempt failed.
    Failed(Failing),
    /// Something must happen before the item can continue.
    Blocked {
        /// What.
        reason: String,
        /// Whether it is a person's approval.
        awaits_approval: bool,
    },
    /// The outcome of the call decides.
    Outcome(Outcome),
}

/// How an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// Why, in one line.
    pub error: String,
    /// A word for the kind of failure.
    pub reason: Option<String>,
    /// Whether another attempt may follow.
    pub may_retry: bool,
}

impl From<String> for Failing {
    fn from(error: String) -> Self {
        Failing { error, reason: None, may_retry: true }
    }
}
