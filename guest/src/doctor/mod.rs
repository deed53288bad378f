//! Finds damaged, stale or contradictory state, and fixes it after a backup.
//!
//! Each module examines one subject, and fixes what it finds there. `finding` has the table of codes, `fix` decides
//! the order of fixes and makes the changes. Nothing in a repository makes an examination fail: it becomes a finding.

mod batch_progress;
mod config;
mod dependencies;
pub mod features;
mod finding;
mod fix;
mod index;
mod items;
mod journals;
mod orphaned_agents;
mod prompts;
mod restore;
mod states;
mod stories;
mod temporary_files;
#[cfg(test)]
mod tests;

pub use crate::bindings::exports::wreckit::batch::doctor::{Diagnostic, FixReport, RepairError};
pub use finding::Code;
use fix::reason;
pub use restore::restore;

use self::finding::{Finding, records};
use self::items::Survey;
use crate::backup::{self, Pending};
use crate::bindings::exports::wreckit::batch::session::Holder;
use crate::formats::progress::{self, Found};
use crate::io::capabilities::ProcessStatus;
use crate::io::host::{Failure, Host};
use crate::io::lock::{self, Purpose};
use crate::io::root::{self, RootError};
use crate::session::leftovers::Termination;
use crate::session::resume;

impl From<Failure> for RepairError {
    fn from(failure: Failure) -> Self {
        RepairError::Storage(failure.into())
    }
}

impl From<RootError> for RepairError {
    fn from(error: RootError) -> Self {
        match error {
            RootError::Wrong(why) => RepairError::WrongRoot(why),
            RootError::Storage(failure) => failure.into(),
        }
    }
}

/// Examines a `.wreckit`, and changes nothing.
pub fn diagnose(host: Host<'_>) -> Vec<Diagnostic> {
    let holder = lock::current_holder(host);
    let is_free = matches!(holder, Ok(None));
    let mut found = Examination::of(host, is_free).found;
    if is_free {
        found.extend(interrupted_repair(host));
    }
    if let Err(failure) = holder {
        found.push(Finding::new(Code::LockUnusable, failure.to_string()));
    }
    records(found)
}

/// A fix or a restore that a crash interrupted. `fix` does not report it: it finishes the work first.
fn interrupted_repair(host: Host<'_>) -> Option<Finding> {
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
    Some(Finding::new(Code::RepairInterrupted, message))
}

/// Examines a `.wreckit`, and fixes what is fixable. While it answers `terminating`, this process keeps the lock.
pub fn fix(host: Host<'_>, termination: &mut Termination) -> Result<FixReport, RepairError> {
    locked(host, termination.is_pending(), || {
        let leftovers = orphaned_agents::terminate(host, termination)?;
        // A fix that was interrupted is finished by this one.
        if owner(host, &progress::find(host)).is_none() {
            backup::finish_restore(host)?;
        }
        Ok(fix::fix(host, &leftovers))
    })
}

/// Does something that must not happen while a batch runs.
///
/// `has_lock`: an earlier call that ended with `Terminating` took the lock already.
fn locked<T>(
    host: Host<'_>,
    has_lock: bool,
    work: impl FnOnce() -> Result<T, RepairError>,
) -> Result<T, RepairError> {
    root::check(host)?;
    // Also refuses a batch of this instance, whose lock this process could take again.
    if !has_lock && let Some(holder) = lock::current_holder(host)? {
        return Err(RepairError::Busy(holder));
    }
    if let Err(holder) = lock::acquire(host, &host.current_process(), Purpose::Maintenance, false)?
    {
        return Err(RepairError::Busy(holder));
    }
    let result = work();
    if !matches!(result, Err(RepairError::Terminating(_))) {
        lock::release(host)?;
    }
    result
}

/// An examination of everything.
struct Examination {
    found: Vec<Finding>,
    /// The items, if their directory can be read.
    survey: Option<Survey>,
    /// Who may be using the repository without holding the lock: the existing tool, or a batch on another machine.
    owner: Option<Holder>,
}

impl Examination {
    /// `is_free`: no other process holds the lock.
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

/// The owner of a progress file, unless it is known to have exited.
fn owner(host: Host<'_>, progress: &Found) -> Option<Holder> {
    let Found::Valid(progress) = progress else { return None };
    let status = progress.owner_status(host);
    let may_work =
        status != ProcessStatus::Exited && !resume::is_stale(progress.updated_at, host.now());
    may_work.then(|| progress.holder(status))
}
