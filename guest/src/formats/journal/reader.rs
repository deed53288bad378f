//! Reading a journal, starting after any of its events.

use std::fmt;

use super::event::Event;
use super::gaps::Gaps;
use super::line;
use crate::io::capabilities::Kind;
use crate::io::host::{Failure, Host};
use crate::io::layout;

/// How many bytes are read at a time.
const CHUNK: u64 = 256 << 10;
/// Maximum length of a line in bytes: the queue of half a million items has about 25 MiB. A longer line is damage.
const LONGEST_LINE: usize = 32 << 20;
/// How far from the end of a segment the last line is searched for, in bytes. The last line is small.
const LAST_LINE: u64 = 16 << 20;
/// Maximum size of a segment in bytes. The writer begins a new one long before, so anything beyond is damage.
/// Bounds the time that a huge sparse file takes to read.
pub const LARGEST_SEGMENT: u64 = 512 << 20;
/// When a binary search is this near to an event, in bytes, it ends and reading begins.
const NEAR: u64 = 64 << 10;

/// Damage that is not the torn end of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The segment's file.
    pub path: String,
    /// The offset of the first damaged line in bytes.
    pub offset: u64,
    /// True if lines are lost; false if they are only out of order.
    pub lost: bool,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Damage { path, offset, lost } = self;
        let file = format!("{}{path}", layout::PREFIX);
        match lost {
            true => write!(f, "{file} is damaged at byte {offset}: damaged lines do not count"),
            false => {
                write!(f, "{file} has lines out of order from byte {offset} on; all of them count")
            }
        }
    }
}

/// The result of reading a journal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reading {
    /// The sequence number of the last event that counts.
    pub last: u64,
    /// Damaged segments.
    pub damage: Vec<Damage>,
}

/// The numbers of the segments of a journal, in order; empty if the journal does not exist.
pub fn segments(host: Host<'_>, directory: &str) -> Result<Vec<u32>, Failure> {
    let mut numbers: Vec<u32> = host
        .list(directory)?
        .iter()
        .filter(|entry| entry.kind == Kind::File)
        .filter_map(|entry| layout::segment_number(&entry.name))
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// The number of the next segment: higher than that of any entry with the name of a segment, whatever its type.
pub(super) fn next_segment(host: Host<'_>, directory: &str) -> Result<u32, Failure> {
    let entries = host.list(directory)?;
    let last = entries.iter().filter_map(|entry| layout::segment_number(&entry.name)).max();
    Ok(last.map_or(1, |last| last.saturating_add(1)))
}

/// Passes every event later than `after` to `visit`, in order.
///
/// A torn line at the end of a segment is the result of a crash: it was never acknowledged, and is skipped. Other
/// damage is reported, and valid lines around it count: each has its own checksum, and what was acknowledged
/// stays acknowledged. Lines out of order count as well, in the order in which they are found. Events whose
/// numbers the next segment reuses belong to a failed append, which was never acknowledged either.
pub fn read(
    host: Host<'_>,
    directory: &str,
    after: u64,
    visit: impl FnMut(Event),
) -> Result<Reading, Failure> {
    read_segments(host, segments_with_start(host, directory)?, after, visit)
}

/// Passes every event of a journal to `visit` as if these segments did not exist.
pub fn read_without(
    host: Host<'_>,
    directory: &str,
    without: &[String],
    visit: impl FnMut(Event),
) -> Result<Reading, Failure> {
    let mut segments = segments_with_start(host, directory)?;
    segments.retain(|(path, _)| !without.contains(path));
    read_segments(host, segments, 0, visit)
}

fn read_segments(
    host: Host<'_>,
    segments: Vec<(String, Option<u64>)>,
    after: u64,
    visit: impl FnMut(Event),
) -> Result<Reading, Failure> {
    let mut reader = Reader { host, after, last: after, gaps: Gaps::default(), visit };
    let mut damage = Vec::new();
    for (index, (path, _)) in segments.iter().enumerate() {
        let end = segments[index + 1..].iter().find_map(|(_, first)| *first).unwrap_or(u64::MAX);
        if end <= after.saturating_add(1) {
            continue;
        }
        let start = seek(host, path, after)?;
        let mut found = reader.read(path, start, end)?;
        // The search relied on the order of the lines: what it skipped may be elsewhere in the segment.
        if start > 0 && (found.disorder.is_some() || !reader.gaps.is_empty()) {
            let all = reader.read(path, 0, end)?;
            found.disorder = found.disorder.or(all.disorder);
        }
        let path = || path.clone();
        damage.extend(found.damage.map(|offset| Damage { path: path(), offset, lost: true }));
        damage.extend(found.disorder.map(|offset| Damage { path: path(), offset, lost: false }));
    }
    Ok(Reading { last: reader.last, damage })
}

/// Reads segments one after the other, and visits each event once.
struct Reader<'t, V> {
    host: Host<'t>,
    /// Only later events are wanted.
    after: u64,
    /// The highest number so far.
    last: u64,
    gaps: Gaps,
    visit: V,
}

