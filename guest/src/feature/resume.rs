//! Everything that a fresh session needs to go on with a feature.

use serde_json::{Map, Value, json};

use super::document::{COMPLETE, Document, PhaseStatus, status_of};
use super::store::read;
use super::{FeatureError, abort, moves};
use crate::capabilities::FsError;
use crate::tree::Tree;

/// More of a document is not told: what is longer is named.
const LONGEST: u64 = 256 << 10;

/// Tells how to go on, as JSON: `feature_id`, `feature_name`, `current_phase`, `status`,
/// `last_completed_phase`, `artifacts`, `todo`, `next`, `worktree`, `feedback_loop`.
pub fn resume(tree: Tree<'_>, feature: &str) -> Result<Value, FeatureError> {
    let (id, document) = read(tree, feature)?;
    let next = next(&document)?;
    let last = document.phases().filter(|(_, phase)| status_of(phase) == PhaseStatus::Complete);
    let todo: Vec<Value> = document
        .phases()
        .filter(|(_, phase)| status_of(phase) != PhaseStatus::Complete)
        .map(|(name, phase)| {
            json!({
                "phase": name,
                "status": phase.get("status"),
                "reason": phase.get("reason"),
            })
        })
        .collect();
    Ok(json!({
        "feature_id": id,
        "feature_name": document.text("feature_name"),
        "current_phase": document.text("current_phase"),
        "status": document.text("status"),
        "last_completed_phase": last.last().map(|(name, _)| name),
        "artifacts": artifacts(tree, &document),
        "todo": todo,
        "next": next,
        "worktree": document.part("worktree"),
        "feedback_loop": document.part("feedback_loop").map(shortened),
    }))
}

/// What to do now: the phase, and the move that begins or ends it.
fn next(document: &Document) -> Result<Value, FeatureError> {
    let illegal = |message: &str| FeatureError::Illegal {
        message: message.to_owned(),
        legal: moves::legal(document),
    };
    if document.is_aborted() {
        let phase = abort::resumable_phase(document)
            .ok_or_else(|| illegal("the feature was aborted and cannot go on"))?;
        return Ok(json!({"phase": phase, "move": "start"}));
    }
    if let Some(phase) = document.in_status(&PhaseStatus::InProgress).first() {
        return Ok(json!({"phase": phase, "move": "complete"}));
    }
    let current = document.text("current_phase");
    let is_open = document.phase_status(current).is_some_and(|it| it != PhaseStatus::Complete);
    let phase = Some(current).filter(|_| is_open).or_else(|| document.next_phase());
    match phase {
        Some(phase) => Ok(json!({"phase": phase, "move": "start"})),
        None => Err(illegal(&format!("the feature is {COMPLETE}: there is nothing to go on with"))),
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

/// Every artifact with its content, or with why there is none.
fn artifacts(tree: Tree<'_>, document: &Document) -> Vec<Value> {
    let artifacts = document.part("artifacts").into_iter().flatten();
    artifacts
        .map(|(name, path)| {
            let (state, content) = match path.as_str() {
                None => ("invalid", None),
                Some(path) => look(tree, name, path),
            };
            let mut artifact = json!({"name": name, "path": path, "state": state});
            if let Some(content) = content {
                artifact["content"] = json!(content);
            }
            artifact
        })
        .collect()
}

/// One outside of the features' directory is named, not read.
fn look(tree: Tree<'_>, name: &str, path: &str) -> (&'static str, Option<String>) {
    let Some(inside) = own_path(tree, path) else { return ("outside", None) };
    // The document itself is what is being told.
    let limit = if name == "progress" { 0 } else { LONGEST };
    match tree.read(inside, limit) {
        Ok(bytes) => ("present", Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(FsError::TooLarge(_)) => ("present", None),
        Err(FsError::NotFound) => ("missing", None),
        Err(FsError::Outside) => ("outside", None),
        Err(_) => ("unreadable", None),
    }
}

/// A path from the repository's root, from here; `None` if it leads elsewhere.
pub(super) fn own_path<'p>(tree: Tree<'_>, path: &'p str) -> Option<&'p str> {
    let path = path.strip_prefix("./").unwrap_or(path).strip_prefix(tree.place().prefix)?;
    (!path.split('/').any(|name| matches!(name, ".." | "." | ""))).then_some(path)
}
