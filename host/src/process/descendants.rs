//! The processes that agents start outside of their process groups: daemons that fork twice or begin a
//! session.
//!
//! On Linux such a process becomes a child of ours when its parent exits, because we ask for that
//! (PR_SET_CHILD_SUBREAPER), so that it can be found and ended like the rest. Elsewhere, and where the kernel
//! does not list children, none is found.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, waitpid};

use super::marker::Marker;
use crate::ambient;

/// Time between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(2);
/// How long to wait after SIGTERM for a process that may not be signalled (another user's).
const GIVE_UP: Duration = Duration::from_secs(3);
/// A process that is running this long after SIGTERM although SIGKILL was delivered hangs in the kernel.
const STUCK_AFTER: Duration = Duration::from_secs(12);
/// How often to check whether they have exited.
const INTERVAL: Duration = Duration::from_millis(20);

/// An attempt: the item and the number.
pub(crate) type Attempt = (String, u32);

#[derive(Debug)]
struct Descendant {
    /// The attempts that it may belong to: the one in its marker, or else those in flight when it was first
    /// seen. `None` if it is not an agent's.
    attempts: Option<Vec<Attempt>>,
    /// Whether SIGTERM was sent.
    is_terminated: bool,
    /// Whether SIGKILL was delivered.
    is_killed: bool,
}

/// What remains of one attempt outside of its process group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Remains {
    /// Nothing worth waiting for.
    None,
    /// Processes that are being ended.
    Ending,
    /// Processes on which SIGKILL has no effect.
    Stuck(Vec<Pid>),
}

/// Our children that are not agents.
#[derive(Debug)]
pub(crate) struct Descendants {
    /// The values of the marker of this session's agents. Usually there is one.
    markers: HashSet<OsString>,
    /// The file that lists our children.
    children: String,
    /// Whether an unmarked child must be an agent's: we had no children before the batch, and are not the
    /// process that inherits every orphan.
    unmarked_are_ours: bool,
    /// Children from before the batch.
    before: HashSet<Pid>,
    known: HashMap<Pid, Descendant>,
    /// When the first descendant of an attempt was sent SIGTERM. Processes that a descendant leaves share its
    /// grace period.
    terminated: HashMap<Attempt, Instant>,
}

impl Descendants {
    /// Makes this process the parent of every orphan among its descendants.
    pub(crate) fn new() -> Self {
        #[cfg(target_os = "linux")]
        // Without it fewer processes are found.
        let _ = rustix::process::set_child_subreaper(Some(getpid()));
        let pid = getpid().as_raw_nonzero();
        let mut descendants = Descendants {
            markers: HashSet::new(),
            children: format!("/proc/self/task/{pid}/children"),
            unmarked_are_ours: false,
            before: HashSet::new(),
            known: HashMap::new(),
            terminated: HashMap::new(),
        };
        descendants.before = descendants.children().collect();
        descendants.unmarked_are_ours = descendants.before.is_empty() && pid.get() != 1;
        descendants
    }

