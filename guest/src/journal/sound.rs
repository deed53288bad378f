//! What of a segment is sound.

use super::line;
use super::reader::Lines;
use crate::tree::{Failure, Tree};

/// How sound a segment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Soundness {
    /// Where the first damaged line begins, in bytes. A torn line at the end is no damage.
    pub damage: Option<u64>,
    /// How many lines are as they were written.
    pub sound: usize,
    /// How many are not.
    pub damaged: usize,
}

/// Looks at every line of a segment. Takes its checksum for the truth and reads no event.
pub fn inspect(tree: Tree<'_>, path: &str) -> Result<Soundness, Failure> {
    let mut soundness = Soundness { damage: None, sound: 0, damaged: 0 };
    let mut lines = Lines::new(tree, path, 0);
    while let Some((offset, line)) = lines.next()? {
        if line::checked(&line).is_some() {
            soundness.sound += 1;
        } else if !lines.is_torn()? {
            soundness.damaged += 1;
            soundness.damage.get_or_insert(offset);
        }
    }
    Ok(soundness)
}

/// The lines of a segment that are as they were written.
pub fn sound_lines(tree: Tree<'_>, path: &str) -> Result<Vec<u8>, Failure> {
    let mut sound = Vec::new();
    let mut lines = Lines::new(tree, path, 0);
    while let Some((_, line)) = lines.next()? {
        if line::checked(&line).is_some() {
            sound.extend_from_slice(&line);
            sound.push(b'\n');
        }
    }
    Ok(sound)
}
