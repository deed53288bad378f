//! What an agent puts out: it goes to the log, and what matters of it is noticed on the way.

use anstream::adapter::strip_bytes;
use regex::bytes::Regex;

use super::log_file::LogFile;

/// So much of the end is looked at for the last lines, in bytes.
const TAIL: usize = 8 << 10;
/// So many last lines are told of a failure.
const LAST_LINES: usize = 10;
/// A line that is longer than this is told or looked at in pieces of this many bytes.
const LONGEST_LINE: usize = 8 << 10;

/// What to look for in the output of an agent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    /// What says that the work is complete.
    pub(crate) signal: Option<String>,
    /// What says that a limit was reached: regular expressions, each looked for line by line.
    pub(crate) limits: Vec<Regex>,
    /// Whether every line is to be shown.
    pub(crate) lines: bool,
}

/// The output of one call.
#[derive(Debug)]
pub(crate) struct Output {
    log: LogFile,
    wanted: Wanted,
    /// The latest bytes.
    tail: Vec<u8>,
    /// The end of what was searched for the signal, which may be its beginning.
    carried: Vec<u8>,
    /// A line that is not complete yet.
    line: Vec<u8>,
    /// Lines that are to be shown.
    lines: Vec<String>,
    has_signal: bool,
    limit: Option<String>,
}

impl Output {
    pub(super) fn new(log: LogFile, wanted: Wanted) -> Self {
        Output {
            log,
            wanted,
            tail: Vec::new(),
            carried: Vec::new(),
            line: Vec::new(),
            lines: Vec::new(),
            has_signal: false,
            limit: None,
        }
    }

    /// Takes in what the agent put out.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.log.write(bytes);
        self.tail.extend_from_slice(&bytes[bytes.len().saturating_sub(TAIL)..]);
        let excess = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..excess);
        self.look_for_signal(bytes);
        if self.wanted.lines || (self.limit.is_none() && !self.wanted.limits.is_empty()) {
            self.look_at_lines(bytes);
        }
    }

    /// No more will come of this call.
    pub(super) fn finish(&mut self) {
        self.end_line();
        self.log.finish();
    }

    /// True if the completion signal was among it, or none is asked for.
    pub(crate) fn has_signal(&self) -> bool {
        self.has_signal
    }

    /// What says that the work is complete, if that has to be said.
    pub(crate) fn wanted_signal(&self) -> Option<&str> {
        self.wanted.signal.as_deref()
    }

    /// The line that says that a limit was reached.
    pub(crate) fn limit(&self) -> Option<&str> {
        self.limit.as_deref()
    }

    /// The lines that were completed since the last call of this, if they are asked for.
    pub(crate) fn take_lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }

    /// The last lines, without terminal escapes; `None` if nothing was put out.
    pub(crate) fn last_lines(&self) -> Option<String> {
        if self.tail.is_empty() {
            return None;
        }
        let text = readable(&self.tail);
        let lines: Vec<&str> =
            text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        Some(lines[lines.len().saturating_sub(LAST_LINES)..].join("\n"))
    }

    /// Why the log is not whole, if it is not.
    pub(crate) fn take_log_failure(&mut self) -> Option<std::io::Error> {
        self.log.take_failure()
    }

    fn look_for_signal(&mut self, bytes: &[u8]) {
        let Some(signal) = &self.wanted.signal else { return };
        if self.has_signal || signal.is_empty() {
            return;
        }
        self.carried.extend_from_slice(bytes);
        self.has_signal =
            self.carried.windows(signal.len()).any(|window| window == signal.as_bytes());
        let excess = self.carried.len().saturating_sub(signal.len() - 1);
        self.carried.drain(..excess);
    }

    fn look_at_lines(&mut self, bytes: &[u8]) {
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
        if line.is_empty() {
            return;
        }
        if self.limit.is_none() && self.wanted.limits.iter().any(|limit| limit.is_match(&line)) {
            let shown: String = readable(&line).trim().chars().take(200).collect();
            self.limit = Some(shown);
        }
        if self.wanted.lines {
            self.lines.push(readable(&line).trim_end().to_owned());
        }
    }
}

/// Text without terminal escapes, other control characters and what is no UTF-8.
fn readable(bytes: &[u8]) -> String {
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

    fn output(wanted: Wanted) -> (tempfile::TempDir, Output) {
        let directory = tempfile::tempdir().unwrap();
        let state = crate::ambient::open_dir(directory.path()).unwrap();
        (directory, Output::new(LogFile::new(state, "log", false), wanted))
    }

    #[test]
    fn a_signal_is_seen_however_it_is_cut() {
        let text = b"work <promise>COMPLETE</promise> done";
        for cut in 0..text.len() {
            let signal = Some("<promise>COMPLETE</promise>".to_owned());
            let (_directory, mut output) = output(Wanted { signal, ..Wanted::default() });
            output.write(&text[..cut]);
            output.write(&text[cut..]);
            assert!(output.has_signal(), "{cut}");
        }
        let (_directory, mut output) =
            output(Wanted { signal: Some("DONE".to_owned()), ..Wanted::default() });
        for _ in 0..100 {
            output.write(b"DON not E");
        }
        assert!(!output.has_signal());
    }

    #[test]
    fn a_limit_is_told_by_its_line() {
        let limits = vec![Regex::new("(?i)usage limit").unwrap()];
        let (_directory, mut output) = output(Wanted { limits, ..Wanted::default() });
        output.write(b"working\n\x1b[31mUsage li");
        assert_eq!(output.limit(), None);
        output.write(b"mit reached\x1b[0m, try at 5\nmore\n");
        assert_eq!(output.limit(), Some("Usage limit reached, try at 5"));
    }

    #[test]
    fn a_last_line_without_an_end_counts_and_an_endless_one_is_cut() {
        let limits = vec![Regex::new("limit$").unwrap()];
        let wanted = Wanted { limits, lines: true, ..Wanted::default() };
        let (_directory, mut output) = output(wanted);
        output.write(&vec![b'x'; 3 * LONGEST_LINE]);
        assert_eq!(output.take_lines().len(), 3);
        output.write(b"the limit");
        output.finish();
        assert_eq!(output.limit(), Some("the limit"));
        assert_eq!(output.take_lines(), ["the limit"]);
    }

    #[test]
    fn the_last_lines_are_readable() {
        let (_directory, mut output) = output(Wanted::default());
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