/// The offsets of problems in a segment, in bytes.
#[derive(Default)]
struct Wrong {
    damage: Option<u64>,
    disorder: Option<u64>,
}

impl<V: FnMut(Event)> Reader<'_, V> {
    /// Reads a segment from an offset. `end` is the first sequence number of the next segment.
    fn read(&mut self, path: &str, start: u64, end: u64) -> Result<Wrong, Failure> {
        let mut wrong = Wrong::default();
        // Damage that may concern only events that are not wanted.
        let mut earlier = None;
        let is_too_large = size(self.host, path)? > LARGEST_SEGMENT;
        let mut lines = Lines::new(self.host, path, start);
        while let Some((offset, line)) = lines.next()? {
            let Some(event) = line::decode(&line) else {
                if !lines.is_torn()? {
                    earlier.get_or_insert(offset);
                }
                // The content that made it too large begins here.
                if is_too_large {
                    break;
                }
                continue;
            };
            // The damage matters unless every wanted event follows it.
            let is_wanted = event.seq > self.after.saturating_add(1);
            if let Some(offset) = earlier.take().filter(|_| is_wanted) {
                wrong.damage.get_or_insert(offset);
            }
            if event.seq <= self.after || event.seq >= end {
                continue;
            }
            if event.seq > self.last {
                self.gaps.open(self.last, event.seq);
                self.last = event.seq;
            } else if self.gaps.fill(event.seq) {
                wrong.disorder.get_or_insert(offset);
            } else {
                continue;
            }
            (self.visit)(event);
        }
        let beyond = is_too_large.then_some(LARGEST_SEGMENT);
        wrong.damage = wrong.damage.or(earlier).or(beyond);
        Ok(wrong)
    }
}

/// Finds the last complete event of a journal, reading backwards from its end.
pub fn last_event(host: Host<'_>, directory: &str) -> Result<Option<Event>, Failure> {
    for number in segments(host, directory)?.into_iter().rev() {
        let path = layout::segment(directory, number);
        let size = size(host, &path)?;
        if size > LARGEST_SEGMENT {
            match last_before_damage(host, &path)? {
                Some(event) => return Ok(Some(event)),
                None => continue,
            }
        }
        let mut window = NEAR;
        loop {
            let start = size.saturating_sub(window);
            let bytes = host.read_at(&path, start, size - start)?;
            let found = bytes.rsplit(|b| *b == b'\n').find_map(line::decode);
            if found.is_some() {
                return Ok(found);
            }
            if start == 0 || window >= LAST_LINE {
                break;
            }
            window = window.saturating_mul(8);
        }
    }
    Ok(None)
}

/// The last event before the damage in a segment that is too large: its end says nothing.
fn last_before_damage(host: Host<'_>, path: &str) -> Result<Option<Event>, Failure> {
    let mut lines = Lines::new(host, path, 0);
    let mut last = None;
    while let Some((_, line)) = lines.next()? {
        match line::decode(&line) {
            Some(event) => last = Some(event),
            None => break,
        }
    }
    Ok(last)
}

