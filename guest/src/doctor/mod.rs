//! Finding damaged, stale or contradictory state, and mending it after a backup.

mod batch_progress;
mod orphaned_agents;

use crate::backup;
use crate::lock::{self, Holder, Work};
use crate::tree::{Failure, Tree};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Something cannot work.
    Error,
    /// Something is not as it should be.
    Warning,
    /// Good to know.
    Info,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The item that it is about.
    pub item: Option<String>,
    /// How much it matters.
    pub severity: Severity,
    /// Which finding it is.
    pub code: &'static str,
    /// What is wrong, with the evidence.
    pub message: String,
    /// True if `fix` mends it.
    pub fixable: bool,
}

/// One attempt to mend a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mended {
    /// The finding.
    pub diagnostic: Diagnostic,
    /// Whether it is mended now.
    pub fixed: bool,
    /// What was done, or why it could not be.
    pub message: String,
    /// The backup and the file in it.
    pub backup: Option<(String, String)>,
}

/// What `fix` did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Treatment {
    /// What was found before.
    pub found: Vec<Diagnostic>,
    /// What was done about each fixable finding.
    pub fixes: Vec<Mended>,
    /// What is still wrong.
    pub left: Vec<Diagnostic>,
    /// The backup that undoes it.
    pub backup: Option<String>,
}

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
pub fn diagnose(tree: Tree<'_>) -> Result<Vec<Diagnostic>, Failure> {
    let is_free = lock::current_holder(tree)?.is_none();
    examine(tree, is_free)
}

/// Looks, and mends what it can.
pub fn fix(tree: Tree<'_>) -> Result<Treatment, RepairError> {
    locked(tree, || {
        let found = examine(tree, true)?;
        let (orphans, others): (Vec<&Diagnostic>, Vec<&Diagnostic>) = found
            .iter()
            .filter(|diagnostic| diagnostic.fixable)
            .partition(|diagnostic| diagnostic.code == orphaned_agents::CODE);
        // They may still change what is mended next.
        let mut fixes = orphaned_agents::mend(tree, &orphans)?;
        for diagnostic in others {
            fixes.push(batch_progress::mend(tree, diagnostic).unwrap_or_else(|failure| Mended {
                diagnostic: diagnostic.clone(),
                fixed: false,
                message: failure.to_string(),
                backup: None,
            }));
        }
        let left = examine(tree, true)?;
        let backup = fixes.iter().find_map(|fix| Some(fix.backup.as_ref()?.0.clone()));
        Ok(Treatment { found, fixes, left, backup })
    })
}

/// Puts every file of a backup back.
pub fn restore(tree: Tree<'_>, id: &str) -> Result<Vec<String>, RepairError> {
    // A backup that is none is refused before anything is touched, the lock included.
    backup::check(tree, id).map_err(RepairError::Backup)?;
    locked(tree, || backup::restore(tree, id).map(|restored| restored.files).map_err(RepairError::Backup))
}

/// Does something that no batch may happen beside.
fn locked<T>(
    tree: Tree<'_>,
    work: impl FnOnce() -> Result<T, RepairError>,
) -> Result<T, RepairError> {
    if let Err(holder) = lock::acquire(tree, &tree.current_process(), Work::Repair)? {
        return Err(RepairError::Busy(Box::new(holder)));
    }
    let result = work();
    lock::release(tree)?;
    result
}

/// `is_free`: nobody else works on the repository.
fn examine(tree: Tree<'_>, is_free: bool) -> Result<Vec<Diagnostic>, Failure> {
    let mut found = match is_free {
        true => orphaned_agents::examine(tree)?,
        false => Vec::new(),
    };
    found.extend(batch_progress::examine(tree, is_free)?);
    Ok(found)
}
