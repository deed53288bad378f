//! The processes that agents of an interrupted session left running; see `terminator` in the WIT package.
//!
//! A component names processes. Only those are signalled that the system itself proves to belong to this
//! root, by the marker in their environment or in that of a member of their group. Without `/proc` nothing is
//! found and nothing is signalled.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cap_std::fs::Dir;
use rustix::process::{Pid, Signal, getpid, kill_process_group, test_kill_process_group};

use super::marker::{self, Marker, RootMark};
use super::stat::{self, Stat};
use super::token::Identity;
use crate::ambient;
use crate::wit::terminator::{Leftover, StopSignal, Variable};

/// Maximum size of a witness in bytes: it has a line or two.
const LONGEST_WITNESS: u64 = 64 << 10;

/// The leftover processes of one root.
#[derive(Debug)]
pub(crate) struct Leftovers {
    root: Dir,
    /// Groups that were proven and have been signalled, with their items. Their leaders may have exited
    /// since, and the rest of such a group need not carry the marker.
    signalled: HashMap<Exact, Option<String>>,
}

/// A process and when it started: together they identify it on this boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Exact {
    pid: Pid,
    start_time: u64,
}

/// A process that may be ended.
struct Target {
    exact: Exact,
    item: Option<String>,
    /// Whether it is proven to belong to this root. Nothing else is signalled.
    proven: bool,
}

/// The root a process belongs to, as the system proves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    /// This root.
    Ours,
    /// Another root: a copy of this one, for example.
    Foreign,
    /// This root or another one.
    Unproven,
}

impl Leftovers {
    /// Creates the list of an instance with this root.
    pub(crate) fn new(root: Dir) -> Self {
        Leftovers { root, signalled: HashMap::new() }
    }

    /// Returns the variable that every agent of this root carries.
    pub(crate) fn marker(&self) -> io::Result<Variable> {
        let value = RootMark::of(&self.root)?.to_value();
        Ok(Variable { name: marker::ROOT.to_owned(), value })
    }

    /// Returns every process with the marker, every recorded process that leads a group, and every signalled
    /// group that still exists.
    pub(crate) fn list(
        &mut self,
        recorded: &[String],
        witness: Option<String>,
    ) -> io::Result<Vec<Leftover>> {
        let scan = Scan::new(&self.root, witness)?;
        let mut found = scan.marked();
        let recorded = recorded.iter().filter_map(|token| scan.group(Exact::parse(token)?));
        self.signalled.retain(|exact, _| exact.group_exists());
        let signalled = self.signalled.iter().map(|(exact, item)| Target {
            exact: *exact,
            item: item.clone(),
            proven: true,
        });
        for target in recorded.chain(signalled) {
            match found.iter_mut().find(|other| other.exact == target.exact) {
                Some(other) => other.proven |= target.proven,
                None => found.push(target),
            }
        }
        Ok(found.into_iter().map(Leftover::from).collect())
    }

    /// Signals the proven ones of these processes, and the groups that they lead.
    pub(crate) fn signal(
        &mut self,
        targets: &[String],
        signal: StopSignal,
        witness: Option<String>,
    ) -> io::Result<()> {
        let scan = Scan::new(&self.root, witness)?;
        let signals: &[Signal] = match signal {
            // A stopped process would not notice SIGTERM.
            StopSignal::Terminate => &[Signal::TERM, Signal::CONT],
            StopSignal::Kill => &[Signal::KILL],
        };
        // Everything is proven before anything is signalled: a group may be proven by a member that exits.
        let proven: Vec<(Exact, Reach)> = targets
            .iter()
            .filter_map(|token| Exact::parse(token))
            .filter_map(|exact| Some((exact, self.reach(&scan, exact)?)))
            .collect();
        for (exact, reach) in proven {
            for signal in signals {
                // A process that has exited in the meantime needs no signal.
                let _ = match reach {
                    // The number of a group is not reused while the group exists.
                    Reach::Group => kill_process_group(exact.pid, *signal),
                    Reach::Process => exact.signal(*signal),
                };
            }
        }
        Ok(())
    }

