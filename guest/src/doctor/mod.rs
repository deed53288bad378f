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
use crate::bindings::exports::wreckit::batch::session::Holder;
use crate::formats::progress::{self, Found};
use crate::io::capabilities::ProcessStatus;
use crate::io::host::{Failure, Host};
use crate::io::lock::{self, Work};
use crate::session::leftovers::Termination;
use crate::session::resume;

/// Why nothing was mended or restored.
#[derive(Debug, Clone, PartialEq)]
pub enum RepairError {
    /// A batch or another repair is running.
    Busy(Box<Holder>),
    /// Leftover processes are being ended: to be called again after this many milliseconds.
    Terminating(u64),
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
pub fn diagnose(host: Host<'_>) -> Vec<Diagnostic> {
    let holder = lock::current_holder(host);
    let is_free = matches!(holder, Ok(None));
    let mut found = Examination::of(host, is_free).found;
    if is_free {
        found.extend(interrupted_repair(host));
    }
    if let Err(failure) = holder {
        found.push(Diagnostic::new(Code::LockUnusable, failure.to_string()));
    }
    found
}

/// A fix or a restoration that a crash interrupted. `fix` does not report it: it finishes the work first.
fn interrupted_repair(host: Host<'_>) -> Option<Diagnostic> {
    let message = match backup::pending(host) {
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
pub fn fix(host: Host<'_>, termination: &mut Termination) -> Result<Treatment, RepairError> {
    locked(host, termination.is_pending(), || {
        let leftovers = orphaned_agents::terminate(host, termination)?;
        // A fix that was cut off is finished by this one.
        if owner(host, &progress::find(host)).is_none() {
            backup::finish_restoration(host)?;
        }
        Ok(treatment::treat(host, &leftovers))
    })
}

/// Does something that no batch may happen beside.
///
/// `has_lock`: an earlier call that ended with `Terminating` took the lock already.
fn locked<T>(
    host: Host<'_>,
    has_lock: bool,
    work: impl FnOnce() -> Result<T, RepairError>,
) -> Result<T, RepairError> {
    // Also one of this very instance, whose lock would be ours, too.
    if !has_lock && let Some(holder) = lock::current_holder(host)? {
        return Err(RepairError::Busy(Box::new(holder)));
    }
    if let Err(holder) = lock::acquire(host, &host.current_process(), Work::Repair, false)? {
        return Err(RepairError::Busy(Box::new(holder)));
    }
    let result = work();
    if !matches!(result, Err(RepairError::Terminating(_))) {
        lock::release(host)?;
    }
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
    fn of(host: Host<'_>, is_free: bool) -> Self {
        let progress = progress::find(host);
        let owner = owner(host, &progress);
        let is_quiet = is_free && owner.is_none();
        let mut found = config::examine(host);
        found.extend(prompts::examine(host));
        let survey = items::examine(host, is_quiet, &mut found);
        if let Some(survey) = &survey {
            dependencies::examine(survey, &mut found);
            index::examine(host, survey, &mut found);
        }
        batch_progress::examine(host, progress, survey.as_ref(), is_quiet, &mut found);
        journals::examine(host, &mut found);
        if is_quiet {
            temporary_files::examine_rest(host, &mut found);
        }
        if is_free {
            found.extend(orphaned_agents::examine(host));
        }
        Examination { found, survey, owner }
    }
}

/// The owner of a progress file that is not known to have ended.
fn owner(host: Host<'_>, progress: &Found) -> Option<Holder> {
    let Found::Valid(progress) = progress else { return None };
    let liveness = progress.owner_status(host);
    let may_work =
        liveness != ProcessStatus::Exited && !resume::is_stale(progress.updated_at, host.now());
    may_work.then(|| Holder::of_progress(progress, liveness))
}
