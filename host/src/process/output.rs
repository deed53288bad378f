//! The output of an agent: it is written to the log, and passed on as far as someone asked for it.

use anstream::adapter::strip_bytes;

use super::log_file::LogFile;

/// Number of bytes at the end of the output that are searched for the last lines.
const TAIL: usize = 8 << 10;
/// Maximum number of last lines in a report.
const LAST_LINES: usize = 10;
/// A longer line is shown in pieces of this many bytes.
const LONGEST_LINE: usize = 8 << 10;

/// What to pass on besides the last lines.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct OutputRules {
    /// Whether the component asked for every byte.
    pub(crate) watch: bool,
    /// Whether every line is shown to the user.
    pub(crate) show_lines: bool,
}

/// The output of one call.
#[derive(Debug)]
pub(crate) struct Output {
    log: LogFile,
    rules: OutputRules,
    /// The latest bytes.
    tail: Vec<u8>,
    /// Bytes that the component has not been given yet.
    unwatched: Vec<u8>,
    /// A line that is not complete yet.
    line: Vec<u8>,
    /// Lines that have not been shown yet.
    lines: Vec<String>,
}

impl Output {
    /// Creates the output of a call with this log.
    pub(crate) fn new(log: LogFile, rules: OutputRules) -> Self {
        Output {
            log,
            rules,
            tail: Vec::new(),
            unwatched: Vec::new(),
            line: Vec::new(),
            lines: Vec::new(),
        }
    }

    /// Records bytes that the agent wrote.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.log.write(bytes);
        self.tail.extend_from_slice(&bytes[bytes.len().saturating_sub(TAIL)..]);
        let excess = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..excess);
        if self.rules.watch {
            self.unwatched.extend_from_slice(bytes);
        }
        if self.rules.show_lines {
            self.split_lines(bytes);
        }
    }

    /// Ends the output of this call.
    pub(super) fn finish(&mut self) {
        self.end_line();
        self.log.finish();
    }

    /// Takes the bytes that the component has not been given yet; none unless it asked for them.
    pub(crate) fn take_unwatched(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.unwatched)
    }

    /// Takes the lines that were completed since the last call; none unless they are shown.
    pub(crate) fn take_lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }

    /// Returns the last lines as plain text; `None` if the agent wrote nothing.
    pub(crate) fn last_lines(&self) -> Option<String> {
        if self.tail.is_empty() {
            return None;
        }
        let text = plain_text(&self.tail);
        let lines: Vec<&str> =
            text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        Some(lines[lines.len().saturating_sub(LAST_LINES)..].join("\n"))
    }

    /// Takes the error after which nothing more was written to the log, if there is one.
    pub(crate) fn take_log_failure(&mut self) -> Option<std::io::Error> {
        self.log.take_failure()
    }

    fn split_lines(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            for piece in piece.chunks(LONGEST_LINE) {
                self.line.extend_from_slice(piece);
                if self.line.ends_with(b"\n") || self.line.len() >= LONGEST_LINE {
                    self.end_line();
                }
            }
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.lines.push(plain_text(&line).trim_end().to_owned());
        }
    }
}

/// Returns text without terminal escapes, other control characters and invalid UTF-8.
fn plain_text(bytes: &[u8]) -> String {
    let mut plain = Vec::with_capacity(bytes.len());
    for piece in strip_bytes(bytes) {
        plain.extend_from_slice(piece);
    }
    let text = String::from_utf8_lossy(&plain);
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(rules: OutputRules) -> (tempfile::TempDir, Output) {
        let directory = tempfile::tempdir().unwrap();
        let state = crate::ambient::open_dir(directory.path()).unwrap();
        (directory, Output::new(LogFile::new(state, "log", false), rules))
    }

    #[test]
    fn every_byte_is_passed_on_in_order_if_it_is_watched() {
        for watch in [true, false] {
            let (_directory, mut output) = output(OutputRules { watch, ..OutputRules::default() });
            output.write(b"one\n\xfft");
            output.write(b"wo");
            let expected: &[u8] = if watch { b"one\n\xfftwo" } else { b"" };
            assert_eq!(output.take_unwatched(), expected);
            assert!(output.take_unwatched().is_empty(), "each byte once");
            assert!(output.take_lines().is_empty());
        }
    }

    #[test]
    fn a_last_line_without_an_end_is_shown_and_an_endless_one_is_cut() {
        let (_directory, mut output) =
            output(OutputRules { show_lines: true, ..OutputRules::default() });
        output.write(&vec![b'x'; 3 * LONGEST_LINE]);
        assert_eq!(output.take_lines().len(), 3);
        output.write(b"\x1b[31mthe limit\x1b[0m");
        assert!(output.take_lines().is_empty());
        output.finish();
        assert_eq!(output.take_lines(), ["the limit"]);
    }

    #[test]
    fn the_last_lines_are_readable() {
        let (_directory, mut output) = output(OutputRules::default());
        assert_eq!(output.last_lines(), None);
        for number in 0..2000 {
            output.write(format!("line {number}\r\n\n").as_bytes());
        }
        output.write(b"\x1b]0;title\x07\x1b[1mbold\x1b[0m \xff\x1b[2J");
        let lines = output.last_lines().unwrap();
        assert!(lines.starts_with("line 1991\nline 1992\n"), "{lines}");
        assert!(lines.ends_with("line 1999\nbold"), "{lines:?}");
    }
}
