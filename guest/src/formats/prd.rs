//! `items/NNN-slug/prd.json`: the stories of an item.

use serde_json::Value;

use crate::io::capabilities::FsError;
use crate::io::host::Host;
use crate::io::layout;
use crate::json::{self, Fields};

/// Maximum size in bytes of a `prd.json`. A larger one is damage.
const LIMIT: u64 = 4 << 20;

/// A valid `prd.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct Prd {
    stories: Vec<Story>,
}

/// One story.
#[derive(Debug, Clone, PartialEq)]
struct Story {
    id: String,
    priority: f64,
    is_done: bool,
}

impl Eq for Story {}

impl Prd {
    /// True if it has no stories.
    pub fn is_empty(&self) -> bool {
        self.stories.is_empty()
    }

    /// How many stories are not done.
    pub fn pending(&self) -> usize {
        self.stories.iter().filter(|story| !story.is_done).count()
    }

    /// The next pending story: the lowest priority number is the most urgent.
    pub fn next(&self) -> Option<&str> {
        let pending = self.stories.iter().filter(|story| !story.is_done);
        let next = pending.min_by(|a, b| a.priority.total_cmp(&b.priority));
        next.map(|story| story.id.as_str())
    }
}

/// Why the document cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Unusable {
    /// The file does not exist.
    #[error("prd.json is missing")]
    Missing,
    /// The file cannot be read.
    #[error("cannot read prd.json: {}", .0.describe())]
    Unreadable(FsError),
    /// It has invalid JSON; where.
    #[error("prd.json has invalid JSON: {0}")]
    Invalid(String),
}

/// Reads and checks the stories of an item. On failure, what is wrong, in words.
pub fn read(host: Host<'_>, id: &str) -> Result<Prd, String> {
    let document = document(host, id).map_err(|problem| problem.to_string())?;
    from_json(&document).map_err(|problem| format!("prd.json is invalid: {problem}"))
}

/// Reads the document without checking its fields.
pub fn document(host: Host<'_>, id: &str) -> Result<Value, Unusable> {
    let bytes = host.read(&layout::prd_file(id), LIMIT).map_err(|error| match error {
        FsError::NotFound => Unusable::Missing,
        error => Unusable::Unreadable(error),
    })?;
    json::parse(&bytes).map_err(Unusable::Invalid)
}

/// Checks a document. On failure, which fields are wrong, and how.
pub fn from_json(document: &Value) -> Result<Prd, String> {
    let Value::Object(object) = document else {
        return Err("the document must be an object".to_owned());
    };
    let mut fields = Fields::new(object);
    fields.required("schema_version", "1", |value| json::integer(value).filter(|n| *n == 1));
    fields.string("id");
    fields.string("branch_name");
    let stories = fields.required("user_stories", "a list", Value::as_array);
    match (fields.problems(), stories) {
        (None, Some(stories)) => {
            let stories = stories.iter().enumerate().map(|(index, value)| {
                story(value).map_err(|problem| format!("user_stories[{index}]: {problem}"))
            });
            Ok(Prd { stories: stories.collect::<Result<_, _>>()? })
        }
        (problems, _) => Err(problems.unwrap_or_default()),
    }
}

fn story(value: &Value) -> Result<Story, String> {
    let Value::Object(object) = value else {
        return Err("it must be an object".to_owned());
    };
    let mut fields = Fields::new(object);
    let id = fields.string("id");
    fields.string("title");
    fields.strings("acceptance_criteria");
    let priority = fields.required("priority", "a number", Value::as_f64);
    let is_done = fields.required("status", "pending or done", |value| match value.as_str()? {
        "pending" => Some(false),
        "done" => Some(true),
        _ => None,
    });
    fields.string("notes");
    match (fields.problems(), id, priority, is_done) {
        (None, Some(id), Some(priority), Some(is_done)) => {
            Ok(Story { id: id.to_owned(), priority, is_done })
        }
        (problems, ..) => Err(problems.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document(stories: &[(&str, f64, &str)]) -> Value {
        let stories: Vec<Value> = stories
            .iter()
            .map(|(id, priority, status)| {
                json!({"id": id, "title": "t", "acceptance_criteria": ["a", "b"],
                       "priority": priority, "status": status, "notes": ""})
            })
            .collect();
        json!({"schema_version": 1, "id": "001-a", "branch_name": "b", "user_stories": stories})
    }

    #[test]
    fn the_most_urgent_pending_story_is_next_and_the_first_of_equals() {
        let prd = from_json(&document(&[
            ("US-1", 1.0, "done"),
            ("US-2", 3.0, "pending"),
            ("US-3", 2.0, "pending"),
            ("US-4", 2.0, "pending"),
        ]))
        .unwrap();
        assert_eq!((prd.next(), prd.pending()), (Some("US-3"), 3));
        let prd = from_json(&document(&[("US-1", 1.0, "done")])).unwrap();
        assert_eq!((prd.next(), prd.pending()), (None, 0));
    }

    #[test]
    fn problems_name_the_story_and_the_field() {
        let mut wrong = document(&[("US-1", 1.0, "pending"), ("US-2", 1.0, "started")]);
        wrong["user_stories"][1].as_object_mut().unwrap().shift_remove("notes");
        assert_eq!(
            from_json(&wrong).unwrap_err(),
            "user_stories[1]: `status` must be pending or done, found \"started\"; \
             `notes` must be a string, it is missing"
        );
        for wrong in [json!([]), json!({}), json!({"user_stories": 1})] {
            assert!(from_json(&wrong).is_err(), "{wrong}");
        }
    }
}
