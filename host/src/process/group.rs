//! An agent's process and its process group.

#![expect(clippy::disallowed_types, reason = "this is the module that starts processes")]

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process_group, test_kill_process_group,
    waitid, waitpgid,
};

use super::descriptors;
use super::directory::Directory;
use super::output::Output;
use crate::liveness;

/// What is left of a group when its leader has exited gets so long after SIGTERM.
const GRACE_OF_THE_REST: Duration = Duration::from_secs(2);
/// After SIGKILL nothing is left that can act; what is still counted then (a zombie that nobody
/// collects, another user's process) is not waited for any longer.
const GRACE_AFTER_KILL: Duration = Duration::from_secs(1);
/// What could be signalled and still runs so long after SIGKILL hangs in the kernel.
const STUCK_AFTER: Duration = Duration::from_secs(10);
/// So much output is taken at once, so that one agent that floods does not starve the others.
const OUTPUT_AT_ONCE: usize = 256 << 10;

/// What to start.
#[derive(Debug)]
pub(super) struct Launch {
    pub program: PathBuf,
    pub args: Vec<OsString>,
    pub environment: Vec<(&'static str, OsString)>,
    pub directory: Directory,
    /// What it is to read from standard input; `None` for nothing.
    pub input: Option<Vec<u8>>,
}

/// A running agent: the leader of a process group of its own.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pid: Pid,
    input: Option<Input>,
    /// Standard output and standard error in one, so that their order is kept.
    pipe: Option<io::PipeReader>,
    output: Output,
    /// True once it was stopped because it wanted something of the terminal.
    wants_terminal: bool,
    /// How the leader ended; what is left of the group is being ended.
    leader: Option<ExitStatus>,
    /// When the group gets SIGKILL.
    kill_at: Option<Instant>,
    /// When the group got SIGKILL first.
    killed_at: Option<Instant>,
}

impl Drop for Process {
    /// Whatever goes wrong here, an agent is not left behind.
    fn drop(&mut self) {
        if self.leader.is_none() {
            self.kill();
            while self.killed_at.is_some_and(|at| at.elapsed() < STUCK_AFTER)
                && matches!(self.child.try_wait(), Ok(None))
            {
                thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

/// Standard input that is being written.
#[derive(Debug)]
struct Input {
    pipe: io::PipeWriter,
    text: Vec<u8>,
    written: usize,
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
    pub(super) fn start(launch: Launch, output: Output) -> io::Result<Self> {
        let reserve = descriptors::reserve()?;
        let (pipe, writer) = io::pipe()?;
        rustix::io::ioctl_fionbio(&pipe, true)?;
        let (stdin, input) = match launch.input {
            None => (Stdio::null(), None),
            Some(text) => {
                let (reader, pipe) = io::pipe()?;
                rustix::io::ioctl_fionbio(&pipe, true)?;
                (Stdio::from(reader), Some(Input { pipe, text, written: 0 }))
            }
        };
        let child = Command::new(launch.program)
            .args(launch.args)
            .envs(launch.environment)
            .current_dir(launch.directory.path())
            .stdin(stdin)
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .process_group(0)
            .spawn()?;
        drop(reserve);
        let pid = Pid::from_child(&child);
        descriptors::give_back_limit(pid);
        let mut process = Process {
            child,
            pid,
            input,
            pipe: Some(pipe),
            output,
            wants_terminal: false,
            leader: None,
            kill_at: None,
            killed_at: None,
        };
        process.give_input();
        Ok(process)
    }

    /// Its id, and that of its group.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// What to wait for: output, and room for input.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = PollFd<'_>> {
        let output =
            self.pipe.as_ref().map(|pipe| PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN));
        let input = self
            .input
            .as_ref()
            .map(|input| PollFd::from_borrowed_fd(input.pipe.as_fd(), PollFlags::OUT));
        output.into_iter().chain(input)
    }

    /// When [`Process::advance`] has something to do even if nothing happens.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.leader {
            // Nobody says when the last one of a group ends.
            Some(_) => Some(Instant::now() + Duration::from_millis(20)),
            None => self.kill_at.or(self.killed_at.map(|at| at + STUCK_AFTER)),
        }
    }

