//! What `/proc` tells about processes. Elsewhere than on Linux nothing is known.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use rustix::process::{Pid, getpid, test_kill_process};

use crate::ambient;

/// The fields of `/proc/PID/stat` that are needed here; see proc_pid_stat(5).
pub(super) struct Stat {
    state: u8,
    /// Field 4: the parent.
    pub(super) parent: i32,
    /// Field 5: the process group.
    pub(super) group: i32,
    /// Field 6: the session.
    session: i32,
    /// Field 22: clock ticks from the boot to the start of the process.
    pub(super) start_time: u64,
}

impl Stat {
    /// Returns the fields for a process; `None` if it does not exist or nothing is known about it.
    pub(super) fn of(pid: Pid) -> Option<Self> {
        let path = format!("/proc/{}/stat", pid.as_raw_nonzero());
        Stat::parse(&ambient::read_to_string(path.as_ref()).ok()?)
    }

    /// Parses the file. The name of the process is in parentheses and may contain anything, including
    /// parentheses: the fields begin after the last one.
    fn parse(text: &str) -> Option<Self> {
        let (_, fields) = text.rsplit_once(')')?;
        let mut fields = fields.split_ascii_whitespace();
        let state = *fields.next()?.as_bytes().first()?;
        // The state is field 3; the start time is the sixteenth field after the session.
        let parent = fields.next()?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        let session = fields.next()?.parse().ok()?;
        let start_time = fields.nth(15)?.parse().ok()?;
        Some(Stat { state, parent, group, session, start_time })
    }

    /// Whether it has exited. This includes zombies.
    pub(super) fn has_exited(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }

    /// Whether it leads a process group.
    pub(super) fn leads_group(&self, pid: Pid) -> bool {
        self.group == pid.as_raw_nonzero().get()
    }

    /// Returns when it started, accurate to about two seconds: `btime` has whole seconds, and the clock is
    /// adjusted while a machine runs.
    pub(super) fn started_at(&self) -> Option<SystemTime> {
        let stat = ambient::read_to_string("/proc/stat".as_ref()).ok()?;
        let boot: u64 =
            stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
        let ticks = rustix::param::clock_ticks_per_second();
        let since_boot = Duration::from_millis(self.start_time.saturating_mul(1000) / ticks.max(1));
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(boot) + since_boot)
    }
}

/// Returns every visible process.
pub(super) fn all() -> Vec<Pid> {
    let names = ambient::names_in("/proc".as_ref()).unwrap_or_default();
    names.iter().filter_map(|name| Pid::from_raw(name.parse().ok()?)).collect()
}

/// Returns the members of every process group, by its number.
pub(super) fn groups() -> HashMap<i32, Vec<Pid>> {
    let mut groups: HashMap<i32, Vec<Pid>> = HashMap::new();
    for pid in all() {
        if let Some(stat) = Stat::of(pid) {
            groups.entry(stat.group).or_default().push(pid);
        }
    }
    groups
}

/// Whether every member of a process group has exited, including those that no one has reaped. False if that
/// cannot be determined.
pub(super) fn group_has_exited(group: Pid) -> bool {
    let mut members = all()
        .into_iter()
        .filter_map(Stat::of)
        .filter(|stat| stat.group == group.as_raw_nonzero().get());
    // At least one must be visible: otherwise the system would say that the group does not exist.
    let Some(first) = members.next() else { return false };
    first.has_exited() && members.all(|member| member.has_exited())
}

/// Returns the visible members of a process group that have not exited and may be signalled.
pub(super) fn group_survivors(group: Pid) -> Vec<Pid> {
    let is_survivor = |pid: &Pid| {
        let stat = Stat::of(*pid).filter(|stat| !stat.has_exited());
        stat.is_some_and(|stat| stat.group == group.as_raw_nonzero().get())
            && test_kill_process(*pid).is_ok()
    };
    all().into_iter().filter(is_survivor).collect()
}

/// Whether no process would continue this one once it is stopped: its process group is orphaned
/// (POSIX.1-2024, section 3.264), as far as its own ancestors show. False if that is not known.
pub(crate) fn is_orphaned() -> bool {
    let Some(ours) = Stat::of(getpid()) else { return false };
    let mut parent = ours.parent;
    loop {
        match Pid::from_raw(parent).and_then(Stat::of) {
            Some(stat) if stat.session != ours.session => return true,
            Some(stat) if stat.group != ours.group => return false,
            Some(stat) => parent = stat.parent,
            None => return true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_full_of_parentheses_is_parsed() {
        let text = "7 (a) S (b)) R 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.state, stat.parent, stat.group), (b'R', 1, 2));
        assert_eq!(stat.start_time, 4711);
        assert!(Stat::parse("7 (a").is_none());
    }
}
