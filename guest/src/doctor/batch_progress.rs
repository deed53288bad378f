//! The progress file: STALE_BATCH_PROGRESS, BATCH_PROGRESS_CORRUPT, and contradictions in it
//! (DUPLICATE_RESULT, UNKNOWN_ITEM, FUTURE_TIMESTAMP).

use std::collections::BTreeMap;

use super::Diagnostic;
use super::finding::Code;
use super::items::Survey;
use crate::backup::Keeper;
use crate::formats::layout;
use crate::formats::progress::{self, Found, Progress};
use crate::io::capabilities::ProcessStatus;
use crate::io::host::{Failure, Host};
use crate::io::time::{Timestamp, describe_span};
use crate::session::resume;
use crate::session::runs;
use crate::session::saved::{self, Saved};

/// What is wrong with the progress file. `is_quiet`: nobody may be working on it.
pub(super) fn examine(
    host: Host<'_>,
    progress: Found,
    survey: Option<&Survey>,
    is_quiet: bool,
    found: &mut Vec<Diagnostic>,
) {
    match progress {
        Found::Missing => {}
        Found::Valid(progress) => {
            contradictions(host.now(), &progress, survey, found);
            if is_quiet {
                found.extend(left_behind(host, *progress));
            }
        }
        Found::Damaged { problem, session_id } => {
            let diagnostic =
                Diagnostic::new(Code::BatchProgressCorrupt, problem).at(layout::PROGRESS);
            found.push(match journal_behind(host, session_id.as_deref()) {
                Ok(Some(_)) => diagnostic.mended_by("rebuilds it from its journal, after a backup"),
                Ok(None) => diagnostic.mended_by(
                    "removes it, after a backup: there is no journal to rebuild it from",
                ),
                Err(_) => diagnostic,
            });
        }
        Found::Unreadable(problem) => {
            let diagnostic = Diagnostic::new(Code::BatchProgressCorrupt, problem);
            found.push(diagnostic.error().at(layout::PROGRESS));
        }
    }
}

/// What is wrong with a sound file that no process works on.
fn left_behind(host: Host<'_>, progress: Progress) -> Option<Diagnostic> {
    let saved = saved::load(host, progress.clone());
    if let Ok(Saved { doubt: Some(doubt), .. }) = &saved {
        let diagnostic = Diagnostic::new(Code::BatchProgressCorrupt, doubt.clone());
        let remedy = "rewrites it from its journal, after a backup";
        return Some(diagnostic.at(layout::PROGRESS).mended_by(remedy));
    }
    stale(host, &progress, saved)
}

fn stale(host: Host<'_>, progress: &Progress, saved: Result<Saved, Failure>) -> Option<Diagnostic> {
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
    let diagnostic = Diagnostic::new(Code::StaleBatchProgress, message).at(layout::PROGRESS);
    Some(match is_old {
        true => diagnostic,
        false => diagnostic.mended_by(
            "brings its results into the items and removes it, after a backup; `wreckit-host run` goes on with it instead",
        ),
    })
}

/// What a sound file says and cannot be so.
fn contradictions(
    now: Timestamp,
    progress: &Progress,
    survey: Option<&Survey>,
    found: &mut Vec<Diagnostic>,
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
                "{} has {id} in {}, but there is no {}{}",
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
            found.push(Diagnostic::new(Code::FutureTimestamp, message));
        }
    }
}

/// So many findings of a kind are told one by one: a file may name anything.
const MOST: usize = 1000;

/// One finding for each id.
fn report<'p>(
    code: Code,
    found: &mut Vec<Diagnostic>,
    mut ids: impl Iterator<Item = (&'p str, Vec<&'static str>)>,
    message: impl Fn(&str, &[&str]) -> String,
) {
    for (id, lists) in ids.by_ref().take(MOST) {
        found.push(Diagnostic::new(code, message(id, &lists)).of(id));
    }
    let more = ids.count();
    if more > 0 {
        let message = format!("{} has {more} more such ids", layout::PROGRESS);
        found.push(Diagnostic::new(code, message));
    }
}

/// In which lists each id is.
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

/// The session that a damaged file was of, if a run would go on with it.
fn journal_behind(host: Host<'_>, session_id: Option<&str>) -> Result<Option<Saved>, Failure> {
    let saved = runs::find_session_for_corrupt_snapshot(host, session_id)?;
    Ok(saved.filter(|saved| !resume::is_stale(saved.progress.updated_at, host.now())))
}

/// Mends a finding that this file is stale or damaged, and says what was done. The lock is held.
pub(super) fn mend(keeper: &Keeper<'_>) -> Result<String, Failure> {
    let host = keeper.host();
    let session_id = match progress::find(host) {
        Found::Valid(progress) => {
            let saved = saved::load(host, *progress)?;
            if saved.doubt.is_some() {
                return rebuild(keeper, saved);
            }
            runs::abandon(host, saved)?;
            return remove(keeper);
        }
        Found::Damaged { session_id, .. } => session_id,
        Found::Missing | Found::Unreadable(_) => None,
    };
    match journal_behind(host, session_id.as_deref())? {
        Some(saved) => rebuild(keeper, saved),
        None => {
            // One that is too old to go on with has results all the same.
            if let Some(saved) =
                runs::find_session_for_corrupt_snapshot(host, session_id.as_deref())?
            {
                runs::abandon(host, saved)?;
            }
            remove(keeper)
        }
    }
}

/// The journal says what the damaged file said: it takes its place.
fn rebuild(keeper: &Keeper<'_>, mut saved: Saved) -> Result<String, Failure> {
    let host = keeper.host();
    // A snapshot claims only what is in the items' files.
    runs::flush_results(host, &mut saved)?;
    let mut journal = saved.progress.journal.take().unwrap_or_default();
    journal.rebuilt_at = Some(host.now());
    saved.progress.journal = Some(journal);
    // What cannot be read cannot be copied either: it is moved.
    if let Found::Unreadable(_) = progress::find(host) {
        host.remove(layout::PROGRESS)?;
    }
    progress::write(host, &saved.document(), true)?;
    let undo = undone_by(keeper, "undoes this");
    Ok(format!(
        "Rebuilt {} from its journal ({}): the next run goes on with it{undo}",
        layout::PROGRESS,
        saved.describe()
    ))
}

fn remove(keeper: &Keeper<'_>) -> Result<String, Failure> {
    keeper.host().remove(layout::PROGRESS)?;
    let undo = undone_by(keeper, "brings it back");
    Ok(format!("Removed stale/corrupt {}{undo}", layout::PROGRESS))
}

/// The command that undoes what was done so far; nothing if no file was changed.
fn undone_by(keeper: &Keeper<'_>, does: &str) -> String {
    let command = |id: String| format!("; wreckit-host backups restore {id} {does}");
    keeper.id().map(command).unwrap_or_default()
}