    /// Moves waiting output to where it belongs and waiting input to the agent, as much as may be
    /// moved at once.
    pub(crate) fn exchange(&mut self) {
        self.give_input();
        let mut buffer = [0; 64 << 10];
        let mut taken = 0;
        while taken < OUTPUT_AT_ONCE {
            let Some(pipe) = &mut self.pipe else { return };
            match pipe.read(&mut buffer) {
                Ok(0) => self.pipe = None,
                Ok(length) => {
                    self.output.write(&buffer[..length]);
                    taken += length;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.pipe = None,
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
        let at = Instant::now() + grace;
        self.kill_at = Some(self.kill_at.map_or(at, |earlier| earlier.min(at)));
        true
    }

    /// Ends the group at once.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.killed_at.get_or_insert_with(Instant::now);
    }

    /// Asks the group to stop for a while.
    pub(crate) fn suspend(&self) {
        self.signal(Signal::TSTP);
    }

    /// Lets the group go on; it was stopped for so long, which does not count.
    pub(crate) fn resume(&mut self, after: Duration) {
        self.signal(Signal::CONT);
        for at in [&mut self.kill_at, &mut self.killed_at].into_iter().flatten() {
            *at += after;
        }
    }

    /// True once the leader has exited.
    pub(crate) fn has_exited(&self) -> bool {
        self.leader.is_some()
    }

    /// True if it was stopped because it read from the terminal, or set it up: it is in the
    /// background there, and nobody would let it go on.
    pub(crate) fn wants_terminal(&mut self) -> bool {
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
        if self.leader.is_none()
            && let Ok(Some(status)) = waitid(WaitId::Pid(self.pid), options)
        {
            let signal = status.stopping_signal();
            let of_terminal = [Signal::TTIN, Signal::TTOU].map(Signal::as_raw);
            self.wants_terminal |= signal.is_some_and(|signal| of_terminal.contains(&signal));
        }
        self.wants_terminal
    }

    /// Looks at what has become of it; how it ended, once its whole group has.
    pub(crate) fn advance(&mut self) -> io::Result<Option<Ending>> {
        if self.kill_at.is_some_and(|at| at <= Instant::now()) {
            self.kill_at = None;
            self.kill();
        }
        if self.leader.is_none() && self.leader_has_exited() {
            // While the leader is a zombie, its number cannot belong to another group.
            self.signal(Signal::TERM);
            self.signal(Signal::CONT);
            self.leader = Some(self.child.wait()?);
            self.kill_at = Some(Instant::now() + GRACE_OF_THE_REST);
            self.killed_at = None;
        }
        match self.leader {
            Some(status) if self.group_is_gone() || self.is_given_up() => {
                self.drain();
                Ok(Some(Ending { exit_code: status.code(), signal: status.signal() }))
            }
            _ => Ok(None),
        }
    }

    /// The processes of the group that SIGKILL does not end, once that is certain.
    pub(crate) fn stuck(&self) -> Option<Vec<Pid>> {
        self.killed_at.filter(|at| at.elapsed() >= STUCK_AFTER)?;
        Some(match self.leader {
            None => vec![self.pid],
            Some(_) => liveness::group_survivors(self.pid),
        })
    }

    /// Nothing more is expected of it.
    pub(crate) fn abandon(&mut self) {
        self.drain();
    }

    /// True if what is still counted to the group is not waited for.
    fn is_given_up(&self) -> bool {
        self.killed_at.is_some_and(|at| at.elapsed() >= GRACE_AFTER_KILL)
            && liveness::group_survivors(self.pid).is_empty()
    }

    /// What it puts out.
    pub(crate) fn output(&mut self) -> &mut Output {
        &mut self.output
    }

    fn give_input(&mut self) {
        while let Some(input) = &mut self.input {
            let rest = &input.text[input.written..];
            match input.pipe.write(rest) {
                Ok(written) if written < rest.len() => input.written += written,
                // All of it is written: the agent reads the end.
                Ok(_) => self.input = None,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // It does not want to read more; that is its own affair.
                Err(_) => self.input = None,
            }
        }
    }

    /// What stands in the pipe still belongs to the log. Somebody who left the group may hold the
    /// other end open: the end of the stream is not waited for.
    fn drain(&mut self) {
        self.input = None;
        let capacity = 1 << 20;
        for _ in 0..capacity / OUTPUT_AT_ONCE {
            self.exchange();
        }
        self.pipe = None;
        self.output.finish();
    }

    fn leader_has_exited(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        matches!(waitid(WaitId::Pid(self.pid), options), Ok(Some(_)))
    }

    fn group_is_gone(&self) -> bool {
        // We inherit what an agent leaves, as a subreaper or as the first process of a container.
        while matches!(waitpgid(self.pid, WaitOptions::NOHANG), Ok(Some(_))) {}
        test_kill_process_group(self.pid) == Err(Errno::SRCH)
            || liveness::group_has_exited(self.pid)
    }

    fn signal(&self, signal: Signal) {
        // A group that is gone needs no signal.
        let _ = kill_process_group(self.pid, signal);
    }
}
