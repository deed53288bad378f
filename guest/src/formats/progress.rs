//! `batch-progress.json`, schema version 1: reading, validating, writing, clearing.
//!
//! The format is that of the existing wreckit tool, with optional fields of our own. Unknown fields
//! are preserved, in their order.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value, json};

use crate::bindings::exports::wreckit::batch::session::Holder;
use crate::io::capabilities::{FsError, ProcessInfo, ProcessStatus, ProcessToken, Replacement};
use crate::io::host::{Failure, Host};
use crate::io::layout;
use crate::io::owner::Owner;
use crate::json::{self, Fields};
use crate::time::Timestamp;

/// Maximum size in bytes: half a million items need about 60 MiB. A larger file is damage.
const LIMIT: u64 = 64 << 20;

/// The process that works on an item, as recorded in a snapshot or a journal.
#[derive(Debug, Clone, PartialEq)]
pub struct Worker {
    /// Identifies it; `None` if the file does not say enough.
    pub token: Option<ProcessToken>,
    /// Its process id.
    pub pid: u64,
    /// When it started, by the clock of the recording process.
    pub since: Option<Timestamp>,
    /// In files of builds before tokens: when it started, as they recorded it.
    pub start_time: Option<u64>,
}

/// What a snapshot records about its journal.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct JournalMark {
    /// How many events the snapshot includes: the sequence number of the last one.
    pub events: u64,
    /// The number of attempts of each item that has not completed.
    pub attempts: Vec<(String, u32)>,
    /// The processes that work on items, by item.
    pub workers: Vec<(String, Worker)>,
    /// When a fix rebuilt the file from its journal, if the next run has not resumed it yet.
    pub rebuilt_at: Option<Timestamp>,
    /// True if the mark does not match its checksum: then nothing in it counts.
    pub is_damaged: bool,
    /// Unknown fields, preserved verbatim.
    pub unknown: Map<String, Value>,
}

/// The field of a mark that contains the checksum of its other fields.
const CHECKSUM: &str = "checksum";

/// The CRC-32 of an object's compact JSON text, as eight hexadecimal digits. A mark with a wrong
/// digit is still valid JSON.
fn checksum(object: &Map<String, Value>) -> String {
    // A map with string keys always has a JSON text.
    let text = serde_json::to_vec(object).unwrap_or_default();
    format!("{:08x}", crc32fast::hash(&text))
}

impl JournalMark {
    fn to_json(&self) -> Value {
        let mut object = Map::from_iter([("events".to_owned(), json!(self.events))]);
        if !self.attempts.is_empty() {
            let attempts: Map<String, Value> =
                self.attempts.iter().map(|(item, count)| (item.clone(), json!(count))).collect();
            object.insert("attempts".into(), Value::Object(attempts));
        }
        if !self.workers.is_empty() {
            let workers = self.workers.iter().map(|(item, worker)| {
                let since = worker.since.map(|since| since.to_string());
                let mut process = Map::from_iter([("pid".to_owned(), json!(worker.pid))]);
                if let Some(token) = &worker.token {
                    process.insert("token".to_owned(), json!(token));
                }
                if let Some(start_time) = worker.start_time {
                    process.insert("start_time".to_owned(), json!(start_time));
                }
                process.insert("since".to_owned(), json!(since));
                (item.clone(), Value::Object(process))
            });
            object.insert("workers".into(), Value::Object(workers.collect()));
        }
        if let Some(time) = self.rebuilt_at {
            object.insert("rebuilt_at".into(), json!(time.to_string()));
        }
        object.extend(self.unknown.clone());
        let checksum = checksum(&object);
        object.insert(CHECKSUM.to_owned(), json!(checksum));
        Value::Object(object)
    }

    fn from_json(value: &Value) -> Option<Self> {
        let mut object = value.as_object()?.clone();
        // Files of earlier builds have no checksum.
        if let Some(expected) = object.shift_remove(CHECKSUM)
            && expected != json!(checksum(&object))
        {
            return Some(JournalMark { is_damaged: true, ..JournalMark::default() });
        }
        let mut mark = JournalMark::default();
        for (key, value) in &object {
            match key.as_str() {
                "events" => {
                    let events = json::integer(value);
                    mark.events = events.filter(|count| *count < json::COUNTER_LIMIT)?;
                }
                "attempts" => {
                    for (item, count) in value.as_object()? {
                        let count = u32::try_from(json::integer(count)?).unwrap_or(u32::MAX);
                        mark.attempts.push((item.clone(), count));
                    }
                }
                "workers" => {
                    for (item, worker) in value.as_object()? {
                        let text = |key: &str| worker.get(key).and_then(Value::as_str);
                        let worker = Worker {
                            token: text("token").map(str::to_owned),
                            pid: json::integer(worker.get("pid")?)?,
                            since: text("since").and_then(Timestamp::parse),
                            start_time: worker.get("start_time").and_then(json::integer),
                        };
                        mark.workers.push((item.clone(), worker));
                    }
                }
                "rebuilt_at" => mark.rebuilt_at = Some(Timestamp::parse(value.as_str()?)?),
                _ => {
                    mark.unknown.insert(key.clone(), value.clone());
                }
            }
        }
        Some(mark)
    }
}

