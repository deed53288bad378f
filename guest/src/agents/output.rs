//! The output of an agent: recognises the completion marker and the lines that say that a limit was
//! reached. Output is untrusted: memory is bounded, and time is linear in its length.

use anstream::adapter::strip_bytes;
use regex_lite::Regex;

/// A longer line is searched in pieces of this many bytes.
const LONGEST_LINE: usize = 8 << 10;
/// Maximum length of a line in a message, in characters.
const LONGEST_SHOWN: usize = 200;

/// Watches the output of one call.
#[derive(Debug)]
pub struct Watcher {
    marker: Option<MarkerSearch>,
    limits: Vec<Regex>,
    /// The current line, as far as it was received.
    line: Vec<u8>,
    /// The first line that matched.
    limit: Option<String>,
}

impl Watcher {
    /// Watches for this completion marker, if one is expected, and for lines that match a pattern.
    pub(super) fn new(marker: Option<&str>, limits: Vec<Regex>) -> Self {
        Watcher { marker: marker.map(MarkerSearch::new), limits, line: Vec::new(), limit: None }
    }

    /// Receives the next bytes of the output, which may be cut anywhere.
    pub fn feed(&mut self, bytes: &[u8]) {
        if let Some(marker) = &mut self.marker {
            marker.feed(bytes);
        }
        if self.limits.is_empty() {
            return;
        }
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let mut part = part;
            while self.limit.is_none() && !part.is_empty() {
                let (piece, rest) = part.split_at(part.len().min(LONGEST_LINE - self.line.len()));
                self.line.extend_from_slice(piece);
                if self.line.ends_with(b"\n") || self.line.len() == LONGEST_LINE {
                    self.limit = self.matching(&self.line);
                    self.line.clear();
                }
                part = rest;
            }
        }
    }

    /// Returns the completion marker if it is expected and was not printed.
    pub(super) fn missing_marker(&self) -> Option<&str> {
        self.marker.as_ref().filter(|marker| !marker.is_found()).map(MarkerSearch::marker)
    }

    /// Returns the first line that says that a limit was reached; a last line without an end counts.
    pub(super) fn limit(&self) -> Option<String> {
        self.limit.clone().or_else(|| self.matching(&self.line))
    }

    /// Returns the line as readable text if a pattern matches it.
    fn matching(&self, line: &[u8]) -> Option<String> {
        let line = readable(line);
        let is_match = !line.is_empty() && self.limits.iter().any(|limit| limit.is_match(&line));
        is_match.then(|| line.trim().chars().take(LONGEST_SHOWN).collect())
    }
}

/// Returns a line without its end, terminal escapes, other control characters and invalid UTF-8.
fn readable(line: &[u8]) -> String {
    let mut plain = Vec::with_capacity(line.len());
    for piece in strip_bytes(line) {
        plain.extend_from_slice(piece);
    }
    let text = String::from_utf8_lossy(&plain);
    text.chars().filter(|c| !c.is_control() || *c == '\t').collect()
}

/// A search for a text in a stream (Knuth, Morris and Pratt): remembers how much of it has matched, but
/// nothing of the stream.
#[derive(Debug)]
struct MarkerSearch {
    marker: String,
    /// For each length of a prefix, the length of the longest shorter prefix that it ends with.
    fallback: Vec<usize>,
    /// How many bytes match at the end of the stream; all of them once the marker was found.
    matched: usize,
}

impl MarkerSearch {
    /// Starts a search. `marker` is not empty.
    fn new(marker: &str) -> Self {
        let bytes = marker.as_bytes();
        let mut fallback = vec![0; bytes.len() + 1];
        for end in 1..bytes.len() {
            fallback[end + 1] = extend(bytes, &fallback, fallback[end], bytes[end]);
        }
        MarkerSearch { marker: marker.to_owned(), fallback, matched: 0 }
    }

    fn marker(&self) -> &str {
        &self.marker
    }

    fn is_found(&self) -> bool {
        self.matched == self.marker.len()
    }

    fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if self.is_found() {
                return;
            }
            self.matched = extend(self.marker.as_bytes(), &self.fallback, self.matched, *byte);
        }
    }
}

