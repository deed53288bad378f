//! A running session: records what was reported, and decides what comes next.

use std::collections::BTreeMap;

use crate::agents::{Agent, Watcher};
use crate::bindings::exports::wreckit::batch::session::{
    Ended, Report, SessionError, Started, Step,
};
use crate::formats::journal::{Event, EventKind, Writer};
use crate::formats::progress::Progress;
use crate::io::capabilities::{FsError, Level, Variable};
use crate::io::host::{Failure, Host};
use crate::session::checkpoint::Checkpoint;
use crate::session::events::{counts, publish};
use crate::session::ledger::{ItemIndex, Ledger};
use crate::session::plan::Plan;
use crate::session::queue::QueueIndex;
use crate::time::Timestamp;
use crate::workload::{Work, Workload};

/// Maximum duration of a pause, in milliseconds.
pub(super) const LONGEST_PAUSE: u64 = 60 * 60 * 1000;
/// Maximum delay of a retry, in milliseconds.
pub(super) const LONGEST_RETRY_DELAY: u64 = 60_000;
/// How soon to try again while another process is changing a file, in milliseconds.
const BUSY_DELAY: u64 = 20;

impl From<Failure> for SessionError {
    fn from(failure: Failure) -> Self {
        SessionError::Storage(failure.into())
    }
}

/// Limits of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Limits {
    /// Maximum number of attempts in flight, at least 1.
    pub parallel: usize,
    /// How many attempts beyond the free slots may be handed out.
    pub lookahead: usize,
    /// Whether only one item runs.
    pub single: bool,
    /// Maximum number of retries of an item.
    pub retries: u32,
    /// How many failures stop the session from starting more; 0: none do.
    pub max_failures: u32,
    /// How long the first pause lasts, in milliseconds.
    pub limit_wait: u64,
}

/// An attempt whose agent is running, or may be running.
#[derive(Debug)]
pub(super) struct ActiveAttempt {
    /// Its number.
    pub attempt: u32,
    /// What it works on.
    pub work: Work,
    /// How many calls were made.
    pub calls: u32,
    /// True if its last call has ended and the next one has not been made.
    pub awaiting_next_call: bool,
    /// Watches the output of its current call.
    pub watcher: Option<Watcher>,
}

/// Everything that a session is made from.
#[derive(Debug)]
pub(super) struct Parts {
    pub workload: Box<dyn Workload>,
    pub agent: Agent,
    /// What the agent is called, where results name it.
    pub agent_name: String,
    pub limits: Limits,
    /// The absolute path of the repository's root, as agents see it.
    pub repository: String,
}

/// The state that a session starts with.
#[derive(Debug)]
pub(super) struct State {
    pub snapshot: Progress,
    pub ledger: Ledger,
    pub plan: Plan,
    pub journal: Writer,
    pub checkpoint: Checkpoint,
    pub invalid: Vec<(String, String)>,
}

/// A session between opening and closing.
#[derive(Debug)]
pub struct Session {
    pub(super) parts: Parts,
    /// The environment variables that mark an agent of this root.
    pub(super) marker: Vec<Variable>,
    /// The snapshot without its lists, which are the ledger's.
    pub(super) snapshot: Progress,
    pub(super) ledger: Ledger,
    pub(super) plan: Plan,
    pub(super) journal: Writer,
    pub(super) checkpoint: Checkpoint,
    /// Items that cannot be used, and why.
    pub(super) invalid: Vec<(String, String)>,
    /// Items that the workload cannot start, and why.
    pub(super) blocked: Vec<(ItemIndex, String)>,
    pub(super) active: BTreeMap<ItemIndex, ActiveAttempt>,
    /// Events that could not be recorded yet.
    unrecorded: Vec<Event>,
    /// Events that were recorded and not handed out yet.
    unpublished: Vec<Event>,
    /// Nothing may start before this time.
    pub(super) pause: Option<Timestamp>,
    /// How long the next pause lasts, in milliseconds.
    pub(super) next_pause: u64,
    /// Items that are retried at a time.
    pub(super) retrying: Vec<(Timestamp, QueueIndex)>,
    /// How many retries each item has had.
    pub(super) retries: BTreeMap<ItemIndex, u32>,
    /// How many items have failed since the session was opened.
    pub(super) failures: u32,
    /// True once a single run has started its item.
    pub(super) has_started_single: bool,
    /// True after the embedder stopped an attempt or handed one back, until it has free slots again: it is
    /// stopping, and takes nothing in advance.
    pub(super) is_stopping: bool,
    /// True if another process is changing a file that the next attempt needs.
    pub(super) is_busy: bool,
    /// When the lock was last checked.
    pub(super) lock_checked: Timestamp,
}