/// Whether the journal in a directory belongs to the session that the directory is named after. The first event of
/// an opening names the session.
pub fn names_session(host: Host<'_>, directory: &str) -> Result<bool, Failure> {
    for number in segments(host, directory)? {
        let path = layout::segment(directory, number);
        let first = Lines::new(host, &path, 0).next()?;
        let event = first.and_then(|(_, line)| line::decode(&line));
        if event
            .as_ref()
            .and_then(|event| event.text("session_id"))
            .is_some_and(|session| host.layout().run_directory(session) == directory)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The files of the segments, each with its first sequence number: `None` for the first segment, where it is not
/// needed and the line is long, and for one whose first line is damaged.
fn segments_with_start(
    host: Host<'_>,
    directory: &str,
) -> Result<Vec<(String, Option<u64>)>, Failure> {
    let mut found = Vec::new();
    for number in segments(host, directory)? {
        let path = layout::segment(directory, number);
        let first = match found.is_empty() {
            true => None,
            false => Lines::new(host, &path, 0).next()?.and_then(|(_, line)| line::decode(&line)),
        };
        found.push((path, first.map(|event| event.seq)));
    }
    Ok(found)
}

fn size(host: Host<'_>, path: &str) -> Result<u64, Failure> {
    Ok(host.stat(path)?.map_or(0, |metadata| metadata.size))
}

/// Finds the start of a line from which on every event later than `after` is read, by binary search: sequence
/// numbers increase through a segment.
fn seek(host: Host<'_>, path: &str, after: u64) -> Result<u64, Failure> {
    let mut low = 0;
    let mut high = size(host, path)?.min(LARGEST_SEGMENT);
    while after > 0 && high - low > NEAR {
        let middle = low + (high - low) / 2;
        let bytes = host.read_at(path, middle, NEAR.min(high - middle))?;
        // A complete and valid line: a damaged number would mislead the search.
        let mut lines = bytes.split(|b| *b == b'\n');
        let skipped = lines.next().map_or(0, <[u8]>::len) + 1;
        let complete = lines.next().filter(|line| skipped + line.len() < bytes.len());
        match complete.and_then(line::decode).map(|event| (skipped, event.seq)) {
            Some((start, seq)) if seq <= after => low = middle + start as u64,
            // Later, or nothing recognisable here: the position is before this.
            _ => high = middle,
        }
    }
    Ok(low)
}

/// The lines of a file from an offset, read in chunks.
pub(super) struct Lines<'t> {
    host: Host<'t>,
    path: &'t str,
    /// Where `buffer` begins in the file.
    offset: u64,
    buffer: Vec<u8>,
    /// How many bytes of `buffer` have been returned.
    used: usize,
    /// True if the line that was returned last had a line break.
    is_terminated: bool,
}

impl<'t> Lines<'t> {
    pub(super) fn new(host: Host<'t>, path: &'t str, offset: u64) -> Self {
        Lines { host, path, offset, buffer: Vec::new(), used: 0, is_terminated: false }
    }

    /// Returns the next line without its line break, and its offset. The rest of a file that does not end with a
    /// line break is a line, too.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Vec<u8>)>, Failure> {
        let mut searched = self.used;
        loop {
            if let Some(found) = self.buffer[searched..].iter().position(|b| *b == b'\n') {
                let end = searched + found;
                let line = self.take(end);
                self.used = end + 1;
                self.is_terminated = true;
                return Ok(Some(line));
            }
            searched = self.buffer.len();
            let too_long = searched - self.used > LONGEST_LINE;
            if too_long || !self.fill()? {
                let rest = searched > self.used;
                self.is_terminated = false;
                return Ok(rest.then(|| {
                    let line = self.take(searched);
                    self.used = searched;
                    line
                }));
            }
            searched -= self.discard_used();
        }
    }

    /// True if the line that was returned last is torn: it ends the file without a line break.
    pub(super) fn is_torn(&mut self) -> Result<bool, Failure> {
        Ok(!self.is_terminated && self.used >= self.buffer.len() && !self.fill()?)
    }

    fn take(&self, end: usize) -> (u64, Vec<u8>) {
        (self.offset + self.used as u64, self.buffer[self.used..end].to_vec())
    }

    /// Reads the next chunk. False at the end of the file, or at the maximum size of a segment.
    fn fill(&mut self) -> Result<bool, Failure> {
        let offset = self.offset + self.buffer.len() as u64;
        let chunk = match LARGEST_SEGMENT.saturating_sub(offset).min(CHUNK) {
            0 => Vec::new(),
            length => self.host.read_at(self.path, offset, length)?,
        };
        self.buffer.extend_from_slice(&chunk);
        Ok(!chunk.is_empty())
    }

    /// Discards what was returned, so that memory does not grow with the file. Returns by how much positions in the
    /// buffer have decreased.
    fn discard_used(&mut self) -> usize {
        let shift = self.used;
        self.buffer.drain(..shift);
        self.offset += shift as u64;
        self.used = 0;
        shift
    }
}
