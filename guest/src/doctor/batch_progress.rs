//! The progress file: STALE_BATCH_PROGRESS, BATCH_PROGRESS_CORRUPT, and contradictions in it
//! (DUPLICATE_RESULT, UNKNOWN_ITEM, FUTURE_TIMESTAMP).

use std::collections::BTreeMap;

use super::finding::{Code, Finding};
use super::items::Survey;
use crate::backup::BackupFs;
use crate::formats::progress::{self, Found, Progress};
use crate::io::capabilities::ProcessStatus;
use crate::io::host::{Failure, Host};
use crate::io::layout;
use crate::session::resume;
use crate::session::runs;
use crate::session::saved::{self, Saved};
use crate::time::{Timestamp, describe_span};

/// Examines the progress file. `is_quiet`: no other process may be using it.
pub(super) fn examine(
    host: Host<'_>,
    progress: Found,
    survey: Option<&Survey>,
    is_quiet: bool,
    found: &mut Vec<Finding>,
) {
    match progress {
        Found::Missing => {}
        Found::Valid(progress) => {
            contradictions(host.now(), &progress, survey, found);
            if is_quiet {
                found.extend(unowned(host, *progress));
            }
        }
        Found::Damaged { problem, session_id } => {
            let finding = Finding::new(Code::BatchProgressCorrupt, problem).at(layout::PROGRESS);
            found.push(match resumable_session(host, session_id.as_deref()) {
                Ok(Some(_)) => finding.fixed_by("rebuilds it from its journal, after a backup"),
                Ok(None) => finding
                    .fixed_by("removes it, after a backup: it has no journal to rebuild it from"),
                Err(_) => finding,
            });
        }
        Found::Unreadable(problem) => {
            let finding = Finding::new(Code::BatchProgressCorrupt, problem);
            found.push(finding.error().at(layout::PROGRESS));
        }
    }
}

/// What is wrong with a valid file that no process is using.
fn unowned(host: Host<'_>, progress: Progress) -> Option<Finding> {
    let saved = saved::load(host, progress.clone());
    if let Ok(Saved { doubt: Some(doubt), .. }) = &saved {
        let finding = Finding::new(Code::BatchProgressCorrupt, doubt.clone());
        let advice = "rewrites it from its journal, after a backup";
        return Some(finding.at(layout::PROGRESS).fixed_by(advice));
    }
    stale(host, &progress, saved)
}

fn stale(host: Host<'_>, progress: &Progress, saved: Result<Saved, Failure>) -> Option<Finding> {
    let age = host.now().since(progress.updated_at);
    let is_rebuilt = progress.journal.as_ref().is_some_and(|mark| mark.rebuilt_at.is_some());
    let is_old = resume::is_stale(progress.updated_at, host.now());
    let why = if is_old {
        "older than 24 hours"
    } else if progress.owner_status(host) == ProcessStatus::Exited && !is_rebuilt {
        "owning process not running"
    } else {
        return None;
    };
    let written = format!(
        "written {} ago ({}) by pid {}, session {} since {}",
        describe_span(age),
        progress.updated_at,
        progress.pid,
        progress.session_id,
        progress.started_at,
    );
    let would_keep = match saved {
        Ok(saved) => saved.describe(),
        Err(failure) => format!("what its journal says, but: {failure}"),
    };
    let message = format!(
        "{} is stale ({why}); a resume would keep {would_keep}; {written}",
        layout::PROGRESS
    );
    let finding = Finding::new(Code::StaleBatchProgress, message).at(layout::PROGRESS);
    Some(match is_old {
        true => finding,
        false => finding.fixed_by(
            "saves its results to the items and removes the file, after a backup; `wreckit-host run` resumes it instead",
        ),
    })
}

/// Contradictions in a valid file.
fn contradictions(
    now: Timestamp,
    progress: &Progress,
    survey: Option<&Survey>,
    found: &mut Vec<Finding>,
) {
    let results = [
        ("completed", &progress.completed),
        ("failed", &progress.failed),
        ("skipped", &progress.skipped),
    ];
    let twice = by_id(results.into_iter()).into_iter().filter(|(_, lists)| lists.len() > 1);
    report(Code::DuplicateResult, found, twice, |id, lists| {
        format!("{} has {id} in {}", layout::PROGRESS, lists.join(" and "))
    });
    if let Some(survey) = survey {
        let queues = [("queued_items", &progress.queued_items), ("in_flight", &progress.in_flight)];
        let all = by_id(queues.into_iter().chain(results)).into_iter();
        report(Code::UnknownItem, found, all.filter(|(id, _)| !survey.has(id)), |id, lists| {
            format!(
                "{} has {id} in {}, but {}{} does not exist",
                layout::PROGRESS,
                lists.join(" and "),
                layout::PREFIX,
                layout::item_directory(id)
            )
        });
    }
    let healed = progress.last_healing_at.as_deref().and_then(Timestamp::parse);
    let times = [
        ("started_at", Some(progress.started_at)),
        ("updated_at", Some(progress.updated_at)),
        ("last_healing_at", healed),
    ];
    for (key, time) in times {
        if let Some(time) = time.filter(|time| *time > now) {
            let message =
                format!("`{key}` of {} is {time}, which is after now ({now})", layout::PROGRESS);
            found.push(Finding::new(Code::FutureTimestamp, message));
        }
    }
}