impl Session {
    pub(super) fn new(parts: Parts, marker: Vec<Variable>, state: State) -> Self {
        let State { snapshot, ledger, plan, journal, checkpoint, invalid } = state;
        let next_pause = parts.limits.limit_wait.min(LONGEST_PAUSE);
        Session {
            parts,
            marker,
            snapshot,
            ledger,
            plan,
            journal,
            checkpoint,
            invalid,
            blocked: Vec::new(),
            active: BTreeMap::new(),
            unrecorded: Vec::new(),
            unpublished: Vec::new(),
            pause: None,
            next_pause,
            retrying: Vec::new(),
            retries: BTreeMap::new(),
            failures: 0,
            has_started_single: false,
            is_stopping: false,
            is_busy: false,
            lock_checked: Timestamp::from_millis(0),
        }
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.snapshot.session_id
    }

    /// Whether it runs the phases of a feature.
    pub fn is_of_feature(&self) -> bool {
        self.parts.workload.feature().is_some()
    }

    /// Records what was reported, and returns what to do next. All of it shares one sync.
    ///
    /// After a storage failure, the reports are recorded by the next call that succeeds, and nothing
    /// was started.
    pub fn advance(
        &mut self,
        host: Host<'_>,
        reports: &[Report],
        slots: usize,
    ) -> Result<Step, SessionError> {
        self.apply_reports(host, reports)?;
        self.ensure_files(host)?;
        self.record_and_apply(host)?;
        self.is_busy = self.checkpoint.is_busy();
        let chosen = if self.is_busy { Vec::new() } else { self.choose(host, slots)? };
        if let Err(failure) = self.record(host) {
            self.return_calls(chosen);
            return Err(failure.into());
        }
        Ok(Step {
            start: chosen.into_iter().map(|chosen| chosen.call).collect(),
            events: publish(&self.take_events()),
            wake_after: self.wake_after(host.now()),
            finished: self.is_finished(),
            paused_until: self.pause.map(|until| until.to_string()),
            counts: counts(&self.ledger),
        })
    }

    /// Records events and applies results as far as that is due.
    fn record_and_apply(&mut self, host: Host<'_>) -> Result<(), Failure> {
        let at_once = self.parts.workload.applies_results_at_once();
        // The next call of an attempt finds the state that the last one led to.
        let is_next_call_due = self.active.values().any(|active| active.awaiting_next_call);
        let is_checkpoint_due = self.checkpoint.due_in(host.now(), &self.journal) == 0;
        if at_once || is_next_call_due || is_checkpoint_due {
            // Reports count even if the results cannot be applied.
            self.record(host)?;
        }
        if at_once || is_next_call_due {
            self.apply_results(host)?;
        }
        let checkpoint = self.checkpoint.run_if_due(
            host,
            self.parts.workload.as_ref(),
            &mut self.snapshot,
            &self.ledger,
            &mut self.journal,
        )?;
        self.unpublished.extend(checkpoint);
        Ok(())
    }

    /// Milliseconds until `advance` must be called again.
    fn wake_after(&self, now: Timestamp) -> u64 {
        let next = self.retrying.iter().map(|(at, _)| *at).chain(self.pause).min();
        let next = next.map_or(u64::MAX, |at| at.since(now));
        let busy = if self.is_busy { BUSY_DELAY } else { u64::MAX };
        self.checkpoint.due_in(now, &self.journal).min(next).min(busy)
    }

    /// True if nothing is in flight and nothing more can start.
    fn is_finished(&self) -> bool {
        let has_run_single = self.has_started_single && self.retrying.is_empty();
        self.active.is_empty()
            && !self.is_busy
            && (has_run_single || self.has_failed_enough() || self.plan.queue.is_exhausted())
    }

    /// True if the maximum number of failures is reached, so that nothing more starts.
    pub(super) fn has_failed_enough(&self) -> bool {
        (1..=self.failures).contains(&self.parts.limits.max_failures)
    }

