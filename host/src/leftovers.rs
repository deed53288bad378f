//! Ending what agents of an interrupted batch left; see `process.marked` and `process.end` in the
//! WIT package.
//!
//! A component names processes; what is touched is decided by what the system says of them. Where
//! there is no `/proc` nothing is found and nothing is touched.

use std::collections::HashSet;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getpid, kill_process_group, test_kill_process_group};

use crate::ambient;
use crate::engine::process::Worker;
use crate::liveness;
use crate::marker::Marker;

/// So long after SIGTERM comes SIGKILL.
const GRACE: Duration = Duration::from_secs(5);
/// What still runs so long after SIGKILL is not going to end (it hangs in the kernel).
const GRACE_AFTER_KILL: Duration = Duration::from_secs(5);
/// How often it is looked whether they have ended.
const INTERVAL: Duration = Duration::from_millis(20);

/// The repository whose processes are meant.
#[derive(Debug, Clone)]
pub(crate) struct Root {
    /// What its processes carry.
    pub(crate) marker: String,
    /// Its directory, in which they work.
    pub(crate) directory: Option<PathBuf>,
}

/// A process, and when it started: together they name it for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Exact {
    pid: Pid,
    start_time: u64,
}

/// What is to be ended.
struct Target {
    exact: Exact,
    item: Option<String>,
    /// Whether its group is meant, which it leads.
    leads: bool,
}

impl Root {
    /// Every process with the marker but this one and those above it.
    pub(crate) fn marked(&self) -> Vec<Worker> {
        self.find_marked().into_iter().map(Target::into_worker).collect()
    }

    /// Which of these lead groups of this root.
    pub(crate) fn leaders(&self, recorded: Vec<Worker>) -> Vec<Worker> {
        recorded.into_iter().filter(|leader| self.group(leader).is_some()).collect()
    }

    /// Ends every process with the marker and the groups of these leaders; what could not be ended.
    pub(crate) fn end(&self, leaders: &[Worker]) -> Vec<Worker> {
        let mut groups: Vec<Target> =
            leaders.iter().filter_map(|leader| self.group(leader)).collect();
        let started = Instant::now();
        let mut told: HashSet<Exact> = HashSet::new();
        loop {
            groups.retain(|group| is_there(group.exact.pid));
            let marked = self.find_marked();
            if groups.is_empty() && marked.is_empty() {
                return Vec::new();
            }
            let kills = started.elapsed() >= GRACE;
            for target in groups.iter().chain(&marked) {
                if kills {
                    target.signal(Signal::KILL);
                } else if told.insert(target.exact) {
                    target.signal(Signal::TERM);
                    // A stopped process would not notice.
                    target.signal(Signal::CONT);
                }
            }
            if started.elapsed() >= GRACE + GRACE_AFTER_KILL {
                return groups.into_iter().chain(marked).map(Target::into_worker).collect();
            }
            thread::sleep(INTERVAL);
        }
    }

    fn find_marked(&self) -> Vec<Target> {
        let ours = ourselves();
        let mut found = Vec::new();
        for pid in liveness::all() {
            let is_marked = || Marker::of_process(pid).root.as_ref() == Some(&self.marker);
            if ours.contains(&pid) || !is_marked() {
                continue;
            }
            // Again behind its start: then both are of the same process.
            let Some(stat) = liveness::stat(pid).filter(|stat| !stat.has_exited()) else {
                continue;
            };
            let marker = Marker::of_process(pid);
            if marker.root.as_ref() == Some(&self.marker) {
                let exact = Exact { pid, start_time: stat.start_time };
                found.push(Target { exact, item: marker.item, leads: false });
            }
        }
        found
    }

    /// The group that a leader leads, if it is provably the one that is meant and of this root.
    fn group(&self, leader: &Worker) -> Option<Target> {
        let pid = Pid::from_raw(i32::try_from(leader.pid).ok()?)?;
        let stat = liveness::stat(pid)?;
        let is_it = Some(stat.start_time) == leader.start_time
            && stat.group == pid.as_raw_nonzero().get()
            && !stat.has_exited()
            && !ourselves().contains(&pid);
        let is_of_this_root = || {
            let link = |name: &str| {
                let path = format!("/proc/{}/{name}", pid.as_raw_nonzero());
                ambient::read_link(path.as_ref()).ok()
            };
            let works_here = || {
                let place = link("cwd").zip(self.directory.as_ref());
                place.is_some_and(|(place, root)| place.starts_with(root))
            };
            // As we start agents, and hardly anybody else does: both outputs into one pipe.
            let speaks_into_a_pipe = || {
                let pipe = link("fd/1").filter(|file| file.to_string_lossy().starts_with("pipe:"));
                pipe.is_some() && pipe == link("fd/2")
            };
            match Marker::of_process(pid).root {
                // One that says whose it is is nobody else's.
                Some(marker) => marker == self.marker,
                None => works_here() && speaks_into_a_pipe(),
            }
        };
        (is_it && is_of_this_root()).then(|| Target {
            exact: Exact { pid, start_time: stat.start_time },
            item: leader.item.clone(),
            leads: true,
        })
    }
}

impl Target {
    fn signal(&self, signal: Signal) {
        // What has gone in the meantime needs no signal.
        let _ = match self.leads {
            // The number of a group is not given away while the group exists.
            true => kill_process_group(self.exact.pid, signal),
            false => self.exact.signal(signal),
        };
    }

    fn into_worker(self) -> Worker {
        Worker {
            pid: u64::from(self.exact.pid.as_raw_nonzero().get().unsigned_abs()),
            start_time: Some(self.exact.start_time),
            item: self.item,
            since: liveness::stat(self.exact.pid).and_then(|stat| stat.since()),
        }
    }
}

impl Exact {
    /// Reaches this process or none.
    #[cfg(target_os = "linux")]
    fn signal(self, signal: Signal) -> rustix::io::Result<()> {
        use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};
        let process = pidfd_open(self.pid, PidfdFlags::empty())?;
        match liveness::stat(self.pid) {
            Some(stat) if stat.start_time == self.start_time => pidfd_send_signal(process, signal),
            _ => Ok(()),
        }
    }

    /// Without `/proc` there is none to reach.
    #[cfg(not(target_os = "linux"))]
    fn signal(self, _: Signal) -> rustix::io::Result<()> {
        Ok(())
    }
}

fn is_there(group: Pid) -> bool {
    test_kill_process_group(group).is_ok() && !liveness::group_has_exited(group)
}

/// This process and those above it.
fn ourselves() -> HashSet<Pid> {
    let mut ours = HashSet::new();
    let mut next = Some(getpid());
    while let Some(pid) = next {
        if !ours.insert(pid) {
            break;
        }
        next = liveness::stat(pid).and_then(|stat| Pid::from_raw(stat.parent));
    }
    ours
}