    /// Returns what a signal to a target may reach; `None` if nothing is proven to belong to this root.
    fn reach(&mut self, scan: &Scan, exact: Exact) -> Option<Reach> {
        if scan.ourselves.contains(&exact.pid) {
            return None;
        }
        if let Some(group) = scan.group(exact).filter(|group| group.proven) {
            self.signalled.insert(exact, group.item);
        }
        if self.signalled.contains_key(&exact) && exact.group_exists() {
            return Some(Reach::Group);
        }
        let is_proven = scan.process(exact.pid).is_some_and(|process| process.proven);
        is_proven.then_some(Reach::Process)
    }
}

/// What a signal reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// The group that the target leads or led.
    Group,
    /// The target alone.
    Process,
}

/// The root and its processes during one call.
struct Scan {
    mark: RootMark,
    /// A file in the root that was created after the lock was taken, and its content.
    witness: Option<(String, Vec<u8>)>,
    /// This process and its ancestors.
    ourselves: HashSet<Pid>,
    /// The members of every group.
    groups: OnceCell<HashMap<i32, Vec<Pid>>>,
}

impl Scan {
    fn new(root: &Dir, witness: Option<String>) -> io::Result<Self> {
        let witness = witness.and_then(|name| {
            let content = read_file(root, name.as_ref()).ok()?;
            Some((name, content))
        });
        let mark = RootMark::of(root)?;
        Ok(Scan { mark, witness, ourselves: ourselves(), groups: OnceCell::new() })
    }

    /// Returns every process with the marker of this root.
    fn marked(&self) -> Vec<Target> {
        let others = stat::all().into_iter().filter(|pid| !self.ourselves.contains(pid));
        others.filter_map(|pid| self.process(pid)).collect()
    }

    /// Returns a process if it carries the marker of this root.
    fn process(&self, pid: Pid) -> Option<Target> {
        if !self.may_be_ours(&Marker::of_process(pid)) {
            return None;
        }
        // The marker is read again after the start time: then both belong to the same process.
        let stat = Stat::of(pid).filter(|stat| !stat.has_exited())?;
        let marker = Marker::of_process(pid);
        let proven = match self.claim(pid, &marker)? {
            Claim::Ours => true,
            Claim::Unproven => false,
            Claim::Foreign => return None,
        };
        let exact = Exact { pid, start_time: stat.start_time };
        Some(Target { exact, item: marker.item, proven })
    }

    fn may_be_ours(&self, marker: &Marker) -> bool {
        marker.root_mark().is_some_and(|theirs| self.agree(&theirs) != (false, false))
    }

    /// Returns whether a mark has the id of this root, and whether it has its device and inode.
    fn agree(&self, theirs: &RootMark) -> (bool, bool) {
        let has_id = theirs.id.is_some() && theirs.id == self.mark.id;
        let is_there = (theirs.device, theirs.inode) == (self.mark.device, self.mark.inode);
        (has_id, is_there)
    }

    /// Returns the root that a process belongs to according to its marker; `None` if it has none.
    fn claim(&self, pid: Pid, marker: &Marker) -> Option<Claim> {
        let theirs = marker.root_mark()?;
        Some(match self.agree(&theirs) {
            (true, true) => Claim::Ours,
            (false, false) => Claim::Foreign,
            // Early builds had no id.
            (false, true) if theirs.id.is_none() => Claim::Ours,
            // Another mount, or a copy; or the id was lost, or the inode was reused for another directory.
            (true, false) | (false, true) => self.compare(pid, theirs.path.as_deref()),
        })
    }

    /// Compares the directory that a process calls its root with this one: the witness, created here a moment
    /// ago, is visible there if they are the same.
    fn compare(&self, pid: Pid, path: Option<&Path>) -> Claim {
        let (Some(path), Some((name, content))) = (path, &self.witness) else {
            return Claim::Unproven;
        };
        let Ok(path) = path.strip_prefix("/") else { return Claim::Unproven };
        let place = PathBuf::from(format!("/proc/{}/root", pid.as_raw_nonzero())).join(path);
        let Ok(directory) = ambient::open_dir(&place) else { return Claim::Unproven };
        match read_file(&directory, name.as_ref()) {
            Ok(theirs) if theirs == *content => Claim::Ours,
            Ok(_) => Claim::Foreign,
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => Claim::Foreign,
            Err(_) => Claim::Unproven,
        }
    }

