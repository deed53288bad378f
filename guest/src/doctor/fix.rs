//! Fixing what was found. Every change goes into one backup, which undoes all of them.

use std::collections::{BTreeMap, HashSet};

use super::finding::{Code, Finding, Key, records};
use super::{
    Examination, batch_progress, index, journals, orphaned_agents, prompts, states, stories,
    temporary_files,
};
use crate::backup::{self, BackupFs, Pending, Reason};
use crate::bindings::exports::wreckit::batch::doctor::{BackupReference, FixReport, FixResult};
use crate::formats::progress::{self, Found};
use crate::io::capabilities::{Level, Replacement};
use crate::io::host::{Failure, Host};
use crate::io::layout;
use crate::session::leftovers::Outcome;
use crate::session::runs;

/// Maximum number of passes. A fix can cause another finding: resetting a state makes the index stale.
const MAX_PASSES: usize = 5;
/// Why a session is not closed: only its journal knows of a process without the marker.
const MAY_STILL_RUN: &str = "Not changed: an agent of an interrupted session may still be running";
/// Maximum number of files that are changed with one sync.
const GROUP: usize = 64;

/// Fixes everything that is fixable. The lock is held.
pub(super) fn fix(host: Host<'_>, leftovers: &Outcome) -> FixReport {
    let fs = open_backup(host);
    let mut examination = Examination::of(host, true);
    let mut fixes = orphaned_agents::results(host, leftovers);
    let ended = fixes.iter().filter(|fix| fix.fixed).map(|fix| fix.diagnostic.clone());
    let found = ended.chain(records(examination.found.clone())).collect();
    fixes.extend(finish_prompts(&fs));
    let mut failed: HashSet<Key> = HashSet::new();
    for _ in 0..MAX_PASSES {
        let todo: Vec<&Finding> = examination
            .found
            .iter()
            .filter(|finding| finding.code != Code::OrphanedAgent)
            .filter(|finding| finding.diagnostic.fixable && !failed.contains(&finding.key()))
            .collect();
        if todo.is_empty() {
            break;
        }
        for (finding, result) in (Pass { host, fs: &fs, examination: &examination }).run(&todo) {
            if !result.fixed {
                failed.insert(finding.key());
            }
            fixes.push(result);
        }
        examination = Examination::of(host, true);
    }
    let backup = fs.finish().unwrap_or_else(|failure| {
        // Only older backups could not be removed.
        host.log(Level::Warning, &failure.to_string());
        fs.id()
    });
    FixReport { found, fixes, remaining: records(examination.found), backup }
}

/// The backup to change files with: that of a fix which a crash interrupted, if there was one.
fn open_backup(host: Host<'_>) -> BackupFs<'_> {
    let resumed = match backup::pending(host) {
        Ok(Some(Pending::Fix { backup })) => BackupFs::reopen(host, backup::FIX, &backup).ok(),
        _ => None,
    };
    resumed.unwrap_or_else(|| BackupFs::new(host, backup::FIX))
}

/// Writes the prompts that an interrupted fix did not get to. Their directory exists by now, so no examination
/// finds them missing.
fn finish_prompts(fs: &BackupFs<'_>) -> Option<FixResult> {
    let is_unfinished = fs.is_created(layout::PROMPTS) && prompts::any_missing(fs.host());
    is_unfinished.then(|| {
        fs.set_reason(Reason::new(Code::MissingPrompts.name(), None));
        let result = prompts::write_defaults(fs.host()).map_err(|failure| failure.to_string());
        let message = "an interrupted fix did not write all prompts";
        Finding::new(Code::MissingPrompts, message).result(result, None)
    })
}

/// One pass over the findings.
struct Pass<'p, 'c> {
    host: Host<'c>,
    fs: &'p BackupFs<'c>,
    examination: &'p Examination,
}

/// A finding and the outcome of fixing it.
type Attempt<'f> = (&'f Finding, FixResult);

/// A file, and the findings that are fixed by changing it.
pub(super) struct FileFix<'f> {
    pub path: &'f str,
    pub findings: Vec<&'f Finding>,
}

