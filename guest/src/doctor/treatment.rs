//! Mending what was found: each file after a backup, all of them in one that undoes the whole.

use std::collections::{BTreeMap, HashSet};

use super::finding::{Code, Diagnostic};
use super::{Examination, batch_progress, index, items, orphaned_agents, prompts, stories};
use crate::backup::{self, Cause, Keeper, Pending};
use crate::formats::journal;
use crate::formats::layout;
use crate::formats::progress::{self, Found};
use crate::io::capabilities::{Level, Replacement};
use crate::io::host::{Failure, Host};
use crate::session::leftovers::Outcome;
use crate::session::runs;

/// Mending one thing brings up another: a state that is set back makes the index stale. What is not
/// done after so many rounds is left.
const MOST_ROUNDS: usize = 5;
/// Why a session is not closed: its journal is all that knows of a process without the marker.
const MAY_STILL_RUN: &str = "Left alone: an agent of an interrupted session may still run";
/// So many files are changed with one sync.
const GROUP: usize = 64;

/// One attempt to mend a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mended {
    /// The finding.
    pub diagnostic: Diagnostic,
    /// Whether it is mended now.
    pub fixed: bool,
    /// What was done, or why it could not be.
    pub message: String,
    /// The backup and the file in it, from the repository's root.
    pub backup: Option<(String, String)>,
}

impl Mended {
    /// A finding that concerns no file.
    pub(crate) fn new(diagnostic: Diagnostic, result: Result<String, String>) -> Self {
        let fixed = result.is_ok();
        Mended {
            diagnostic,
            fixed,
            message: result.unwrap_or_else(|problem| problem),
            backup: None,
        }
    }
}

/// What a repair did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Treatment {
    /// What was found before.
    pub found: Vec<Diagnostic>,
    /// What was done about each fixable finding, those that came up on the way included.
    pub fixes: Vec<Mended>,
    /// What is still wrong.
    pub left: Vec<Diagnostic>,
    /// The backup that undoes it.
    pub backup: Option<String>,
}

/// Mends everything that can be mended. The lock is held.
pub(super) fn treat(host: Host<'_>, leftovers: &Outcome) -> Treatment {
    let keeper = keeper(host);
    let mut examination = Examination::of(host, true);
    let mut fixes = orphaned_agents::fixes(host, leftovers);
    let ended = fixes.iter().filter(|fix| fix.fixed).map(|fix| fix.diagnostic.clone());
    let found = ended.chain(examination.found.clone()).collect();
    fixes.extend(finish_prompts(&keeper));
    for _ in 0..MOST_ROUNDS {
        let tried: HashSet<(Code, &Option<String>, &Option<String>)> =
            fixes.iter().filter(|fix| !fix.fixed).map(|fix| key(&fix.diagnostic)).collect();
        let todo: Vec<&Diagnostic> = examination
            .found
            .iter()
            .filter(|diagnostic| diagnostic.code != Code::OrphanedAgent)
            .filter(|diagnostic| diagnostic.fixable && !tried.contains(&key(diagnostic)))
            .collect();
        if todo.is_empty() {
            break;
        }
        let done = Round { host, keeper: &keeper, examination: &examination }.mend(&todo);
        fixes.extend(done);
        examination = Examination::of(host, true);
    }
    let backup = keeper.finish().unwrap_or_else(|failure| {
        // What was to be removed is older backups: those stay.
        host.log(Level::Warning, &failure.to_string());
        keeper.id()
    });
    Treatment { found, fixes, left: examination.found, backup }
}

/// The backup to change files with: that of a fix which a crash cut off, if there was one.
fn keeper(host: Host<'_>) -> Keeper<'_> {
    let resumed = match backup::pending(host) {
        Ok(Some(Pending::Fix { backup })) => Keeper::reopen(host, backup::FIX, &backup).ok(),
        _ => None,
    };
    resumed.unwrap_or_else(|| Keeper::new(host, backup::FIX))
}

/// Writes the prompts that an interrupted fix had not written yet: their directory exists by now, so
/// nothing finds them missing.
fn finish_prompts(keeper: &Keeper<'_>) -> Option<Mended> {
    let is_unfinished = keeper.has_made(layout::PROMPTS) && prompts::any_missing(keeper.host());
    is_unfinished.then(|| {
        keeper.because(Cause::new(Code::MissingPrompts.name(), None));
        let result = prompts::write_defaults(keeper.host());
        let fixed = result.is_ok();
        let message = result.unwrap_or_else(|failure| failure.to_string());
        let problem = "some prompts were not written by an interrupted fix";
        let diagnostic = Diagnostic::new(Code::MissingPrompts, problem);
        Mended { diagnostic, fixed, message, backup: None }
    })
}

fn key(diagnostic: &Diagnostic) -> (Code, &Option<String>, &Option<String>) {
    (diagnostic.code, &diagnostic.item, &diagnostic.path)
}

/// One pass over what was found.
struct Round<'r, 'c> {
    host: Host<'c>,
    keeper: &'r Keeper<'c>,
    examination: &'r Examination,
}

/// A file and the findings that are mended by changing it.
struct Patient<'d> {
    path: &'d str,
    findings: Vec<&'d Diagnostic>,
}

