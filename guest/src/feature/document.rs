//! The document of a feature, and what is required of it.

use serde_json::{Map, Value, json};

use crate::bindings::exports::wreckit::batch::feature::{FeatureError, Worktree};
use crate::json::{self, Fields};
use crate::time::Timestamp;

/// The status of a phase or of a feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PhaseStatus {
    /// Not started.
    Pending,
    /// Being worked on.
    InProgress,
    /// Done.
    Complete,
    /// Something else must happen first.
    Blocked,
    /// It failed.
    Failed,
    /// The feature was aborted in it.
    Aborted,
    /// Unknown status, preserved verbatim.
    Other(String),
}

impl PhaseStatus {
    /// Its name in the file.
    pub fn name(&self) -> &str {
        match self {
            PhaseStatus::Pending => "pending",
            PhaseStatus::InProgress => "in_progress",
            PhaseStatus::Complete => "complete",
            PhaseStatus::Blocked => "blocked",
            PhaseStatus::Failed => "failed",
            PhaseStatus::Aborted => "aborted",
            PhaseStatus::Other(name) => name,
        }
    }

    pub(super) fn from_name(name: &str) -> Self {
        match name {
            "pending" => PhaseStatus::Pending,
            "in_progress" => PhaseStatus::InProgress,
            "complete" => PhaseStatus::Complete,
            "blocked" => PhaseStatus::Blocked,
            "failed" => PhaseStatus::Failed,
            "aborted" => PhaseStatus::Aborted,
            other => PhaseStatus::Other(other.to_owned()),
        }
    }
}

/// Optional parts that commands add to, and their types.
const OBJECTS: [&str; 8] = [
    "metrics/orchestration",
    "metrics/validation_loops",
    "metrics/escalations",
    "metrics/conflicts",
    "metrics/tokens",
    "metrics/tokens/by_phase",
    "metrics/cost",
    "metrics/cost/model_breakdown",
];
const LISTS: [&str; 3] =
    ["feedback_loop/iterations", "metrics/escalations/reasons", "metrics/tokens/estimated_phases"];
const NUMBERS: [&str; 9] = [
    "metadata/total_duration_minutes",
    "metadata/agents_spawned",
    "metadata/human_checkpoints",
    "feedback_loop/current_iteration",
    "feedback_loop/max_iterations",
    "feedback_loop/consecutive_review_failures",
    "feedback_loop/consecutive_test_failures",
    "metrics/tokens/estimated_total_tokens",
    "metrics/cost/estimated_cost_usd",
];

/// A valid document.
#[derive(Debug, Clone, PartialEq)]
pub struct Document(pub(super) Map<String, Value>);

/// The value of `current_phase` and `status` when everything is done.
pub(super) const COMPLETE: &str = "complete";

impl Document {
    /// Checks a document. On failure, which fields are invalid, and how.
    pub fn from_json(document: Value) -> Result<Self, String> {
        let Value::Object(object) = document else {
            return Err("the document must be an object".to_owned());
        };
        let mut fields = Fields::new(&object);
        for key in ["feature_id", "feature_name", "created", "updated", "current_phase", "status"] {
            fields.string(key);
        }
        fields.required("phases", "an object of phases, each with a `status`", |phases| {
            let is_phase = |phase: &Value| phase.get("status").is_some_and(Value::is_string);
            phases.as_object().filter(|phases| phases.values().all(is_phase))
        });
        for key in ["artifacts", "metadata", "abort_info", "feedback_loop", "metrics", "worktree"] {
            fields.optional(key, "an object or null", |value| {
                (value.is_object() || value.is_null()).then_some(())
            });
        }
        match fields.problems() {
            Some(problems) => Err(problems),
            None => Ok(Document(object)),
        }
    }

    /// What is invalid in the optional parts. Commands that change such a part are refused.
    pub(super) fn invalid_parts(&self) -> Vec<String> {
        let must = [
            ("object", OBJECTS.as_slice(), Value::is_object as fn(&Value) -> bool),
            ("list", LISTS.as_slice(), Value::is_array),
            ("number", NUMBERS.as_slice(), Value::is_number),
        ];
        let mut wrong = Vec::new();
        for (kind, pointers, is_kind) in must {
            for pointer in pointers {
                let mut value = self.0.get(pointer.split('/').next().unwrap_or_default());
                for key in pointer.split('/').skip(1) {
                    value = value.and_then(|value| value.get(key));
                }
                if value.is_some_and(|value| !value.is_null() && !is_kind(value)) {
                    wrong.push(format!("`{}` must be a {kind}", pointer.replace('/', ".")));
                }
            }
        }
        wrong
    }

