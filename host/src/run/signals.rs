//! Signals, as something to wait for.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Signal, getpid, kill_process};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGTSTP, SIGXFSZ};
use signal_hook::{flag, low_level};

use crate::{ambient, liveness, output};

/// The signals that stop a batch.
const STOPPING: [i32; 3] = [SIGHUP, SIGINT, SIGTERM];

/// What is to be written before the process stops has so long.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Makes a file that may not grow any more (`ulimit -f`) an error like any other: the signal that the
/// system sends with it would end the process without a word.
///
/// The signal is caught, not ignored: an agent starts with the default again, unless this program was
/// started with the signal ignored.
pub(crate) fn survive_file_size_limit() -> io::Result<()> {
    flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false))).map(drop)
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stopping {
    /// The batch is to end.
    End(i32),
    /// The program is to stop until it is told to go on (Ctrl-Z).
    Suspend,
}

/// The signals that matter to a batch: those that stop it, and the end of a child.
pub(crate) struct Signals {
    /// Has something to read when a signal has come.
    wake: UnixStream,
    seen: [(i32, Arc<AtomicBool>); 3],
    suspend: Arc<AtomicBool>,
    /// True if a signal was taken.
    woken: bool,
    /// Set by each signal that stops the batch, for calls of the component.
    interrupt: Arc<AtomicBool>,
}

impl Signals {
    /// From here on these signals no longer end the process.
    pub(crate) fn new() -> io::Result<Self> {
        let (wake, sender) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let mut seen = STOPPING.map(|signal| (signal, Arc::new(AtomicBool::new(false))));
        let interrupt = Arc::new(AtomicBool::new(false));
        for (signal, flag) in &mut seen {
            // `nohup` asks for that, and a shell without job control for what it starts with `&`.
            if is_ignored(*signal) {
                continue;
            }
            // The flag first: who is woken has to find it.
            flag::register(*signal, Arc::clone(flag))?;
            flag::register(*signal, Arc::clone(&interrupt))?;
            low_level::pipe::register(*signal, sender.try_clone()?)?;
        }
        let suspend = Arc::new(AtomicBool::new(false));
        if !is_ignored(SIGTSTP) {
            flag::register(SIGTSTP, Arc::clone(&suspend))?;
            low_level::pipe::register(SIGTSTP, sender.try_clone()?)?;
        }
        low_level::pipe::register(SIGCHLD, sender)?;
        Ok(Signals { wake, seen, suspend, woken: false, interrupt })
    }

    /// The flag that stops a call of the component that does not return by itself.
    pub(crate) fn interrupt(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.interrupt)
    }

    /// What to wait on.
    pub(crate) fn wake(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// True if a signal was taken since the last call of this: a child may have ended that nobody has
    /// looked at.
    pub(crate) fn was_woken(&mut self) -> bool {
        std::mem::take(&mut self.woken)
    }

    /// What was asked for since the last call of this, if anything was.
    pub(crate) fn take(&mut self) -> Option<Stopping> {
        let mut buffer = [0; 256];
        while matches!(self.wake.read(&mut buffer), Ok(length) if length > 0) {
            self.woken = true;
        }
        let mut latest = None;
        for (signal, seen) in &self.seen {
            if seen.swap(false, Ordering::Relaxed) {
                latest = Some(*signal);
            }
        }
        let suspend = self.suspend.swap(false, Ordering::Relaxed);
        latest.map(Stopping::End).or(suspend.then_some(Stopping::Suspend))
    }
}

/// Stops this process until somebody lets it go on; for how long. Not if nobody is there to do so: as
/// the system does with those who leave SIGTSTP to it.
pub(crate) fn suspend_ourselves() -> Duration {
    // Stopped, nobody takes the bar away.
    output::settle(LAST_WORDS);
    let stopped = Instant::now();
    if !liveness::is_orphaned() {
        let _ = kill_process(getpid(), Signal::STOP);
    }
    stopped.elapsed()
}

/// True if this process was started with a signal ignored. Linux tells; elsewhere it is not known.
fn is_ignored(signal: i32) -> bool {
    let status = ambient::read_to_string("/proc/self/status".as_ref()).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}
