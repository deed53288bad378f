//! The directories of sessions: finding those that were never closed, and removing old ones.

use crate::formats::journal::{self, Event, EventKind, Writer};
use crate::formats::progress::{self, Found};
use crate::io::capabilities::{Entry, Kind, Level};
use crate::io::host::{Failure, Host};
use crate::io::layout;
use crate::session::saved::{self, Saved};
use crate::time::Timestamp;
use crate::workload::results;

/// How many sessions are retained. Those that ran nothing do not count.
const RETAINED: usize = 20;
/// A closed session with this many events or fewer opened and closed: it ran nothing. Earlier builds recorded such
/// sessions.
const EVENTS_OF_IDLE: u64 = 2;

/// The directory of a session, and how its journal ends.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The directory.
    pub directory: String,
    /// The last event of its journal.
    pub last: Option<Event>,
}

impl Run {
    /// True if every result has been applied.
    fn is_applied(&self) -> bool {
        self.last.as_ref().is_none_or(|event| {
            event.is_kind(EventKind::BatchFinished) && !event.more.contains_key("unsynced")
        })
    }

    /// True if it contains a session that could be resumed.
    pub(crate) fn is_resumable(&self) -> bool {
        self.last
            .as_ref()
            .is_some_and(|event| !event.is_kind(EventKind::BatchFinished) || event.is("resumable"))
    }

    /// True if it ran nothing.
    fn was_idle(&self) -> bool {
        let is_idle =
            |event: &Event| event.is_kind(EventKind::BatchFinished) && event.seq <= EVENTS_OF_IDLE;
        self.last.as_ref().is_some_and(is_idle)
    }

    fn time(&self) -> Option<Timestamp> {
        self.last.as_ref().map(|event| event.time)
    }
}

/// All sessions, newest first.
pub fn all(host: Host<'_>) -> Result<Vec<Run>, Failure> {
    let mut runs = Vec::new();
    for entry in host.list(host.layout().runs)? {
        if entry.kind == Kind::Directory {
            let directory = format!("{}/{}", host.layout().runs, entry.name);
            // Damage in the directory of another session must not stop this one.
            match journal::last_event(host, &directory) {
                Ok(last) => runs.push(Run { directory, last }),
                Err(failure) => host.log(Level::Warning, &failure.to_string()),
            }
        }
    }
    runs.sort_by_key(|run| std::cmp::Reverse(run.time()));
    Ok(runs)
}

/// The session of a damaged progress file: the one that it names, otherwise the newest one that could be resumed.
pub fn find_session_for_corrupt_snapshot(
    host: Host<'_>,
    session_id: Option<&str>,
) -> Result<Option<Saved>, Failure> {
    let named = session_id.map(|id| host.layout().run_directory(id));
    let all = all(host)?;
    if let Some(run) = all.iter().find(|run| Some(&run.directory) == named.as_ref()) {
        // A closed session is not resumed, and neither is an older one instead of it.
        return match run.is_resumable() {
            true => saved::rebuild(host, &run.directory),
            false => Ok(None),
        };
    }
    for run in all.into_iter().filter(Run::is_resumable) {
        if let Some(saved) = saved::rebuild(host, &run.directory)?
            && !saved.single
        {
            return Ok(Some(saved));
        }
    }
    Ok(None)
}

/// Applies the results of a session and records that. Those that cannot be written remain.
pub fn flush_results(host: Host<'_>, saved: &mut Saved) -> Result<Writer, Failure> {
    results::warn_unwritten(host, &saved.apply_results(host)?);
    let mut journal = Writer::open(host, &saved.directory, saved.last_event)?;
    if saved.unapplied.is_empty() {
        let synced = Event::new(EventKind::Synced, host.now()).with("through", saved.last_event);
        journal.append(host, &mut [synced], true)?;
        saved.last_event = journal.last();
    }
    Ok(journal)
}

