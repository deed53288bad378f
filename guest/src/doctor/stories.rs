//! What is wrong with an item's `prd.json`: INVALID_PRD, PRD_MISSING_ID, PRD_MISSING_BRANCH_NAME,
//! PRD_INVALID_PRIORITY and POOR_STORY_QUALITY.

use serde_json::{Map, Value, json};

use super::finding::{Code, Diagnostic};
use crate::formats::json;
use crate::formats::layout;
use crate::formats::prd;
use crate::io::host::Host;

/// A `prd.json` with more stories than this is too large for one item.
const MOST_STORIES: usize = 15;
/// A story needs so many acceptance criteria.
const LEAST_CRITERIA: usize = 2;
/// From the most to the least urgent.
const PRIORITIES: std::ops::RangeInclusive<f64> = 1.0..=4.0;
/// So many stories are named in a message.
const NAMED: usize = 5;

/// What an item's stories come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stories {
    /// There is no file.
    Missing,
    /// Nobody can tell: the file cannot be used.
    Unknown,
    /// So many are to be done.
    Pending(usize),
}

/// Looks at the stories of an item.
pub(super) fn examine(host: Host<'_>, id: &str, found: &mut Vec<Diagnostic>) -> Stories {
    let mut report = |diagnostic: Diagnostic| {
        found.push(diagnostic.of(id).at(layout::prd_file(id)));
    };
    let document = match prd::document(host, id) {
        Ok(Value::Object(document)) => document,
        Ok(_) => {
            let message = "prd.json is invalid: the document must be an object";
            report(Diagnostic::new(Code::InvalidPrd, message));
            return Stories::Unknown;
        }
        Err(prd::Unusable::Missing) => return Stories::Missing,
        Err(prd::Unusable::Unreadable(error)) => {
            let message = format!("Cannot read prd.json: {error}");
            report(Diagnostic::new(Code::ArtifactUnreadable, message));
            return Stories::Unknown;
        }
        Err(problem @ prd::Unusable::Invalid(_)) => {
            report(Diagnostic::new(Code::InvalidPrd, problem.to_string()));
            return Stories::Unknown;
        }
    };
    if is_blank(document.get("id")) {
        report(Diagnostic::new(Code::PrdMissingId, "prd.json missing required 'id' field"));
        return Stories::Unknown;
    }
    let mut document = document;
    if is_blank(document.get("branch_name")) {
        report(Diagnostic::new(
            Code::PrdMissingBranchName,
            "prd.json missing required 'branch_name' field",
        ));
        // Said once is enough.
        document.insert("branch_name".to_owned(), json!(""));
    }
    let outside: Vec<String> = stories(&document).filter_map(priority_outside).collect();
    if !outside.is_empty() {
        let message = format!(
            "{} stories have priority outside [1, 4] range: {}",
            outside.len(),
            shortened(&outside, ", ")
        );
        report(Diagnostic::new(Code::PrdInvalidPriority, message));
    }
    match prd::from_json(&Value::Object(document.clone())) {
        Err(problem) => {
            let message = format!("prd.json is invalid: {problem}");
            report(Diagnostic::new(Code::InvalidPrd, message));
            Stories::Unknown
        }
        Ok(prd) => {
            let poor = poor(&document);
            if !poor.is_empty() {
                let message = format!("prd.json story quality issues: {}", shortened(&poor, "; "));
                report(Diagnostic::new(Code::PoorStoryQuality, message));
            }
            Stories::Pending(prd.pending())
        }
    }
}

/// The file without what these findings are about.
pub(super) fn mend(host: Host<'_>, id: &str, codes: &[Code]) -> Result<Vec<u8>, String> {
    let document = prd::document(host, id).map_err(|problem| problem.to_string())?;
    let Value::Object(mut document) = document else {
        return Err("prd.json is no object any more".to_owned());
    };
    if codes.contains(&Code::PrdMissingId) && is_blank(document.get("id")) {
        put(&mut document, "id", json!(id));
    }
    if codes.contains(&Code::PrdMissingBranchName) && is_blank(document.get("branch_name")) {
        let name = branch_name(&document, id);
        put(&mut document, "branch_name", json!(name));
    }
    if codes.contains(&Code::PrdInvalidPriority) {
        clamp_priorities(&mut document);
    }
    Ok(json::pretty(&document))
}

/// What was done about a finding of this kind.
pub(super) fn done(code: Code) -> &'static str {
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

/// That of the document's own id; if that is none, of the item's.
fn branch_name(document: &Map<String, Value>, item: &str) -> String {
    format!("wreckit/{}", document.get("id").and_then(Value::as_str).unwrap_or(item))
}

/// A field where it stands, or in its usual place.
fn put(document: &mut Map<String, Value>, key: &str, value: Value) {
    if let Some(there) = document.get_mut(key) {
        *there = value;
        return;
    }
    let before = ["schema_version", "id"];
    let place = document.keys().take_while(|key| before.contains(&key.as_str())).count();
    document.shift_insert(place, key.to_owned(), value);
}

fn stories(document: &Map<String, Value>) -> impl Iterator<Item = &Value> {
    document.get("user_stories").and_then(Value::as_array).into_iter().flatten()
}

/// `US-1 has 7`, for a priority that is none.
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

/// What makes stories poor, of a valid document.
fn poor(document: &Map<String, Value>) -> Vec<String> {
    let mut issues = Vec::new();
    match stories(document).count() {
        0 => issues.push("there are no stories".to_owned()),
        count if count > MOST_STORIES => {
            issues.push(format!("there are {count} stories, at most {MOST_STORIES} are good"));
        }
        _ => {}
    }
    for story in stories(document) {
        let text = |key: &str| story.get(key).and_then(Value::as_str).unwrap_or_default();
        let mut wrong = Vec::new();
        if !is_story_id(text("id")) {
            wrong.push("its id is not like US-1 or US-012-3".to_owned());
        }
        if text("title").trim().is_empty() {
            wrong.push("it has no title".to_owned());
        }
        let criteria = story.get("acceptance_criteria").and_then(json::strings).unwrap_or_default();
        let filled = criteria.iter().filter(|criterion| !criterion.trim().is_empty()).count();
        if filled < LEAST_CRITERIA {
            wrong.push(format!(
                "it has {filled} acceptance criteria, at least {LEAST_CRITERIA} are needed"
            ));
        }
        if priority_outside(story).is_some() {
            wrong.push("its priority is not from 1 to 4".to_owned());
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

/// A story in a message.
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
