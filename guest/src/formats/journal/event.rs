//! What a journal records.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value};

use crate::formats::json;
use crate::io::time::Timestamp;

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// What happened.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum EventKind {
            $($(#[$doc])* $variant,)*
            /// An event of a later version; it changes nothing here.
            Unknown(String),
        }

        impl EventKind {
            /// The name in the journal.
            pub fn name(&self) -> &str {
                match self {
                    $(EventKind::$variant => $name,)*
                    EventKind::Unknown(name) => name,
                }
            }

            fn from_name(name: &str) -> Self {
                match name {
                    $($name => EventKind::$variant,)*
                    other => EventKind::Unknown(other.to_owned()),
                }
            }
        }
    };
}

kinds! {
    /// A process opened the session. Carries `session_id`, the owner, `queue` and `skipped` (what
    /// is new in them), `retried`, and as `reason` how the session came about.
    BatchStarted = "batch-started",
    /// The journal was removed while the session ran. Carries the full state: the fields of
    /// `batch-started`, `in_flight` and `attempts`.
    JournalRecreated = "journal-recreated",
    /// The intent to start an item. Carries the item's `state` at that moment.
    ItemStarted = "item-started",
    /// A process works on the item: its `pid` (also its process group) and `start_time`.
    PhaseStarted = "phase-started",
    /// A phase of the item ended well.
    PhaseCompleted = "phase-completed",
    /// The item completed; with `mock` if nothing was done.
    ItemCompleted = "item-completed",
    /// The item failed: `error`.
    ItemFailed = "item-failed",
    /// The item failed and is tried again.
    ItemRetrying = "item-retrying",
    /// The item's agent was ended because the batch stopped.
    ItemInterrupted = "item-interrupted",
    /// The batch waits: `reason`, `until`.
    BatchPaused = "batch-paused",
    /// The wait is over.
    BatchResumed = "batch-resumed",
    /// The item cannot run: `reason`.
    ItemBlocked = "item-blocked",
    /// The item's `item.json` cannot be used: `error`.
    ItemInvalid = "item-invalid",
    /// Every result up to the event number `through` is in its `item.json`.
    Synced = "synced",
    /// The session was closed; `resumable` if a later run goes on with it.
    BatchFinished = "batch-finished",
}

/// One line of a journal.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Counts from 1 through all segments; 0 until it is recorded.
    pub seq: u64,
    /// When it happened.
    pub time: Timestamp,
    /// What happened.
    pub kind: EventKind,
    /// To which item.
    pub item: Option<String>,
    /// In which of its starts.
    pub attempt: Option<u32>,
    /// Everything else, in the order of the line.
    pub more: Map<String, Value>,
}

impl Event {
    /// An event of the whole batch.
    pub fn new(kind: EventKind, time: Timestamp) -> Self {
        Event { seq: 0, time, kind, item: None, attempt: None, more: Map::new() }
    }

    /// An event of one item.
    pub fn of(kind: EventKind, time: Timestamp, item: &str) -> Self {
        Event { item: Some(item.to_owned()), ..Event::new(kind, time) }
    }

    /// In this start of the item.
    pub fn attempt(mut self, number: u32) -> Self {
        self.attempt = Some(number);
        self
    }

    /// With one more field.
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.more.insert(key.to_owned(), value.into());
        self
    }

    /// With one more field, if there is a value for it.
    pub fn with_some(self, key: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// A string among the other fields.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.more.get(key)?.as_str()
    }

    /// A number among the other fields.
    pub fn integer(&self, key: &str) -> Option<u64> {
        json::integer(self.more.get(key)?)
    }

    /// A list of strings among the other fields; empty if there is none.
    pub fn strings(&self, key: &str) -> Vec<String> {
        self.more.get(key).and_then(json::strings).unwrap_or_default()
    }

    /// A truth value among the other fields; false if there is none.
    pub fn is(&self, key: &str) -> bool {
        self.more.get(key).and_then(Value::as_bool).unwrap_or(false)
    }

    /// `None` if the object lacks what every event has.
    pub fn from_json(mut object: Map<String, Value>) -> Option<Self> {
        let seq = json::integer(&object.shift_remove("seq")?)?;
        let time = Timestamp::parse(object.shift_remove("time")?.as_str()?)?;
        let kind = EventKind::from_name(object.shift_remove("event")?.as_str()?);
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
    /// The fields in the order of the line. Nothing is copied: the first event of a large batch is
    /// large.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("seq", &self.seq)?;
        map.serialize_entry("time", &self.time.to_string())?;
        map.serialize_entry("event", self.kind.name())?;
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
