//! Processes that outlived the session that started them.
//!
//! Two things identify them: the marker of this root in their environment, which their children inherit, and
//! the journal, which names the process that leads each attempt's group. The marker is proof. The journal is
//! not: agents can write to it.

use std::collections::BTreeMap;

use crate::formats::progress::Worker;
use crate::io::capabilities::{
    FsError, Leftover, Level, ProcessStatus, ProcessToken, RecordedProcess, StopSignal,
};
use crate::io::claim;
use crate::io::host::{Failure, Host};
use crate::io::layout;
use crate::json;
use crate::session::saved::Saved;
use crate::time::Timestamp;

/// Maximum number of processes that a message names.
const NAMED: usize = 10;
/// Length of the id of a root, in bytes.
const ROOT_ID_LENGTH: usize = 16;
/// How long a process has to exit after SIGTERM, in milliseconds.
const GRACE: u64 = 5_000;
/// How long to wait for a process after SIGKILL, in milliseconds. One that is still running then hangs in the
/// kernel.
const GRACE_AFTER_KILL: u64 = 5_000;
/// How often to check whether the processes have exited, in milliseconds.
const INTERVAL: u64 = 20;

/// Gives the root an id, if it has none: agents carry it in their marker. The lock is held.
pub fn ensure_root_id(host: Host<'_>) {
    let is_id = |text: &[u8]| {
        let text = text.trim_ascii();
        text.len() == 2 * ROOT_ID_LENGTH && text.iter().all(u8::is_ascii_hexdigit)
    };
    let create = || -> Result<(), Failure> {
        let id = json::hex(&host.random_bytes(ROOT_ID_LENGTH)?);
        host.write(layout::ROOT_ID, format!("{id}\n").into_bytes())
    };
    let result = match host.read(layout::ROOT_ID, 1024) {
        Ok(text) if is_id(&text) => return,
        Ok(_) | Err(FsError::NotFound | FsError::TooLarge(_)) => create(),
        Err(error) => Err(host.failed("read", layout::ROOT_ID)(error)),
    };
    if let Err(failure) = result {
        // Without an id, agents are identified by device and inode of the directory alone.
        host.log(Level::Warning, &failure.to_string());
    }
}

/// The processes that agents of these sessions left running. No other process holds the lock.
pub fn find(host: Host<'_>, sessions: &[&Saved]) -> Vec<Leftover> {
    let witness = claim::witness(host, host.layout().lock);
    list(host, witness.as_deref(), sessions)
}

fn list(host: Host<'_>, witness: Option<&str>, sessions: &[&Saved]) -> Vec<Leftover> {
    let recorded: BTreeMap<ProcessToken, (&str, &Worker)> =
        sessions.iter().flat_map(|saved| recorded(host, saved)).collect();
    let tokens: Vec<ProcessToken> = recorded.keys().cloned().collect();
    let mut leftovers = host.list_leftovers(&tokens, witness);
    for leftover in &mut leftovers {
        if let Some((item, worker)) = recorded.get(&leftover.process.token) {
            leftover.item.get_or_insert_with(|| (*item).to_owned());
            let since = worker.since.map(Timestamp::as_millis);
            leftover.started_at = leftover.started_at.or(since);
        }
    }
    leftovers
}

/// The processes that a session's journal names and that are still running, with their items.
fn recorded<'s>(host: Host<'_>, saved: &'s Saved) -> Vec<(ProcessToken, (&'s str, &'s Worker))> {
    let owner = saved.progress.owner.clone().unwrap_or_default();
    let token = |worker: &Worker| {
        worker.token.clone().or_else(|| owner.agent_token(worker.pid, worker.start_time?))
    };
    let workers = saved.ledger.workers();
    let tokens = workers.filter_map(|(item, worker)| Some((token(worker)?, (item, worker))));
    let is_running = |(token, _): &(ProcessToken, _)| {
        host.process_status(&RecordedProcess::Token(token.clone())) == ProcessStatus::Running
    };
    tokens.filter(is_running).collect()
}