    /// Recognizes the descendants of agents that are started with this marker.
    pub(crate) fn recognize(&mut self, marker: &OsStr) {
        if !self.markers.contains(marker) {
            self.markers.insert(marker.to_owned());
        }
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Finds new ones, reaps those that have exited, and ends those whose agents no longer run: immediately
    /// with `at_once`. `attempts` are those in flight, and whether their agent is running.
    pub(crate) fn poll(
        &mut self,
        is_agent: impl Fn(Pid) -> bool,
        attempts: &[(Attempt, bool)],
        at_once: bool,
    ) {
        // A process that has exited leaves its children to us.
        while self.find(&is_agent, attempts) | self.reap() {}
        let runs = |attempt: &Attempt| attempts.iter().any(|(it, runs)| *runs && it == attempt);
        for (pid, descendant) in &mut self.known {
            let Some(attempts) =
                descendant.attempts.as_ref().filter(|attempts| !attempts.iter().any(runs))
            else {
                continue;
            };
            let now = Instant::now();
            let since = attempts
                .iter()
                .map(|attempt| *self.terminated.entry(attempt.clone()).or_insert(now))
                .max()
                .unwrap_or(now);
            descendant.end(*pid, at_once || since.elapsed() >= GRACE);
        }
        if self.known.is_empty() {
            self.terminated.clear();
        }
    }

    /// Returns what remains of an attempt.
    pub(crate) fn of(&self, item: &str, attempt: u32) -> Remains {
        let is_meant = |(other, number): &Attempt| other == item && *number == attempt;
        let known = self.known.iter();
        let of_attempt: Vec<(&Pid, &Descendant)> = known
            .filter(|(_, it)| it.attempts.as_ref().is_some_and(|all| all.iter().any(is_meant)))
            .collect();
        let is_stuck = |(_, it): &&(&Pid, &Descendant)| {
            it.is_killed && self.time_since_term(it).is_some_and(|time| time >= STUCK_AFTER)
        };
        if of_attempt.iter().any(|(_, it)| self.is_awaited(it)) {
            return Remains::Ending;
        }
        let stuck: Vec<Pid> = of_attempt.iter().filter(is_stuck).map(|(pid, _)| **pid).collect();
        if stuck.is_empty() { Remains::None } else { Remains::Stuck(stuck) }
    }

    fn time_since_term(&self, descendant: &Descendant) -> Option<Duration> {
        let attempts = descendant.attempts.as_ref()?;
        let since = attempts.iter().filter_map(|attempt| self.terminated.get(attempt)).max()?;
        Some(since.elapsed())
    }

    fn is_awaited(&self, descendant: &Descendant) -> bool {
        let limit = if descendant.is_killed { STUCK_AFTER } else { GIVE_UP };
        self.time_since_term(descendant).is_some_and(|time| time < limit)
    }

    /// Returns when to poll again even if nothing happens.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let any = self.known.values().any(|descendant| self.is_awaited(descendant));
        any.then(|| Instant::now() + INTERVAL)
    }

    /// Ends all of them, immediately with `at_once`. No agent is running any more.
    pub(crate) fn end_all(&mut self, at_once: bool) {
        let until = Instant::now() + GIVE_UP;
        loop {
            self.poll(|_| false, &[], at_once);
            let is_done = self.known.values().all(|descendant| descendant.attempts.is_none());
            if is_done || Instant::now() >= until {
                return;
            }
            std::thread::sleep(INTERVAL);
        }
    }

    fn children(&self) -> impl Iterator<Item = Pid> + use<> {
        let text = ambient::read_to_string(self.children.as_ref()).unwrap_or_default();
        let pids: Vec<Pid> = text
            .split_ascii_whitespace()
            .filter_map(|pid| Pid::from_raw(pid.parse().ok()?))
            .collect();
        pids.into_iter()
    }

    /// Adds new children; returns whether there were any.
    fn find(&mut self, is_agent: &impl Fn(Pid) -> bool, attempts: &[(Attempt, bool)]) -> bool {
        let known = self.known.len();
        for pid in self.children() {
            if !is_agent(pid) && !self.before.contains(&pid) && !self.known.contains_key(&pid) {
                let attempts = self.attempts_of(pid, attempts);
                let descendant = Descendant { attempts, is_terminated: false, is_killed: false };
                self.known.insert(pid, descendant);
            }
        }
        self.known.len() > known
    }

    fn attempts_of(&self, pid: Pid, in_flight: &[(Attempt, bool)]) -> Option<Vec<Attempt>> {
        let marker = Marker::of_process(pid);
        match marker.item.zip(marker.attempt) {
            Some(attempt) if marker.root.is_some_and(|root| self.markers.contains(&root)) => {
                Some(vec![attempt])
            }
            _ if self.unmarked_are_ours => {
                Some(in_flight.iter().map(|(attempt, _)| attempt.clone()).collect())
            }
            _ => None,
        }
    }

    /// Reaps those that have exited; returns whether there were any. No one else waits for them, so their
    /// process ids are not reused before.
    fn reap(&mut self) -> bool {
        let known = self.known.len();
        self.known.retain(|pid, _| matches!(waitpid(Some(*pid), WaitOptions::NOHANG), Ok(None)));
        self.known.len() < known
    }
}

impl Descendant {
    fn end(&mut self, pid: Pid, at_once: bool) {
        if at_once {
            self.is_killed |= kill_process(pid, Signal::KILL).is_ok();
        } else if !self.is_terminated {
            let _ = kill_process(pid, Signal::TERM);
            // A stopped process would not notice SIGTERM.
            let _ = kill_process(pid, Signal::CONT);
        }
        self.is_terminated = true;
    }
}
