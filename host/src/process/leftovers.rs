//! Ending what agents of an interrupted batch left; see `process.marked` and `process.end` in the
//! WIT package.
//!
//! A component names processes; only those are signalled of which the system itself says that they are of
//! this root, by the marker in their environment or in that of a member of their group. Where there is no
//! `/proc` nothing is found and nothing is signalled.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use cap_std::fs::Dir;
use rustix::process::{Pid, Signal, getpid, kill_process_group, test_kill_process_group};

use crate::ambient;
use crate::engine::process::Worker;
use crate::liveness;
use crate::marker::{Marker, RootMark};

/// So long after SIGTERM comes SIGKILL.
const GRACE: Duration = Duration::from_secs(5);
/// What still runs so long after SIGKILL is not going to end (it hangs in the kernel).
const GRACE_AFTER_KILL: Duration = Duration::from_secs(5);
/// How often it is looked whether they have ended.
const INTERVAL: Duration = Duration::from_millis(20);
/// A witness is a line or two.
const LONGEST_WITNESS: u64 = 64 << 10;

/// The repository whose processes are meant.
#[derive(Debug)]
pub(crate) struct Root {
    directory: Dir,
}

/// The repository as it is during one call.
struct Look {
    mark: RootMark,
    /// A file in it that was made since the lock is held, and its content.
    witness: Option<(String, Vec<u8>)>,
    /// This process and those above it.
    ourselves: HashSet<Pid>,
}

/// Whose a process is, as the system proves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    /// Of this root.
    Ours,
    /// Of another root: a copy of this one, for instance.
    Foreign,
    /// Of this root or of another one.
    Unproven,
}

/// A process, and when it started: together they name it for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Exact {
    pid: Pid,
    start_time: u64,
}

/// A process that may be ended.
struct Target {
    exact: Exact,
    item: Option<String>,
    /// Whether its group is meant, which it leads.
    leads: bool,
    /// Whether it is proven to be of this root. Nothing else is signalled.
    proven: bool,
}

impl Root {
    /// The root of an instance.
    pub(crate) fn new(directory: Dir) -> Self {
        Root { directory }
    }

    /// Every process with the marker but this one and those above it.
    pub(crate) fn marked(&self, witness: Option<String>) -> io::Result<Vec<Worker>> {
        let look = self.look(witness)?;
        Ok(look.marked().into_iter().map(Target::into_worker).collect())
    }

    /// Which of these lead groups that may be of this root.
    pub(crate) fn leaders(
        &self,
        recorded: Vec<Worker>,
        witness: Option<String>,
    ) -> io::Result<Vec<Worker>> {
        let look = self.look(witness)?;
        let groups = recorded.into_iter().filter_map(|leader| {
            let proven = look.group(&leader)?.proven;
            Some(Worker { proven, ..leader })
        });
        Ok(groups.collect())
    }

    /// Ends every process with the marker and the groups of these leaders; what could not be ended.
    pub(crate) fn end(
        &self,
        leaders: &[Worker],
        witness: Option<String>,
    ) -> io::Result<Vec<Worker>> {
        let look = self.look(witness)?;
        let is_proven = |target: &Target| target.proven;
        let mut groups: Vec<Target> =
            leaders.iter().filter_map(|leader| look.group(leader)).filter(is_proven).collect();
        let started = Instant::now();
        let mut told: HashSet<Exact> = HashSet::new();
        loop {
            groups.retain(|group| is_there(group.exact.pid));
            let marked: Vec<Target> = look.marked().into_iter().filter(is_proven).collect();
            if groups.is_empty() && marked.is_empty() {
                return Ok(Vec::new());
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
                return Ok(groups.into_iter().chain(marked).map(Target::into_worker).collect());
            }
            thread::sleep(INTERVAL);
        }
    }

    fn look(&self, witness: Option<String>) -> io::Result<Look> {
        let witness = witness.and_then(|name| {
            let content = read_file(&self.directory, name.as_ref()).ok()?;
            Some((name, content))
        });
        let mark = RootMark::of(&self.directory)?;
        Ok(Look { mark, witness, ourselves: ourselves() })
    }
}

impl Look {
    fn marked(&self) -> Vec<Target> {
        let mut found = Vec::new();
        for pid in liveness::all() {
            if self.ourselves.contains(&pid) || !self.may_be_ours(&Marker::of_process(pid)) {
                continue;
            }
            // Again behind its start: then both are of the same process.
            let Some(stat) = liveness::stat(pid).filter(|stat| !stat.has_exited()) else {
                continue;
            };
            let marker = Marker::of_process(pid);
            let Some(claim @ (Claim::Ours | Claim::Unproven)) = self.claim(pid, &marker) else {
                continue;
            };
            let exact = Exact { pid, start_time: stat.start_time };
            let proven = claim == Claim::Ours;
            found.push(Target { exact, item: marker.item, leads: false, proven });
        }
        found
    }

    fn may_be_ours(&self, marker: &Marker) -> bool {
        marker.root_mark().is_some_and(|theirs| self.agree(&theirs) != (false, false))
    }

    /// Whether a mark has the id of this root, and whether it has its device and inode.
    fn agree(&self, theirs: &RootMark) -> (bool, bool) {
        let has_id = theirs.id.is_some() && theirs.id == self.mark.id;
        let is_there = (theirs.device, theirs.inode) == (self.mark.device, self.mark.inode);
        (has_id, is_there)
    }

