//! The journal of a session: the durability point of everything that is acknowledged.
//!
//! `runs/{session}/events.{n}.jsonl`, one event per line, each with a sequence number and a checksum.
//! A segment is append-only. Each opening of the session begins the next one, and so does a failed append, because
//! it may have written part of a line.

mod event;
mod gaps;
mod inspection;
mod line;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use event::{Event, EventKind};
pub use inspection::{Inspection, inspect, valid_lines};
pub use reader::{
    Damage, LARGEST_SEGMENT, Reading, last_event, names_session, read, read_without, segments,
};
pub use writer::Writer;
