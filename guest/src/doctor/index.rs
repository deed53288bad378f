//! INDEX_STALE: `index.json`, if it exists, must agree with the items.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::finding::{Code, Finding};
use super::fix::Edit;
use super::items::{ItemSummary, Survey};
use crate::io::capabilities::FsError;
use crate::io::host::Host;
use crate::json::{self, Fields};
use crate::time::Timestamp;

const FILE: &str = "index.json";
/// Maximum size in bytes. The index of 100,000 items has about 20 MiB.
const LIMIT: u64 = 64 << 20;

pub(super) fn examine(host: Host<'_>, survey: &Survey, found: &mut Vec<Finding>) {
    let bytes = match host.read(FILE, LIMIT) {
        Ok(bytes) => bytes,
        Err(FsError::NotFound) if host.stat(FILE).is_ok_and(|found| found.is_none()) => return,
        Err(error) => {
            let error = match error {
                FsError::NotFound => "it is a dangling link".to_owned(),
                error => error.describe(),
            };
            let finding = Finding::new(Code::IndexStale, format!("Cannot read {FILE}: {error}"));
            found.push(finding.by_hand("make it a readable file, or remove it"));
            return;
        }
    };
    if let Some(problem) = problem(&bytes, survey) {
        found.push(Finding::new(Code::IndexStale, problem).at(FILE));
    }
}

/// What is wrong with the content of the index, if anything.
fn problem(bytes: &[u8], survey: &Survey) -> Option<String> {
    let document = match json::parse_up_to(bytes, json::MANY_VALUES) {
        Ok(document) => document,
        Err(error) => return Some(format!("{FILE} has invalid JSON: {error}")),
    };
    let entries = match entries(&document) {
        Ok(entries) => entries,
        Err(problem) => return Some(format!("{FILE} is invalid: {problem}")),
    };
    let differences = differences(&entries, &survey.items);
    (!differences.is_empty()).then(|| format!("{FILE} is out of sync: {}", differences.join(", ")))
}

/// An entry of the index.
struct Entry<'v> {
    id: &'v str,
    state: &'v str,
    title: &'v str,
    depends_on: Vec<String>,
}

fn entries(document: &Value) -> Result<Vec<Entry<'_>>, String> {
    let Value::Object(object) = document else {
        return Err("the document must be an object".to_owned());
    };
    let mut fields = Fields::new(object);
    fields.required("schema_version", "a number", |value| value.is_number().then_some(()));
    let items = fields.required("items", "a list", Value::as_array);
    fields.string("generated_at");
    if let Some(problems) = fields.problems() {
        return Err(problems);
    }
    let items = items.into_iter().flatten().enumerate();
    items
        .map(|(index, value)| entry(value).map_err(|problem| format!("items[{index}]: {problem}")))
        .collect()
}

fn entry(value: &Value) -> Result<Entry<'_>, String> {
    let Value::Object(object) = value else { return Err("it must be an object".to_owned()) };
    let mut fields = Fields::new(object);
    let (id, state, title) = (fields.string("id"), fields.string("state"), fields.string("title"));
    let depends_on = fields.optional("depends_on", "a list of ids", json::strings);
    match (fields.problems(), id, state, title) {
        (None, Some(id), Some(state), Some(title)) => {
            Ok(Entry { id, state, title, depends_on: depends_on.unwrap_or_default() })
        }
        (problems, ..) => Err(problems.unwrap_or_default()),
    }
}

/// How the index differs from the items, in numbers.
fn differences(entries: &[Entry<'_>], items: &[ItemSummary]) -> Vec<String> {
    let by_id: HashMap<&str, &Entry<'_>> = entries.iter().map(|entry| (entry.id, entry)).collect();
    let known: HashMap<&str, &ItemSummary> =
        items.iter().map(|item| (item.id.as_str(), item)).collect();
    let pairs = || items.iter().filter_map(|item| Some((item, by_id.get(item.id.as_str())?)));
    let missing = items.iter().filter(|item| !by_id.contains_key(item.id.as_str())).count();
    let extra = entries.iter().filter(|entry| !known.contains_key(entry.id)).count();
    let states = pairs().filter(|(item, entry)| item.state != entry.state).count();
    let others = pairs()
        .filter(|(item, entry)| item.title != entry.title || item.depends_on != entry.depends_on);
    [
        (missing, "items missing from index"),
        (extra, "extra items in index"),
        (entries.len() - by_id.len(), "items listed twice"),
        (states, "state mismatches"),
        (others.count(), "items with another title or other dependencies"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} {what}"))
    .collect()
}

/// Rebuilds the index from the items.
pub(super) fn fix(host: Host<'_>, survey: Option<&Survey>) -> Result<(Edit, String), String> {
    let survey = survey.ok_or("the items cannot be read")?;
    Ok((Edit::Replace(rebuilt(host, survey, host.now())), format!("Rebuilt {FILE}")))
}

/// The index of these items. Unknown fields of the current index are preserved.
fn rebuilt(host: Host<'_>, survey: &Survey, now: Timestamp) -> Vec<u8> {
    let old = host
        .read(FILE, LIMIT)
        .ok()
        .and_then(|bytes| json::parse_up_to(&bytes, json::MANY_VALUES).ok());
    let mut document = match old {
        Some(Value::Object(document)) => document,
        _ => Map::new(),
    };
    let mut entries: HashMap<String, Map<String, Value>> = HashMap::new();
    if let Some(Value::Array(items)) = document.shift_remove("items") {
        for item in items {
            if let Value::Object(entry) = item
                && let Some(id) = entry.get("id").and_then(Value::as_str)
            {
                entries.insert(id.to_owned(), entry);
            }
        }
    }
    let items = survey.items.iter().map(|item| {
        let mut entry = entries.remove(&item.id).unwrap_or_default();
        entry.insert("id".to_owned(), json!(item.id));
        entry.insert("state".to_owned(), json!(item.state));
        entry.insert("title".to_owned(), json!(item.title));
        if !item.depends_on.is_empty() || entry.contains_key("depends_on") {
            entry.insert("depends_on".to_owned(), json!(item.depends_on));
        }
        Value::Object(entry)
    });
    let items: Value = items.collect();
    if !document.get("schema_version").is_some_and(Value::is_number) {
        document.shift_insert(0, "schema_version".to_owned(), json!(1));
    }
    let position =
        document.keys().position(|key| key == "schema_version").map_or(0, |position| position + 1);
    document.shift_insert(position, "items".to_owned(), items);
    document.insert("generated_at".to_owned(), json!(now.to_string()));
    json::pretty(&document)
}
