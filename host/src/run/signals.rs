//! Signals, as something to wait for.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, getpid, kill_process};
use signal_hook::consts::{SIGCHLD, SIGTSTP, SIGXFSZ};
use signal_hook::{flag, low_level};

use crate::exit_code::StopSignal;
use crate::report::output;
use crate::{ambient, process};

/// How long to wait for pending output before this process is stopped.
const LAST_OUTPUT: Duration = Duration::from_millis(200);

/// Turns a write beyond the file size limit (`ulimit -f`) into an error like any other: the signal that the
/// system sends with it would end the process without a message.
///
/// The signal is caught, not ignored: an agent starts with the default action, unless this program was
/// started with the signal ignored.
pub(crate) fn survive_file_size_limit() -> io::Result<()> {
    flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false))).map(drop)
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// Stop the batch.
    Stop(StopSignal),
    /// Stop this process until it is continued (Ctrl-Z).
    Suspend,
}

/// The signals that concern a batch: those that stop it, and the exit of a child.
pub(crate) struct Signals {
    /// Readable once a signal has come.
    wake: UnixStream,
    stops: [(StopSignal, Arc<AtomicBool>); 3],
    suspend: Arc<AtomicBool>,
    /// Whether `wake` was read since it was last asked.
    woken: bool,
    /// Set by each signal that stops the batch, for calls of the component.
    interrupt: Arc<AtomicBool>,
}

impl Signals {
    /// Handles these signals from now on: they no longer end the process.
    pub(crate) fn new() -> io::Result<Self> {
        let (wake, sender) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let stops = StopSignal::ALL.map(|signal| (signal, Arc::new(AtomicBool::new(false))));
        let interrupt = Arc::new(AtomicBool::new(false));
        for (signal, flag) in &stops {
            let signal = i32::from(signal.number());
            // `nohup` ignores signals on purpose, and so does a shell without job control for what it starts
            // with `&`.
            if is_ignored(signal) {
                continue;
            }
            // The flag is registered first: whoever is woken must find it set.
            flag::register(signal, Arc::clone(flag))?;
            flag::register(signal, Arc::clone(&interrupt))?;
            low_level::pipe::register(signal, sender.try_clone()?)?;
        }
        let suspend = Arc::new(AtomicBool::new(false));
        if !is_ignored(SIGTSTP) {
            flag::register(SIGTSTP, Arc::clone(&suspend))?;
            low_level::pipe::register(SIGTSTP, sender.try_clone()?)?;
        }
        low_level::pipe::register(SIGCHLD, sender)?;
        Ok(Signals { wake, stops, suspend, woken: false, interrupt })
    }

    /// Returns the flag that stops a call of the component that does not return by itself.
    pub(crate) fn interrupt(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.interrupt)
    }

    /// Returns the descriptor to wait on.
    pub(crate) fn wake(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Whether a signal has come since the last call: an unnoticed child may have exited.
    pub(crate) fn was_woken(&mut self) -> bool {
        std::mem::take(&mut self.woken)
    }

    /// Takes the latest request, if there is one.
    pub(crate) fn take(&mut self) -> Option<Request> {
        self.drain();
        let mut latest = None;
        for (signal, flag) in &self.stops {
            if flag.swap(false, Ordering::Relaxed) {
                latest = Some(*signal);
            }
        }
        let suspend = self.suspend.swap(false, Ordering::Relaxed);
        latest.map(Request::Stop).or(suspend.then_some(Request::Suspend))
    }

    /// Waits this long. Returns true, at once, if a signal asks to stop; the request remains to be taken.
    pub(crate) fn sleep(&mut self, duration: Duration) -> bool {
        let until = Instant::now() + duration;
        loop {
            self.drain();
            if self.stops.iter().any(|(_, flag)| flag.load(Ordering::Relaxed)) {
                return true;
            }
            if self.suspend.swap(false, Ordering::Relaxed) {
                suspend_this_process();
            }
            let remaining = until.saturating_duration_since(Instant::now());
            if remaining.is_zero() {
                return false;
            }
            let timeout = Timespec::try_from(remaining).ok();
            let wake = PollFd::from_borrowed_fd(self.wake(), PollFlags::IN);
            // Interrupted by a signal: the next pass finds its flag.
            let _ = poll(&mut [wake], timeout.as_ref());
        }
    }

    fn drain(&mut self) {
        let mut buffer = [0; 256];
        while matches!(self.wake.read(&mut buffer), Ok(length) if length > 0) {
            self.woken = true;
        }
    }
}

/// Stops this process until it is continued; returns for how long it was stopped. Does nothing if no process
/// would continue it: the default action of SIGTSTP does the same.
pub(crate) fn suspend_this_process() -> Duration {
    // While this process is stopped, nothing removes the bar.
    output::flush(LAST_OUTPUT);
    let stopped = Instant::now();
    if !process::is_orphaned() {
        let _ = kill_process(getpid(), Signal::STOP);
    }
    stopped.elapsed()
}

/// Whether this process was started with a signal ignored. False where that is not known: only Linux tells.
fn is_ignored(signal: i32) -> bool {
    let status = ambient::read_to_string("/proc/self/status".as_ref()).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}
