//! Runs a command under `ptrace` and kills it at one of its system calls.

use std::collections::HashMap;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;

use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::calls::changing_call;
use crate::place::HANG;

/// The hidden first argument that makes this program ask to be traced and become another one.
pub(crate) const LAUNCH: &str = "launch-traced";

/// On which side of a system call the kill comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Before it does anything.
    Entry,
    /// After it did everything, before the program learns of it.
    Exit,
}

/// A moment of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Point {
    /// Which of its changing system calls, from 1.
    pub(crate) call: usize,
    pub(crate) side: Side,
}

/// What a traced command did.
#[derive(Debug, Default)]
pub(crate) struct Traced {
    /// Its changing system calls, in the order in which they began.
    pub(crate) calls: Vec<String>,
    /// The exit code; `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    /// True if it got to the point at which it was to be killed.
    pub(crate) was_killed: bool,
}

/// What this program does when it is called with [`LAUNCH`]: it never returns but with an error.
pub(crate) fn launch(program: &str, arguments: &[String]) -> String {
    if let Err(error) = ptrace::traceme() {
        return format!("ptrace: {error}");
    }
    format!("{program}: {}", Command::new(program).args(arguments).exec())
}

/// Runs a command that [`launch`]es the program; with a point, kills it there. Threads of the program are
/// followed, the processes that it starts are not: they are what a kill of the program alone leaves.
pub(crate) fn trace(
    mut command: Command,
    point: Option<Point>,
    base: &Path,
) -> Result<Traced, String> {
    let child = command.spawn().map_err(|error| format!("cannot start: {error}"))?;
    let main = Pid::from_raw(child.id() as i32);
    let stop = match waitpid(main, Some(WaitPidFlag::__WALL)) {
        Ok(WaitStatus::Stopped(_, Signal::SIGTRAP)) => Ok(()),
        other => Err(format!("the launcher did not stop after its exec: {other:?}")),
    };
    stop?;
    let options =
        Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_EXITKILL;
    ptrace::setoptions(main, options).map_err(|error| format!("ptrace: {error}"))?;
    let (ended, has_ended) = mpsc::channel::<()>();
    let guard = thread::spawn(move || {
        let is_late = has_ended.recv_timeout(HANG) == Err(RecvTimeoutError::Timeout);
        if is_late {
            let _ = kill(main, Signal::SIGKILL);
        }
        is_late
    });
    let mut tracer =
        Tracer { main, base, point, inside: HashMap::new(), traced: Traced::default() };
    let followed = tracer.follow();
    let _ = ended.send(());
    match guard.join() {
        Ok(false) => followed.map(|()| tracer.traced).map_err(|error| format!("ptrace: {error}")),
        _ => Err(format!("it hung after call {}", tracer.traced.calls.len())),
    }
}

struct Tracer<'p> {
    main: Pid,
    base: &'p Path,
    point: Option<Point>,
    /// The threads, each with the call that it is in: its number if it is a changing one.
    inside: HashMap<Pid, Option<Option<usize>>>,
    traced: Traced,
}

impl Tracer<'_> {
    fn follow(&mut self) -> Result<(), Errno> {
        self.inside.insert(self.main, None);
        go_on(self.main, None)?;
        loop {
            // Only what this thread started: others trace at the same time.
            match waitpid(None, Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD))? {
                WaitStatus::PtraceSyscall(thread) => {
                    self.system_call(thread)?;
                    go_on(thread, None)?;
                }
                WaitStatus::PtraceEvent(thread, ..) => go_on(thread, None)?,
                // A thread begins with a SIGSTOP that no process sent.
                WaitStatus::Stopped(thread, Signal::SIGSTOP)
                    if !self.inside.contains_key(&thread) =>
                {
                    self.inside.insert(thread, None);
                    go_on(thread, None)?;
                }
                WaitStatus::Stopped(thread, signal) => go_on(thread, Some(signal))?,
                // The first thread is reported last.
                WaitStatus::Exited(thread, code) if thread == self.main => {
                    self.traced.code = Some(code);
                    return Ok(());
                }
                WaitStatus::Signaled(thread, ..) if thread == self.main => return Ok(()),
                _ => {}
            }
        }
    }

    fn system_call(&mut self, thread: Pid) -> Result<(), Errno> {
        let number = self.traced.calls.len() + 1;
        let (call, side) = match self.inside.remove(&thread).flatten() {
            Some(call) => (call, Side::Exit),
            None => {
                let call = changing_call(thread.as_raw(), self.base);
                let number = call.is_some().then_some(number);
                self.traced.calls.extend(call);
                (number, Side::Entry)
            }
        };
        self.inside.insert(thread, (side == Side::Entry).then_some(call));
        let here = call.map(|call| Point { call, side });
        if here.is_some() && here == self.point {
            self.traced.was_killed = true;
            kill(self.main, Signal::SIGKILL)?;
        }
        Ok(())
    }
}

/// Lets a thread go on to its next system call. One that was killed meanwhile is gone.
fn go_on(thread: Pid, signal: Option<Signal>) -> Result<(), Errno> {
    match ptrace::syscall(thread, signal) {
        Err(Errno::ESRCH) => Ok(()),
        other => other,
    }
}