/// What a fix does to a file.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Edit {
    /// It gets this content.
    Replace(Vec<u8>),
    /// It is removed.
    Remove,
    /// It needs no change any more.
    Keep,
}

impl<'f> FileFix<'f> {
    /// The item that the file belongs to.
    pub(super) fn item(&self) -> &'f str {
        self.findings.first().map_or("", |finding| finding.item())
    }

    fn code(&self) -> Option<Code> {
        self.findings.first().map(|finding| finding.code)
    }

    /// The path and the reason of the change, for the manifest.
    fn entry(&self) -> (String, Reason) {
        (self.path.to_owned(), self.findings.first().map_or(Reason::new("", None), |it| reason(it)))
    }
}

impl<'p, 'c> Pass<'p, 'c> {
    fn has_unproven_agents(&self) -> bool {
        let mut found = self.examination.found.iter();
        found.any(|finding| finding.code == Code::OrphanedAgent && !finding.diagnostic.fixable)
    }

    fn run<'f>(&self, todo: &[&'f Finding]) -> Vec<Attempt<'f>> {
        let of = |codes: &[Code]| -> Vec<&'f Finding> {
            todo.iter().copied().filter(|finding| codes.contains(&finding.code)).collect()
        };
        if let Some(owner) = &self.examination.owner {
            let message = format!(
                "Not changed: pid {} of session {} may still be using this repository",
                owner.pid.unwrap_or_default(),
                owner.session.as_deref().unwrap_or_default()
            );
            return self.refuse(todo, &message);
        }
        // The journals come first: what they say decides what happens to the progress file and the items.
        let mut fixes = self.fix_files(&of(&[Code::JournalDamaged]));
        for finding in of(&[Code::StaleBatchProgress, Code::BatchProgressCorrupt]) {
            fixes.push(self.fix_progress(finding));
        }
        let applied = self.apply_results();
        for finding in of(&[Code::MissingPrompts]) {
            self.fs.set_reason(reason(finding));
            let result =
                prompts::write_defaults(self.fs.host()).map_err(|failure| failure.to_string());
            fixes.push(self.attempt(finding, result));
        }
        fixes.extend(self.fix_files(&of(&[
            Code::PrdMissingId,
            Code::PrdMissingBranchName,
            Code::PrdInvalidPriority,
            Code::OrphanedTempFile,
        ])));
        let states = of(&[Code::StateFileMismatch]);
        fixes.extend(match applied {
            Ok(()) => self.fix_files(&states),
            Err(problem) => self.refuse(&states, &problem),
        });
        // The index repeats what the items say, so it is rebuilt once they need no fix.
        if fixes.is_empty() {
            fixes.extend(self.fix_files(&of(&[Code::IndexStale])));
        }
        fixes
    }

    fn refuse<'f>(&self, findings: &[&'f Finding], message: &str) -> Vec<Attempt<'f>> {
        findings.iter().map(|finding| self.attempt(finding, Err(message.to_owned()))).collect()
    }

    fn fix_progress<'f>(&self, finding: &'f Finding) -> Attempt<'f> {
        self.fs.set_reason(reason(finding));
        let result = match self.has_unproven_agents() {
            true => Err(MAY_STILL_RUN.to_owned()),
            false => batch_progress::fix(self.fs).map_err(|failure| failure.to_string()),
        };
        self.attempt(finding, result)
    }

    /// Saves the results of every interrupted session to its items before their files are changed: a result is
    /// not applied to a file that has changed since.
    fn apply_results(&self) -> Result<(), String> {
        if self.has_unproven_agents() {
            return Err(MAY_STILL_RUN.to_owned());
        }
        self.fs.set_reason(Reason::new("RESULTS_SAVED", None));
        let host = self.fs.host();
        let applied = runs::abandon_others(host).map_err(|failure| failure.to_string());
        let applied = applied.and_then(|()| match progress::find(host) {
            Found::Missing | Found::Valid(_) => Ok(()),
            Found::Damaged { problem, .. } | Found::Unreadable(problem) => Err(problem),
        });
        applied.map_err(|problem| {
            format!("Not changed: results of an interrupted session are not saved to the items yet ({problem})")
        })
    }

    /// Fixes findings that are fixed by changing one file each, many files at a time.
    fn fix_files<'f>(&self, findings: &[&'f Finding]) -> Vec<Attempt<'f>> {
        let mut by_path: BTreeMap<&str, Vec<&Finding>> = BTreeMap::new();
        for finding in findings {
            if let Some(path) = &finding.path {
                by_path.entry(path).or_default().push(finding);
            }
        }
        let files: Vec<FileFix<'_>> =
            by_path.into_iter().map(|(path, findings)| FileFix { path, findings }).collect();
        let (removed, changed): (Vec<&FileFix<'_>>, Vec<&FileFix<'_>>) =
            files.iter().partition(|file| file.code() == Some(Code::OrphanedTempFile));
        let entries = |files: Vec<&FileFix<'_>>| -> Vec<(String, Reason)> {
            files.into_iter().map(FileFix::entry).collect()
        };
        // Recorded in the manifest together. If that fails, it fails again below, for each file.
        let _ = self.fs.record_changes(&entries(changed));
        let _ = self.fs.record_removals(&entries(removed));
        files.chunks(GROUP).flat_map(|group| self.fix_group(group)).collect()
    }

    fn fix_group<'f>(&self, files: &[FileFix<'f>]) -> Vec<Attempt<'f>> {
        let edits: Vec<_> = files.iter().map(|file| self.edit(file)).collect();
        let replacements: Vec<Replacement> = files
            .iter()
            .zip(&edits)
            .filter_map(|(file, edit)| match edit {
                Ok((Edit::Replace(contents), _)) => {
                    Some(Replacement::new(file.path, contents.clone()))
                }
                _ => None,
            })
            .collect();
        // Together; if that fails, one by one, to find out which file it is.
        let together = replacements.len() > 1 && self.fs.host().replace(replacements, true).is_ok();
        let mut fixes = Vec::new();
        for (file, edit) in files.iter().zip(edits) {
            let done = match edit {
                Ok((Edit::Replace(_), done)) if together => Ok(done),
                Ok((edit, done)) => {
                    self.apply(file, edit).map(|()| done).map_err(|failure| failure.to_string())
                }
                Err(problem) => Err(problem),
            };
            for (index, finding) in file.findings.iter().enumerate() {
                let result = done.clone().map(|done| done.get(index).cloned().unwrap_or_default());
                fixes.push(self.attempt(finding, result));
            }
        }
        fixes
    }

    fn apply(&self, file: &FileFix<'_>, edit: Edit) -> Result<(), Failure> {
        if let Some(finding) = file.findings.first() {
            self.fs.set_reason(reason(finding));
        }
        let host = self.fs.host();
        match edit {
            Edit::Replace(contents) => host.write(file.path, contents),
            Edit::Remove => host.remove(file.path),
            Edit::Keep => Ok(()),
        }
    }

    /// What to do to a file with its current content, and what that does about each finding.
    fn edit(&self, file: &FileFix<'_>) -> Result<(Edit, Vec<String>), String> {
        let (edit, done) = match file.code() {
            Some(Code::OrphanedTempFile) => (Edit::Remove, temporary_files::MOVED.to_owned()),
            Some(Code::StateFileMismatch) => states::fix(self.host, file)?,
            Some(Code::JournalDamaged) => journals::fix(self.host, file)?,
            Some(Code::IndexStale) => index::fix(self.host, self.examination.survey.as_ref())?,
            _ => return stories::fix(self.host, file),
        };
        Ok((edit, vec![done; file.findings.len()]))
    }

    fn attempt<'f>(&self, finding: &'f Finding, result: Result<String, String>) -> Attempt<'f> {
        let path = finding.path.as_deref().filter(|path| self.fs.contains(path));
        let backup = path.zip(self.fs.id()).map(|(path, id)| BackupReference {
            id,
            path: format!("{}{path}", self.host.layout().prefix),
        });
        (finding, finding.result(result, backup))
    }
}

/// The reason of a change, for the manifest.
pub(super) fn reason(finding: &Finding) -> Reason {
    Reason::new(finding.code.name(), finding.diagnostic.item_id.as_deref())
}
