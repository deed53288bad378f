//! Appending to a journal.

use super::event::Event;
use super::line;
use super::reader;
use crate::layout;
use crate::tree::{Failure, Tree};

/// The end of a session's journal, where events are added.
#[derive(Debug)]
pub struct Writer {
    directory: String,
    segment: u32,
    last: u64,
    /// The last event that is known to be on disk.
    durable: u64,
    bytes: u64,
    /// How many bytes the current segment has.
    size: u64,
    /// True if the current segment is not on disk with its name yet.
    is_new: bool,
}

impl Writer {
    /// Begins the next segment of the journal in `directory`, which is made if it is missing.
    /// `last` is the sequence number of the last event that counts.
    pub fn open(tree: Tree<'_>, directory: &str, last: u64) -> Result<Self, Failure> {
        tree.create_directory(directory)?;
        let segment = reader::next_segment(tree, directory)?;
        Ok(Writer {
            directory: directory.to_owned(),
            segment,
            last,
            durable: last,
            bytes: 0,
            size: 0,
            is_new: true,
        })
    }

    /// The directory of the session.
    pub fn directory(&self) -> &str {
        &self.directory
    }

    /// The sequence number of the last event.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// The sequence number of the last event that no power loss takes back.
    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// How many bytes this writer has added.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// True if the current segment is as this writer left it. A `git clean` may have removed it, and a
    /// file that someone else appended to is not continued either.
    pub fn is_intact(&self, tree: Tree<'_>) -> Result<bool, Failure> {
        let size = tree.stat(&layout::segment(&self.directory, self.segment))?.map(|it| it.size);
        Ok(self.is_new || size == Some(self.size))
    }

    /// Continues in a new segment; its directory is made again if it is missing.
    pub fn begin_segment(&mut self, tree: Tree<'_>) -> Result<(), Failure> {
        tree.create_directory(&self.directory)?;
        let next = reader::next_segment(tree, &self.directory)?;
        self.segment = next.max(self.segment.saturating_add(1));
        self.size = 0;
        self.is_new = true;
        Ok(())
    }

    /// Adds events, numbering them; with `durable` they are on disk when this returns. After an
    /// error none of them counts, and the next append goes to a new segment: the failed one may
    /// have left anything behind, and a file whose sync failed must not be trusted again.
    pub fn append(
        &mut self,
        tree: Tree<'_>,
        events: &mut [Event],
        durable: bool,
    ) -> Result<(), Failure> {
        if events.is_empty() {
            return Ok(());
        }
        let mut text = String::new();
        for (event, seq) in events.iter_mut().zip(self.last + 1..) {
            event.seq = seq;
            text.push_str(&line::encode(event));
        }
        let path = layout::segment(&self.directory, self.segment);
        // What makes the file makes it durably: later appends take its name for granted.
        let durable = durable || self.is_new;
        match tree.append(&path, text.as_bytes(), durable) {
            Ok(()) => {
                self.is_new = false;
                self.last += events.len() as u64;
                if durable {
                    self.durable = self.last;
                }
                self.bytes += text.len() as u64;
                self.size += text.len() as u64;
                Ok(())
            }
            Err(failure) => {
                // One that nothing was written into is as good as none.
                let is_empty =
                    tree.stat(&path).is_ok_and(|found| found.is_none_or(|it| it.size == 0));
                self.segment = self.segment.saturating_add(u32::from(!is_empty));
                self.size = 0;
                self.is_new = true;
                Err(failure)
            }
        }
    }
}