/// Abandons a session: applies its results and closes its journal. If a result cannot be written, every later
/// opening tries again.
pub fn abandon(host: Host<'_>, mut saved: Saved) -> Result<(), Failure> {
    let mut journal = flush_results(host, &mut saved)?;
    let finished = finished(host.now(), "abandoned", false, saved.unapplied.len());
    journal.append(host, &mut [finished], true)
}

/// Abandons every session that was never closed, except that of the progress file.
pub fn abandon_others(host: Host<'_>) -> Result<(), Failure> {
    let current = match progress::find(host) {
        Found::Valid(progress) => Some(progress.session_id),
        // Unknown which session it belongs to: it may be any of them.
        Found::Damaged { .. } | Found::Unreadable(_) => return Ok(()),
        Found::Missing => None,
    };
    unapplied(host, current.as_deref())?.into_iter().try_for_each(|saved| abandon(host, saved))
}

/// Every session that was never closed, that of the progress file included.
pub fn open_sessions(host: Host<'_>) -> Result<Vec<Saved>, Failure> {
    let saved = match progress::find(host) {
        Found::Valid(progress) => Some(saved::load(host, *progress)?),
        _ => None,
    };
    let current = saved.as_ref().map(|saved| saved.progress.session_id.as_str());
    let mut sessions = unapplied(host, current)?;
    sessions.extend(saved);
    Ok(sessions)
}

/// Every session except `current` that was never closed: that of a progress file that was removed, for example.
pub fn unapplied(host: Host<'_>, current: Option<&str>) -> Result<Vec<Saved>, Failure> {
    let current = current.map(|id| host.layout().run_directory(id));
    let mut sessions = Vec::new();
    for run in all(host)? {
        if Some(&run.directory) != current.as_ref() && !run.is_applied() {
            sessions.extend(saved::rebuild(host, &run.directory)?);
        }
    }
    Ok(sessions)
}

/// Removes the oldest sessions beyond those that are retained. A file that cannot be removed remains: that does not
/// stop a session. Only directories with a journal of this tool count, and only its files are removed.
pub fn prune(host: Host<'_>, current: &str) -> Result<(), Failure> {
    let saved = match progress::find(host) {
        Found::Valid(progress) => Some(host.layout().run_directory(&progress.session_id)),
        _ => None,
    };
    let is_needed = |run: &Run| {
        run.directory == current || Some(&run.directory) == saved.as_ref() || !run.is_applied()
    };
    let old = all(host)?.into_iter().filter(|run| run.last.is_some() && !is_needed(run));
    let mut retained = 1;
    for run in old {
        if run.was_idle() {
            // It does not count as one of the retained sessions.
        } else if retained < RETAINED {
            retained += 1;
            continue;
        }
        if journal::names_session(host, &run.directory)? {
            remove_run(host, &run.directory)?;
        }
    }
    Ok(())
}

/// Removes the files of a session, its journal last: after a crash, the rest is still recognised. The directory is
/// removed if nothing else is in it.
fn remove_run(host: Host<'_>, directory: &str) -> Result<(), Failure> {
    let (ours, others): (Vec<Entry>, Vec<Entry>) = host
        .list(directory)?
        .into_iter()
        .partition(|entry| entry.kind == Kind::File && host.layout().is_session_file(&entry.name));
    let mut names: Vec<String> = ours.into_iter().map(|entry| entry.name).collect();
    names.sort_by_key(|name| std::cmp::Reverse(layout::segment_number(name).unwrap_or(u32::MAX)));
    for name in names {
        remove_or_warn(host, &format!("{directory}/{name}"));
    }
    if others.is_empty() {
        remove_or_warn(host, directory);
    }
    Ok(())
}

fn remove_or_warn(host: Host<'_>, path: &str) {
    if let Err(failure) = host.remove(path) {
        host.log(Level::Warning, &failure.to_string());
    }
}

/// The last event of a journal. `unapplied` results could not be written.
pub fn finished(now: Timestamp, reason: &str, resumable: bool, unapplied: usize) -> Event {
    let event = Event::new(EventKind::BatchFinished, now).with("reason", reason);
    event.with("resumable", resumable).with_some("unsynced", (unapplied > 0).then_some(unapplied))
}