/// Maximum number of ids for which a code is reported: a file may name any number.
const MAX_REPORTED: usize = 1000;

/// One finding for each id.
fn report<'p>(
    code: Code,
    found: &mut Vec<Finding>,
    mut ids: impl Iterator<Item = (&'p str, Vec<&'static str>)>,
    message: impl Fn(&str, &[&str]) -> String,
) {
    for (id, lists) in ids.by_ref().take(MAX_REPORTED) {
        found.push(Finding::new(code, message(id, &lists)).of(id));
    }
    let more = ids.count();
    if more > 0 {
        let message = format!("{} has {more} more such ids", layout::PROGRESS);
        found.push(Finding::new(code, message));
    }
}

/// The lists that contain each id.
fn by_id<'p>(
    lists: impl Iterator<Item = (&'static str, &'p Vec<String>)>,
) -> BTreeMap<&'p str, Vec<&'static str>> {
    let mut by_id: BTreeMap<&str, Vec<&'static str>> = BTreeMap::new();
    for (list, ids) in lists {
        for id in ids {
            let lists = by_id.entry(id).or_default();
            if lists.last() != Some(&list) {
                lists.push(list);
            }
        }
    }
    by_id
}

/// The session of a damaged file, if a run would resume it.
fn resumable_session(host: Host<'_>, session_id: Option<&str>) -> Result<Option<Saved>, Failure> {
    let saved = runs::find_session_for_corrupt_snapshot(host, session_id)?;
    Ok(saved.filter(|saved| !resume::is_stale(saved.progress.updated_at, host.now())))
}

/// Fixes a stale or damaged file. Returns what was done. The lock is held.
pub(super) fn fix(fs: &BackupFs<'_>) -> Result<String, Failure> {
    let host = fs.host();
    let session_id = match progress::find(host) {
        Found::Valid(progress) => {
            let saved = saved::load(host, *progress)?;
            if saved.doubt.is_some() {
                return rebuild(fs, saved);
            }
            runs::abandon(host, saved)?;
            return remove(fs);
        }
        Found::Damaged { session_id, .. } => session_id,
        Found::Missing | Found::Unreadable(_) => None,
    };
    match resumable_session(host, session_id.as_deref())? {
        Some(saved) => rebuild(fs, saved),
        None => {
            // A session that is too old to be resumed has results all the same.
            if let Some(saved) =
                runs::find_session_for_corrupt_snapshot(host, session_id.as_deref())?
            {
                runs::abandon(host, saved)?;
            }
            remove(fs)
        }
    }
}

/// Replaces a damaged file by what its journal says.
fn rebuild(fs: &BackupFs<'_>, mut saved: Saved) -> Result<String, Failure> {
    let host = fs.host();
    // A snapshot must not claim results that are not in the items' files.
    runs::flush_results(host, &mut saved)?;
    let mut journal = saved.progress.journal.take().unwrap_or_default();
    journal.rebuilt_at = Some(host.now());
    saved.progress.journal = Some(journal);
    // A file that cannot be read cannot be copied either: it is moved into the backup.
    if let Found::Unreadable(_) = progress::find(host) {
        host.remove(layout::PROGRESS)?;
    }
    progress::write(host, &saved.document(), true)?;
    Ok(format!(
        "Rebuilt {} from its journal ({}): the next run resumes it{}",
        layout::PROGRESS,
        saved.describe(),
        undo_command(fs)
    ))
}

fn remove(fs: &BackupFs<'_>) -> Result<String, Failure> {
    fs.host().remove(layout::PROGRESS)?;
    Ok(format!("Removed stale/corrupt {}{}", layout::PROGRESS, undo_command(fs)))
}

/// How to undo what was done so far; empty if nothing was changed.
fn undo_command(fs: &BackupFs<'_>) -> String {
    let command = |id: String| format!(" (to undo: wreckit-host backups restore {id})");
    fs.id().map(command).unwrap_or_default()
}
