//! ORPHANED_AGENT.

use super::{Diagnostic, Mended, Severity};
use crate::capabilities::Worker;
use crate::orphans;
use crate::progress::{self, Found};
use crate::runs;
use crate::saved::{self, Saved};
use crate::tree::{Failure, Tree};

pub(super) const CODE: &str = "ORPHANED_AGENT";

/// One finding for each process that a batch left. The lock is free, or ours.
pub(super) fn examine(tree: Tree<'_>) -> Result<Vec<Diagnostic>, Failure> {
    let sessions = sessions(tree)?;
    let found = orphans::find(tree, &sessions.iter().collect::<Vec<_>>());
    Ok(found.iter().map(diagnostic).collect())
}

/// Ends them all.
pub(super) fn mend(tree: Tree<'_>, findings: &[&Diagnostic]) -> Result<Vec<Mended>, Failure> {
    let sessions = sessions(tree)?;
    let (_, left) = orphans::end(tree, &sessions.iter().collect::<Vec<_>>());
    let left: Vec<Diagnostic> = left.iter().map(diagnostic).collect();
    let mended = findings.iter().map(|finding| {
        let fixed = !left.contains(finding);
        let message = match fixed {
            true => "Ended the process".to_owned(),
            false => "The process could not be ended (SIGKILL had no effect)".to_owned(),
        };
        Mended { diagnostic: (*finding).clone(), fixed, message, backup: None }
    });
    Ok(mended.collect())
}

fn diagnostic(worker: &Worker) -> Diagnostic {
    Diagnostic {
        item: worker.item.clone(),
        severity: Severity::Warning,
        code: CODE,
        message: format!(
            "process {} of an interrupted batch still runs; the next run ends it first",
            worker.pid
        ),
        fixable: true,
    }
}

/// The sessions whose agents may be left.
fn sessions(tree: Tree<'_>) -> Result<Vec<Saved>, Failure> {
    let saved = match progress::find(tree) {
        Found::Valid(progress) => Some(saved::load(tree, *progress)?),
        _ => None,
    };
    let current = saved.as_ref().map(|saved| saved.progress.session_id.clone());
    let mut sessions = runs::unsettled(tree, current.as_deref())?;
    sessions.extend(saved);
    Ok(sessions)
}
