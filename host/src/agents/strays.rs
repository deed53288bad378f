//! What agents start and leave outside of their process group: daemons that fork twice or begin a
//! session of their own.
//!
//! On Linux such a process becomes a child of ours when its parent exits, because we ask for that
//! (PR_SET_CHILD_SUBREAPER), so it can be seen and ended like the rest. Elsewhere, and where the
//! kernel does not list children, none is seen.

use std::collections::HashMap;
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

/// The start of an item that a process belongs to.
type Start = (String, u32);

#[derive(Debug)]
struct Stray {
    /// `None` if its environment does not say.
    start: Option<Start>,
    /// When it was asked to end.
    told: Option<Instant>,
}

/// The children of ours that are no agents.
#[derive(Debug)]
pub(crate) struct Strays {
    children: String,
    known: HashMap<Pid, Stray>,
}

impl Strays {
    /// From here on what an agent leaves becomes a child of ours.
    pub(crate) fn new() -> Self {
        #[cfg(target_os = "linux")]
        // Without it there is less to be seen, and that is all.
        let _ = rustix::process::set_child_subreaper(Some(getpid()));
        let pid = getpid().as_raw_nonzero();
        Strays { children: format!("/proc/self/task/{pid}/children"), known: HashMap::new() }
    }

    /// Looks for new ones, and ends those of starts that no longer work.
    pub(crate) fn look(
        &mut self,
        is_agent: impl Fn(Pid) -> bool,
        works: impl Fn(&str, u32) -> bool,
    ) {
        let children = ambient::read_to_string(self.children.as_ref()).unwrap_or_default();
        let children = children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok());
        for pid in children.filter_map(Pid::from_raw).filter(|pid| !is_agent(*pid)) {
            self.known.entry(pid).or_insert_with(|| {
                let marker = Marker::of_process(pid);
                Stray { start: marker.item.zip(marker.attempt), told: None }
            });
        }
        // Children that nobody else waits for: their numbers are not given away before.
        self.known.retain(|pid, _| matches!(waitpid(Some(*pid), WaitOptions::NOHANG), Ok(None)));
        for (pid, stray) in &mut self.known {
            if stray.start.as_ref().is_some_and(|(item, attempt)| !works(item, *attempt)) {
                stray.end(*pid);
            }
        }
    }

    /// True if there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// True while some of a start are being ended.
    pub(crate) fn any_of(&self, item: &str, attempt: u32) -> bool {
        self.known.values().any(|stray| {
            stray.start.as_ref().is_some_and(|(other, number)| other == item && *number == attempt)
                && stray.told.is_none_or(|told| told.elapsed() < GIVE_UP)
        })
    }

    /// When to look again even if nothing happens.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let is_ending = |stray: &Stray| stray.told.is_some_and(|told| told.elapsed() < GIVE_UP);
        self.known.values().any(is_ending).then(|| Instant::now() + INTERVAL)
    }

    /// Ends all that are left. No agent runs any more.
    pub(crate) fn end_all(&mut self) {
        let until = Instant::now() + GIVE_UP;
        loop {
            self.look(|_| false, |_, _| false);
            if self.known.is_empty() || Instant::now() >= until {
                return;
            }
            for (pid, stray) in &mut self.known {
                stray.end(*pid);
            }
            std::thread::sleep(INTERVAL);
        }
    }
}

impl Stray {
    fn end(&mut self, pid: Pid) {
        match self.told {
            None => {
                self.told = Some(Instant::now());
                let _ = kill_process(pid, Signal::TERM);
                // A stopped process would not notice.
                let _ = kill_process(pid, Signal::CONT);
            }
            Some(told) if told.elapsed() >= GRACE => {
                let _ = kill_process(pid, Signal::KILL);
            }
            Some(_) => {}
        }
    }
}