    /// Returns a process if it is running, leads a group, and does not belong to another root.
    ///
    /// That a journal names it proves nothing: agents can write to the journal. A member of the group must
    /// carry the marker.
    fn group(&self, exact: Exact) -> Option<Target> {
        let stat = Stat::of(exact.pid)?;
        let is_meant = stat.start_time == exact.start_time
            && stat.leads_group(exact.pid)
            && !stat.has_exited()
            && !self.ourselves.contains(&exact.pid);
        if !is_meant {
            return None;
        }
        let marker = Marker::of_process(exact.pid);
        let proven = match self.claim(exact.pid, &marker) {
            Some(Claim::Foreign) => return None,
            Some(Claim::Ours) => true,
            Some(Claim::Unproven) | None => self.members(exact.pid).iter().any(|member| {
                self.claim(*member, &Marker::of_process(*member)) == Some(Claim::Ours)
            }),
        };
        Some(Target { exact, item: marker.item, proven })
    }

    fn members(&self, group: Pid) -> &[Pid] {
        let groups = self.groups.get_or_init(stat::groups);
        groups.get(&group.as_raw_nonzero().get()).map_or(&[], Vec::as_slice)
    }
}

/// Reads a small regular file.
fn read_file(directory: &Dir, path: &Path) -> io::Result<Vec<u8>> {
    let metadata = directory.symlink_metadata(path)?;
    if !metadata.is_file() || metadata.len() > LONGEST_WITNESS {
        return Err(io::Error::other("not a witness"));
    }
    directory.read(path)
}

impl From<Target> for Leftover {
    fn from(target: Target) -> Self {
        let Target { exact: Exact { pid, start_time }, item, proven } = target;
        let started_at = Stat::of(pid).and_then(|stat| stat.started_at());
        let since_epoch = started_at.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
        Leftover {
            process: Identity::with_start(pid, Some(start_time)).into(),
            item,
            started_at: since_epoch.and_then(|since| u64::try_from(since.as_millis()).ok()),
            proven,
        }
    }
}

impl Exact {
    /// Returns the process of a token, if it is one of this boot and PID namespace.
    fn parse(token: &str) -> Option<Self> {
        let (identity, here) = (Identity::parse(token)?, Identity::here());
        let is_here = identity.boot_id.is_some()
            && identity.boot_id == here.boot_id
            && (identity.pid_namespace.is_none() || identity.pid_namespace == here.pid_namespace);
        let pid = i32::try_from(identity.pid).ok().and_then(Pid::from_raw)?;
        let start_time = identity.start_time.filter(|_| is_here)?;
        Some(Exact { pid, start_time })
    }

    /// Whether the group that this process leads or led still has members that have not exited.
    fn group_exists(self) -> bool {
        // A different process with this number leads a different group.
        let is_reused = Stat::of(self.pid).is_some_and(|stat| stat.start_time != self.start_time);
        !is_reused && test_kill_process_group(self.pid).is_ok() && !stat::group_has_exited(self.pid)
    }

    /// Signals this process, or none.
    #[cfg(target_os = "linux")]
    fn signal(self, signal: Signal) -> rustix::io::Result<()> {
        use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};
        let process = pidfd_open(self.pid, PidfdFlags::empty())?;
        match Stat::of(self.pid) {
            Some(stat) if stat.start_time == self.start_time => pidfd_send_signal(process, signal),
            _ => Ok(()),
        }
    }

    /// Does nothing: without `/proc` no process is proven.
    #[cfg(not(target_os = "linux"))]
    fn signal(self, _: Signal) -> rustix::io::Result<()> {
        Ok(())
    }
}

/// Returns this process and its ancestors.
fn ourselves() -> HashSet<Pid> {
    let mut ours = HashSet::new();
    let mut next = Some(getpid());
    while let Some(pid) = next {
        if !ours.insert(pid) {
            break;
        }
        next = Stat::of(pid).and_then(|stat| Pid::from_raw(stat.parent));
    }
    ours
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