    /// Whose a process is by its marker; `None` if it has none.
    fn claim(&self, pid: Pid, marker: &Marker) -> Option<Claim> {
        let theirs = marker.root_mark()?;
        Some(match self.agree(&theirs) {
            (true, true) => Claim::Ours,
            (false, false) => Claim::Foreign,
            // Earlier versions knew no id.
            (false, true) if theirs.id.is_none() => Claim::Ours,
            // Another mount, or a copy; or the id was lost, or the inode is another directory's by now.
            (true, false) | (false, true) => self.compare(pid, theirs.path.as_deref()),
        })
    }

    /// Whether the directory that a process calls its root is this one: a file that was made here a
    /// moment ago is visible there.
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

    /// The group that a leader leads, if it is provably the one that is meant and not another root's.
    ///
    /// That a journal names it proves nothing: agents can write to it. A process of the group has to
    /// carry the marker.
    fn group(&self, leader: &Worker) -> Option<Target> {
        let pid = Pid::from_raw(i32::try_from(leader.pid).ok()?)?;
        let stat = liveness::stat(pid)?;
        let is_it = Some(stat.start_time) == leader.start_time
            && stat.group == pid.as_raw_nonzero().get()
            && !stat.has_exited()
            && !self.ourselves.contains(&pid);
        if !is_it {
            return None;
        }
        let mut claims = self.members(pid).map(|member| {
            let marker = Marker::of_process(member);
            self.claim(member, &marker)
        });
        let proven = match self.claim(pid, &Marker::of_process(pid)) {
            Some(Claim::Foreign) => return None,
            Some(Claim::Ours) => true,
            Some(Claim::Unproven) | None => claims.any(|claim| claim == Some(Claim::Ours)),
        };
        let exact = Exact { pid, start_time: stat.start_time };
        Some(Target { exact, item: leader.item.clone(), leads: true, proven })
    }

    fn members(&self, group: Pid) -> impl Iterator<Item = Pid> + use<> {
        let is_member = move |pid: &Pid| {
            liveness::stat(*pid).is_some_and(|stat| stat.group == group.as_raw_nonzero().get())
        };
        liveness::all().into_iter().filter(is_member)
    }
}

/// A small regular file in a directory.
fn read_file(directory: &Dir, path: &Path) -> io::Result<Vec<u8>> {
    let metadata = directory.symlink_metadata(path)?;
    if !metadata.is_file() || metadata.len() > LONGEST_WITNESS {
        return Err(io::Error::other("not a witness"));
    }
    directory.read(path)
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
            proven: self.proven,
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

#[cfg(all(test, target_os = "linux"))]
#[expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "a test makes its own files and processes"
)]
mod tests {
    use std::ffi::{OsStr, OsString};
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command};

    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    /// The leader of a group, with this mark in its environment.
    fn leader(mark: Option<&OsStr>) -> Child {
        let mut command = Command::new("sleep");
        command.arg("1000").env_clear().process_group(0);
        if let Some(mark) = mark {
            command.env(crate::marker::ROOT, mark);
        }
        command.spawn().unwrap()
    }

    fn worker(child: &Child) -> Worker {
        let pid = Pid::from_child(child);
        Worker {
            pid: u64::from(child.id()),
            start_time: liveness::start_time(pid),
            item: None,
            since: None,
            // As a hostile component would have it.
            proven: true,
        }
    }

    fn has_exited(child: &mut Child) -> bool {
        child.try_wait().unwrap().is_some()
    }

    #[test]
    fn only_what_its_marker_proves_to_be_of_this_root_is_ended() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join(".repository-id"), ID).unwrap();
        std::fs::write(place.path().join("batch.owner.1"), "a claim").unwrap();
        let copy = tempfile::tempdir().unwrap();
        let root = Root::new(ambient::open_dir(place.path()).unwrap());
        let mark = RootMark::of(&root.directory).unwrap().to_value();
        let at = |path: &Path| OsString::from(format!("{ID}:1:2:{}", path.display()));
        let mut ours = leader(Some(&mark));
        let mut same_place = leader(Some(&at(place.path())));
        let mut of_copy = leader(Some(&at(copy.path())));
        let mut nowhere = leader(Some(&at(Path::new("/nowhere/at/all"))));
        let mut foreign = leader(Some(OsStr::new(&format!("{}:1:2:/", ID.replace('0', "1")))));
        let mut bare = leader(None);
        let all = [&ours, &same_place, &of_copy, &nowhere, &foreign, &bare].map(worker);
        let reused = Worker { start_time: Some(1), ..worker(&ours) };

        let witness = || Some("batch.owner.1".to_owned());
        let leaders = root.leaders([&all[..], &[reused]].concat(), witness()).unwrap();
        let told: Vec<(u64, bool)> = leaders.iter().map(|it| (it.pid, it.proven)).collect();
        let expected = [(0, true), (1, true), (3, false), (5, false)];
        assert_eq!(told, expected.map(|(index, proven)| (all[index].pid, proven)));
        // Without a witness only id, device and inode tell.
        let leaders = root.leaders(all.to_vec(), None).unwrap();
        let proven = leaders.iter().filter(|it| it.proven).map(|it| it.pid);
        assert_eq!(proven.collect::<Vec<_>>(), [all[0].pid]);

        assert!(root.end(&all, witness()).unwrap().is_empty());
        assert!(has_exited(&mut ours) && has_exited(&mut same_place));
        for other in [&mut of_copy, &mut nowhere, &mut foreign, &mut bare] {
            assert!(!has_exited(other));
            other.kill().unwrap();
            other.wait().unwrap();
        }
    }
}