    /// The content of the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        json::pretty(&self.0)
    }

    /// The document as JSON text.
    pub fn to_text(&self) -> String {
        // JSON is always UTF-8.
        String::from_utf8(self.to_bytes()).unwrap_or_default()
    }

    /// The worktree that the feature is built in.
    pub fn worktree(&self) -> Option<Worktree> {
        let part = self.part("worktree")?;
        let text = |key: &str| part.get(key).and_then(Value::as_str).map(str::to_owned);
        Some(Worktree { path: text("path")?, commit: text("pre_feature_commit") })
    }

    /// The value of a required string.
    pub fn text(&self, key: &str) -> &str {
        self.0.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// The status of the feature.
    pub fn status(&self) -> PhaseStatus {
        PhaseStatus::from_name(self.text("status"))
    }

    pub(super) fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.0.insert(key.to_owned(), value.into());
    }

    /// The phases, in order.
    pub fn phases(&self) -> impl Iterator<Item = (&str, &Map<String, Value>)> {
        let phases = self.0.get("phases").and_then(Value::as_object).into_iter().flatten();
        phases.filter_map(|(name, phase)| Some((name.as_str(), phase.as_object()?)))
    }

    /// A phase.
    pub fn phase(&self, name: &str) -> Option<&Map<String, Value>> {
        self.0.get("phases")?.get(name)?.as_object()
    }

    pub(super) fn phase_mut(&mut self, name: &str) -> Option<&mut Map<String, Value>> {
        self.0.get_mut("phases")?.get_mut(name)?.as_object_mut()
    }

    /// The status of a phase.
    pub fn phase_status(&self, name: &str) -> Option<PhaseStatus> {
        Some(status_of(self.phase(name)?))
    }

    /// The error for a phase that does not exist.
    pub(super) fn unknown_phase(&self, phase: &str) -> FeatureError {
        let names: Vec<&str> = self.phases().map(|(name, _)| name).collect();
        FeatureError::Invalid(format!(
            "there is no phase {phase:?}; the phases are {}",
            names.join(", ")
        ))
    }

    /// The phases with this status, in order.
    pub fn in_status(&self, status: &PhaseStatus) -> Vec<&str> {
        self.phases()
            .filter(|(_, phase)| status_of(phase) == *status)
            .map(|(name, _)| name)
            .collect()
    }

    /// The first phase that is not complete.
    pub fn next_phase(&self) -> Option<&str> {
        self.phases()
            .find(|(_, phase)| status_of(phase) != PhaseStatus::Complete)
            .map(|(name, _)| name)
    }

    /// Whether the feature was aborted and not reopened.
    pub fn is_aborted(&self) -> bool {
        self.part("abort_info").and_then(|info| info.get("aborted")).and_then(Value::as_bool)
            == Some(true)
    }

    /// The phase at which an aborted feature can be reopened; `None` if it was not aborted, or cannot be reopened.
    pub fn resumable_phase(&self) -> Option<&str> {
        let info = self.part("abort_info").filter(|_| self.is_aborted())?;
        let can_resume = info.get("can_resume").and_then(Value::as_bool) == Some(true);
        let phase = info.get("abort_phase").and_then(Value::as_str)?;
        (can_resume && self.phase(phase).is_some()).then_some(phase)
    }

    /// An optional part.
    pub fn part(&self, key: &str) -> Option<&Map<String, Value>> {
        self.0.get(key)?.as_object()
    }

    /// An optional part, which is created if it is missing.
    pub(super) fn part_mut(&mut self, key: &str) -> Result<&mut Map<String, Value>, FeatureError> {
        object_in(&mut self.0, key)
    }
}

/// An object in an object, which is created if it is missing.
pub(super) fn object_in<'m>(
    object: &'m mut Map<String, Value>,
    key: &str,
) -> Result<&'m mut Map<String, Value>, FeatureError> {
    let value = object.entry(key).or_insert(Value::Null);
    if value.is_null() {
        *value = json!({});
    }
    value.as_object_mut().ok_or_else(|| FeatureError::Corrupt(format!("`{key}` must be an object")))
}

/// A list in an object, which is created if it is missing.
pub(super) fn list_in<'m>(
    object: &'m mut Map<String, Value>,
    key: &str,
) -> Result<&'m mut Vec<Value>, FeatureError> {
    let value = object.entry(key).or_insert(Value::Null);
    if value.is_null() {
        *value = json!([]);
    }
    value.as_array_mut().ok_or_else(|| FeatureError::Corrupt(format!("`{key}` must be a list")))
}

pub(super) fn status_of(phase: &Map<String, Value>) -> PhaseStatus {
    PhaseStatus::from_name(phase.get("status").and_then(Value::as_str).unwrap_or_default())
}

/// The time in a field: RFC 3339 with any offset, as other tools write it.
pub(super) fn time_in(object: &Map<String, Value>, key: &str) -> Option<Timestamp> {
    parse_time(object.get(key)?.as_str()?)
}

fn parse_time(text: &str) -> Option<Timestamp> {
    // RFC 3339 permits lower case, and a space instead of `T` (section 5.6).
    let text = &text.to_ascii_uppercase().replacen(' ', "T", 1);
    if let Some(time) = Timestamp::parse(text) {
        return Some(time);
    }
    let sign = text.len().checked_sub(6)?;
    let (time, offset) = (text.get(..sign)?, text.get(sign..)?);
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let minutes = hours.parse::<u64>().ok()? * 60 + minutes.parse::<u64>().ok()?;
    let local = Timestamp::parse(&format!("{time}Z"))?;
    let shift = minutes * 60_000;
    match &offset[..1] {
        "+" => Some(Timestamp::from_millis(local.as_millis().saturating_sub(shift))),
        "-" => Some(local.after(shift)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_other_tools_are_read() {
        let utc = Timestamp::parse("2026-03-01T08:30:00Z");
        for text in [
            "2026-03-01T08:30:00.000Z",
            "2026-03-01T08:30:00+00:00",
            "2026-03-01T10:30:00+02:00",
            "2026-03-01T03:00:00.000000-05:30",
            "2026-03-01t08:30:00z",
            "2026-03-01 08:30:00Z",
        ] {
            assert_eq!(parse_time(text), utc, "{text}");
        }
        for text in ["", "yesterday", "2026-03-01T08:30:00", "é+00:00", "+00:00"] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }
}
