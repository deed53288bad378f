//! Aborting a feature, and reopening it.

use serde_json::{Value, json};

use super::document::{Document, PhaseStatus};
use super::legal;
use super::store::{change, lock_run, locked, open, progress_file, snapshot};
use crate::bindings::exports::wreckit::batch::feature::{
    AbortPlan, AbortReason, Cleanup, FeatureError, Snapshot, WorktreeAction,
};
use crate::io::capabilities::Kind;
use crate::io::host::{Failure, Host};
use crate::io::lock;

impl AbortReason {
    /// Its name in the file.
    fn name(self) -> &'static str {
        match self {
            AbortReason::UserRequest => "user_request",
            AbortReason::RepeatedEscalations => "repeated_escalations",
            AbortReason::CriticalSecurity => "critical_security",
            AbortReason::UnrecoverableError => "unrecoverable_error",
            AbortReason::CostExceeded => "cost_exceeded",
        }
    }
}

impl Cleanup {
    /// Its name in the file.
    fn name(self) -> &'static str {
        match self {
            Cleanup::KeepEverything => "keep_everything",
            Cleanup::KeepArtifacts => "keep_artifacts",
            Cleanup::Rollback => "rollback",
            Cleanup::FullCleanup => "full_cleanup",
        }
    }
}

/// `abort_info` of a new feature.
pub(super) fn initial() -> Value {
    json!({
        "aborted": false,
        "abort_reason": null,
        "abort_phase": null,
        "abort_timestamp": null,
        "cleanup_choice": null,
        "cleanup_performed": false,
        "can_resume": false,
        "pre_abort_commit": null,
    })
}

/// What an abort would do, or why it would be refused. Changes nothing.
pub fn plan_abort(
    host: Host<'_>,
    feature: &str,
    cleanup: Cleanup,
) -> Result<AbortPlan, FeatureError> {
    let (id, document) = open(host, feature)?;
    let action = check(&document, cleanup)?;
    Ok(AbortPlan {
        id,
        worktree: document.worktree(),
        action,
        removes_directory: cleanup == Cleanup::FullCleanup,
        can_reopen: cleanup == Cleanup::KeepEverything,
    })
}

/// Aborts a feature. `commit` is the current commit of its worktree. The embedder then carries out the cleanup, and
/// records that with [`confirm_cleanup`]. An abort whose cleanup failed can be repeated.
pub fn abort(
    host: Host<'_>,
    feature: &str,
    reason: AbortReason,
    cleanup: Cleanup,
    commit: Option<&str>,
) -> Result<Snapshot, FeatureError> {
    // No agent may work where files are removed. The lock is released by `confirm_cleanup`, or ends with the
    // instance.
    let is_exclusive = cleanup != Cleanup::KeepEverything;
    if is_exclusive {
        lock_run(host)?;
    }
    let aborted = record(host, feature, reason, cleanup, commit);
    if is_exclusive && aborted.is_err() {
        lock::release(host)?;
    }
    aborted
}

fn record(
    host: Host<'_>,
    feature: &str,
    reason: AbortReason,
    cleanup: Cleanup,
    commit: Option<&str>,
) -> Result<Snapshot, FeatureError> {
    let now = host.now();
    change(host, feature, |document| {
        check(document, cleanup)?;
        let is_repeated = document.is_aborted();
        let phase = document
            .in_status(&PhaseStatus::InProgress)
            .first()
            .map_or(document.text("current_phase"), |phase| *phase)
            .to_owned();
        let info = document.part_mut("abort_info")?;
        info.insert("aborted".to_owned(), json!(true));
        info.insert("abort_reason".to_owned(), json!(reason.name()));
        if !is_repeated {
            info.insert("abort_phase".to_owned(), json!(phase));
            info.insert("abort_timestamp".to_owned(), json!(now.to_string()));
            info.insert("pre_abort_commit".to_owned(), json!(commit));
        }
        info.insert("cleanup_choice".to_owned(), json!(cleanup.name()));
        // Keeping everything needs no cleanup.
        let keeps = cleanup == Cleanup::KeepEverything;
        info.insert("cleanup_performed".to_owned(), json!(keeps));
        info.insert("can_resume".to_owned(), json!(keeps));
        if !is_repeated && let Some(fields) = document.phase_mut(&phase) {
            fields.insert("status".to_owned(), json!(PhaseStatus::Aborted.name()));
        }
        document.set("status", PhaseStatus::Aborted.name());
        Ok(format!("aborted at {phase} ({}, {})", reason.name(), cleanup.name()))
    })
}

