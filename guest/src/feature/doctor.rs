//! FEATURE_PROGRESS_CORRUPT, FEATURE_ARTIFACT_MISSING and FEATURE_INCONSISTENT.

use serde_json::json;

use super::document::{COMPLETE, Document, PhaseStatus, status_of, time_in};
use super::resume::own_path;
use super::store::{self, LIMIT, load, locked, newest_good, progress_file};
use super::{FeatureError, abort};
use crate::backup::{self, Cause, Keeper, Restored};
use crate::bindings::exports::wreckit::batch::session::Holder;
use crate::doctor::{
    Code, Diagnostic, Mended, RepairError, Treatment, orphaned_agents, temporary_files,
};
use crate::formats::layout;
use crate::io::capabilities::FsError;
use crate::io::host::{Failure, Host};
use crate::io::lock;
use crate::session::leftovers::{self, Termination};

/// Looks at every feature, and changes nothing.
pub fn diagnose(host: Host<'_>) -> Vec<Diagnostic> {
    let is_free = |lock: &str| host.lock_holder(lock).is_ok_and(|state| !state.held);
    look(host, is_free(layout::FEATURE_LOCK), is_free(layout::RUN_LOCK))
}

/// `is_quiet`: nobody is writing. `is_idle`: nothing is run.
fn look(host: Host<'_>, is_quiet: bool, is_idle: bool) -> Vec<Diagnostic> {
    let ids = match store::ids(host) {
        Ok(ids) => ids,
        Err(failure) => {
            let diagnostic = Diagnostic::new(Code::FeatureProgressCorrupt, failure.to_string());
            return vec![diagnostic.by_hand("make it a directory that can be read")];
        }
    };
    let mut found: Vec<Diagnostic> = match is_idle {
        true => orphaned_agents::diagnostics(host, leftovers::find(host, &[])),
        false => Vec::new(),
    };
    for id in &ids {
        found.extend(examine(host, id));
        if is_quiet {
            // What cannot be listed has been told of above.
            let entries = host.list(id).unwrap_or_default();
            let prefix = host.layout().prefix;
            temporary_files::examine(prefix, id, Some(id), entries.iter(), &mut found);
        }
    }
    found
}

fn examine(host: Host<'_>, id: &str) -> Vec<Diagnostic> {
    match load(host, id) {
        Ok(document) => {
            let mut found = contradictions(id, &document);
            if !abort::is_to_be_removed(&document) {
                found.extend(missing_artifacts(host, id, &document));
            }
            found
        }
        Err(FeatureError::Corrupt(problem)) => vec![corrupt(host, id, problem)],
        Err(FeatureError::Storage(failure)) => vec![corrupt(host, id, failure.to_string())],
        Err(_) => Vec::new(),
    }
}

fn corrupt(host: Host<'_>, id: &str, problem: String) -> Diagnostic {
    let diagnostic = Diagnostic::new(Code::FeatureProgressCorrupt, problem).of(id);
    match newest_good(host, id) {
        Ok(Some(_)) => diagnostic.at(progress_file(id)),
        Ok(None) | Err(_) => diagnostic
            .by_hand("there is no good backup of it: correct the file, or remove the directory"),
    }
}

/// What is outside of the features' directory cannot be seen from here.
fn missing_artifacts(host: Host<'_>, id: &str, document: &Document) -> Vec<Diagnostic> {
    let artifacts = document.part("artifacts").into_iter().flatten();
    artifacts
        .filter_map(|(name, path)| {
            let path = path.as_str()?;
            let is_missing = matches!(host.stat(own_path(host, path)?), Ok(None));
            is_missing.then(|| {
                let message = format!("artifact {name:?} is missing: there is no {path}");
                Diagnostic::new(Code::FeatureArtifactMissing, message).of(id)
            })
        })
        .collect()
}