/// The content of the file. `S` is `String` in a file that was read. A file that is only written can borrow the ids,
/// so that a checkpoint of a large batch copies none.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress<S = String> {
    /// Identifies the session. Not empty; may be unsafe as a file name, see
    /// [`run_directory`](crate::io::layout::RootLayout::run_directory).
    pub session_id: String,
    /// The owner's process id, above 0.
    pub pid: u64,
    /// When the session began.
    pub started_at: Timestamp,
    /// When the file was last written.
    pub updated_at: Timestamp,
    /// Maximum number of attempts in flight, at least 1.
    pub parallel: u32,
    /// The original queue.
    pub queued_items: Vec<S>,
    /// The item in flight when `parallel` is 1.
    pub current_item: Option<S>,
    /// The items that completed in this session.
    pub completed: Vec<S>,
    /// The items that failed in this session.
    pub failed: Vec<S>,
    /// The items that were done before it.
    pub skipped: Vec<S>,
    /// Preserved for the existing tool, which requires it.
    pub healing_attempts: u64,
    /// Preserved for the existing tool, which requires it.
    pub last_healing_at: Option<String>,
    /// The items in flight.
    pub in_flight: Vec<S>,
    /// The last error of each failed item.
    pub errors: Map<String, Value>,
    /// The process that holds the session. Missing in files of the existing tool.
    pub owner: Option<Owner>,
    /// What the file includes of the journal. Missing in files of the existing tool.
    pub journal: Option<JournalMark>,
    /// Unknown fields, preserved verbatim.
    pub unknown: Map<String, Value>,
}

/// The fields of [`Progress`], in the order of the file.
const KEYS: [&str; 17] = [
    "schema_version",
    "session_id",
    "pid",
    "started_at",
    "updated_at",
    "parallel",
    "queued_items",
    "current_item",
    "completed",
    "failed",
    "skipped",
    "healing_attempts",
    "last_healing_at",
    "in_flight",
    "errors",
    "owner",
    "journal",
];

impl Progress {
    /// Reads a document. On failure, which fields are wrong, and how.
    pub fn from_json(document: Value) -> Result<Self, String> {
        let Value::Object(object) = document else {
            return Err("the document must be an object".to_owned());
        };
        let mut fields = Fields::new(&object);
        let progress = Progress::from_fields(&mut fields);
        match (fields.problems(), progress) {
            (None, Some(mut progress)) => {
                progress.unknown =
                    object.into_iter().filter(|(key, _)| !KEYS.contains(&key.as_str())).collect();
                Ok(progress)
            }
            (problems, _) => Err(problems.unwrap_or_else(|| "a field is missing".to_owned())),
        }
    }

    /// Reads every known field, so that all problems are found. `None` if a required field is wrong.
    fn from_fields(fields: &mut Fields<'_>) -> Option<Self> {
        let positive = |value: &Value| json::integer(value).filter(|n| *n > 0);

        fields.required("schema_version", "1", |value| json::integer(value).filter(|n| *n == 1));
        let session_id = fields.required("session_id", "a string that is not empty", |value| {
            value.as_str().filter(|text| !text.is_empty())
        });
        let pid = fields.required("pid", "an integer greater than 0", positive);
        let started_at = fields.time("started_at");
        let updated_at = fields.time("updated_at");
        let parallel = fields.required("parallel", "an integer of at least 1", positive);
        let queued_items = fields.strings("queued_items");
        let current_item = fields.nullable_string("current_item");
        let completed = fields.strings("completed");
        let failed = fields.strings("failed");
        let skipped = fields.strings("skipped");
        let healing_attempts =
            fields.optional("healing_attempts", "an integer, 0 or more", json::integer);
        let last_healing_at =
            fields.optional("last_healing_at", "a string or null", json::nullable_string);
        let in_flight = fields.optional("in_flight", "a list of strings", json::strings);
        let errors = fields.optional("errors", "an object of strings", |value| {
            value.as_object().filter(|errors| errors.values().all(Value::is_string))
        });
        let owner = fields.optional("owner", "an object of token, released", Owner::from_json);
        let journal =
            fields.optional("journal", "an object with `events`, a count", JournalMark::from_json);

        Some(Progress {
            session_id: session_id?.to_owned(),
            pid: pid?,
            started_at: started_at?,
            updated_at: updated_at?,
            parallel: u32::try_from(parallel?).unwrap_or(u32::MAX),
            queued_items: queued_items?,
            current_item: current_item?.map(str::to_owned),
            completed: completed?,
            failed: failed?,
            skipped: skipped?,
            healing_attempts: healing_attempts.unwrap_or(0),
            last_healing_at: last_healing_at.flatten().map(str::to_owned),
            in_flight: in_flight.unwrap_or_default(),
            errors: errors.cloned().unwrap_or_default(),
            owner,
            journal,
            unknown: Map::new(),
        })
    }

