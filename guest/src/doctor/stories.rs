//! The stories of an item, in `prd.json`: INVALID_PRD, PRD_MISSING_ID, PRD_MISSING_BRANCH_NAME, PRD_INVALID_PRIORITY and
//! POOR_STORY_QUALITY.

use serde_json::{Map, Value, json};

use super::finding::{Code, Finding};
use super::fix::{Edit, FileFix};
use crate::formats::prd;
use crate::io::host::Host;
use crate::io::layout;
use crate::json;

/// Maximum number of stories of an item.
const MAX_STORIES: usize = 15;
/// Minimum number of acceptance criteria of a story.
const MIN_CRITERIA: usize = 2;
/// The priorities, from the most to the least urgent.
const PRIORITIES: std::ops::RangeInclusive<f64> = 1.0..=4.0;
/// Maximum number of stories that a message names.
const NAMED: usize = 5;

/// The stories of an item, as far as its state depends on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stories {
    /// The file does not exist.
    Missing,
    /// The file cannot be used.
    Unknown,
    /// This many stories are pending.
    Pending(usize),
}

/// Examines the stories of an item.
pub(super) fn examine(host: Host<'_>, id: &str, found: &mut Vec<Finding>) -> Stories {
    let mut report = |code: Code, message: String| {
        found.push(Finding::new(code, message).of(id).at(layout::prd_file(id)));
    };
    let document = match prd::document(host, id) {
        Ok(Value::Object(document)) => document,
        Ok(_) => {
            let message = "prd.json is invalid: the document must be an object";
            report(Code::InvalidPrd, message.to_owned());
            return Stories::Unknown;
        }
        Err(prd::Unusable::Missing) => return Stories::Missing,
        Err(prd::Unusable::Unreadable(error)) => {
            let message = format!("Cannot read prd.json: {}", error.describe());
            report(Code::ArtifactUnreadable, message);
            return Stories::Unknown;
        }
        Err(problem @ prd::Unusable::Invalid(_)) => {
            report(Code::InvalidPrd, problem.to_string());
            return Stories::Unknown;
        }
    };
    if is_blank(document.get("id")) {
        report(Code::PrdMissingId, "prd.json missing required 'id' field".to_owned());
        return Stories::Unknown;
    }
    examine_document(document, report)
}

/// Examines a document that has an id.
fn examine_document(
    mut document: Map<String, Value>,
    mut report: impl FnMut(Code, String),
) -> Stories {
    if is_blank(document.get("branch_name")) {
        let message = "prd.json missing required 'branch_name' field";
        report(Code::PrdMissingBranchName, message.to_owned());
        // Reported once is enough.
        document.insert("branch_name".to_owned(), json!(""));
    }
    let outside: Vec<String> = stories(&document).filter_map(priority_outside).collect();
    if !outside.is_empty() {
        let count = outside.len();
        let list = shortened(&outside, ", ");
        let message = format!("{count} stories have priority outside [1, 4] range: {list}");
        report(Code::PrdInvalidPriority, message);
    }
    let poor = poor(&document);
    match prd::from_json(&Value::Object(document)) {
        Err(problem) => {
            report(Code::InvalidPrd, format!("prd.json is invalid: {problem}"));
            Stories::Unknown
        }
        Ok(prd) => {
            if !poor.is_empty() {
                let message = format!("prd.json story quality issues: {}", shortened(&poor, "; "));
                report(Code::PoorStoryQuality, message);
            }
            Stories::Pending(prd.pending())
        }
    }
}

/// Fixes everything in a file that can be fixed. Returns what was done about each finding.
pub(super) fn fix(host: Host<'_>, file: &FileFix<'_>) -> Result<(Edit, Vec<String>), String> {
    let id = file.item();
    let document = prd::document(host, id).map_err(|problem| problem.to_string())?;
    let Value::Object(mut document) = document else {
        return Err("prd.json has been replaced meanwhile, and is not an object".to_owned());
    };
    let codes = || file.findings.iter().map(|finding| finding.code);
    let has = |code: Code| codes().any(|other| other == code);
    if has(Code::PrdMissingId) && is_blank(document.get("id")) {
        set(&mut document, "id", json!(id));
    }
    if has(Code::PrdMissingBranchName) && is_blank(document.get("branch_name")) {
        let name = branch_name(&document, id);
        set(&mut document, "branch_name", json!(name));
    }
    if has(Code::PrdInvalidPriority) {
        clamp_priorities(&mut document);
    }
    let done = codes().map(|code| done(code).to_owned()).collect();
    Ok((Edit::Replace(json::pretty(&document)), done))
}