/// What becomes of a file.
enum Cure {
    Replace(Vec<u8>),
    Remove,
    /// It is as it should be by now.
    Nothing,
}

impl<'r, 'c> Round<'r, 'c> {
    fn has_unproven_agents(&self) -> bool {
        let mut found = self.examination.found.iter();
        found.any(|diagnostic| diagnostic.code == Code::OrphanedAgent && !diagnostic.fixable)
    }

    fn mend(&self, todo: &[&Diagnostic]) -> Vec<Mended> {
        let of = |codes: &[Code]| -> Vec<&Diagnostic> {
            todo.iter().copied().filter(|diagnostic| codes.contains(&diagnostic.code)).collect()
        };
        let mut fixes = Vec::new();
        if let Some(owner) = &self.examination.owner {
            let message = format!(
                "Left alone: pid {} of session {} may still work on this repository",
                owner.pid.unwrap_or_default(),
                owner.session.as_deref().unwrap_or_default()
            );
            fixes.extend(
                todo.iter().map(|diagnostic| self.mended(diagnostic, Err(message.clone()))),
            );
            return fixes;
        }
        // What a journal says is part of what becomes of the progress file, and that of items.
        fixes.extend(self.files(&of(&[Code::JournalDamaged])));
        for diagnostic in of(&[Code::StaleBatchProgress, Code::BatchProgressCorrupt]) {
            self.keeper.because(cause(diagnostic));
            let result = match self.has_unproven_agents() {
                true => Err(MAY_STILL_RUN.to_owned()),
                false => batch_progress::mend(self.keeper).map_err(|failure| failure.to_string()),
            };
            fixes.push(self.mended(diagnostic, result));
        }
        let settled = self.settle();
        for diagnostic in of(&[Code::MissingPrompts]) {
            self.keeper.because(cause(diagnostic));
            let result =
                prompts::write_defaults(self.keeper.host()).map_err(|failure| failure.to_string());
            fixes.push(self.mended(diagnostic, result));
        }
        fixes.extend(self.files(&of(&[
            Code::PrdMissingId,
            Code::PrdMissingBranchName,
            Code::PrdInvalidPriority,
            Code::OrphanedTempFile,
        ])));
        let states = of(&[Code::StateFileMismatch]);
        fixes.extend(match settled {
            Ok(()) => self.files(&states),
            Err(problem) => {
                let refused = |finding: &&Diagnostic| self.mended(finding, Err(problem.clone()));
                states.iter().map(refused).collect()
            }
        });
        // It repeats what the items say: those come first, and it in a round of its own.
        if fixes.is_empty() {
            fixes.extend(self.files(&of(&[Code::IndexStale])));
        }
        fixes
    }

    /// What completed is in the items' files before anything is changed in them: a file that has changed
    /// since takes no result.
    fn settle(&self) -> Result<(), String> {
        if self.has_unproven_agents() {
            return Err(MAY_STILL_RUN.to_owned());
        }
        self.keeper.because(Cause::new("SETTLED", None));
        let host = self.keeper.host();
        let settled = runs::abandon_others(host).map_err(|failure| failure.to_string());
        settled.and_then(|()| match progress::find(host) {
            Found::Missing | Found::Valid(_) => Ok(()),
            Found::Damaged { problem, .. } | Found::Unreadable(problem) => Err(problem),
        })
        .map_err(|problem| {
            format!("Left alone: results of an interrupted session are not in the items yet ({problem})")
        })
    }

