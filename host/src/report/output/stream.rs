//! The two streams of the program.
//!
//! While a batch runs, one thread does everything: a reader that reads nothing (a terminal stopped with
//! Ctrl-S, a pager, a connection that hangs) must not keep it from signals and timeouts. So from
//! [`start_writer`] on another thread writes both streams, in the order of the calls, and text that has not
//! been written yet is queued.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::ambient;

/// Maximum size of the queued messages in bytes. More are dropped, and a line says how many.
const MOST_MESSAGES: usize = 1 << 20;
/// How long to wait at the end for a reader of messages that reads nothing.
const LAST_WAIT: Duration = Duration::from_secs(5);
/// How often to check whether everything is written.
const INTERVAL: Duration = Duration::from_millis(5);

/// One of the two streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output: results.
    Out,
    /// Standard error: messages.
    Err,
}

/// Text to write.
struct Queue {
    state: Mutex<State>,
    /// Signalled when text is added.
    added: Condvar,
}

struct State {
    /// Whether a thread writes.
    has_writer: bool,
    /// Whether writing has been given up.
    is_given_up: bool,
    texts: VecDeque<(Stream, Vec<u8>)>,
    /// The stream that the thread is writing to.
    writing: Option<Stream>,
    /// Number of texts that were written.
    written: u64,
    /// Number of queued bytes of messages.
    messages: usize,
    /// Number of messages that were dropped since the last notice.
    dropped: usize,
}

static QUEUE: Queue = Queue {
    state: Mutex::new(State {
        has_writer: false,
        is_given_up: false,
        texts: VecDeque::new(),
        writing: None,
        written: 0,
        messages: 0,
        dropped: 0,
    }),
    added: Condvar::new(),
};

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes until the program ends.
    fn write_forever(&self) {
        loop {
            let mut state = self.lock();
            state.writing = None;
            let (stream, text) = loop {
                match state.texts.pop_front() {
                    Some(next) => break next,
                    None => {
                        state = self.added.wait(state).unwrap_or_else(PoisonError::into_inner);
                    }
                }
            };
            state.writing = Some(stream);
            if stream == Stream::Err {
                state.messages -= text.len();
            }
            drop(state);
            stream.write_now(&text);
            self.lock().written += 1;
        }
    }
}

impl State {
    fn is_done(&self) -> bool {
        self.texts.is_empty() && self.writing.is_none()
    }

    fn add(&mut self, stream: Stream, text: Vec<u8>) {
        if stream == Stream::Err {
            self.messages += text.len();
        }
        self.texts.push_back((stream, text));
    }
}

/// Starts the thread that writes: from now on no caller waits for a reader.
pub(crate) fn start_writer() {
    let mut state = QUEUE.lock();
    if !state.has_writer {
        state.has_writer = thread::Builder::new().spawn(|| QUEUE.write_forever()).is_ok();
    }
}

/// Waits until everything is written, but not longer than this.
pub(crate) fn flush(limit: Duration) {
    let since = Instant::now();
    while !QUEUE.lock().is_done() && since.elapsed() < limit {
        thread::sleep(INTERVAL);
    }
}

/// Waits until everything is written. Results may take as long as they need, unless `gives_up` returns true;
/// messages are awaited only while they are read.
pub(crate) fn finish(mut gives_up: impl FnMut() -> bool) {
    let (mut since, mut written) = (Instant::now(), None);
    loop {
        let mut state = QUEUE.lock();
        if state.is_given_up || state.is_done() {
            return;
        }
        if written != Some(state.written) {
            (since, written) = (Instant::now(), Some(state.written));
        }
        let is_stuck = state.writing == Some(Stream::Err) && since.elapsed() >= LAST_WAIT;
        if is_stuck || gives_up() {
            state.is_given_up = true;
            let texts = std::mem::take(&mut state.texts);
            drop(state);
            // No one reads the messages, but the results may still be read.
            for (stream, text) in texts {
                if is_stuck && stream == Stream::Out {
                    stream.write_now(&text);
                }
            }
            return;
        }
        drop(state);
        thread::sleep(INTERVAL);
    }
}

impl Stream {
    /// Writes text unchanged. A reader that has gone is not an error.
    pub(super) fn write(self, text: &[u8]) {
        let mut state = QUEUE.lock();
        if !state.has_writer {
            drop(state);
            self.write_now(text);
            return;
        }
        if state.is_given_up {
            return;
        }
        if self == Stream::Err && state.messages > MOST_MESSAGES {
            state.dropped += 1;
            return;
        }
        if state.dropped > 0 {
            let notice =
                format!("[{} lines were dropped because they were not read]\n", state.dropped);
            state.dropped = 0;
            state.add(Stream::Err, notice.into_bytes());
        }
        state.add(self, text.to_owned());
        QUEUE.added.notify_one();
    }

    /// Whether it may still be read. False for a pipe without readers.
    pub(crate) fn is_read(self) -> bool {
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        !self.poll(PollFlags::empty(), Some(&none)).intersects(PollFlags::ERR | PollFlags::HUP)
    }

    /// Returns the columns and rows of the terminal behind it; `None` if it is not a terminal, or one that
    /// supports nothing but lines.
    pub(crate) fn terminal(self) -> Option<(u16, u16)> {
        let is_dumb = ambient::variable("TERM").is_none_or(|term| term == "dumb");
        let size = rustix::termios::tcgetwinsize(self.descriptor()).ok().filter(|_| !is_dumb)?;
        // A terminal that does not know its size reports 0.
        let or = |size: u16, otherwise| if size == 0 { otherwise } else { size };
        Some((or(size.ws_col, 80), or(size.ws_row, 24)))
    }

    /// Writes everything, however long that takes.
    fn write_now(self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match rustix::io::write(self.descriptor(), bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(Errno::INTR) => {}
                // Another process has made it non-blocking for everyone who shares it.
                Err(Errno::AGAIN) => {
                    self.poll(PollFlags::OUT, None);
                }
                Err(_) => return,
            }
        }
    }

    fn poll(self, events: PollFlags, timeout: Option<&Timespec>) -> PollFlags {
        let mut descriptor = [PollFd::from_borrowed_fd(self.descriptor(), events)];
        match poll(&mut descriptor, timeout) {
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
}
