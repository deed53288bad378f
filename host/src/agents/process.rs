//! An agent's process and its process group.

#![expect(clippy::disallowed_types, reason = "this is the module that starts processes")]

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process_group, test_kill_process_group,
    waitid, waitpgid,
};

use super::log_file::LogFile;
use crate::liveness;

/// What is left of a group when its leader has exited gets so long after SIGTERM.
const GRACE_OF_THE_REST: Duration = Duration::from_secs(2);
/// After SIGKILL nothing is left that can act; what is still counted then (a zombie that nobody
/// collects) is not waited for any longer.
const GRACE_AFTER_KILL: Duration = Duration::from_secs(1);
/// So much output is taken at once, so that one agent that floods does not starve the others.
const OUTPUT_AT_ONCE: usize = 256 << 10;

/// A running agent: the leader of a process group of its own.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pid: Pid,
    /// Standard output and standard error in one, so that their order is kept.
    output: Option<io::PipeReader>,
    log: LogFile,
    /// How the leader ended; what is left of the group is being ended.
    leader: Option<ExitStatus>,
    /// When the group gets SIGKILL.
    kill_at: Option<Instant>,
    /// When the rest of the group is given up.
    give_up_at: Option<Instant>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ending {
    /// The exit code, if it exited.
    pub(crate) exit_code: Option<i32>,
    /// The signal, if one ended it.
    pub(crate) signal: Option<i32>,
}

impl Process {
    /// Starts a program in `directory` without standard input.
    pub(super) fn start(
        program: &Path,
        args: Vec<String>,
        environment: &[(&str, OsString)],
        directory: &Path,
        log: LogFile,
    ) -> io::Result<Self> {
        let (output, writer) = io::pipe()?;
        rustix::io::ioctl_fionbio(&output, true)?;
        let child = Command::new(program)
            .args(args)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .process_group(0)
            .spawn()?;
        let pid = Pid::from_child(&child);
        Ok(Process {
            child,
            pid,
            output: Some(output),
            log,
            leader: None,
            kill_at: None,
            give_up_at: None,
        })
    }

    /// Its id, and that of its group.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// What to wait on for output; `None` once nothing more can come.
    pub(crate) fn output(&self) -> Option<BorrowedFd<'_>> {
        self.output.as_ref().map(AsFd::as_fd)
    }

    /// When [`Process::advance`] has something to do even if nothing happens.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.leader {
            // Nobody says when the last one of a group ends.
            Some(_) => Some(Instant::now() + Duration::from_millis(20)),
            None => self.kill_at,
        }
    }

    /// Moves waiting output to the log, as much as may be taken at once.
    pub(crate) fn take_output(&mut self) {
        let mut buffer = [0; 64 << 10];
        let mut taken = 0;
        while taken < OUTPUT_AT_ONCE {
            let Some(output) = &mut self.output else { return };
            match output.read(&mut buffer) {
                Ok(0) => self.output = None,
                Ok(length) => {
                    self.log.write(&buffer[..length]);
                    taken += length;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.output = None,
            }
        }
    }

    /// Asks the group to end and gives it so long. If the leader has exited already, that stands
    /// as it is: false is returned.
    pub(crate) fn terminate(&mut self, grace: Duration) -> bool {
        if self.leader.is_some() || self.leader_has_exited() {
            return false;
        }
        self.signal(Signal::TERM);
        // A stopped process would not notice.
        self.signal(Signal::CONT);
        self.kill_at = Some(Instant::now() + grace);
        true
    }

    /// Ends the group at once.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::KILL);
    }

    /// Looks at what has become of it; how it ended, once its whole group has.
    pub(crate) fn advance(&mut self) -> io::Result<Option<Ending>> {
        if self.kill_at.is_some_and(|at| at <= Instant::now()) {
            self.kill_at = None;
            self.signal(Signal::KILL);
            self.give_up_at = self.leader.map(|_| Instant::now() + GRACE_AFTER_KILL);
        }
        if self.leader.is_none() && self.leader_has_exited() {
            // While the leader is a zombie, its number cannot belong to another group.
            self.signal(Signal::TERM);
            self.leader = Some(self.child.wait()?);
            self.kill_at = Some(Instant::now() + GRACE_OF_THE_REST);
            self.give_up_at = None;
        }
        let given_up = self.give_up_at.is_some_and(|at| at <= Instant::now());
        match self.leader {
            Some(status) if given_up || self.group_is_gone() => {
                self.drain();
                Ok(Some(Ending { exit_code: status.code(), signal: status.signal() }))
            }
            _ => Ok(None),
        }
    }

    /// The path of its log, if it put anything out.
    pub(crate) fn log_path(&self) -> Option<&str> {
        self.log.path()
    }

    /// Why its log is not whole, if it is not.
    pub(crate) fn log_failure(&mut self) -> Option<io::Error> {
        self.log.take_failure()
    }

    /// What stands in the pipe still belongs to the log. Somebody who left the group may hold the
    /// other end open: the end of the stream is not waited for.
    fn drain(&mut self) {
        let capacity = 1 << 20;
        for _ in 0..capacity / OUTPUT_AT_ONCE {
            self.take_output();
        }
        self.output = None;
    }

    fn leader_has_exited(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        matches!(waitid(WaitId::Pid(self.pid), options), Ok(Some(_)))
    }

    fn group_is_gone(&self) -> bool {
        // As the first process of a container we inherit what an agent leaves.
        while matches!(waitpgid(self.pid, WaitOptions::NOHANG), Ok(Some(_))) {}
        test_kill_process_group(self.pid) == Err(Errno::SRCH)
            || liveness::group_has_exited(self.pid)
    }

    fn signal(&self, signal: Signal) {
        // A group that is gone needs no signal.
        let _ = kill_process_group(self.pid, signal);
    }
}
