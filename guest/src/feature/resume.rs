//! Everything that a new session needs to continue a feature.

use serde_json::{Map, Value, json};

use super::document::{Document, PhaseStatus, status_of};
use super::store::open;
use super::{approval, legal, text};
use crate::bindings::exports::wreckit::batch::feature::{FeatureError, View};
use crate::io::capabilities::FsError;
use crate::io::host::Host;

/// Maximum size of an artifact whose content is part of the view, in bytes.
const LIMIT: u64 = 256 << 10;
/// The usual names of the documents of phases, besides `architecture*.md`.
const DOCUMENTS: [&str; 4] =
    ["design.md", "frontend-discovery.md", "backend-discovery.md", "plan.md"];

/// What a new session needs to continue. As JSON: `feature_id`, `feature_name`, `current_phase`, `status`,
/// `last_completed_phase`, `done`, `artifacts`, `todo`, `next`, `worktree`, `feedback_loop`.
pub fn resume(host: Host<'_>, feature: &str) -> Result<View, FeatureError> {
    let view = view(host, feature)?;
    Ok(View { text: text::resume(&view), json: format!("{view:#}\n") })
}

fn view(host: Host<'_>, feature: &str) -> Result<Value, FeatureError> {
    let (id, document) = open(host, feature)?;
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

/// The next step: a phase and the move to make, or `approve` if a person must approve the phase first.
fn next(document: &Document) -> Result<Value, FeatureError> {
    let illegal = |message: &str| legal::illegal(document, message);
    if document.is_aborted() {
        let phase = document
            .resumable_phase()
            .ok_or_else(|| illegal("the feature was aborted and cannot be reopened"))?;
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
        None => Err(illegal(
            "the feature is complete: there is nothing to continue; see `feature summary`",
        )),
    }
}

/// The feedback loop with only its last iteration.
fn shortened(feedback: &Map<String, Value>) -> Value {
    let mut feedback = feedback.clone();
    let last = feedback.get("iterations").and_then(Value::as_array).and_then(|all| all.last());
    let last: Vec<Value> = last.cloned().into_iter().collect();
    feedback.insert("iterations".to_owned(), json!(last));
    Value::Object(feedback)
}

/// Every artifact with its content, or with the reason why it has none. Includes documents that exist under their
/// usual names without being listed as artifacts.
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
                Some(path) => examine(host, name, path),
            };
            let mut artifact = json!({"name": name, "path": path, "state": state});
            if let Some(content) = content {
                artifact["content"] = json!(content);
            }
            artifact
        })
        .collect()
}

/// The documents of a feature that exist under their usual names.
fn documents(host: Host<'_>, id: &str) -> Vec<String> {
    let entries = host.list(id).unwrap_or_default();
    let is_usual = |name: &str| {
        DOCUMENTS.contains(&name) || (name.starts_with("architecture") && name.ends_with(".md"))
    };
    entries.into_iter().map(|entry| entry.name).filter(|name| is_usual(name)).collect()
}

/// The state of an artifact, and its content. One outside the directory of features is not read.
fn examine(host: Host<'_>, name: &str, path: &str) -> (&'static str, Option<String>) {
    let Some(inside) = own_path(host, path) else { return ("outside", None) };
    // The document itself is what the view describes.
    let limit = if name == "progress" { 0 } else { LIMIT };
    match host.read(inside, limit) {
        Ok(bytes) => ("present", Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(FsError::TooLarge(_)) => ("present", None),
        Err(FsError::NotFound) => ("missing", None),
        Err(FsError::Outside) => ("outside", None),
        Err(_) => ("unreadable", None),
    }
}

/// A path relative to the root of the repository as one relative to the root of the instance; `None` if it is outside.
pub(crate) fn own_path<'p>(host: Host<'_>, path: &'p str) -> Option<&'p str> {
    let path = path.strip_prefix("./").unwrap_or(path).strip_prefix(host.layout().prefix)?;
    (!path.split('/').any(|name| matches!(name, ".." | "." | ""))).then_some(path)
}