/// Refuses an abort that is not legal. Returns what must be done with the worktree.
fn check(document: &Document, cleanup: Cleanup) -> Result<WorktreeAction, FeatureError> {
    let illegal = |message: String| Err(legal::illegal(document, message));
    if document.status() == PhaseStatus::Complete {
        return illegal("the feature is complete: there is nothing to abort".to_owned());
    }
    if document.is_aborted() {
        let info = document.part("abort_info");
        let is_done = info.and_then(|info| info.get("cleanup_performed")) != Some(&json!(false));
        let choice = info.and_then(|info| info.get("cleanup_choice")).and_then(Value::as_str);
        if is_done {
            return illegal("the feature has already been aborted".to_owned());
        }
        if choice != Some(cleanup.name()) {
            return illegal(match choice {
                Some(choice) => format!(
                    "the feature was aborted with the cleanup {choice}, which is not finished: only that can be repeated"
                ),
                None => "the feature was aborted, and its document does not say with which cleanup"
                    .to_owned(),
            });
        }
    }
    let worktree = document.worktree();
    match (cleanup, worktree) {
        (Cleanup::KeepEverything, _) => Ok(WorktreeAction::None),
        (Cleanup::Rollback, worktree) => match worktree.and_then(|worktree| worktree.commit) {
            Some(commit) => Ok(WorktreeAction::Reset(commit)),
            None => illegal(
                "nothing to roll back to: the feature has no worktree with a `pre_feature_commit`"
                    .to_owned(),
            ),
        },
        (Cleanup::KeepArtifacts | Cleanup::FullCleanup, Some(_)) => Ok(WorktreeAction::Remove),
        (Cleanup::KeepArtifacts | Cleanup::FullCleanup, None) => Ok(WorktreeAction::None),
    }
}

/// Records that the cleanup of an abort was carried out. With `full_cleanup`, removes the feature's directory
/// instead.
pub fn confirm_cleanup(host: Host<'_>, feature: &str) -> Result<Snapshot, FeatureError> {
    let confirmed = confirm(host, feature);
    lock::release(host)?;
    confirmed
}

fn confirm(host: Host<'_>, feature: &str) -> Result<Snapshot, FeatureError> {
    let (id, document) = open(host, feature)?;
    if !document.is_aborted() {
        let message = "the feature was not aborted: there is nothing to clean up";
        return Err(legal::illegal(&document, message));
    }
    if requires_removal(&document) {
        return locked(host, || {
            remove_directory(host, &id)?;
            Ok(snapshot(id, "removed, with every document".to_owned(), &document))
        });
    }
    change(host, &id, |document| {
        document.part_mut("abort_info")?.insert("cleanup_performed".to_owned(), json!(true));
        Ok("cleaned up".to_owned())
    })
}

/// Whether a feature was aborted with `full_cleanup`. Its directory is removed then: while it exists, the cleanup is
/// not finished.
pub(crate) fn requires_removal(document: &Document) -> bool {
    let choice = document.part("abort_info").and_then(|info| info.get("cleanup_choice"));
    document.is_aborted() && choice == Some(&json!(Cleanup::FullCleanup.name()))
}

/// Removes the directory of a feature. The document goes last, when everything else is durably removed: until then
/// it says that the cleanup is not finished.
fn remove_directory(host: Host<'_>, id: &str) -> Result<(), Failure> {
    if host.stat(id)?.is_some_and(|found| found.kind == Kind::Directory) {
        let last = progress_file(id);
        for entry in host.list(id)? {
            let path = format!("{id}/{}", entry.name);
            if path != last {
                host.remove_tree(&path)?;
            }
        }
    }
    host.remove_tree(id)
}

/// Reopens an aborted feature. What is known of the abort stays in the document. Returns whether it was aborted.
pub(super) fn reopen(document: &mut Document) -> Result<bool, FeatureError> {
    if !document.is_aborted() {
        return Ok(false);
    }
    let info = document.part_mut("abort_info")?;
    info.insert("aborted".to_owned(), json!(false));
    info.insert("can_resume".to_owned(), json!(false));
    Ok(true)
}
