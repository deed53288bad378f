//! Whether a recorded process is still running.
//!
//! Where only a process id is known, a process can be `running` by mistake, never `exited`. A process of
//! another PID namespace (another container) of this boot is always `unknown`: its processes are not visible
//! from here, whether they are running or not.

use std::time::{Duration, SystemTime};

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use super::stat::Stat;
use super::token::Identity;
use crate::wit::processes::{BareProcess, ProcessStatus, RecordedProcess};

/// Tolerance of a start time from `/proc` against the wall clock.
const CLOCK_SLACK: Duration = Duration::from_secs(2);

/// Returns the status of a recorded process; see `processes.status` in the WIT package. A token that this
/// host did not create says nothing about it.
pub(crate) fn status(recorded: &RecordedProcess) -> ProcessStatus {
    match recorded {
        RecordedProcess::Token(token) => {
            Identity::parse(token).map_or(ProcessStatus::Unknown, |it| of_identity(&it))
        }
        RecordedProcess::Bare(BareProcess { pid, seen }) => by_pid(*pid, *seen),
    }
}

fn of_identity(recorded: &Identity) -> ProcessStatus {
    let here = Identity::here();
    match (&recorded.boot_id, &here.boot_id) {
        (Some(theirs), Some(ours)) if theirs == ours => match &recorded.pid_namespace {
            Some(_) if recorded.pid_namespace != here.pid_namespace => ProcessStatus::Unknown,
            _ => exact(recorded),
        },
        (Some(_), Some(_)) => match &recorded.host {
            Some(_) if recorded.host == here.host => ProcessStatus::Exited,
            _ => ProcessStatus::Unknown,
        },
        // There is a boot id, and none here to compare it with.
        (Some(_), None) => ProcessStatus::Unknown,
        (None, _) => match &recorded.host {
            Some(_) if recorded.host != here.host => ProcessStatus::Unknown,
            _ => by_pid(recorded.pid, None),
        },
    }
}

/// On the same boot, a process is the recorded one if and only if it started at the same time.
fn exact(recorded: &Identity) -> ProcessStatus {
    match (probe(recorded.pid), recorded.start_time) {
        (Probe::Gone, _) => ProcessStatus::Exited,
        (Probe::Exists(Some(stat)), Some(start)) if stat.start_time != start => {
            ProcessStatus::Exited
        }
        (Probe::Exists(_), _) => ProcessStatus::Running,
    }
}

/// With nothing but a process id, a process that started after the recorded one was last seen is another one.
fn by_pid(pid: u64, seen: Option<u64>) -> ProcessStatus {
    let stat = match probe(pid) {
        Probe::Gone => return ProcessStatus::Exited,
        Probe::Exists(stat) => stat,
    };
    let started = stat.and_then(|stat| stat.started_at());
    let seen = seen.map(|seen| SystemTime::UNIX_EPOCH + Duration::from_millis(seen));
    match (started, seen) {
        (Some(started), Some(seen)) if started > seen + CLOCK_SLACK => ProcessStatus::Exited,
        _ => ProcessStatus::Running,
    }
}

/// The process with a process id.
enum Probe {
    /// There is none, or a zombie.
    Gone,
    /// It exists. What `/proc` tells about it, if anything.
    Exists(Option<Stat>),
}

fn probe(pid: u64) -> Probe {
    // No process has a process id that is out of range.
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Probe::Gone;
    };
    match test_kill_process(pid) {
        Err(Errno::SRCH) => Probe::Gone,
        // Without the permission to signal it, it exists all the same.
        Ok(()) | Err(_) => match Stat::of(pid) {
            Some(stat) if stat.has_exited() => Probe::Gone,
            stat => Probe::Exists(stat),
        },
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_types, reason = "a test starts its own processes")]
mod tests {
    use super::*;
    use std::process::Command;

    fn of(identity: &Identity) -> ProcessStatus {
        status(&RecordedProcess::Token(identity.token()))
    }

