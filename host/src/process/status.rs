//! Who this process is, and what can be proven of another one.
//!
//! On Linux `/proc` tells when a process started, which together with the boot and the PID namespace
//! makes a pid unmistakable. Elsewhere a pid is all there is: it can be `running` by mistake, never
//! `exited`.
//!
//! A process of another PID namespace (another container) is always `unknown`. From inside a container
//! nothing can prove that another one has ended: its processes are not visible whether they run or not.

use std::time::{Duration, SystemTime};

use rustix::io::Errno;
use rustix::process::{Pid, getpid, test_kill_process};

use crate::ambient;
use crate::engine::process::{Identity, Liveness, Recorded};

/// How far a start time from `/proc` may be off against the wall clock: `btime` has whole seconds,
/// and the clock is adjusted while a machine runs.
const CLOCK_SLACK: Duration = Duration::from_secs(2);

/// This process.
pub(crate) fn current() -> Identity {
    let pid = getpid();
    Identity {
        pid: u64::from(pid.as_raw_nonzero().get().unsigned_abs()),
        host: machine(),
        boot_id: boot_id(),
        start_time: stat(pid).map(|stat| stat.start_time),
        pid_namespace: pid_namespace(),
    }
}

/// When a child of ours started, as in an identity.
pub(crate) fn start_time(pid: Pid) -> Option<u64> {
    stat(pid).map(|stat| stat.start_time)
}

/// True if nobody is there to let this process go on once it is stopped: its process group is
/// orphaned (POSIX.1-2024, section 3.264), as far as its own ancestors tell. False where that is not
/// known.
pub(crate) fn is_orphaned() -> bool {
    let Some(ours) = stat(getpid()) else { return false };
    let mut parent = ours.parent;
    loop {
        match Pid::from_raw(parent).and_then(stat) {
            Some(stat) if stat.session != ours.session => return true,
            Some(stat) if stat.group != ours.group => return false,
            Some(stat) => parent = stat.parent,
            None => return true,
        }
    }
}

/// True if every member of a process group has exited, also if nobody has collected them yet.
/// False where that cannot be told.
pub(crate) fn group_has_exited(group: Pid) -> bool {
    let mut members = all()
        .into_iter()
        .filter_map(stat)
        .filter(|stat| stat.group == group.as_raw_nonzero().get());
    // One at least is there to be seen, or the system would say that the group is gone.
    let Some(first) = members.next() else { return false };
    first.has_exited() && members.all(|member| member.has_exited())
}

/// The members of a process group that have not exited and may be signalled, as far as they can be seen.
pub(crate) fn group_survivors(group: Pid) -> Vec<Pid> {
    let is_survivor = |pid: &Pid| {
        let stat = stat(*pid).filter(|stat| !stat.has_exited());
        stat.is_some_and(|stat| stat.group == group.as_raw_nonzero().get())
            && test_kill_process(*pid).is_ok()
    };
    all().into_iter().filter(is_survivor).collect()
}

/// Every process that can be seen.
pub(crate) fn all() -> Vec<Pid> {
    let names = ambient::names_in("/proc".as_ref()).unwrap_or_default();
    names.iter().filter_map(|name| Pid::from_raw(name.parse().ok()?)).collect()
}

/// What can be proven of a recorded process. See `process.query` in the WIT package.
pub(crate) fn query(recorded: &Recorded) -> Liveness {
    let boot = boot_id();
    match (&recorded.boot_id, &boot) {
        (Some(theirs), Some(ours)) if theirs == ours => match &recorded.pid_namespace {
            Some(_) if recorded.pid_namespace != pid_namespace() => Liveness::Unknown,
            _ => exact(recorded),
        },
        (Some(_), Some(_)) => match &recorded.host {
            Some(host) if *host == machine() => Liveness::Exited,
            _ => Liveness::Unknown,
        },
        // A boot id, and none here to compare it with; or a host, and it is another one.
        (Some(_), None) => Liveness::Unknown,
        (None, _) => match &recorded.host {
            Some(host) if *host != machine() => Liveness::Unknown,
            _ => by_pid(recorded),
        },
    }
}

