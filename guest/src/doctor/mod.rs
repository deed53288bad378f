//! Finding damaged, stale or contradictory state, and mending it after a backup.
//!
//! Each module looks at one thing and knows what mends it; `treatment` does the mending. Whatever
//! stands in the repository is a finding, never an end.

mod batch_progress;
mod config;
mod dependencies;
mod finding;
mod index;
mod items;
mod journals;
pub(crate) mod orphaned_agents;
mod prompts;
mod stories;
pub(crate) mod temporary_files;
#[cfg(test)]
mod tests;
mod treatment;
mod undoing;

pub use finding::{Code, Diagnostic, Severity};
pub use treatment::{Mended, Treatment};
pub use undoing::restore;

use self::items::Survey;
use crate::backup::{self, Pending};
use crate::formats::progress::{self, Found};
use crate::io::capabilities::Liveness;
use crate::io::lock::{self, Holder, Work};
use crate::io::tree::{Failure, Tree};
use crate::session::resume;

/// Why nothing was mended or restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RepairError {
    /// A batch or another repair is running.
    Busy(Box<Holder>),
    /// The backup cannot be used.
    Backup(backup::Unusable),
    /// A file could not be read or written.
    Storage(Failure),
}

impl From<Failure> for RepairError {
    fn from(failure: Failure) -> Self {
        RepairError::Storage(failure)
    }
}

/// Looks, and changes nothing.
pub fn diagnose(tree: Tree<'_>) -> Vec<Diagnostic> {
    let holder = lock::current_holder(tree);
    let is_free = matches!(holder, Ok(None));
    let mut found = Examination::of(tree, is_free).found;
    if is_free {
        found.extend(interrupted_repair(tree));
    }
    if let Err(failure) = holder {
        found.push(Diagnostic::new(Code::LockUnusable, failure.to_string()));
    }
    found
}

/// A fix or a restoration that a crash interrupted. `fix` does not report it: it finishes the work first.
fn interrupted_repair(tree: Tree<'_>) -> Option<Diagnostic> {
    let message = match backup::pending(tree) {
        Ok(None) => return None,
        Ok(Some(Pending::Fix { backup })) => format!(
            "`doctor --fix` was interrupted (backup {backup}): the next one finishes it, a run rolls it back"
        ),
        Ok(Some(Pending::Restore { backup, .. })) => format!(
            "the restore of backup {backup} was interrupted: the next run, fix or restore completes it"
        ),
        Err(failure) => failure.to_string(),
    };
    Some(Diagnostic::new(Code::RepairInterrupted, message))
}

/// Looks, and mends what it can.
pub fn fix(tree: Tree<'_>) -> Result<Treatment, RepairError> {
    locked(tree, || {
        // A fix that was cut off is finished by this one.
        if owner(tree, &progress::find(tree)).is_none() {
            backup::finish_restoration(tree)?;
        }
        Ok(treatment::treat(tree))
    })
}

/// Does something that no batch may happen beside.
fn locked<T>(
    tree: Tree<'_>,
    work: impl FnOnce() -> Result<T, RepairError>,
) -> Result<T, RepairError> {
    // Also one of this very instance, whose lock would be ours, too.
    if let Some(holder) = lock::current_holder(tree)? {
        return Err(RepairError::Busy(Box::new(holder)));
    }
    if let Err(holder) = lock::acquire(tree, &tree.current_process(), Work::Repair, false)? {
        return Err(RepairError::Busy(Box::new(holder)));
    }
    let result = work();
    lock::release(tree)?;
    result
}

/// A look at everything.
struct Examination {
    found: Vec<Diagnostic>,
    /// The items, if they can be read.
    survey: Option<Survey>,
    /// Who may work on the repository without holding the lock: the existing tool, or a batch on
    /// another machine.
    owner: Option<Holder>,
}

impl Examination {
    /// `is_free`: nobody else holds the lock.
    fn of(tree: Tree<'_>, is_free: bool) -> Self {
        let progress = progress::find(tree);
        let owner = owner(tree, &progress);
        let is_quiet = is_free && owner.is_none();
        let mut found = config::examine(tree);
        found.extend(prompts::examine(tree));
        let survey = items::examine(tree, is_quiet, &mut found);
        if let Some(survey) = &survey {
            dependencies::examine(survey, &mut found);
            index::examine(tree, survey, &mut found);
        }
        batch_progress::examine(tree, progress, survey.as_ref(), is_quiet, &mut found);
        journals::examine(tree, &mut found);
        if is_quiet {
            temporary_files::examine_rest(tree, &mut found);
        }
        if is_free {
            found.extend(orphaned_agents::examine(tree));
        }
        Examination { found, survey, owner }
    }
}

/// The owner of a progress file that is not known to have ended.
fn owner(tree: Tree<'_>, progress: &Found) -> Option<Holder> {
    let Found::Valid(progress) = progress else { return None };
    let liveness = progress.liveness(tree);
    let may_work =
        liveness != Liveness::Exited && !resume::is_stale(progress.updated_at, tree.now());
    may_work.then(|| Holder::of_progress(progress, liveness))
}
