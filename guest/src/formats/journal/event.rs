//! The events of a journal.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value};

use crate::json;
use crate::time::Timestamp;

pub use crate::bindings::exports::wreckit::batch::session::EventKind;

/// The names of the kinds in a journal. `docs/file-formats.md` describes their fields.
const NAMES: [(EventKind, &str); 15] = [
    (EventKind::BatchStarted, "batch-started"),
    (EventKind::JournalRecreated, "journal-recreated"),
    (EventKind::ItemStarted, "item-started"),
    (EventKind::PhaseStarted, "phase-started"),
    (EventKind::PhaseCompleted, "phase-completed"),
    (EventKind::ItemCompleted, "item-completed"),
    (EventKind::ItemFailed, "item-failed"),
    (EventKind::ItemRetrying, "item-retrying"),
    (EventKind::ItemInterrupted, "item-interrupted"),
    (EventKind::BatchPaused, "batch-paused"),
    (EventKind::BatchResumed, "batch-resumed"),
    (EventKind::ItemBlocked, "item-blocked"),
    (EventKind::ItemInvalid, "item-invalid"),
    (EventKind::Synced, "synced"),
    (EventKind::BatchFinished, "batch-finished"),
];

/// The name with which an event of a later version is written again.
const UNKNOWN: &str = "unknown";

/// One line of a journal.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its sequence number, from 1 through all segments; 0 until it is recorded.
    pub seq: u64,
    /// When it happened.
    pub time: Timestamp,
    /// What happened. `None` in an event of a later version, which changes nothing here.
    pub kind: Option<EventKind>,
    /// The item that it concerns.
    pub item: Option<String>,
    /// The attempt that it concerns.
    pub attempt: Option<u32>,
    /// All other fields, in the order of the line.
    pub more: Map<String, Value>,
}

impl Event {
    /// Creates an event of the session.
    pub fn new(kind: EventKind, time: Timestamp) -> Self {
        Event { seq: 0, time, kind: Some(kind), item: None, attempt: None, more: Map::new() }
    }

    /// Creates an event of an item.
    pub fn of(kind: EventKind, time: Timestamp, item: &str) -> Self {
        Event { item: Some(item.to_owned()), ..Event::new(kind, time) }
    }

    /// The name of its kind in the journal.
    fn name(&self) -> &'static str {
        let known = NAMES.iter().find(|(kind, _)| Some(*kind) == self.kind);
        known.map_or(UNKNOWN, |(_, name)| name)
    }

    /// Whether it is of this kind.
    pub fn is_kind(&self, kind: EventKind) -> bool {
        self.kind == Some(kind)
    }

    /// The event with the number of an attempt.
    pub fn attempt(mut self, number: u32) -> Self {
        self.attempt = Some(number);
        self
    }

    /// The event with one more field.
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.more.insert(key.to_owned(), value.into());
        self
    }

    /// The event with one more field, if it has a value.
    pub fn with_some(self, key: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// The string in a field.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.more.get(key)?.as_str()
    }

    /// The number in a field.
    pub fn integer(&self, key: &str) -> Option<u64> {
        json::integer(self.more.get(key)?)
    }

    /// The strings in a field; empty if it is missing.
    pub fn strings(&self, key: &str) -> Vec<String> {
        self.more.get(key).and_then(json::strings).unwrap_or_default()
    }

    /// The Boolean in a field; false if it is missing.
    pub fn is(&self, key: &str) -> bool {
        self.more.get(key).and_then(Value::as_bool).unwrap_or(false)
    }

    /// Reads an event. `None` if a field that every event has is missing.
    pub fn from_json(mut object: Map<String, Value>) -> Option<Self> {
        let seq = json::integer(&object.shift_remove("seq")?)?;
        let time = Timestamp::parse(object.shift_remove("time")?.as_str()?)?;
        let name = object.shift_remove("event")?;
        let name = name.as_str()?;
        let kind = NAMES.iter().find(|(_, known)| *known == name).map(|(kind, _)| *kind);
        let item = match object.shift_remove("item") {
            None => None,
            Some(Value::String(item)) => Some(item),
            Some(_) => return None,
        };
        let attempt = match object.shift_remove("attempt") {
            None => None,
            Some(value) => Some(u32::try_from(json::integer(&value)?).ok()?),
        };
        Some(Event { seq, time, kind, item, attempt, more: object })
    }
}

impl Serialize for Event {
    /// Writes the fields in the order of the line, without copying them: the first event of a large batch is
    /// large.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("seq", &self.seq)?;
        map.serialize_entry("time", &self.time.to_string())?;
        map.serialize_entry("event", self.name())?;
        if let Some(item) = &self.item {
            map.serialize_entry("item", item)?;
        }
        if let Some(attempt) = self.attempt {
            map.serialize_entry("attempt", &attempt)?;
        }
        for (key, value) in &self.more {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}