/// Same boot: the process is the recorded one exactly if it started when that did.
fn exact(recorded: &Recorded) -> Liveness {
    match (probe(recorded.pid), recorded.start_time) {
        (Probe::Gone, _) => Liveness::Exited,
        (Probe::There(Some(stat)), Some(start)) if stat.start_time != start => Liveness::Exited,
        (Probe::There(_), _) => Liveness::Running,
    }
}

/// Only a pid: a process that started after the recorded one was last seen is another one.
fn by_pid(recorded: &Recorded) -> Liveness {
    let stat = match probe(recorded.pid) {
        Probe::Gone => return Liveness::Exited,
        Probe::There(stat) => stat,
    };
    let started = stat.and_then(|stat| stat.started_at());
    let seen = recorded.seen.map(|seen| SystemTime::UNIX_EPOCH + Duration::from_millis(seen));
    match (started, seen) {
        (Some(started), Some(seen)) if started > seen + CLOCK_SLACK => Liveness::Exited,
        _ => Liveness::Running,
    }
}

/// What is at a pid.
enum Probe {
    /// Nothing, or a zombie.
    Gone,
    /// A process, and what `/proc` tells of it, if it tells anything.
    There(Option<Stat>),
}

fn probe(pid: u64) -> Probe {
    // A pid that no process can have belongs to none.
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Probe::Gone;
    };
    match test_kill_process(pid) {
        Err(Errno::SRCH) => Probe::Gone,
        // No permission to signal it: it is there.
        Ok(()) | Err(_) => match stat(pid) {
            Some(stat) if stat.has_exited() => Probe::Gone,
            stat => Probe::There(stat),
        },
    }
}

/// The fields of `/proc/PID/stat` that are needed here; see proc_pid_stat(5).
pub(crate) struct Stat {
    state: u8,
    /// Field 4: the parent.
    pub(crate) parent: i32,
    /// Field 5: the process group.
    pub(crate) group: i32,
    /// Field 6: the session.
    session: i32,
    /// Field 22: clock ticks from the boot to the start of the process.
    pub(crate) start_time: u64,
}

impl Stat {
    /// True for a zombie, too.
    pub(crate) fn has_exited(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }

    /// When it started, in milliseconds since 1970, to a second or two.
    pub(crate) fn since(&self) -> Option<u64> {
        let since = self.started_at()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        u64::try_from(since.as_millis()).ok()
    }

    fn started_at(&self) -> Option<SystemTime> {
        let stat = ambient::read_to_string("/proc/stat".as_ref()).ok()?;
        let boot: u64 =
            stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
        let ticks = rustix::param::clock_ticks_per_second();
        let since_boot = Duration::from_millis(self.start_time.saturating_mul(1000) / ticks.max(1));
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(boot) + since_boot)
    }
}

/// What `/proc` tells of a process, if it is there and tells anything.
pub(crate) fn stat(pid: Pid) -> Option<Stat> {
    let path = format!("/proc/{}/stat", pid.as_raw_nonzero());
    parse_stat(&ambient::read_to_string(path.as_ref()).ok()?)
}

/// The name of a process stands in parentheses and may hold anything, parentheses too: what counts
/// begins behind the last one.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    // The state is field 3; the start is the sixteenth field behind the session.
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let session = fields.next()?.parse().ok()?;
    let start_time = fields.nth(15)?.parse().ok()?;
    Some(Stat { state, parent, group, session, start_time })
}

fn boot_id() -> Option<String> {
    trimmed("/proc/sys/kernel/random/boot_id")
}

/// The PID namespace that this process is in, `pid:[4026531836]`. The number of one that has ended may
/// be given to a new one; no process of the old one runs then, so a start time that differs still proves
/// an end.
fn pid_namespace() -> Option<String> {
    let link = ambient::read_link("/proc/self/ns/pid".as_ref()).ok()?;
    link.into_os_string().into_string().ok()
}

fn machine() -> String {
    trimmed("/etc/machine-id")
        .unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned())
}

