//! The owner of a lock, a record or a progress file, as the file names it.

use serde_json::{Map, Value, json};

use crate::io::capabilities::{BareProcess, ProcessInfo, ProcessToken, RecordedProcess};
use crate::json;
use crate::time::Timestamp;

/// The process that wrote a file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Owner {
    /// Identifies the process.
    pub token: Option<ProcessToken>,
    /// What builds before tokens recorded instead: `host`, `boot_id`, `start_time`, `pid_namespace`. Together
    /// with the process id they make a token that the host accepts.
    legacy: Map<String, Value>,
    /// True after a clean stop: the process has released the session, even if its status is unknown here.
    pub released: bool,
    /// Unknown fields, preserved verbatim.
    pub unknown: Map<String, Value>,
}

/// The fields of an owner before tokens, and whether each is an integer.
const LEGACY_FIELDS: [(&str, bool); 4] =
    [("host", false), ("boot_id", false), ("start_time", true), ("pid_namespace", false)];

impl Owner {
    /// The owner that this process is.
    pub fn of(process: &ProcessInfo) -> Self {
        Owner { token: Some(process.token.clone()), ..Owner::default() }
    }

    /// Writes the owner as JSON.
    pub fn to_json(&self) -> Value {
        let mut object = Map::new();
        if let Some(token) = &self.token {
            object.insert("token".into(), json!(token));
        }
        object.extend(self.legacy.clone());
        object.insert("released".into(), json!(self.released));
        object.extend(self.unknown.clone());
        Value::Object(object)
    }

    /// The owner as a process to look up. `pid` is the process id beside it in the file, and `seen` a time at
    /// which it was running.
    pub fn recorded(&self, pid: u64, seen: Option<Timestamp>) -> RecordedProcess {
        if let Some(token) = &self.token {
            return RecordedProcess::Token(token.clone());
        }
        match self.legacy.is_empty() {
            true => {
                let seen = seen.map(Timestamp::as_millis);
                RecordedProcess::Bare(BareProcess { pid, seen })
            }
            false => RecordedProcess::Token(legacy_token(pid, self.legacy.clone())),
        }
    }

    /// The token of an agent of which a build before tokens recorded the process id and the start time, with
    /// this owner; `None` if that does not identify a process.
    pub fn agent_token(&self, pid: u64, start_time: u64) -> Option<ProcessToken> {
        self.legacy.get("boot_id").filter(|boot| boot.is_string())?;
        let mut fields = self.legacy.clone();
        fields.insert("start_time".to_owned(), json!(start_time));
        Some(legacy_token(pid, fields))
    }

    /// Whether `process` is the owner.
    pub fn is(&self, process: &ProcessInfo) -> bool {
        self.token.as_ref() == Some(&process.token)
    }

    /// `None` if it is not an object or a field has a wrong type.
    pub fn from_json(value: &Value) -> Option<Self> {
        let mut owner = Owner::default();
        for (key, value) in value.as_object()? {
            let legacy = LEGACY_FIELDS.iter().find(|(name, _)| name == key);
            match (key.as_str(), legacy) {
                (_, Some(_)) if value.is_null() => {}
                (_, Some((_, true))) => {
                    json::integer(value)?;
                    owner.legacy.insert(key.clone(), value.clone());
                }
                (_, Some((_, false))) => {
                    value.as_str()?;
                    owner.legacy.insert(key.clone(), value.clone());
                }
                ("token", None) => owner.token = json::nullable_string(value)?.map(str::to_owned),
                ("released", None) => owner.released = value.as_bool()?,
                _ => {
                    owner.unknown.insert(key.clone(), value.clone());
                }
            }
        }
        Some(owner)
    }
}

/// The token for the fields that builds before tokens recorded of a process: a JSON object.
fn legacy_token(pid: u64, fields: Map<String, Value>) -> ProcessToken {
    let mut object = Map::from_iter([("pid".to_owned(), json!(pid))]);
    object.extend(fields);
    Value::Object(object).to_string()
}
