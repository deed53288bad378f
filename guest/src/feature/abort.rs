//! Giving a feature up, and reopening it.

use serde_json::{Value, json};

use super::document::{Document, PhaseStatus};
use super::store::{change, lock_run, locked, read, text};
use super::{Changed, FeatureError, legal};
use crate::io::capabilities::Kind;
use crate::io::host::{Failure, Host};
use crate::io::lock;
use crate::io::time::Timestamp;

/// Why a feature is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Reason {
    UserRequest,
    RepeatedEscalations,
    CriticalSecurity,
    UnrecoverableError,
    CostExceeded,
}

impl Reason {
    /// As in the file.
    pub fn name(self) -> &'static str {
        match self {
            Reason::UserRequest => "user_request",
            Reason::RepeatedEscalations => "repeated_escalations",
            Reason::CriticalSecurity => "critical_security",
            Reason::UnrecoverableError => "unrecoverable_error",
            Reason::CostExceeded => "cost_exceeded",
        }
    }
}

/// What becomes of what there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleanup {
    /// Everything stays, and the feature can be reopened.
    KeepEverything,
    /// The worktree is removed, the feature's documents stay.
    KeepArtifacts,
    /// The worktree goes back to the commit before the feature.
    Rollback,
    /// The worktree and the feature's directory are removed.
    FullCleanup,
}

impl Cleanup {
    /// As in the file.
    pub fn name(self) -> &'static str {
        match self {
            Cleanup::KeepEverything => "keep_everything",
            Cleanup::KeepArtifacts => "keep_artifacts",
            Cleanup::Rollback => "rollback",
            Cleanup::FullCleanup => "full_cleanup",
        }
    }
}

/// A feature that was not aborted.
pub(super) fn nothing() -> Value {
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

/// Gives a feature up. `commit` is where its worktree stands now. The caller then cleans up as was
/// chosen, and says so by [`cleaned`]; an abort whose cleanup did not succeed may be repeated.
pub fn abort(
    host: Host<'_>,
    feature: &str,
    reason: Reason,
    cleanup: Cleanup,
    commit: Option<&str>,
) -> Result<Changed, FeatureError> {
    let now = host.now();
    // What is removed is removed under no agent: the lock is given back by `cleaned`, or with the
    // instance.
    let is_exclusive = cleanup != Cleanup::KeepEverything;
    if is_exclusive {
        lock_run(host, false)?;
    }
    let changed = record(host, feature, reason, cleanup, commit, now);
    if is_exclusive && changed.is_err() {
        lock::release(host)?;
    }
    changed
}

fn record(
    host: Host<'_>,
    feature: &str,
    reason: Reason,
    cleanup: Cleanup,
    commit: Option<&str>,
    now: Timestamp,
) -> Result<Changed, FeatureError> {
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
        let keeps = cleanup == Cleanup::KeepEverything;
        // Nothing is to be done then, and so it is done.
        info.insert("cleanup_performed".to_owned(), json!(keeps));
        info.insert("can_resume".to_owned(), json!(keeps));
        if !is_repeated && let Some(fields) = document.phase_mut(&phase) {
            fields.insert("status".to_owned(), json!(PhaseStatus::Aborted.name()));
        }
        document.set("status", PhaseStatus::Aborted.name());
        Ok(format!("aborted at {phase} ({}, {})", reason.name(), cleanup.name()))
    })
}

fn check(document: &Document, cleanup: Cleanup) -> Result<(), FeatureError> {
    let illegal = |message: String| Err(legal::illegal(document, message));
    if document.status() == PhaseStatus::Complete {
        return illegal("the feature is complete: there is nothing to abort".to_owned());
    }
    if document.is_aborted() {
        let info = document.part("abort_info");
        let is_done = info.and_then(|info| info.get("cleanup_performed")) != Some(&json!(false));
        let choice = info.and_then(|info| info.get("cleanup_choice")).and_then(Value::as_str);
        if is_done {
            return illegal("the feature was aborted before".to_owned());
        }
        if choice != Some(cleanup.name()) {
            return illegal(format!(
                "the feature was aborted before with the cleanup {}: only that can be repeated",
                choice.unwrap_or("of nobody")
            ));
        }
    }
    let worktree = document.part("worktree");
    let commit = worktree.and_then(|it| it.get("pre_feature_commit")).and_then(Value::as_str);
    if cleanup == Cleanup::Rollback && commit.is_none() {
        return illegal(
            "there is nothing to roll back to: the feature has no worktree with a `pre_feature_commit`"
                .to_owned(),
        );
    }
    Ok(())
}

/// Records that the cleanup of an abort was carried out. With `full_cleanup` the feature's directory
/// is removed: there is nothing left to record it in.
pub fn cleaned(host: Host<'_>, feature: &str) -> Result<Changed, FeatureError> {
    let cleaned = clean(host, feature);
    lock::release(host)?;
    cleaned
}

fn clean(host: Host<'_>, feature: &str) -> Result<Changed, FeatureError> {
    let (id, document) = read(host, feature)?;
    if !document.is_aborted() {
        let message = "the feature was not aborted: there is nothing to clean up";
        return Err(legal::illegal(&document, message));
    }
    if is_to_be_removed(&document) {
        return locked(host, || {
            remove_all(host, &id)?;
            Ok(Changed {
                message: "removed, with every document".to_owned(),
                document: text(&document),
                id: id.clone(),
            })
        });
    }
    change(host, &id, |document| {
        document.part_mut("abort_info")?.insert("cleanup_performed".to_owned(), json!(true));
        Ok("cleaned up".to_owned())
    })
}

/// Whether a feature was aborted with `full_cleanup`. It is removed then, so as long as there is something
/// of it the cleanup has not ended.
pub(super) fn is_to_be_removed(document: &Document) -> bool {
    let choice = document.part("abort_info").and_then(|info| info.get("cleanup_choice"));
    document.is_aborted() && choice == Some(&json!(Cleanup::FullCleanup.name()))
}

/// Removes a directory. What is a link is removed, never what it leads to. The document goes last, when
/// the removal of everything else is on disk.
fn remove_all(host: Host<'_>, directory: &str) -> Result<(), Failure> {
    if host.stat(directory)?.is_some_and(|found| found.kind == Kind::Link) {
        return host.remove(directory);
    }
    let mut entries = host.list(directory)?;
    entries.sort_by_key(|entry| entry.name == "progress.json");
    for entry in entries {
        let path = format!("{directory}/{}", entry.name);
        match entry.kind {
            Kind::Directory => remove_all(host, &path)?,
            Kind::File | Kind::Link | Kind::Other => host.remove(&path)?,
        }
    }
    host.remove(directory)
}

/// An aborted feature goes on. What is known of the abort stays, as history. True if it was aborted.
pub(super) fn reopen(document: &mut Document) -> Result<bool, FeatureError> {
    if !document.is_aborted() {
        return Ok(false);
    }
    let info = document.part_mut("abort_info")?;
    info.insert("aborted".to_owned(), json!(false));
    info.insert("can_resume".to_owned(), json!(false));
    Ok(true)
}
