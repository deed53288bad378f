//! The two streams of the program.
//!
//! While a batch runs, one thread looks after everything: a reader that takes nothing (a terminal
//! stopped with Ctrl-S, a pager, a connection that hangs) must not keep it from signals and
//! timeouts. So from [`do_not_wait`] on another thread does the writing, of both streams in the order
//! of what is said, and what it has not written yet is kept.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::ambient;

/// More than this many bytes of messages are not kept: they are dropped, and that is said.
const MOST_MESSAGES: usize = 1 << 20;
/// At the end, a reader of messages that takes nothing is waited for so long.
const LAST_WAIT: Duration = Duration::from_secs(5);
/// How often it is looked whether everything is written.
const INTERVAL: Duration = Duration::from_millis(5);

/// One of the two streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output: results.
    Out,
    /// Standard error: messages.
    Err,
}

/// What is to be written.
struct Queue {
    state: Mutex<State>,
    /// Something was added.
    added: Condvar,
}

struct State {
    /// True once a thread writes.
    has_writer: bool,
    /// True once nobody waits for it any more.
    is_given_up: bool,
    texts: VecDeque<(Stream, Vec<u8>)>,
    /// What the thread is writing, if it is.
    in_hand: Option<Stream>,
    /// How many texts were written.
    written: u64,
    /// How many bytes of messages wait.
    messages: usize,
    /// How many messages were dropped since it was last said.
    dropped: usize,
}

static QUEUE: Queue = Queue {
    state: Mutex::new(State {
        has_writer: false,
        is_given_up: false,
        texts: VecDeque::new(),
        in_hand: None,
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

    /// What the thread does until the program ends.
    fn write_on(&self) {
        loop {
            let mut state = self.lock();
            state.in_hand = None;
            let (stream, text) = loop {
                match state.texts.pop_front() {
                    Some(next) => break next,
                    None => {
                        state = self.added.wait(state).unwrap_or_else(PoisonError::into_inner);
                    }
                }
            };
            state.in_hand = Some(stream);
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
        self.texts.is_empty() && self.in_hand.is_none()
    }

    fn add(&mut self, stream: Stream, text: Vec<u8>) {
        if stream == Stream::Err {
            self.messages += text.len();
        }
        self.texts.push_back((stream, text));
    }
}

/// From here on nobody waits for a reader.
pub(crate) fn do_not_wait() {
    let mut state = QUEUE.lock();
    if !state.has_writer {
        state.has_writer = thread::Builder::new().spawn(|| QUEUE.write_on()).is_ok();
    }
}

/// Waits until everything is written, but not longer than this.
pub(crate) fn settle(limit: Duration) {
    let since = Instant::now();
    while !QUEUE.lock().is_done() && since.elapsed() < limit {
        thread::sleep(INTERVAL);
    }
}

/// Waits until everything is written: results as long as that takes, unless somebody `gives_up`, and
/// messages only while they are read.
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
        let is_stuck = state.in_hand == Some(Stream::Err) && since.elapsed() >= LAST_WAIT;
        if is_stuck || gives_up() {
            state.is_given_up = true;
            let texts = std::mem::take(&mut state.texts);
            drop(state);
            // Nobody reads the messages, but somebody may still read the results.
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
    /// Writes as it is, and does not mind if nobody reads any more.
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
            let notice = format!("[{} lines were dropped: nobody read them]\n", state.dropped);
            state.dropped = 0;
            state.add(Stream::Err, notice.into_bytes());
        }
        state.add(self, text.to_owned());
        QUEUE.added.notify_one();
    }

    /// False if it is a pipe that nobody will read from any more.
    pub(crate) fn is_read(self) -> bool {
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        !self.poll(PollFlags::empty(), Some(&none)).intersects(PollFlags::ERR | PollFlags::HUP)
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

    /// Writes all of it, however long that takes.
    fn write_now(self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match rustix::io::write(self.descriptor(), bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(Errno::INTR) => {}
                // Somebody has made it non-blocking for everybody who has it.
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