/// Returns how many bytes of the marker match after `byte`, if `matched` did before it.
fn extend(marker: &[u8], fallback: &[usize], mut matched: usize, byte: u8) -> usize {
    while matched > 0 && marker[matched] != byte {
        matched = fallback[matched];
    }
    matched + usize::from(marker[matched] == byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limits(pattern: &str) -> Watcher {
        Watcher::new(None, vec![Regex::new(pattern).unwrap()])
    }

    #[test]
    fn a_marker_is_recognised_however_it_is_cut() {
        let text = b"work <promise>COMPLETE</promise> done";
        for cut in 0..text.len() {
            let mut watcher = Watcher::new(Some("<promise>COMPLETE</promise>"), Vec::new());
            assert!(watcher.missing_marker().is_some());
            watcher.feed(&text[..cut]);
            watcher.feed(&text[cut..]);
            assert_eq!(watcher.missing_marker(), None, "{cut}");
        }
        let mut watcher = Watcher::new(Some("DONE"), Vec::new());
        for _ in 0..100 {
            watcher.feed(b"DON not E");
        }
        assert_eq!(watcher.missing_marker(), Some("DONE"));
    }

    #[test]
    fn a_limit_is_named_by_its_line() {
        let mut watcher = limits("(?i)usage limit");
        watcher.feed(b"working\n\x1b[31mUsage li");
        assert_eq!(watcher.limit(), None);
        watcher.feed(b"mit reached\x1b[0m, try at 5\nmore\nusage limit again\n");
        assert_eq!(watcher.limit().as_deref(), Some("Usage limit reached, try at 5"));
    }

    #[test]
    fn patterns_match_the_text_of_a_line_without_its_end_and_without_escapes() {
        for output in ["a limit\n", "a limit\r\n", "\x1b[1ma li\x1b[0mmit", "x\na limit\x07\ny\n"] {
            let mut watcher = limits("^a limit$");
            watcher.feed(output.as_bytes());
            assert_eq!(watcher.limit().as_deref(), Some("a limit"), "{output:?}");
        }
    }

    #[test]
    fn a_last_line_without_an_end_counts_and_an_endless_one_is_searched_in_pieces() {
        let mut watcher = limits("limit$");
        watcher.feed(&vec![b'x'; 3 * LONGEST_LINE + 1]);
        assert_eq!(watcher.line.len(), 1);
        assert_eq!(watcher.limit(), None);
        watcher.feed(b"\nthe limit");
        assert_eq!(watcher.limit().as_deref(), Some("the limit"));
    }

    #[test]
    fn a_gigabyte_of_zeros_takes_no_more_memory_than_a_line() {
        let mut watcher = Watcher::new(Some("DONE"), vec![Regex::new("limit").unwrap()]);
        for _ in 0..16 {
            watcher.feed(&[0; 64 << 10]);
        }
        assert!(watcher.line.capacity() <= 2 * LONGEST_LINE);
        assert_eq!((watcher.missing_marker(), watcher.limit()), (Some("DONE"), None));
    }

    proptest! {
        #[test]
        fn a_marker_is_found_exactly_where_the_output_contains_it(
            marker in "[ab]{1,6}", pieces in proptest::collection::vec("[ab]{0,8}", 0..6),
        ) {
            let mut watcher = Watcher::new(Some(&marker), Vec::new());
            for piece in &pieces {
                watcher.feed(piece.as_bytes());
            }
            prop_assert_eq!(
                watcher.missing_marker().is_none(),
                pieces.concat().contains(&marker)
            );
        }

        #[test]
        fn how_output_is_cut_makes_no_difference(
            output in "[\\n\\x1b\\[1mlimt ]{0,80}", cuts in proptest::collection::vec(0..80usize, 0..6),
        ) {
            let whole = {
                let mut watcher = limits("limit");
                watcher.feed(output.as_bytes());
                watcher.limit()
            };
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(output.len())).collect();
            cuts.sort_unstable();
            let mut watcher = limits("limit");
            let mut start = 0;
            for cut in cuts.into_iter().chain([output.len()]) {
                watcher.feed(&output.as_bytes()[start..cut]);
                start = cut;
            }
            prop_assert_eq!(watcher.limit(), whole);
        }
    }
}
