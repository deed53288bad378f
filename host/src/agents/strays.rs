//! What agents start and leave outside of their process group: daemons that fork twice or begin a
//! session of their own.
//!
//! On Linux such a process becomes a child of ours when its parent exits, because we ask for that
//! (PR_SET_CHILD_SUBREAPER), so it can be seen and ended like the rest. Elsewhere, and where the
//! kernel does not list children, none is seen.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, waitpid};

use crate::ambient;
use crate::marker::Marker;

/// So long after SIGTERM comes SIGKILL.
const GRACE: Duration = Duration::from_secs(2);
/// What still runs so long after SIGTERM hangs in the kernel and is not waited for.
const GIVE_UP: Duration = Duration::from_secs(3);
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
}

/// The children of ours that are no agents.
#[derive(Debug)]
pub(crate) struct Strays {
    /// What processes of this root carry.
    marker: String,
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
    pub(crate) fn new(marker: &str) -> Self {
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

    /// True while some of a start are being ended.
    pub(crate) fn any_of(&self, item: &str, attempt: u32) -> bool {
        let is_it = |(other, number): &Start| other == item && *number == attempt;
        self.is_waited_for(|starts| starts.iter().any(is_it))
    }

    fn is_waited_for(&self, is_meant: impl Fn(&[Start]) -> bool) -> bool {
        self.known.values().filter_map(|stray| stray.starts.as_ref()).any(|starts| {
            let since = starts.iter().filter_map(|start| self.dismissed.get(start)).max();
            is_meant(starts) && since.is_some_and(|since| since.elapsed() < GIVE_UP)
        })
    }

    /// When to look again even if nothing happens.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.is_waited_for(|_| true).then(|| Instant::now() + INTERVAL)
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
                self.known.insert(pid, Stray { starts, is_told: false });
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
            let _ = kill_process(pid, Signal::KILL);
        } else if !self.is_told {
            let _ = kill_process(pid, Signal::TERM);
            // A stopped process would not notice.
            let _ = kill_process(pid, Signal::CONT);
        }
        self.is_told = true;
    }
}