/// Phases that contradict each other, or the current phase.
fn contradictions(id: &str, document: &Document) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut say = |message: String| {
        found.push(Diagnostic::new(Code::FeatureInconsistent, message).of(id));
    };
    let working = document.in_status(&PhaseStatus::InProgress);
    if working.len() > 1 {
        say(format!("{} are in progress at once", working.join(" and ")));
    }
    let (current, status) = (document.text("current_phase"), document.status());
    let open: Vec<&str> = document
        .phases()
        .filter(|(_, phase)| {
            // What other hands call otherwise may be as good as complete.
            !matches!(status_of(phase), PhaseStatus::Complete | PhaseStatus::Other(_))
        })
        .map(|(name, _)| name)
        .collect();
    match (document.phase_status(current), current) {
        (None, COMPLETE) if status != PhaseStatus::Complete => {
            say(format!("`current_phase` is {COMPLETE}, but `status` is {}", status.name()));
        }
        (None, COMPLETE) => {}
        (None, _) => say(format!("`current_phase` is {current:?}, which is no phase")),
        (Some(PhaseStatus::Complete), _) if status == PhaseStatus::InProgress => {
            say(format!("`current_phase` is {current}, which is complete"));
        }
        (Some(_), _) => {
            if let Some(other) =
                working.first().filter(|_| working.len() == 1 && working[0] != current)
            {
                say(format!("`current_phase` is {current}, but {other} is in progress"));
            }
        }
    }
    if status == PhaseStatus::Complete && !open.is_empty() {
        say(format!("`status` is complete, but {} is not", open.join(", ")));
    }
    if document.next_phase().is_none() && status != PhaseStatus::Complete {
        say(format!("every phase is complete, but `status` is {}", status.name()));
    }
    let begun = document.phases().any(|(_, phase)| status_of(phase) != PhaseStatus::Pending);
    if !begun && !matches!(status, PhaseStatus::Pending | PhaseStatus::Aborted) {
        say(format!("no phase was started, but `status` is {}", status.name()));
    }
    if document.text("feature_id") != id {
        say(format!(
            "its directory is {id}, but `feature_id` is {:?}",
            document.text("feature_id")
        ));
    }
    for (name, phase) in document.phases() {
        let (started, completed) = (time_in(phase, "started_at"), time_in(phase, "completed_at"));
        if started.zip(completed).is_some_and(|(started, completed)| completed < started) {
            say(format!("{name} was completed before it was started"));
        }
        if status_of(phase) == PhaseStatus::Pending && completed.is_some() {
            say(format!("{name} is pending, but has a `completed_at`"));
        }
    }
    if document.is_aborted() != (status == PhaseStatus::Aborted) {
        say(format!(
            "`abort_info.aborted` is {}, but `status` is {}",
            document.is_aborted(),
            status.name()
        ));
    }
    let info = document.part("abort_info");
    let is_cleaned = info.and_then(|info| info.get("cleanup_performed")) != Some(&json!(false));
    if document.is_aborted() && !is_cleaned {
        say("it was aborted, and its cleanup has not been carried out: the same `abort` tries again"
            .to_owned());
    }
    for problem in document.wrong_parts() {
        say(problem);
    }
    found
}

/// Looks, and mends what it can.
pub fn fix(host: Host<'_>, termination: &mut Termination) -> Result<Treatment, RepairError> {
    alone(host, || {
        let leftovers = orphaned_agents::terminate(host, termination)?;
        let mut fixes = orphaned_agents::fixes(host, &leftovers);
        let ended = fixes.iter().filter(|fix| fix.fixed).map(|fix| fix.diagnostic.clone());
        let found: Vec<Diagnostic> = ended.chain(look(host, true, true)).collect();
        let keeper = Keeper::new(host, backup::FIX);
        let todo = found.iter().filter(|it| it.fixable && it.code != Code::OrphanedAgent);
        fixes.extend(todo.map(|diagnostic| mend(&keeper, diagnostic)));
        let left = if fixes.is_empty() { found.clone() } else { look(host, true, true) };
        let backup = keeper.finish()?;
        Ok(Treatment { found, fixes, left, backup })
    })
}

fn mend(keeper: &Keeper<'_>, diagnostic: &Diagnostic) -> Mended {
    let path = diagnostic.path.clone().unwrap_or_default();
    let id = diagnostic.item.as_deref().unwrap_or_default();
    keeper.because(Cause::new(diagnostic.code.name(), Some(id)));
    let result = match diagnostic.code {
        Code::OrphanedTempFile => {
            keeper.host().remove(&path).map(|()| "Moved into the backup".to_owned())
        }
        _ => bring_back(keeper, id, &path)
            .map(|from| format!("Brought back progress.json from backup {from}")),
    };
    let (fixed, message) = match result {
        Ok(message) => (true, message),
        Err(failure) => (false, failure.to_string()),
    };
    let prefix = keeper.host().layout().prefix;
    let backup = keeper.id().filter(|_| keeper.has(&path));
    let backup = backup.map(|backup| (backup, format!("{prefix}{path}")));
    Mended { diagnostic: diagnostic.clone(), fixed, message, backup }
}

fn bring_back(keeper: &Keeper<'_>, id: &str, path: &str) -> Result<String, Failure> {
    let host = keeper.host();
    let missing = || host.failed("bring back", path)(FsError::NotFound);
    let (from, contents) = newest_good(host, id)?.ok_or_else(missing)?;
    // What cannot be read cannot be copied: it is moved into the backup.
    if host.stat(path)?.is_some() && host.read(path, LIMIT).is_err() {
        host.remove(path)?;
    }
    host.write(path, contents)?;
    Ok(from)
}

/// Puts every file of a backup back.
pub fn restore(host: Host<'_>, id: &str) -> Result<Restored, RepairError> {
    backup::check(host, id).map_err(RepairError::Backup)?;
    alone(host, || backup::restore(host, id).map_err(RepairError::Backup))
}

/// Does something beside which no feature is changed and none is run.
fn alone<T>(
    host: Host<'_>,
    work: impl FnOnce() -> Result<T, RepairError>,
) -> Result<T, RepairError> {
    store::lock_run(host, false)?;
    let result = locked(host, work);
    if !matches!(result, Err(RepairError::Terminating(_))) {
        lock::release(host)?;
    }
    result
}

impl From<FeatureError> for RepairError {
    fn from(error: FeatureError) -> Self {
        match error {
            FeatureError::Storage(failure) => RepairError::Storage(failure),
            FeatureError::Busy(holder) => RepairError::Busy(holder),
            // A lock fails for no other reason.
            _ => RepairError::Busy(Box::new(Holder::unknown())),
        }
    }
}
