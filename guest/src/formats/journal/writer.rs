//! Appending to a journal.

use super::event::Event;
use super::line;
use super::reader;
use crate::io::host::{Failure, Host};
use crate::io::layout;

/// The size in bytes at which the next segment begins. Readers do not accept segments of any size.
const FULL: u64 = 128 << 20;

/// The writer of a session's journal.
#[derive(Debug)]
pub struct Writer {
    directory: String,
    segment: u32,
    last: u64,
    /// The sequence number of the last event that is known to be on disk.
    durable: u64,
    bytes: u64,
    /// How many bytes the current segment has.
    size: u64,
    /// True if the name of the current segment is not on disk yet.
    is_new: bool,
    /// True if nothing is written, because the session has nothing to do.
    is_idle: bool,
}

impl Writer {
    /// Begins the next segment of the journal in `directory`, which is created if it is missing. `last` is the
    /// sequence number of the last event that counts.
    pub fn open(host: Host<'_>, directory: &str, last: u64) -> Result<Self, Failure> {
        host.create_directory(directory)?;
        let segment = reader::next_segment(host, directory)?;
        Ok(Writer {
            directory: directory.to_owned(),
            segment,
            last,
            durable: last,
            bytes: 0,
            size: 0,
            is_new: true,
            is_idle: false,
        })
    }

    /// The writer of a session that has nothing to do: it numbers events and writes nothing.
    pub fn idle(directory: &str) -> Self {
        Writer {
            directory: directory.to_owned(),
            segment: 1,
            last: 0,
            durable: 0,
            bytes: 0,
            size: 0,
            is_new: true,
            is_idle: true,
        }
    }

    /// The directory of the session.
    pub fn directory(&self) -> &str {
        &self.directory
    }

    /// The sequence number of the last event.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// The sequence number of the last durable event.
    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// How many bytes this writer has added.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// True if the current segment is unchanged since this writer wrote it. `git clean` may have removed it, and
    /// someone else may have appended to it.
    pub fn is_intact(&self, host: Host<'_>) -> Result<bool, Failure> {
        let size = host.stat(&layout::segment(&self.directory, self.segment))?.map(|it| it.size);
        Ok(self.is_new || size == Some(self.size))
    }

    /// Continues in a new segment. Its directory is created again if it is missing.
    pub fn begin_segment(&mut self, host: Host<'_>) -> Result<(), Failure> {
        host.create_directory(&self.directory)?;
        let next = reader::next_segment(host, &self.directory)?;
        self.segment = next.max(self.segment.saturating_add(1));
        self.size = 0;
        self.is_new = true;
        Ok(())
    }

    /// Numbers events and appends them. With `durable`, they are on disk when this returns. After an error none of
    /// them counts, and the next append goes to a new segment: the failed one may have written a part, and a file
    /// whose sync failed must not be trusted again.
    pub fn append(
        &mut self,
        host: Host<'_>,
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
        if self.is_idle {
            self.last += events.len() as u64;
            return Ok(());
        }
        if self.size >= FULL {
            self.begin_segment(host)?;
        }
        let path = layout::segment(&self.directory, self.segment);
        // The append that creates the file is durable: later ones rely on its name.
        let durable = durable || self.is_new;
        match host.append(&path, text.as_bytes(), durable) {
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
                // A segment without content can be used again.
                let is_empty =
                    host.stat(&path).is_ok_and(|found| found.is_none_or(|it| it.size == 0));
                self.segment = self.segment.saturating_add(u32::from(!is_empty));
                self.size = 0;
                self.is_new = true;
                Err(failure)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::journal::{EventKind, last_event, read};
    use crate::io::memory::Machine;
    use crate::time::Timestamp;

    #[test]
    fn a_full_segment_is_followed_by_another_one() {
        let machine = Machine::new();
        let process = machine.process(1);
        let host = Host::new(&process);
        let mut writer = Writer::open(host, "runs/s", 0).unwrap();
        let add = |writer: &mut Writer| {
            let event = Event::new(EventKind::Synced, Timestamp::from_millis(5));
            writer.append(host, &mut [event], true).unwrap();
        };
        add(&mut writer);
        writer.size = FULL;
        add(&mut writer);
        add(&mut writer);
        assert!(
            machine.text("runs/s/events.2.jsonl").is_some_and(|text| text.lines().count() == 2)
        );
        let mut read_back = Vec::new();
        let reading = read(host, "runs/s", 0, |event| read_back.push(event.seq)).unwrap();
        assert_eq!((reading.last, reading.damage), (3, Vec::new()));
        assert_eq!(read_back, [1, 2, 3]);
        assert_eq!(last_event(host, "runs/s").unwrap().unwrap().seq, 3);
    }
}
