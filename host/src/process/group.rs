//! An agent's process and its process group, until all of it has exited.

use std::io::{self, PipeReader, Read};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process_group, test_kill_process_group,
    waitid, waitpgid,
};

use super::output::Output;
use super::spawn::{Input, Leader};
use super::stat;

/// Time between SIGTERM and SIGKILL for the rest of a group whose leader has exited.
const GRACE_OF_THE_REST: Duration = Duration::from_secs(2);
/// How long to wait after SIGKILL for members that cannot act any more: zombies that no one reaps, and
/// processes of other users.
const GRACE_AFTER_KILL: Duration = Duration::from_secs(1);
/// A process that could be signalled and is still running this long after SIGKILL hangs in the kernel.
const STUCK_AFTER: Duration = Duration::from_secs(10);
/// Number of bytes of output that are read at once, so that an agent that floods does not starve the others.
const OUTPUT_AT_ONCE: usize = 256 << 10;
/// Maximum capacity of a pipe in bytes, unless a privileged process raised it.
const PIPE_CAPACITY: usize = 1 << 20;

/// How the leader of a group ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It exited with this code.
    Code(i32),
    /// It was terminated by this signal.
    Signal(i32),
}

/// A running agent: the leader of a process group of its own, and the rest of that group.
#[derive(Debug)]
pub(crate) struct Group {
    leader: Leader,
    pid: Pid,
    input: Option<Input>,
    /// Standard output and standard error.
    pipe: Option<PipeReader>,
    output: Output,
    /// Whether the leader was stopped because it used the terminal.
    used_terminal: bool,
    /// How the leader ended, while the rest of the group is being ended.
    exit: Option<Exit>,
    /// When the group gets SIGKILL.
    kill_at: Option<Instant>,
    /// When the group got SIGKILL first.
    killed_at: Option<Instant>,
}

impl Drop for Group {
    /// Kills an agent that is still running: whatever fails, none is left behind.
    fn drop(&mut self) {
        if self.exit.is_none() {
            self.kill();
            while self.killed_at.is_some_and(|at| at.elapsed() < STUCK_AFTER)
                && self.leader.is_running()
            {
                thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

impl Group {
    pub(super) fn new(
        leader: Leader,
        input: Option<Input>,
        pipe: PipeReader,
        output: Output,
    ) -> Self {
        let mut group = Group {
            pid: leader.pid(),
            leader,
            input,
            pipe: Some(pipe),
            output,
            used_terminal: false,
            exit: None,
            kill_at: None,
            killed_at: None,
        };
        group.write_input();
        group
    }

    /// Returns the process id of the leader, which is the number of the group.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Returns what to wait for: output, and room for input.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = PollFd<'_>> {
        let output = self.pipe.as_ref();
        let output = output.map(|pipe| PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN));
        let input = self.input.as_ref();
        let input = input.map(|it| PollFd::from_borrowed_fd(it.descriptor(), PollFlags::OUT));
        output.into_iter().chain(input)
    }

    /// Returns when [`Group::poll`] has something to do even if nothing happens.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.exit {
            // Nothing reports the exit of the last member of a group.
            Some(_) => Some(Instant::now() + Duration::from_millis(20)),
            None => self.kill_at.or(self.killed_at.map(|at| at + STUCK_AFTER)),
        }
    }

    /// Reads waiting output and writes waiting input, a bounded amount.
    pub(crate) fn exchange(&mut self) {
        self.write_input();
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

    /// Sends SIGTERM to the group, and SIGKILL after this time. Does nothing and returns false if the leader
    /// has exited: then its exit counts.
    pub(crate) fn terminate(&mut self, grace: Duration) -> bool {
        if self.exit.is_some() || self.leader_has_exited() {
            return false;
        }
        self.signal(Signal::TERM);
        // A stopped process would not notice SIGTERM.
        self.signal(Signal::CONT);
        let at = Instant::now() + grace;
        self.kill_at = Some(self.kill_at.map_or(at, |earlier| earlier.min(at)));
        true
    }

    /// Sends SIGKILL to the group.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.killed_at.get_or_insert_with(Instant::now);
    }

    /// Asks the group to stop, because this process is about to be stopped.
    pub(crate) fn suspend(&self) {
        self.signal(Signal::TSTP);
    }

