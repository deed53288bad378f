//! The two streams of the program.
//!
//! While a batch runs, one thread looks after everything: a reader that takes nothing (a terminal
//! stopped with Ctrl-S, a pager, a connection that hangs) must not keep it from signals and
//! timeouts. So what a stream cannot take at once is kept back until it can.

#![expect(clippy::disallowed_methods, reason = "this is the module that writes to the terminal")]

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::ambient;

/// So much is written at once where a stream says that it can take something: what a pipe then takes
/// for certain (PIPE_BUF).
const AT_ONCE: usize = 512;
/// More than this many bytes of messages are not kept back: they are dropped, and that is said.
const MOST_MESSAGES: usize = 1 << 20;
/// At the end, a reader of messages that takes nothing is waited for so long.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// One of the two streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output: results.
    Out,
    /// Standard error: messages.
    Err,
}

/// What a stream could not take yet.
#[derive(Debug)]
struct Backlog {
    /// True while nobody may wait for the stream.
    is_used: bool,
    bytes: VecDeque<u8>,
    /// How many messages were dropped.
    dropped: usize,
}

impl Backlog {
    const fn new() -> Self {
        Backlog { is_used: false, bytes: VecDeque::new(), dropped: 0 }
    }
}

static BACKLOGS: [Mutex<Backlog>; 2] = [const { Mutex::new(Backlog::new()) }; 2];

/// From here on nobody waits for a stream, until [`finish`].
pub(crate) fn do_not_wait() {
    for stream in [Stream::Out, Stream::Err] {
        stream.backlog().is_used = true;
    }
}

/// Writes what was kept back: results as long as that takes, unless somebody asks to give up,
/// messages only while somebody reads them.
pub(crate) fn finish(mut gives_up: impl FnMut() -> bool) {
    Stream::Err.finish(|waited| waited >= LAST_WAIT);
    Stream::Out.finish(|_| gives_up());
}

/// Writes what was kept back as far as the streams take it; true if something is left.
pub(crate) fn catch_up() -> bool {
    let mut is_left = false;
    for stream in [Stream::Out, Stream::Err] {
        let mut backlog = stream.backlog();
        stream.write_ready(&mut backlog);
        is_left |= !backlog.bytes.is_empty();
    }
    is_left
}

impl Stream {
    /// Writes as it is, and does not mind if nobody reads any more.
    pub(crate) fn write(self, bytes: &[u8]) {
        let mut backlog = self.backlog();
        if !backlog.is_used {
            self.write_now(bytes);
            return;
        }
        if self == Stream::Err && backlog.bytes.len() > MOST_MESSAGES {
            backlog.dropped += 1;
            return;
        }
        backlog.bytes.extend(bytes);
        self.write_ready(&mut backlog);
    }

    /// False if it is a pipe that nobody will read from any more.
    pub(crate) fn is_read(self) -> bool {
        !self.poll(PollFlags::empty()).intersects(PollFlags::ERR | PollFlags::HUP)
    }

    /// Columns and rows of the terminal behind it; `None` if it is none, or one that understands
    /// nothing but lines.
    pub(crate) fn terminal(self) -> Option<(u16, u16)> {
        let is_dumb = ambient::variable("TERM").is_none_or(|term| term == "dumb");
        let size = rustix::termios::tcgetwinsize(self.descriptor()).ok().filter(|_| !is_dumb)?;
        // A terminal that does not know its size says 0.
        let or = |size: u16, otherwise| if size == 0 { otherwise } else { size };
        Some((or(size.ws_col, 80), or(size.ws_row, 24)))
    }

    fn write_now(self, bytes: &[u8]) {
        let _ = match self {
            Stream::Out => write(io::stdout().lock(), bytes),
            Stream::Err => write(io::stderr().lock(), bytes),
        };
    }

    /// Writes of what is kept back as much as the stream takes without waiting.
    fn write_ready(self, backlog: &mut Backlog) {
        while !backlog.bytes.is_empty() {
            // One that is closed takes everything: the write fails, and nothing is lost by that.
            if self.poll(PollFlags::OUT).is_empty() {
                return;
            }
            let length = backlog.bytes.len().min(AT_ONCE);
            let chunk: Vec<u8> = backlog.bytes.drain(..length).collect();
            self.write_now(&chunk);
        }
        if backlog.dropped > 0 {
            let notice = format!("[{} lines were dropped: nobody read them]\n", backlog.dropped);
            backlog.dropped = 0;
            self.write_now(notice.as_bytes());
        }
    }

    /// Writes what is kept back; from here on the stream is waited for again. `gives_up` is told how
    /// long nothing has been taken.
    fn finish(self, mut gives_up: impl FnMut(Duration) -> bool) {
        let mut backlog = self.backlog();
        backlog.is_used = false;
        let (mut since, mut left) = (Instant::now(), backlog.bytes.len());
        loop {
            self.write_ready(&mut backlog);
            if backlog.bytes.is_empty() || gives_up(since.elapsed()) {
                break;
            }
            if backlog.bytes.len() < left {
                (since, left) = (Instant::now(), backlog.bytes.len());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        backlog.bytes.clear();
    }

    fn poll(self, events: PollFlags) -> PollFlags {
        let mut descriptor = [PollFd::from_borrowed_fd(self.descriptor(), events)];
        match poll(&mut descriptor, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Ok(_) => descriptor[0].revents(),
            Err(_) => PollFlags::empty(),
        }
    }

    fn descriptor(self) -> BorrowedFd<'static> {
        match self {
            Stream::Out => rustix::stdio::stdout(),
            Stream::Err => rustix::stdio::stderr(),
        }
    }

    fn backlog(self) -> MutexGuard<'static, Backlog> {
        BACKLOGS[self as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write(mut stream: impl Write, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes)?;
    stream.flush()
}
