//! FEATURE_PROGRESS_CORRUPT, FEATURE_ARTIFACT_MISSING and FEATURE_INCONSISTENT, and what else concerns a directory of
//! features: leftover processes and temporary files.

use super::finding::{Code, Finding, records};
use super::{locked, orphaned_agents, reason, temporary_files};
use crate::backup::{self, BackupFs};
use crate::bindings::exports::wreckit::batch::doctor::{
    BackupReference, Diagnostic, FixReport, FixResult, RepairError, Restoration,
};
use crate::feature::{self, DOCUMENT_LIMIT, Document, load, newest_valid, progress_file};
use crate::io::capabilities::FsError;
use crate::io::host::{Failure, Host};
use crate::io::layout;
use crate::session::leftovers::{self, Termination};

/// Examines every feature, and changes nothing.
pub fn diagnose(host: Host<'_>) -> Vec<Diagnostic> {
    let is_free = |lock: &str| host.lock_holder(lock).is_ok_and(|state| !state.held);
    let mut found = match is_free(layout::RUN_LOCK) {
        true => orphaned_agents::findings(host, leftovers::find(host, &[])),
        false => Vec::new(),
    };
    found.extend(examine_all(host, is_free(layout::FEATURE_LOCK)));
    records(found)
}

/// `is_quiet`: no other process is writing.
fn examine_all(host: Host<'_>, is_quiet: bool) -> Vec<Finding> {
    let ids = match feature::ids(host) {
        Ok(ids) => ids,
        Err(failure) => {
            let finding = Finding::new(Code::FeatureProgressCorrupt, failure.to_string());
            return vec![finding.by_hand("make it a readable directory")];
        }
    };
    let mut found = Vec::new();
    for id in &ids {
        found.extend(examine(host, id));
        if is_quiet {
            // `examine` reports a directory that cannot be listed.
            let entries = host.list(id).unwrap_or_default();
            temporary_files::examine(host, id, Some(id), &entries, &mut found);
        }
    }
    found
}

fn examine(host: Host<'_>, id: &str) -> Vec<Finding> {
    let document = match load(host, id) {
        Ok(document) => document,
        Err(error) => return vec![corrupt(host, id, error.describe())],
    };
    let contradictions = feature::contradictions(id, &document).into_iter();
    let mut found: Vec<Finding> = contradictions
        .map(|problem| Finding::new(Code::FeatureInconsistent, problem).of(id))
        .collect();
    if !feature::requires_removal(&document) {
        found.extend(missing_artifacts(host, id, &document));
    }
    found
}

fn corrupt(host: Host<'_>, id: &str, problem: String) -> Finding {
    let finding = Finding::new(Code::FeatureProgressCorrupt, problem).of(id);
    match newest_valid(host, id) {
        Ok(Some(_)) => finding.at(progress_file(id)),
        Ok(None) | Err(_) => {
            finding.by_hand("it has no valid backup: correct the file, or remove the directory")
        }
    }
}

/// Finds artifacts that do not exist. Those outside the directory of features cannot be examined.
fn missing_artifacts(host: Host<'_>, id: &str, document: &Document) -> Vec<Finding> {
    let artifacts = document.part("artifacts").into_iter().flatten();
    artifacts
        .filter_map(|(name, path)| {
            let path = path.as_str()?;
            let is_missing = matches!(host.stat(feature::own_path(host, path)?), Ok(None));
            is_missing.then(|| {
                let message = format!("artifact {name:?} is missing: {path} does not exist");
                Finding::new(Code::FeatureArtifactMissing, message).of(id)
            })
        })
        .collect()
}

/// Examines every feature, and fixes what is fixable. While it answers `terminating`, this process keeps the lock.
pub fn fix(host: Host<'_>, termination: &mut Termination) -> Result<FixReport, RepairError> {
    locked(host, termination.is_pending(), || {
        let leftovers = orphaned_agents::terminate(host, termination)?;
        feature::locked(host, || {
            let mut fixes = orphaned_agents::results(host, &leftovers);
            let ended = fixes.iter().filter(|fix| fix.fixed).map(|fix| fix.diagnostic.clone());
            let unproven = orphaned_agents::findings(host, leftovers::find(host, &[]));
            let examined = examine_all(host, true);
            let found: Vec<Finding> = unproven.iter().cloned().chain(examined.clone()).collect();
            let found = ended.chain(records(found)).collect();
            let fs = BackupFs::new(host, backup::FIX);
            let todo = examined.iter().filter(|finding| finding.diagnostic.fixable);
            fixes.extend(todo.map(|finding| fix_finding(&fs, finding)));
            let remaining = unproven.into_iter().chain(examine_all(host, true)).collect();
            let backup = fs.finish()?;
            Ok(FixReport { found, fixes, remaining: records(remaining), backup })
        })
    })
}

fn fix_finding(fs: &BackupFs<'_>, finding: &Finding) -> FixResult {
    let path = finding.path.clone().unwrap_or_default();
    fs.set_reason(reason(finding));
    let result = match finding.code {
        Code::OrphanedTempFile => {
            fs.host().remove(&path).map(|()| temporary_files::MOVED.to_owned())
        }
        _ => restore_document(fs, finding.item(), &path)
            .map(|backup| format!("Restored progress.json from backup {backup}")),
    };
    let prefix = fs.host().layout().prefix;
    let backup = fs.id().filter(|_| fs.contains(&path));
    let backup = backup.map(|id| BackupReference { id, path: format!("{prefix}{path}") });
    finding.result(result.map_err(|failure| failure.to_string()), backup)
}

/// Restores a document from its newest valid backup. Returns the backup.
fn restore_document(fs: &BackupFs<'_>, id: &str, path: &str) -> Result<String, Failure> {
    let host = fs.host();
    let missing = || host.failed("restore", path)(FsError::NotFound);
    let valid = newest_valid(host, id)?.ok_or_else(missing)?;
    // A file that cannot be read cannot be copied: it is moved into the backup.
    if host.stat(path)?.is_some() && host.read(path, DOCUMENT_LIMIT).is_err() {
        host.remove(path)?;
    }
    host.write(path, valid.bytes)?;
    Ok(valid.backup)
}

/// Restores every file of a backup.
pub fn restore(host: Host<'_>, id: &str) -> Result<Restoration, RepairError> {
    backup::read(host, id)?;
    locked(host, false, || {
        feature::locked(host, || backup::restore(host, id).map_err(RepairError::from))
    })
}