/// The leftover processes that an instance is ending, across several calls: no call blocks.
#[derive(Debug, Default)]
pub struct Termination {
    /// When the first process was asked to exit.
    started: Option<Timestamp>,
    /// Every process that was signaled so far, by token.
    signaled: BTreeMap<ProcessToken, Leftover>,
}

/// The state of a termination.
#[derive(Debug, Clone, PartialEq)]
pub enum Terminated {
    /// Some processes are still running: check again after this many milliseconds.
    Pending(u64),
    /// Nothing more can be done.
    Finished(Outcome),
}

/// What a termination achieved.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outcome {
    /// The processes that were ended.
    pub ended: Vec<Leftover>,
    /// The processes that could not be ended.
    pub remaining: Vec<Leftover>,
    /// The processes that are not proven to be agents, and were not signaled.
    pub unproven: Vec<Leftover>,
}

impl Termination {
    /// Signals the leftover processes of these sessions, as far as they are proven, and checks whether they
    /// have exited: SIGTERM first, SIGKILL after the grace period. This process holds the lock.
    pub fn poll(&mut self, host: Host<'_>, sessions: &[&Saved]) -> Terminated {
        let witness = claim::witness(host, host.layout().lock);
        let witness = witness.as_deref();
        let (proven, unproven): (Vec<Leftover>, Vec<Leftover>) =
            list(host, witness, sessions).into_iter().partition(|leftover| leftover.proven);
        let now = host.now();
        let started = match self.started {
            // The clock was set back: the grace period starts again.
            Some(started) if now < started => now,
            Some(started) => started,
            None => now,
        };
        self.started = Some(started);
        let elapsed = now.since(started);
        if proven.is_empty() || elapsed >= GRACE + GRACE_AFTER_KILL {
            return Terminated::Finished(self.finish(proven, unproven));
        }
        let token = |leftover: &Leftover| leftover.process.token.clone();
        if elapsed >= GRACE {
            let targets: Vec<ProcessToken> = proven.iter().map(token).collect();
            host.signal(&targets, StopSignal::Kill, witness);
        } else {
            let is_new = |token: &ProcessToken| !self.signaled.contains_key(token);
            let targets: Vec<ProcessToken> = proven.iter().map(token).filter(is_new).collect();
            if !targets.is_empty() {
                host.signal(&targets, StopSignal::Terminate, witness);
            }
        }
        self.signaled.extend(proven.into_iter().map(|it| (token(&it), it)));
        Terminated::Pending(INTERVAL)
    }

    /// True if an earlier call is waiting for processes to exit.
    pub fn is_pending(&self) -> bool {
        self.started.is_some()
    }

    fn finish(&mut self, remaining: Vec<Leftover>, unproven: Vec<Leftover>) -> Outcome {
        let Termination { signaled, .. } = std::mem::take(self);
        let is_running = |ended: &Leftover| {
            remaining.iter().chain(&unproven).any(|it| it.process.token == ended.process.token)
        };
        let ended = signaled.into_values().filter(|leftover| !is_running(leftover)).collect();
        Outcome { ended, remaining, unproven }
    }
}

impl Outcome {
    /// Logs which processes were ended and which were not signaled.
    pub fn report(&self, host: Host<'_>) {
        if !self.ended.is_empty() {
            let processes = describe(&self.ended);
            let text =
                format!("Ended agents that an interrupted session left running: {processes}");
            host.log(Level::Warning, &text);
        }
        if !self.unproven.is_empty() {
            let processes = describe(&self.unproven);
            let text = format!("Not proven to be agents, and therefore not signaled: {processes}");
            host.log(Level::Warning, &text);
        }
    }
}

/// `001-a (pid 4711), pid 4712 and 3 more`.
pub fn describe(leftovers: &[Leftover]) -> String {
    let mut names: Vec<String> = leftovers
        .iter()
        .take(NAMED)
        .map(|leftover| match &leftover.item {
            Some(item) => format!("{item} (pid {})", leftover.process.pid),
            None => format!("pid {}", leftover.process.pid),
        })
        .collect();
    if leftovers.len() > NAMED {
        names.push(format!("{} more", leftovers.len() - NAMED));
    }
    names.join(", ")
}