fn trimmed(path: &str) -> Option<String> {
    let text = ambient::read_to_string(path.as_ref()).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
#[expect(clippy::disallowed_types, reason = "a test starts its own processes")]
mod tests {
    use super::*;
    use std::process::Command;

    fn recorded(identity: &Identity) -> Recorded {
        Recorded {
            pid: identity.pid,
            host: Some(identity.host.clone()),
            boot_id: identity.boot_id.clone(),
            start_time: identity.start_time,
            pid_namespace: identity.pid_namespace.clone(),
            seen: None,
        }
    }

    fn bare(pid: u64, seen: Option<u64>) -> Recorded {
        Recorded { pid, host: None, boot_id: None, start_time: None, pid_namespace: None, seen }
    }

    fn millis(time: SystemTime) -> u64 {
        time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64
    }

    #[test]
    fn we_run() {
        assert_eq!(query(&recorded(&current())), Liveness::Running);
        assert_eq!(query(&bare(current().pid, Some(millis(SystemTime::now())))), Liveness::Running);
    }

    #[test]
    fn a_pid_of_this_boot_with_another_start_was_reused() {
        let ours = recorded(&current());
        let other = Recorded { start_time: ours.start_time.map(|time| time + 1), ..ours };
        assert_eq!(query(&other), Liveness::Exited);
    }

    #[test]
    fn a_bare_pid_that_started_after_it_was_seen_was_reused() {
        let hour_ago = millis(SystemTime::now()) - 3_600_000;
        let child = Command::new("sleep").arg("60").spawn();
        let mut child = child.unwrap();
        let pid = u64::from(child.id());
        assert_eq!(query(&bare(pid, Some(hour_ago))), Liveness::Exited);
        assert_eq!(query(&bare(pid, Some(millis(SystemTime::now())))), Liveness::Running);
        assert_eq!(query(&bare(pid, None)), Liveness::Running);
        child.kill().unwrap();
        // Not waited for: a zombie.
        while stat(Pid::from_raw(child.id() as i32).unwrap()).is_some_and(|stat| !stat.has_exited())
        {
        }
        assert_eq!(query(&bare(pid, None)), Liveness::Exited);
        child.wait().unwrap();
        assert_eq!(query(&bare(pid, None)), Liveness::Exited);
    }

    #[test]
    fn pids_that_no_process_has_have_exited() {
        for pid in [0, 4_194_305, u64::from(u32::MAX), u64::MAX] {
            assert_eq!(query(&bare(pid, None)), Liveness::Exited, "{pid}");
        }
    }

    #[test]
    fn another_boot_of_this_machine_has_ended_and_another_machine_cannot_be_told() {
        let ours = recorded(&current());
        let rebooted = Recorded { boot_id: Some("another boot".to_owned()), ..ours.clone() };
        assert_eq!(query(&rebooted), Liveness::Exited);
        let elsewhere = Recorded { host: Some("another machine".to_owned()), ..rebooted.clone() };
        assert_eq!(query(&elsewhere), Liveness::Unknown);
        let nowhere = Recorded { host: None, ..rebooted };
        assert_eq!(query(&nowhere), Liveness::Unknown);
        let bootless = Recorded { boot_id: None, host: Some("another machine".to_owned()), ..ours };
        assert_eq!(query(&bootless), Liveness::Unknown);
    }

    #[test]
    fn a_process_of_another_pid_namespace_cannot_be_told() {
        let ours = recorded(&current());
        let gone = Recorded { start_time: ours.start_time.map(|time| time + 1), ..ours.clone() };
        assert_eq!(query(&gone), Liveness::Exited);
        let elsewhere = Recorded { pid_namespace: Some("pid:[1]".to_owned()), ..gone.clone() };
        assert_eq!(query(&elsewhere), Liveness::Unknown);
        // Earlier versions recorded none.
        assert_eq!(query(&Recorded { pid_namespace: None, ..gone }), Liveness::Exited);
        // A boot that is over ended the processes of every namespace.
        let rebooted = Recorded { boot_id: Some("another boot".to_owned()), ..elsewhere };
        assert_eq!(query(&rebooted), Liveness::Exited);
    }

    #[test]
    fn process_one_is_not_ours_to_signal_and_runs() {
        assert_eq!(query(&bare(1, None)), Liveness::Running);
    }

    #[test]
    fn a_name_full_of_parentheses_is_no_trouble() {
        let stat =
            parse_stat("7 (a) S (b)) R 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20")
                .unwrap();
        assert_eq!((stat.state, stat.parent, stat.group), (b'R', 1, 2));
        assert_eq!(stat.start_time, 4711);
        assert!(parse_stat("7 (a").is_none());
    }
}