    /// Mends what is mended by changing one file, many files at a time.
    fn files(&self, findings: &[&Diagnostic]) -> Vec<Mended> {
        let mut by_path: BTreeMap<&str, Vec<&Diagnostic>> = BTreeMap::new();
        for finding in findings {
            if let Some(path) = &finding.path {
                by_path.entry(path).or_default().push(finding);
            }
        }
        let patients: Vec<Patient<'_>> =
            by_path.into_iter().map(|(path, findings)| Patient { path, findings }).collect();
        let (removed, changed): (Vec<&Patient<'_>>, Vec<&Patient<'_>>) =
            patients.iter().partition(|patient| patient.is_removed());
        let kept = |patients: Vec<&Patient<'_>>| -> Vec<(String, Cause)> {
            patients.into_iter().map(Patient::kept).collect()
        };
        // Named in the backup all at once. If that fails, it fails again for each of them below.
        let _ = self.keeper.announce_changes(&kept(changed));
        let _ = self.keeper.announce_removals(&kept(removed));
        patients.chunks(GROUP).flat_map(|group| self.group(group)).collect()
    }

    fn group(&self, patients: &[Patient<'_>]) -> Vec<Mended> {
        let cures: Vec<Result<(Cure, Option<String>), String>> =
            patients.iter().map(|patient| self.cure(patient)).collect();
        let replacements: Vec<Replacement> = patients
            .iter()
            .zip(&cures)
            .filter_map(|(patient, cure)| match cure {
                Ok((Cure::Replace(contents), _)) => {
                    Some(Replacement::new(patient.path, contents.clone()))
                }
                _ => None,
            })
            .collect();
        // Together; if that fails, one by one, to find out which cannot be.
        let together =
            replacements.len() > 1 && self.keeper.host().replace(replacements, true).is_ok();
        let mut fixes = Vec::new();
        for (patient, cure) in patients.iter().zip(cures) {
            let result = match cure {
                Ok((Cure::Replace(_), did)) if together => Ok(did),
                Ok((cure, did)) => {
                    self.apply(patient, cure).map(|()| did).map_err(|failure| failure.to_string())
                }
                Err(problem) => Err(problem),
            };
            for finding in &patient.findings {
                let result = result.clone().map(|did| did.unwrap_or_else(|| done(finding)));
                fixes.push(self.mended(finding, result));
            }
        }
        fixes
    }

    fn apply(&self, patient: &Patient<'_>, cure: Cure) -> Result<(), Failure> {
        if let Some(finding) = patient.findings.first() {
            self.keeper.because(cause(finding));
        }
        let host = self.keeper.host();
        match cure {
            Cure::Replace(contents) => host.write(patient.path, contents),
            Cure::Remove => host.remove(patient.path),
            Cure::Nothing => Ok(()),
        }
    }

    /// What becomes of a file by what it says now, and what that is, if it is not always the same.
    fn cure(&self, patient: &Patient<'_>) -> Result<(Cure, Option<String>), String> {
        let Some(first) = patient.findings.first() else { return Ok((Cure::Nothing, None)) };
        let item = first.item.as_deref().unwrap_or_default();
        let contents = match first.code {
            Code::OrphanedTempFile => return Ok((Cure::Remove, None)),
            Code::StateFileMismatch => {
                return Ok(match items::mend(self.host, item)? {
                    Some((contents, did)) => (Cure::Replace(contents), Some(did)),
                    None => (Cure::Nothing, None),
                });
            }
            Code::JournalDamaged => journal::sound_lines(self.host, patient.path)
                .map_err(|failure| failure.to_string())?,
            Code::IndexStale => {
                let survey = self.examination.survey.as_ref().ok_or("the items cannot be read")?;
                index::rebuild(self.host, survey, self.host.now())
            }
            _ => {
                let codes: Vec<Code> =
                    patient.findings.iter().map(|finding| finding.code).collect();
                stories::mend(self.host, item, &codes)?
            }
        };
        Ok((Cure::Replace(contents), None))
    }

    fn mended(&self, diagnostic: &Diagnostic, result: Result<String, String>) -> Mended {
        let path = diagnostic.path.as_deref().filter(|path| self.keeper.has(path));
        let backup =
            path.zip(self.keeper.id()).map(|(path, id)| (id, format!("{}{path}", layout::PREFIX)));
        let fixed = result.is_ok();
        let message = result.unwrap_or_else(|problem| problem);
        Mended { diagnostic: diagnostic.clone(), fixed, message, backup }
    }
}

impl Patient<'_> {
    fn is_removed(&self) -> bool {
        self.findings.iter().any(|finding| finding.code == Code::OrphanedTempFile)
    }

    fn kept(&self) -> (String, Cause) {
        (self.path.to_owned(), self.findings.first().map_or(Cause::new("", None), |it| cause(it)))
    }
}

fn cause(diagnostic: &Diagnostic) -> Cause {
    Cause::new(diagnostic.code.name(), diagnostic.item.as_deref())
}

/// What was done about a finding that is mended by changing a file.
fn done(finding: &Diagnostic) -> String {
    match finding.code {
        Code::OrphanedTempFile => "Moved into the backup".to_owned(),
        Code::JournalDamaged => "Kept the lines that are sound".to_owned(),
        Code::StateFileMismatch => "The state fits the files by now".to_owned(),
        Code::IndexStale => "Rebuilt index.json".to_owned(),
        code => stories::done(code).to_owned(),
    }
}
