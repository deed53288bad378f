//! What agents start and leave outside of their process group: daemons that fork twice or begin a
//! session of their own.
//!
//! On Linux such a process becomes a child of ours when its parent exits, because we ask for that
//! (PR_SET_CHILD_SUBREAPER), so it can be seen and ended like the rest. Elsewhere, and where the
//! kernel does not list children, none is seen.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, waitpid};

use crate::ambient;
use crate::marker::Marker;

/// So long after SIGTERM comes SIGKILL.
const GRACE: Duration = Duration::from_secs(2);
/// What still runs so long after SIGTERM and may not be signalled (another user's) is not waited for.
const GIVE_UP: Duration = Duration::from_secs(3);
/// What still runs so long after SIGTERM although it was sent SIGKILL hangs in the kernel.
const STUCK_AFTER: Duration = Duration::from_secs(12);
/// How often it is looked whether they have ended.
const INTERVAL: Duration = Duration::from_millis(20);

/// One start of an item.
pub(crate) type Start = (String, u32);

#[derive(Debug)]
struct Stray {
    /// The starts that it may belong to: the one that its environment names, else those at work
    /// when it was first seen. `None` if it is not ours to end.
    starts: Option<Vec<Start>>,
    /// True once it was asked to end.
    is_told: bool,
    /// True once SIGKILL was delivered.
    is_killed: bool,
}

/// What is left of one start outside of its group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StraysOf {
    /// Nothing that is waited for.
    None,
    /// It is being ended.
    Ending,
    /// SIGKILL has no effect on these.
    Stuck(Vec<Pid>),
}

/// The children of ours that are no agents.
#[derive(Debug)]
pub(crate) struct Strays {
    /// What processes of this root carry.
    marker: OsString,
    /// The file that lists our children.
    children: String,
    /// True if what does not say where it belongs can only come from an agent: we had no children
    /// before, and are not the process that inherits every orphan.
    all_are_ours: bool,
    /// Children from before the batch.
    before: HashSet<Pid>,
    known: HashMap<Pid, Stray>,
    /// When the first stray of a start was asked to end. What such a one leaves has no more time than
    /// that.
    dismissed: HashMap<Start, Instant>,
}

impl Strays {
    /// From here on what an agent of this root leaves becomes a child of ours.
    pub(crate) fn new(marker: &OsStr) -> Self {
        #[cfg(target_os = "linux")]
        // Without it there is less to be seen, and that is all.
        let _ = rustix::process::set_child_subreaper(Some(getpid()));
        let pid = getpid().as_raw_nonzero();
        let mut strays = Strays {
            marker: marker.to_owned(),
            children: format!("/proc/self/task/{pid}/children"),
            all_are_ours: false,
            before: HashSet::new(),
            known: HashMap::new(),
            dismissed: HashMap::new(),
        };
        strays.before = strays.children().collect();
        strays.all_are_ours = strays.before.is_empty() && pid.get() != 1;
        strays
    }

    /// True if there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Looks for new ones, collects those that have ended, and ends those whose starts no longer
    /// work, `at_once` if that was asked for. `starts`: those in hand, and whether their agent works.
    pub(crate) fn look(
        &mut self,
        is_agent: impl Fn(Pid) -> bool,
        starts: &[(Start, bool)],
        at_once: bool,
    ) {
        // One that has ended leaves its children to us.
        while self.find(&is_agent, starts) | self.collect() {}
        let works = |start: &Start| starts.iter().any(|(other, works)| *works && other == start);
        for (pid, stray) in &mut self.known {
            let Some(starts) = stray.starts.as_ref().filter(|starts| !starts.iter().any(works))
            else {
                continue;
            };
            let now = Instant::now();
            let since =
                starts.iter().map(|start| *self.dismissed.entry(start.clone()).or_insert(now));
            let since = since.max().unwrap_or(now);
            stray.end(*pid, at_once || since.elapsed() >= GRACE);
        }
        if self.known.is_empty() {
            self.dismissed.clear();
        }
    }

    /// What is left of a start.
    pub(crate) fn of(&self, item: &str, attempt: u32) -> StraysOf {
        let is_it = |(other, number): &Start| other == item && *number == attempt;
        let known = self.known.iter();
        let of_it: Vec<(&Pid, &Stray)> = known
            .filter(|(_, stray)| stray.starts.as_ref().is_some_and(|it| it.iter().any(is_it)))
            .collect();
        let is_stuck = |(_, stray): &&(&Pid, &Stray)| {
            stray.is_killed && self.time_of(stray).is_some_and(|time| time >= STUCK_AFTER)
        };
        if of_it.iter().any(|(_, stray)| self.is_waited_for(stray)) {
            return StraysOf::Ending;
        }
        let stuck: Vec<Pid> = of_it.iter().filter(is_stuck).map(|(pid, _)| **pid).collect();
        if stuck.is_empty() { StraysOf::None } else { StraysOf::Stuck(stuck) }
    }

    /// How long ago it was asked to end.
    fn time_of(&self, stray: &Stray) -> Option<Duration> {
        let starts = stray.starts.as_ref()?;
        let since = starts.iter().filter_map(|start| self.dismissed.get(start)).max()?;
        Some(since.elapsed())
    }

    fn is_waited_for(&self, stray: &Stray) -> bool {
        let limit = if stray.is_killed { STUCK_AFTER } else { GIVE_UP };
        self.time_of(stray).is_some_and(|time| time < limit)
    }

    /// When to look again even if nothing happens.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let any = self.known.values().any(|stray| self.is_waited_for(stray));
        any.then(|| Instant::now() + INTERVAL)
    }

    /// Ends all that are left, `at_once` if that was asked for. No agent runs any more.
    pub(crate) fn end_all(&mut self, at_once: bool) {
        let until = Instant::now() + GIVE_UP;
        loop {
            self.look(|_| false, &[], at_once);
            let is_any_left = self.known.values().any(|stray| stray.starts.is_some());
            if !is_any_left || Instant::now() >= until {
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

    /// Takes note of new ones; true if there were any.
    fn find(&mut self, is_agent: &impl Fn(Pid) -> bool, starts: &[(Start, bool)]) -> bool {
        let known = self.known.len();
        for pid in self.children() {
            if !is_agent(pid) && !self.before.contains(&pid) && !self.known.contains_key(&pid) {
                let starts = self.starts_of(pid, starts);
                self.known.insert(pid, Stray { starts, is_told: false, is_killed: false });
            }
        }
        self.known.len() > known
    }

    fn starts_of(&self, pid: Pid, starts: &[(Start, bool)]) -> Option<Vec<Start>> {
        let marker = Marker::of_process(pid);
        match marker.item.zip(marker.attempt) {
            Some(start) if marker.root.as_ref() == Some(&self.marker) => Some(vec![start]),
            _ if self.all_are_ours => Some(starts.iter().map(|(start, _)| start.clone()).collect()),
            _ => None,
        }
    }

    /// Collects those that have ended; true if there were any. Nobody else waits for them, so their
    /// numbers are not given away before.
    fn collect(&mut self) -> bool {
        let known = self.known.len();
        self.known.retain(|pid, _| matches!(waitpid(Some(*pid), WaitOptions::NOHANG), Ok(None)));
        self.known.len() < known
    }
}

impl Stray {
    fn end(&mut self, pid: Pid, at_once: bool) {
        if at_once {
            self.is_killed |= kill_process(pid, Signal::KILL).is_ok();
        } else if !self.is_told {
            let _ = kill_process(pid, Signal::TERM);
            // A stopped process would not notice.
            let _ = kill_process(pid, Signal::CONT);
        }
        self.is_told = true;
    }
}