    /// Passes on output of a call.
    pub fn output(&mut self, item: &str, attempt: u32, bytes: &[u8]) {
        let Some(index) = self.ledger.find(item) else { return };
        if let Some(active) = self.active.get_mut(&index)
            && active.attempt == attempt
            && let Some(watcher) = &mut active.watcher
        {
            watcher.feed(bytes);
        }
    }

    fn apply_reports(&mut self, host: Host<'_>, reports: &[Report]) -> Result<(), SessionError> {
        let parallel = self.parts.limits.parallel;
        let result = reports.iter().try_for_each(|report| self.apply_report(host, report));
        let reduced = self.parts.limits.parallel;
        if reduced < parallel {
            let text = format!(
                "The system is out of resources for {parallel} agents at once. \
                 From now on, at most {reduced} run at once."
            );
            host.log(Level::Warning, &text);
        }
        result
    }

    fn apply_report(&mut self, host: Host<'_>, report: &Report) -> Result<(), SessionError> {
        let (item, attempt) = match report {
            Report::Started(Started { item, attempt, .. })
            | Report::Ended(Ended { item, attempt, .. }) => (item, *attempt),
        };
        let matches =
            |active: &ActiveAttempt| active.attempt == attempt && !active.awaiting_next_call;
        let index = self.ledger.find(item);
        let Some(index) = index.filter(|index| self.active.get(index).is_some_and(matches)) else {
            let problem = format!("attempt {attempt} of {item} is not in flight");
            return Err(SessionError::UnknownAttempt(problem));
        };
        match report {
            Report::Started(started) => {
                let phase = self.active.get(&index).and_then(|active| active.work.phase_name());
                let event = Event::of(EventKind::PhaseStarted, host.now(), item)
                    .attempt(attempt)
                    .with("phase", phase.map_or_else(|| self.phase_of(item), str::to_owned))
                    .with("pid", started.process.pid)
                    .with("token", started.process.token.clone());
                self.push_event(event);
            }
            Report::Ended(ended) => self.end(host, index, ended),
        }
        Ok(())
    }

    /// The phase of a call of an item that has none of its own.
    fn phase_of(&self, item: &str) -> String {
        match self.parts.workload.feature() {
            Some(_) => item.to_owned(),
            None => "run".to_owned(),
        }
    }

    /// Writes events to the journal; only then do they count.
    pub(super) fn record(&mut self, host: Host<'_>) -> Result<(), Failure> {
        // Which process works on an item need not be durable: the intent to start it is.
        let durable = self.unrecorded.iter().any(|event| !event.is_kind(EventKind::PhaseStarted));
        match self.journal.append(host, &mut self.unrecorded, durable) {
            // Removed since it was checked.
            Err(failure) if failure.error == FsError::NotFound => {
                self.recreate_journal(host, host.now())?;
                self.journal.append(host, &mut self.unrecorded, durable)?;
            }
            appended => appended?,
        }
        for event in &self.unrecorded {
            self.ledger.apply(event);
            self.checkpoint.note(event);
        }
        self.unpublished.append(&mut self.unrecorded);
        Ok(())
    }

    /// Writes every result into the file of its item.
    pub(super) fn apply_results(&mut self, host: Host<'_>) -> Result<(), Failure> {
        let workload = self.parts.workload.as_ref();
        self.unpublished.extend(self.checkpoint.apply_results(
            host,
            workload,
            &mut self.journal,
        )?);
        Ok(())
    }

    /// Takes the events that were recorded and not handed out yet.
    pub(super) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.unpublished)
    }

    /// Adds an event to those that are to be recorded.
    pub(super) fn push_event(&mut self, event: Event) {
        self.unrecorded.push(event);
    }

    /// Retracts events that were to be recorded.
    pub(super) fn retract_events(&mut self, matches: impl Fn(&Event) -> bool) {
        self.unrecorded.retain(|event| !matches(event));
    }

    /// Interrupts every attempt that is still in flight.
    pub(super) fn interrupt_all(&mut self, now: Timestamp) {
        for (index, active) in std::mem::take(&mut self.active) {
            let event = Event::of(EventKind::ItemInterrupted, now, self.ledger.id(index));
            self.unrecorded.push(event.attempt(active.attempt));
        }
    }
}
