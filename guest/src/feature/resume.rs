//! Everything that a fresh session needs to go on with a feature.

use serde_json::{Map, Value, json};

use super::document::{COMPLETE, Document, PhaseStatus, status_of};
use super::store::read;
use super::{FeatureError, approval, legal};
use crate::io::capabilities::FsError;
use crate::io::host::Host;

/// More of a document is not told: what is longer is named.
const LONGEST: u64 = 256 << 10;
/// What phases leave; `architecture*.md` beside them.
const DOCUMENTS: [&str; 4] =
    ["design.md", "frontend-discovery.md", "backend-discovery.md", "plan.md"];

/// Tells how to go on, as JSON: `feature_id`, `feature_name`, `current_phase`, `status`,
/// `last_completed_phase`, `done`, `artifacts`, `todo`, `next`, `worktree`, `feedback_loop`.
pub fn resume(host: Host<'_>, feature: &str) -> Result<Value, FeatureError> {
    let (id, document) = read(host, feature)?;
    let next = next(&document)?;
    let is_complete = |phase: &Map<String, Value>| status_of(phase) == PhaseStatus::Complete;
    let done: Vec<Value> = document
        .phases()
        .filter(|(_, phase)| is_complete(phase))
        .map(|(name, phase)| {
            json!({
                "phase": name,
                "completed_at": phase.get("completed_at"),
                "duration_minutes": phase.get("duration_minutes"),
                "decisions": phase.get("decisions"),
            })
        })
        .collect();
    let todo: Vec<Value> = document
        .phases()
        .filter(|(_, phase)| !is_complete(phase))
        .map(|(name, phase)| {
            json!({
                "phase": name,
                "status": phase.get("status"),
                "reason": phase.get("reason"),
                "decisions": phase.get("decisions"),
            })
        })
        .collect();
    Ok(json!({
        "feature_id": id,
        "feature_name": document.text("feature_name"),
        "current_phase": document.text("current_phase"),
        "status": document.text("status"),
        "last_completed_phase": done.last().map(|phase| &phase["phase"]),
        "done": done,
        "artifacts": artifacts(host, &id, &document),
        "todo": todo,
        "next": next,
        "worktree": document.part("worktree"),
        "feedback_loop": document.part("feedback_loop").map(shortened),
    }))
}

/// What to do now: the phase, and the move that begins or ends it, or `approve` where a person has to
/// look first.
fn next(document: &Document) -> Result<Value, FeatureError> {
    let illegal = |message: &str| legal::illegal(document, message);
    if document.is_aborted() {
        let phase = document
            .resumable_phase()
            .ok_or_else(|| illegal("the feature was aborted and cannot go on"))?;
        return Ok(json!({"phase": phase, "move": "start"}));
    }
    if let Some(phase) = document.in_status(&PhaseStatus::InProgress).first() {
        return Ok(json!({"phase": phase, "move": "complete"}));
    }
    let current = document.text("current_phase");
    let is_open = document.phase_status(current).is_some_and(|it| it != PhaseStatus::Complete);
    let phase = Some(current).filter(|_| is_open).or_else(|| document.next_phase());
    let awaits = |phase: &&str| document.phase(phase).is_some_and(approval::is_awaited);
    match phase {
        Some(phase) if awaits(&phase) => Ok(json!({"phase": phase, "move": "approve"})),
        Some(phase) => Ok(json!({"phase": phase, "move": "start"})),
        None => Err(illegal(&format!(
            "the feature is {COMPLETE}: there is nothing to go on with; `feature summary` tells what it took"
        ))),
    }
}

/// The loop without the rounds but the last one.
fn shortened(feedback: &Map<String, Value>) -> Value {
    let mut feedback = feedback.clone();
    let last = feedback.get("iterations").and_then(Value::as_array).and_then(|all| all.last());
    let last: Vec<Value> = last.cloned().into_iter().collect();
    feedback.insert("iterations".to_owned(), json!(last));
    Value::Object(feedback)
}

/// Every artifact with its content, or with why there is none; also documents that stand where they
/// should and that nobody has named.
fn artifacts(host: Host<'_>, id: &str, document: &Document) -> Vec<Value> {
    let named: Vec<(String, Value)> = document
        .part("artifacts")
        .into_iter()
        .flatten()
        .map(|(name, path)| (name.clone(), path.clone()))
        .collect();
    let is_named = |path: &str| {
        let mut paths = named.iter().filter_map(|(_, named)| named.as_str());
        paths.any(|named| own_path(host, named) == Some(path))
    };
    let unnamed: Vec<(String, Value)> = documents(host, id)
        .into_iter()
        .filter(|file| !is_named(&format!("{id}/{file}")))
        .map(|file| {
            let name = file.trim_end_matches(".md").to_owned();
            (name, json!(format!("{}{id}/{file}", host.layout().prefix)))
        })
        .collect();
    named
        .iter()
        .chain(&unnamed)
        .map(|(name, path)| {
            let (state, content) = match path.as_str() {
                None => ("invalid", None),
                Some(path) => look(host, name, path),
            };
            let mut artifact = json!({"name": name, "path": path, "state": state});
            if let Some(content) = content {
                artifact["content"] = json!(content);
            }
            artifact
        })
        .collect()
}

/// The documents of a feature by their usual names: `design.md`, …
fn documents(host: Host<'_>, id: &str) -> Vec<String> {
    let entries = host.list(id).unwrap_or_default();
    let is_usual = |name: &str| {
        DOCUMENTS.contains(&name) || (name.starts_with("architecture") && name.ends_with(".md"))
    };
    entries.into_iter().map(|entry| entry.name).filter(|name| is_usual(name)).collect()
}

/// One outside of the features' directory is named, not read.
fn look(host: Host<'_>, name: &str, path: &str) -> (&'static str, Option<String>) {
    let Some(inside) = own_path(host, path) else { return ("outside", None) };
    // The document itself is what is being told.
    let limit = if name == "progress" { 0 } else { LONGEST };
    match host.read(inside, limit) {
        Ok(bytes) => ("present", Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(FsError::TooLarge(_)) => ("present", None),
        Err(FsError::NotFound) => ("missing", None),
        Err(FsError::Outside) => ("outside", None),
        Err(_) => ("unreadable", None),
    }
}

/// A path from the repository's root, from here; `None` if it leads elsewhere.
pub(super) fn own_path<'p>(host: Host<'_>, path: &'p str) -> Option<&'p str> {
    let path = path.strip_prefix("./").unwrap_or(path).strip_prefix(host.layout().prefix)?;
    (!path.split('/').any(|name| matches!(name, ".." | "." | ""))).then_some(path)
}
