//! The journal of a session: the durability point of everything that is acknowledged.
//!
//! `runs/{session}/events.{n}.jsonl`, one event a line, each with a sequence number and a checksum.
//! A segment is only ever appended to; each opening of the session begins the next one, and so does
//! a failed append, because that may have left part of a line behind.

mod event;
mod gaps;
mod line;
mod reader;
mod sound;
#[cfg(test)]
mod tests;
mod writer;

pub use event::{Event, EventKind};
pub use reader::{
    Damage, LARGEST_SEGMENT, Reading, last_event, names_session, read, read_without, segments,
};
pub use sound::{Soundness, inspect, sound_lines};
pub use writer::Writer;