fn done(code: Code) -> &'static str {
    match code {
        Code::PrdMissingId => "Added missing field 'id'",
        Code::PrdMissingBranchName => "Added missing field 'branch_name'",
        _ => "Clamped priorities to [1, 4] range",
    }
}

fn is_blank(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(_) => false,
    }
}

/// The name of the branch: after the id of the document, or that of the item if the document has none.
fn branch_name(document: &Map<String, Value>, item: &str) -> String {
    format!("wreckit/{}", document.get("id").and_then(Value::as_str).unwrap_or(item))
}

/// Sets a field, which stays where it is, or is added at its usual position.
fn set(document: &mut Map<String, Value>, key: &str, value: Value) {
    if let Some(field) = document.get_mut(key) {
        *field = value;
        return;
    }
    let before = ["schema_version", "id"];
    let position = document.keys().take_while(|key| before.contains(&key.as_str())).count();
    document.shift_insert(position, key.to_owned(), value);
}

fn stories(document: &Map<String, Value>) -> impl Iterator<Item = &Value> {
    document.get("user_stories").and_then(Value::as_array).into_iter().flatten()
}

/// `"US-1" has 7`, if the priority of a story is not valid.
fn priority_outside(story: &Value) -> Option<String> {
    let priority = story.get("priority")?;
    let outside = priority.as_f64().is_some_and(|number| !PRIORITIES.contains(&number));
    outside.then(|| format!("{} has {priority}", name(story)))
}

fn clamp_priorities(document: &mut Map<String, Value>) {
    let stories = document.get_mut("user_stories").and_then(Value::as_array_mut);
    for priority in stories.into_iter().flatten().filter_map(|story| story.get_mut("priority")) {
        match priority.as_f64() {
            Some(number) if number < *PRIORITIES.start() => *priority = json!(1),
            Some(number) if number > *PRIORITIES.end() => *priority = json!(4),
            _ => {}
        }
    }
}

/// What is poor about the stories of a valid document.
fn poor(document: &Map<String, Value>) -> Vec<String> {
    let mut issues = Vec::new();
    match stories(document).count() {
        0 => issues.push("there are no stories".to_owned()),
        count if count > MAX_STORIES => {
            issues.push(format!("there are {count} stories, more than {MAX_STORIES}"));
        }
        _ => {}
    }
    for story in stories(document) {
        let text = |key: &str| story.get(key).and_then(Value::as_str).unwrap_or_default();
        let mut wrong = Vec::new();
        if !is_story_id(text("id")) {
            wrong.push("its id is not of the form US-1 or US-012-3".to_owned());
        }
        if text("title").trim().is_empty() {
            wrong.push("it has no title".to_owned());
        }
        let criteria = story.get("acceptance_criteria").and_then(json::strings).unwrap_or_default();
        let filled = criteria.iter().filter(|criterion| !criterion.trim().is_empty()).count();
        if filled < MIN_CRITERIA {
            wrong.push(format!("it has fewer than {MIN_CRITERIA} acceptance criteria"));
        }
        if priority_outside(story).is_some() {
            wrong.push("its priority is not between 1 and 4".to_owned());
        }
        if !wrong.is_empty() {
            issues.push(format!("story {}: {}", name(story), wrong.join(", ")));
        }
    }
    issues
}

/// `^US-(\d+|\d{3}-\d+)$`, the format of the existing tool.
fn is_story_id(id: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match id.strip_prefix("US-").map(|rest| rest.split_once('-').ok_or(rest)) {
        Some(Err(number)) => is_number(number),
        Some(Ok((item, number))) => item.len() == 3 && is_number(item) && is_number(number),
        None => false,
    }
}

/// The name of a story in a message.
fn name(story: &Value) -> String {
    match story.get("id") {
        Some(Value::String(id)) => format!("{id:?}"),
        _ => "without an id".to_owned(),
    }
}

fn shortened(issues: &[String], separator: &str) -> String {
    let shown = issues[..issues.len().min(NAMED)].join(separator);
    match issues.len() - issues.len().min(NAMED) {
        0 => shown,
        more => format!("{shown}{separator}and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_stories() {
        for id in ["US-1", "US-001", "US-073-1", "US-999-999"] {
            assert!(is_story_id(id), "{id}");
        }
        for id in ["", "US-", "us-1", "US-1-1", "US-0731-1", "US-073-", "US-a", "XUS-1", "US-1 "] {
            assert!(!is_story_id(id), "{id}");
        }
    }
}
