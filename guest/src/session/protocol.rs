//! What a session and its caller say to each other; see `batch` in the WIT package.

use crate::formats::journal::Event;
use crate::session::ledger::Ledger;

/// One call of an item's agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The item.
    pub item: String,
    /// Which start of it.
    pub number: u32,
    /// Which call in this start.
    pub call: u32,
    /// `run`, or the phase of the item.
    pub phase: String,
    /// The story to work on.
    pub story: Option<String>,
    /// Its title.
    pub title: String,
    /// What is wanted.
    pub overview: String,
    /// Its section.
    pub section: Option<String>,
    /// Its branch.
    pub branch: Option<String>,
    /// Its directory.
    pub directory: String,
    /// Where its agent's output belongs.
    pub log: String,
}

/// A process that works on an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// The item.
    pub item: String,
    /// Which start of it.
    pub attempt: u32,
    /// What the process does.
    pub phase: String,
    /// Process id and process group.
    pub pid: u64,
    /// Clock ticks from the boot to its start.
    pub start_time: Option<u64>,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Well.
    Completed,
    /// Not; why.
    Failed(String),
    /// By us, after so many seconds.
    TimedOut(u64),
    /// By the batch, which is stopping.
    Interrupted,
    /// For no fault of the item; why.
    Paused(String),
    /// It was never started: the system has no more to give; why.
    NotStarted(String),
    /// Not at all: it still runs, and SIGKILL has no effect; why.
    Lost(String),
}

/// A call that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The item.
    pub item: String,
    /// Which start of it.
    pub attempt: u32,
    /// How.
    pub outcome: Outcome,
    /// The exit code of its process.
    pub exit_code: Option<i32>,
    /// The signal that ended its process.
    pub signal: Option<i32>,
    /// How long it took, in milliseconds.
    pub duration: u64,
    /// The last lines of its output.
    pub output: Option<String>,
}

/// What the caller has to say of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// Its process runs.
    Started(Started),
    /// Its call ended.
    Ended(Ended),
}

/// How many items are where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Length of the queue.
    pub queued: usize,
    /// Completed in this session.
    pub completed: usize,
    /// Failed in this session.
    pub failed: usize,
    /// Found done.
    pub skipped: usize,
    /// In hand, or were when the session stopped.
    pub in_flight: usize,
    /// Of the queue, what is still to do; those in hand included.
    pub left: usize,
}

impl Counts {
    /// The counts of a session.
    pub fn of(ledger: &Ledger) -> Self {
        Counts {
            queued: ledger.queue().len(),
            completed: ledger.completed().len(),
            failed: ledger.failed().len(),
            skipped: ledger.skipped().len(),
            in_flight: ledger.in_flight().len(),
            left: ledger.remaining_count(),
        }
    }
}

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Call an agent for each of these.
    pub start: Vec<Attempt>,
    /// What was recorded.
    pub events: Vec<Event>,
    /// Call again after so many milliseconds at the latest.
    pub wake_after: u64,
    /// True if nothing is in hand and nothing more can run.
    pub finished: bool,
    /// Nothing is started before then.
    pub paused_until: Option<String>,
    /// The state now.
    pub counts: Counts,
}
