//! The valid lines of a segment.

use super::line;
use super::reader::Lines;
use crate::io::host::{Failure, Host};

/// The result of inspecting a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inspection {
    /// The offset of the first damaged line, in bytes. A torn last line is not damage.
    pub damage: Option<u64>,
    /// How many lines are valid: unchanged since they were written.
    pub valid: usize,
    /// How many lines are damaged.
    pub damaged: usize,
    /// The offset of the first line with a lower number than the one before it, in bytes.
    pub disorder: Option<u64>,
}

/// Checks every line of a segment against its checksum, without decoding events.
pub fn inspect(host: Host<'_>, path: &str) -> Result<Inspection, Failure> {
    let mut inspection = Inspection { damage: None, valid: 0, damaged: 0, disorder: None };
    let mut last = 0;
    let mut lines = Lines::new(host, path, 0);
    while let Some((offset, line)) = lines.next()? {
        if let Some(body) = line::checked(&line) {
            inspection.valid += 1;
            let seq = line::sequence(body).unwrap_or(last);
            if seq < last {
                inspection.disorder.get_or_insert(offset);
            }
            last = seq;
        } else if !lines.is_torn()? {
            inspection.damaged += 1;
            inspection.damage.get_or_insert(offset);
        }
    }
    Ok(inspection)
}

/// The valid lines of a segment, in the order of their numbers.
pub fn valid_lines(host: Host<'_>, path: &str) -> Result<Vec<u8>, Failure> {
    let mut valid = Vec::new();
    let mut lines = Lines::new(host, path, 0);
    while let Some((_, line)) = lines.next()? {
        if let Some(body) = line::checked(&line) {
            valid.push((line::sequence(body), line));
        }
    }
    valid.sort_by_key(|(seq, _)| *seq);
    let mut text = Vec::new();
    for (_, line) in valid {
        text.extend_from_slice(&line);
        text.push(b'\n');
    }
    Ok(text)
}