    fn bare(pid: u64, seen: Option<u64>) -> ProcessStatus {
        status(&RecordedProcess::Bare(BareProcess { pid, seen }))
    }

    fn millis(time: SystemTime) -> u64 {
        time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64
    }

    #[test]
    fn this_process_is_running() {
        let ours = Identity::current();
        assert_eq!(of(&ours), ProcessStatus::Running);
        assert_eq!(bare(ours.pid, Some(millis(SystemTime::now()))), ProcessStatus::Running);
    }

    #[test]
    fn a_pid_of_this_boot_with_another_start_was_reused() {
        let ours = Identity::current();
        let other = Identity { start_time: ours.start_time.map(|time| time + 1), ..ours };
        assert_eq!(of(&other), ProcessStatus::Exited);
    }

    #[test]
    fn a_bare_pid_that_started_after_it_was_seen_was_reused() {
        let hour_ago = millis(SystemTime::now()) - 3_600_000;
        let child = Command::new("sleep").arg("60").spawn();
        let mut child = child.unwrap();
        let pid = u64::from(child.id());
        assert_eq!(bare(pid, Some(hour_ago)), ProcessStatus::Exited);
        assert_eq!(bare(pid, Some(millis(SystemTime::now()))), ProcessStatus::Running);
        assert_eq!(bare(pid, None), ProcessStatus::Running);
        child.kill().unwrap();
        // Not reaped: a zombie.
        while Stat::of(Pid::from_child(&child)).is_some_and(|stat| !stat.has_exited()) {}
        assert_eq!(bare(pid, None), ProcessStatus::Exited);
        child.wait().unwrap();
        assert_eq!(bare(pid, None), ProcessStatus::Exited);
    }

    #[test]
    fn pids_that_no_process_has_have_exited() {
        for pid in [0, 4_194_305, u64::from(u32::MAX), u64::MAX] {
            assert_eq!(bare(pid, None), ProcessStatus::Exited, "{pid}");
        }
    }

    #[test]
    fn another_boot_of_this_machine_has_ended_and_another_machine_is_unknown() {
        let ours = Identity::current();
        let rebooted = Identity { boot_id: Some("another boot".to_owned()), ..ours.clone() };
        assert_eq!(of(&rebooted), ProcessStatus::Exited);
        let elsewhere = Identity { host: Some("another machine".to_owned()), ..rebooted.clone() };
        assert_eq!(of(&elsewhere), ProcessStatus::Unknown);
        let nowhere = Identity { host: None, ..rebooted };
        assert_eq!(of(&nowhere), ProcessStatus::Unknown);
        let bootless = Identity { boot_id: None, host: Some("another machine".to_owned()), ..ours };
        assert_eq!(of(&bootless), ProcessStatus::Unknown);
    }

    #[test]
    fn a_process_of_another_pid_namespace_is_unknown() {
        let ours = Identity::current();
        let gone = Identity { start_time: ours.start_time.map(|time| time + 1), ..ours.clone() };
        assert_eq!(of(&gone), ProcessStatus::Exited);
        let elsewhere = Identity { pid_namespace: Some("pid:[1]".to_owned()), ..gone.clone() };
        assert_eq!(of(&elsewhere), ProcessStatus::Unknown);
        // Early builds did not record it.
        assert_eq!(of(&Identity { pid_namespace: None, ..gone }), ProcessStatus::Exited);
        // A reboot ended the processes of every namespace.
        let rebooted = Identity { boot_id: Some("another boot".to_owned()), ..elsewhere };
        assert_eq!(of(&rebooted), ProcessStatus::Exited);
    }

    #[test]
    fn a_token_of_another_host_is_unknown() {
        let token = RecordedProcess::Token("worker-7/epoch-3".to_owned());
        assert_eq!(status(&token), ProcessStatus::Unknown);
    }

    #[test]
    fn process_one_may_not_be_signalled_and_is_running() {
        assert_eq!(bare(1, None), ProcessStatus::Running);
    }
}
