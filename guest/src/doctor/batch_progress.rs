//! STALE_BATCH_PROGRESS and BATCH_PROGRESS_CORRUPT.

use super::{Diagnostic, Mended, Severity};
use crate::backup;
use crate::capabilities::Liveness;
use crate::layout;
use crate::progress::{self, Found, Progress};
use crate::resume;
use crate::runs;
use crate::saved::{self, Saved};
use crate::tree::{Failure, Tree};

const STALE: &str = "STALE_BATCH_PROGRESS";
const CORRUPT: &str = "BATCH_PROGRESS_CORRUPT";

/// What is wrong with the progress file, if anything. A file whose owner works, or may work, is not
/// stale.
pub(super) fn examine(tree: Tree<'_>, is_free: bool) -> Result<Option<Diagnostic>, Failure> {
    Ok(match progress::find(tree) {
        Found::Missing => None,
        Found::Valid(progress) if is_free => stale(tree, *progress)?,
        Found::Valid(_) => None,
        Found::Damaged { problem, .. } => Some(corrupt(Severity::Warning, problem)),
        Found::Unreadable(problem) => Some(corrupt(Severity::Error, problem)),
    })
}

fn corrupt(severity: Severity, message: String) -> Diagnostic {
    Diagnostic { item: None, severity, code: CORRUPT, message, fixable: true }
}

fn stale(tree: Tree<'_>, progress: Progress) -> Result<Option<Diagnostic>, Failure> {
    let why = if resume::is_stale(progress.updated_at, tree.now()) {
        "older than 24 hours"
    } else if progress.liveness(tree) == Liveness::Exited {
        "owning process not running"
    } else {
        return Ok(None);
    };
    let saved = saved::load(tree, progress)?;
    let message =
        format!("{} is stale ({why}); a resume would keep {}", layout::PROGRESS, saved.describe());
    Ok(Some(Diagnostic {
        item: None,
        severity: Severity::Warning,
        code: STALE,
        message,
        fixable: true,
    }))
}

/// Mends a finding of this file. The lock is held.
pub(super) fn mend(tree: Tree<'_>, diagnostic: &Diagnostic) -> Result<Mended, Failure> {
    let behind = |session_id: Option<&str>| runs::behind_damage(tree, session_id);
    match progress::find(tree) {
        Found::Valid(progress) => {
            let saved = saved::load(tree, *progress)?;
            remove(tree, diagnostic, Some(saved))
        }
        Found::Damaged { session_id, .. } => match behind(session_id.as_deref())? {
            Some(saved) => {
                let backup = backup::copy(tree, "doctor-fix", layout::PROGRESS, diagnostic.code)?;
                rebuild(tree, diagnostic, saved, backup)
            }
            None => remove(tree, diagnostic, None),
        },
        // What cannot be read cannot be copied either: it is moved.
        Found::Missing | Found::Unreadable(_) => match behind(None)? {
            Some(saved) => {
                let backup =
                    backup::set_aside(tree, "doctor-fix", layout::PROGRESS, diagnostic.code)?;
                rebuild(tree, diagnostic, saved, backup)
            }
            None => remove(tree, diagnostic, None),
        },
    }
}

/// The journal says what the damaged file said: it takes its place.
fn rebuild(
    tree: Tree<'_>,
    diagnostic: &Diagnostic,
    mut saved: Saved,
    backup: String,
) -> Result<Mended, Failure> {
    // A snapshot claims only what is in the items' files.
    runs::sync(tree, &mut saved)?;
    progress::write(tree, &saved.document(), true)?;
    let message = format!(
        "Rebuilt {} from its journal ({}); wreckit-host backups restore {backup} undoes this",
        layout::PROGRESS,
        saved.describe()
    );
    Ok(mended(diagnostic, message, backup))
}

/// What the session came to goes into the items' files first: nothing is forgotten with it.
fn remove(
    tree: Tree<'_>,
    diagnostic: &Diagnostic,
    saved: Option<Saved>,
) -> Result<Mended, Failure> {
    if let Some(saved) = saved {
        runs::leave(tree, saved)?;
    }
    let backup = backup::set_aside(tree, "doctor-fix", layout::PROGRESS, diagnostic.code)?;
    let message = format!(
        "Removed stale/corrupt {}; wreckit-host backups restore {backup} brings it back",
        layout::PROGRESS
    );
    Ok(mended(diagnostic, message, backup))
}

fn mended(diagnostic: &Diagnostic, message: String, backup: String) -> Mended {
    Mended {
        diagnostic: diagnostic.clone(),
        fixed: true,
        message,
        backup: Some((backup, format!("{}{}", layout::PREFIX, layout::PROGRESS))),
    }
}