    /// Continues the group. The time that it was stopped for does not count.
    pub(crate) fn resume(&mut self, stopped_for: Duration) {
        self.signal(Signal::CONT);
        for at in [&mut self.kill_at, &mut self.killed_at].into_iter().flatten() {
            *at += stopped_for;
        }
    }

    /// Whether the leader has exited and has been reaped.
    pub(crate) fn leader_is_gone(&self) -> bool {
        self.exit.is_some()
    }

    /// Whether the leader was stopped because it read from the terminal or changed its settings: it is in the
    /// background there, and no one would continue it.
    pub(crate) fn used_terminal(&mut self) -> bool {
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
        if self.exit.is_none()
            && let Ok(Some(status)) = waitid(WaitId::Pid(self.pid), options)
        {
            let signal = status.stopping_signal();
            let of_terminal = [Signal::TTIN, Signal::TTOU].map(Signal::as_raw);
            self.used_terminal |= signal.is_some_and(|signal| of_terminal.contains(&signal));
        }
        self.used_terminal
    }

    /// Checks on the group. Returns how its leader ended, once all of it has exited.
    pub(crate) fn poll(&mut self) -> io::Result<Option<Exit>> {
        if self.kill_at.is_some_and(|at| at <= Instant::now()) {
            self.kill_at = None;
            self.kill();
        }
        if self.exit.is_none() && self.leader_has_exited() {
            // While the leader is a zombie, its number cannot belong to another group.
            self.signal(Signal::TERM);
            self.signal(Signal::CONT);
            self.exit = Some(self.reap_leader()?);
            self.kill_at = Some(Instant::now() + GRACE_OF_THE_REST);
            self.killed_at = None;
        }
        match self.exit {
            Some(exit) if self.is_gone() || self.rest_cannot_act() => {
                self.drain();
                Ok(Some(exit))
            }
            _ => Ok(None),
        }
    }

    fn reap_leader(&mut self) -> io::Result<Exit> {
        let status = self.leader.wait()?;
        let exit = status.code().map(Exit::Code).or(status.signal().map(Exit::Signal));
        exit.ok_or_else(|| io::Error::other(format!("unknown exit status {status}")))
    }

    /// Returns the processes of the group on which SIGKILL has no effect, once that is certain.
    pub(crate) fn stuck(&self) -> Option<Vec<Pid>> {
        self.killed_at.filter(|at| at.elapsed() >= STUCK_AFTER)?;
        Some(match self.exit {
            None => vec![self.pid],
            Some(_) => stat::group_survivors(self.pid),
        })
    }

    /// Ends the output of a group that is not waited for any more.
    pub(crate) fn abandon(&mut self) {
        self.drain();
    }

    /// Returns the output of the group.
    pub(crate) fn output(&mut self) -> &mut Output {
        &mut self.output
    }

    /// Whether the members that remain got SIGKILL and cannot act any more.
    fn rest_cannot_act(&self) -> bool {
        self.killed_at.is_some_and(|at| at.elapsed() >= GRACE_AFTER_KILL)
            && stat::group_survivors(self.pid).is_empty()
    }

    fn write_input(&mut self) {
        if self.input.as_mut().is_some_and(|input| !input.write()) {
            self.input = None;
        }
    }

    /// Reads the rest of the output from the pipe. A process that has left the group may keep the other end
    /// open, so the end of the stream is not awaited.
    fn drain(&mut self) {
        self.input = None;
        for _ in 0..PIPE_CAPACITY / OUTPUT_AT_ONCE {
            self.exchange();
        }
        self.pipe = None;
        self.output.finish();
    }

    fn leader_has_exited(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        matches!(waitid(WaitId::Pid(self.pid), options), Ok(Some(_)))
    }

    fn is_gone(&self) -> bool {
        // As a subreaper, or as the first process of a container, this process inherits the orphans of an
        // agent.
        while matches!(waitpgid(self.pid, WaitOptions::NOHANG), Ok(Some(_))) {}
        test_kill_process_group(self.pid) == Err(Errno::SRCH) || stat::group_has_exited(self.pid)
    }

    fn signal(&self, signal: Signal) {
        // A group that is gone needs no signal.
        let _ = kill_process_group(self.pid, signal);
    }
}
