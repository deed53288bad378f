//! The log of one attempt.

use std::collections::VecDeque;
use std::io::{self, Write};

use cap_std::fs::{Dir, File, OpenOptions};

/// How much of a log is kept, in bytes: its beginning and its end. The middle is dropped.
#[derive(Debug, Clone, Copy)]
struct Bound {
    beginning: u64,
    end: usize,
}

/// 64 MiB. The end is in memory until the call ends, once per agent.
const BOUND: Bound = Bound { beginning: 63 << 20, end: 1 << 20 };

/// A file that is created with the first byte and never overwritten.
#[derive(Debug)]
pub(crate) struct LogFile {
    state: Dir,
    path: String,
    /// Whether an earlier call of the same attempt may have created it.
    append: bool,
    bound: Bound,
    file: Option<File>,
    /// Length of the file.
    length: u64,
    /// The latest output beyond the beginning.
    end: VecDeque<u8>,
    /// Number of bytes that were dropped.
    dropped: u64,
    /// Whether writing has failed: a log has no gaps. The agent continues without one.
    has_failed: bool,
    /// Why, until the error is taken.
    failure: Option<io::Error>,
}

impl LogFile {
    /// Creates the log at this path below the root of the instance. With `append`, an earlier call of the
    /// same attempt may have created the file.
    pub(crate) fn new(state: Dir, path: &str, append: bool) -> Self {
        LogFile {
            state,
            path: path.to_owned(),
            append,
            bound: BOUND,
            file: None,
            length: 0,
            end: VecDeque::new(),
            dropped: 0,
            has_failed: false,
            failure: None,
        }
    }

    /// Adds output.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        if !self.has_failed
            && let Err(error) = self.try_write(bytes)
        {
            self.fail(error);
        }
    }

    /// Writes the end. More may follow.
    pub(super) fn finish(&mut self) {
        if !self.has_failed
            && !self.end.is_empty()
            && let Err(error) = self.write_end()
        {
            self.fail(error);
        }
    }

    /// Takes the error after which nothing more was written.
    pub(super) fn take_failure(&mut self) -> Option<io::Error> {
        self.failure.take()
    }

    fn fail(&mut self, error: io::Error) {
        self.has_failed = true;
        self.failure = Some(error);
    }

    fn try_write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.file.is_none() {
            self.open()?;
        }
        let room = usize::try_from(self.bound.beginning.saturating_sub(self.length));
        let (beginning, rest) = bytes.split_at(room.unwrap_or(usize::MAX).min(bytes.len()));
        self.append(beginning)?;
        if !rest.is_empty() && self.end.is_empty() {
            // Written at once, so that a log that a crash cuts short says it as well.
            self.append(b"\n[wreckit-host: the log is full; from here on only its end is kept]\n")?;
        }
        self.end.extend(rest);
        let excess = self.end.len().saturating_sub(self.bound.end);
        self.end.drain(..excess);
        self.dropped += excess as u64;
        Ok(())
    }

    fn open(&mut self) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true);
        match self.append {
            true => options.create(true).append(true),
            false => options.create_new(true),
        };
        let file = self.state.open_with(&self.path, &options)?;
        self.length = file.metadata()?.len();
        if self.length > self.bound.beginning {
            // The end of an earlier call becomes part of the middle.
            self.dropped = self.length - self.bound.beginning;
            file.set_len(self.bound.beginning)?;
            self.length = self.bound.beginning;
        }
        self.file = Some(file);
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            file.write_all(bytes)?;
            self.length += bytes.len() as u64;
        }
        Ok(())
    }

    fn write_end(&mut self) -> io::Result<()> {
        if self.dropped > 0 {
            let notice = format!("\n[wreckit-host: {} bytes were dropped here]\n", self.dropped);
            self.append(notice.as_bytes())?;
        }
        let end = std::mem::take(&mut self.end);
        let (one, two) = end.as_slices();
        self.append(one)?;
        self.append(two)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(state: &Dir, append: bool) -> LogFile {
        let bound = Bound { beginning: 10, end: 4 };
        LogFile { bound, ..LogFile::new(state.try_clone().unwrap(), "log", append) }
    }

    #[test]
    fn the_middle_of_a_flood_is_dropped_and_that_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let state = crate::ambient::open_dir(directory.path()).unwrap();
        let mut first = log(&state, false);
        assert!(!state.exists("log"), "made at the first byte");
        for chunk in ["01234567", "89abcdef", "ghijk"] {
            first.write(chunk.as_bytes());
        }
        first.finish();
        let text = state.read_to_string("log").unwrap();
        assert!(text.starts_with("0123456789\n[wreckit-host: the log is full"), "{text}");
        assert!(text.ends_with("\n[wreckit-host: 7 bytes were dropped here]\nhijk"), "{text}");

        let mut next = log(&state, true);
        next.write(b"0123456789next");
        next.finish();
        let text = state.read_to_string("log").unwrap();
        assert!(text.starts_with("0123456789\n") && text.ends_with("here]\nnext"), "{text}");
        assert!(!text.contains("hijk"), "{text}");

        let mut again = log(&state, false);
        again.write(b"x");
        assert!(again.take_failure().is_some(), "a log is never written over");
        again.write(b"x");
        assert!(again.take_failure().is_none(), "it is told once");
    }

    #[test]
    fn what_fits_is_kept_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let state = crate::ambient::open_dir(directory.path()).unwrap();
        for append in [false, true] {
            let mut log = log(&state, append);
            log.write(b"01234");
            log.finish();
        }
        assert_eq!(state.read_to_string("log").unwrap(), "0123401234");
    }
}
