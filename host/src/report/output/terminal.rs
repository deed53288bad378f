//! The terminal that the bar is drawn on.
//!
//! The library's own one takes a failed write for a bug and panics. A terminal can go away at any moment (a
//! connection that breaks) while agents are running.

use std::io;
use std::sync::{Mutex, PoisonError};

use indicatif::TermLike;

use super::Stream;

/// One of the two streams, which is or was a terminal. A frame is written at once; if that fails, no one sees
/// it. It is drawn with control sequences, so its texts must be safe: see [`super::safe::line`].
#[derive(Debug)]
pub(crate) struct Terminal {
    stream: Stream,
    frame: Mutex<String>,
}

impl Terminal {
    pub(crate) fn new(stream: Stream) -> Self {
        Terminal { stream, frame: Mutex::default() }
    }

    fn add(&self, text: &str) -> io::Result<()> {
        self.frame.lock().unwrap_or_else(PoisonError::into_inner).push_str(text);
        Ok(())
    }

    /// Adds a control sequence of ECMA-48 that moves the cursor. A count of 0 would count as 1.
    fn move_cursor(&self, count: usize, direction: char) -> io::Result<()> {
        match count {
            0 => Ok(()),
            count => self.add(&format!("\x1b[{count}{direction}")),
        }
    }
}

impl TermLike for Terminal {
    fn width(&self) -> u16 {
        self.stream.terminal().map_or(80, |(columns, _)| columns)
    }

    fn height(&self) -> u16 {
        self.stream.terminal().map_or(24, |(_, rows)| rows)
    }

    fn move_cursor_up(&self, count: usize) -> io::Result<()> {
        self.move_cursor(count, 'A')
    }

    fn move_cursor_down(&self, count: usize) -> io::Result<()> {
        self.move_cursor(count, 'B')
    }

    fn move_cursor_right(&self, count: usize) -> io::Result<()> {
        self.move_cursor(count, 'C')
    }

    fn move_cursor_left(&self, count: usize) -> io::Result<()> {
        self.move_cursor(count, 'D')
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.add(text)?;
        self.add("\n")
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.add(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.add("\r\x1b[2K")
    }

    fn flush(&self) -> io::Result<()> {
        let mut frame = self.frame.lock().unwrap_or_else(PoisonError::into_inner);
        self.stream.write(std::mem::take(&mut *frame).as_bytes());
        Ok(())
    }
}