    /// Whether the process that wrote the file is still running.
    pub fn owner_status(&self, host: Host<'_>) -> ProcessStatus {
        let owner = self.owner.clone().unwrap_or_default();
        if owner.released {
            return ProcessStatus::Exited;
        }
        host.process_status(&owner.recorded(self.pid, Some(self.updated_at)))
    }

    /// The owner, for an embedder. `status` is the result of [`Progress::owner_status`].
    pub fn holder(&self, status: ProcessStatus) -> Holder {
        Holder {
            session: Some(self.session_id.clone()),
            pid: Some(self.pid),
            since: Some(self.started_at.to_string()),
            status: Some(status),
            ..Holder::unknown()
        }
    }

    /// True if `process` wrote the file.
    pub fn is_of(&self, process: &ProcessInfo) -> bool {
        self.owner.as_ref().is_some_and(|owner| !owner.released && owner.is(process))
    }
}

impl<S: Serialize> Serialize for Progress<S> {
    /// Writes the keys in the documented order, followed by unknown ones.
    fn serialize<T: Serializer>(&self, serializer: T) -> Result<T::Ok, T::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("schema_version", &1)?;
        map.serialize_entry("session_id", &self.session_id)?;
        map.serialize_entry("pid", &self.pid)?;
        map.serialize_entry("started_at", &self.started_at.to_string())?;
        map.serialize_entry("updated_at", &self.updated_at.to_string())?;
        map.serialize_entry("parallel", &self.parallel)?;
        map.serialize_entry("queued_items", &self.queued_items)?;
        map.serialize_entry("current_item", &self.current_item)?;
        map.serialize_entry("completed", &self.completed)?;
        map.serialize_entry("failed", &self.failed)?;
        map.serialize_entry("skipped", &self.skipped)?;
        map.serialize_entry("healing_attempts", &self.healing_attempts)?;
        map.serialize_entry("last_healing_at", &self.last_healing_at)?;
        map.serialize_entry("in_flight", &self.in_flight)?;
        map.serialize_entry("errors", &self.errors)?;
        if let Some(owner) = &self.owner {
            map.serialize_entry("owner", &owner.to_json())?;
        }
        if let Some(journal) = &self.journal {
            map.serialize_entry("journal", &journal.to_json())?;
        }
        for (key, value) in &self.unknown {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

/// What was found at the path of the progress file.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// Nothing.
    Missing,
    /// A progress file.
    Valid(Box<Progress>),
    /// A file that is not a valid progress file.
    Damaged {
        /// What is wrong, as a message that names the file.
        problem: String,
        /// The session that it names, if that can be read.
        session_id: Option<String>,
    },
    /// An entry that cannot be read; why, as a message that names the file.
    Unreadable(String),
}

impl Found {
    /// What is wrong with it, if anything.
    pub fn damage(&self) -> Option<&str> {
        match self {
            Found::Missing | Found::Valid(_) => None,
            Found::Damaged { problem, .. } | Found::Unreadable(problem) => Some(problem),
        }
    }
}

/// Reads the progress file. An empty one is damage, never "new".
pub fn find(host: Host<'_>) -> Found {
    let bytes = match host.read(layout::PROGRESS, LIMIT) {
        Ok(bytes) => bytes,
        Err(FsError::NotFound) if host.stat(layout::PROGRESS).is_ok_and(|it| it.is_none()) => {
            return Found::Missing;
        }
        Err(FsError::NotFound) => {
            let problem = format!("Failed to read {}: it is a dangling link", layout::PROGRESS);
            return Found::Unreadable(problem);
        }
        Err(error) => {
            return Found::Unreadable(format!(
                "Failed to read {}: {}",
                layout::PROGRESS,
                error.describe()
            ));
        }
    };
    let Ok(document) = json::parse_up_to(&bytes, json::MANY_VALUES) else {
        return Found::Damaged {
            problem: format!("{} has invalid JSON", layout::PROGRESS),
            session_id: None,
        };
    };
    let session_id = document.get("session_id").and_then(Value::as_str).map(str::to_owned);
    match Progress::from_json(document) {
        Ok(progress) => Found::Valid(Box::new(progress)),
        Err(problem) => Found::Damaged {
            problem: format!("{} is invalid: {problem}", layout::PROGRESS),
            session_id,
        },
    }
}

/// Replaces the progress file atomically. Returns its size.
pub fn write<S: Serialize>(
    host: Host<'_>,
    progress: &Progress<S>,
    durable: bool,
) -> Result<u64, Failure> {
    let contents = json::pretty(progress);
    let size = contents.len() as u64;
    host.replace(vec![Replacement::new(layout::PROGRESS, contents)], durable)?;
    Ok(size)
}

/// Removes the progress file. Succeeds if it does not exist.
pub fn clear(host: Host<'_>) -> Result<(), Failure> {
    host.remove(layout::PROGRESS)
}
