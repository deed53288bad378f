//! What of a segment is sound.

use super::line;
use super::reader::Lines;
use crate::io::host::{Failure, Host};

/// How sound a segment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Soundness {
    /// Where the first damaged line begins, in bytes. A torn line at the end is no damage.
    pub damage: Option<u64>,
    /// How many lines are as they were written.
    pub sound: usize,
    /// How many are not.
    pub damaged: usize,
    /// Where the first line begins that has a lower number than the one before it, in bytes.
    pub disorder: Option<u64>,
}

/// Looks at every line of a segment. Takes its checksum for the truth and reads no event.
pub fn inspect(host: Host<'_>, path: &str) -> Result<Soundness, Failure> {
    let mut soundness = Soundness { damage: None, sound: 0, damaged: 0, disorder: None };
    let mut last = 0;
    let mut lines = Lines::new(host, path, 0);
    while let Some((offset, line)) = lines.next()? {
        if let Some(body) = line::checked(&line) {
            soundness.sound += 1;
            let seq = line::sequence(body).unwrap_or(last);
            if seq < last {
                soundness.disorder.get_or_insert(offset);
            }
            last = seq;
        } else if !lines.is_torn()? {
            soundness.damaged += 1;
            soundness.damage.get_or_insert(offset);
        }
    }
    Ok(soundness)
}

/// The lines of a segment that are as they were written, in the order of their numbers.
pub fn sound_lines(host: Host<'_>, path: &str) -> Result<Vec<u8>, Failure> {
    let mut sound = Vec::new();
    let mut lines = Lines::new(host, path, 0);
    while let Some((_, line)) = lines.next()? {
        if let Some(body) = line::checked(&line) {
            sound.push((line::sequence(body), line));
        }
    }
    sound.sort_by_key(|(seq, _)| *seq);
    let mut text = Vec::new();
    for (_, line) in sound {
        text.extend_from_slice(&line);
        text.push(b'\n');
    }
    Ok(text)
}
