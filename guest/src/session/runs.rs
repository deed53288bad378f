//! The directories of sessions under `runs/`: finding those that were never closed, and keeping
//! their number down.

use crate::formats::journal::{self, Event, EventKind, Writer};
use crate::formats::layout;
use crate::formats::progress::{self, Found};
use crate::io::capabilities::{Entry, Kind, Level};
use crate::io::host::{Failure, Host};
use crate::io::time::Timestamp;
use crate::session::saved::{self, Saved};
use crate::session::settle;

/// So many runs are kept.
const KEPT: usize = 20;

/// A session's directory and how its journal ends.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The directory.
    pub directory: String,
    /// The last event of its journal.
    pub last: Option<Event>,
}

impl Run {
    /// True if everything in it has been brought to where it belongs.
    fn is_settled(&self) -> bool {
        self.last.as_ref().is_none_or(|event| {
            event.kind == EventKind::BatchFinished && !event.more.contains_key("unsynced")
        })
    }

    /// True if a session is in it that could go on.
    fn is_resumable(&self) -> bool {
        self.last
            .as_ref()
            .is_some_and(|event| event.kind != EventKind::BatchFinished || event.is("resumable"))
    }

    fn time(&self) -> Option<Timestamp> {
        self.last.as_ref().map(|event| event.time)
    }
}

/// All runs, the newest first.
pub fn all(host: Host<'_>) -> Result<Vec<Run>, Failure> {
    let mut runs = Vec::new();
    for entry in host.list(host.layout().runs)? {
        if entry.kind == Kind::Directory {
            let directory = format!("{}/{}", host.layout().runs, entry.name);
            // What is wrong with another session's directory must not stop this one.
            match journal::last_event(host, &directory) {
                Ok(last) => runs.push(Run { directory, last }),
                Err(failure) => host.log(Level::Warning, &failure.to_string()),
            }
        }
    }
    runs.sort_by_key(|run| std::cmp::Reverse(run.time()));
    Ok(runs)
}

/// The session that a damaged progress file was of: the one that it names, else the newest that
/// could go on.
pub fn behind_damage(host: Host<'_>, session_id: Option<&str>) -> Result<Option<Saved>, Failure> {
    let named = session_id.map(|id| host.layout().run_directory(id));
    let all = all(host)?;
    if let Some(run) = all.iter().find(|run| Some(&run.directory) == named.as_ref()) {
        // One that was closed for good is not gone on with, nor is another in its place.
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

/// Brings the results of a session into their items' files and records that they are there. What
/// cannot be written stays unsynced.
pub fn sync(host: Host<'_>, saved: &mut Saved) -> Result<Writer, Failure> {
    settle::complain(host, &saved.settle(host)?);
    let mut journal = Writer::open(host, &saved.directory, saved.last_event)?;
    if saved.unsynced.is_empty() {
        let synced = Event::new(EventKind::Synced, host.now()).with("through", saved.last_event);
        journal.append(host, &mut [synced], true)?;
        saved.last_event = journal.last();
    }
    Ok(journal)
}

/// Settles a session that is left and closes its journal. If a result cannot be written, the
/// session stays unsettled: every later opening tries again.
pub fn leave(host: Host<'_>, mut saved: Saved) -> Result<(), Failure> {
    let mut journal = sync(host, &mut saved)?;
    let finished = finished(host.now(), "left", false, saved.unsynced.len());
    journal.append(host, &mut [finished], true)
}

/// Settles every session that was never closed, but for that of the progress file.
pub fn settle_others(host: Host<'_>) -> Result<(), Failure> {
    let current = match progress::find(host) {
        Found::Valid(progress) => Some(progress.session_id),
        // Which one it is of is not known: all of them are behind it, perhaps.
        Found::Damaged { .. } | Found::Unreadable(_) => return Ok(()),
        Found::Missing => None,
    };
    unsettled(host, current.as_deref())?.into_iter().try_for_each(|saved| leave(host, saved))
}

/// Every session that was never closed, that of the progress file included.
pub fn open_sessions(host: Host<'_>) -> Result<Vec<Saved>, Failure> {
    let saved = match progress::find(host) {
        Found::Valid(progress) => Some(saved::load(host, *progress)?),
        _ => None,
    };
    let current = saved.as_ref().map(|saved| saved.progress.session_id.as_str());
    let mut sessions = unsettled(host, current)?;
    sessions.extend(saved);
    Ok(sessions)
}

/// Every session but `current` that was never closed: that of a progress file which somebody
/// removed, for instance.
pub fn unsettled(host: Host<'_>, current: Option<&str>) -> Result<Vec<Saved>, Failure> {
    let current = current.map(|id| host.layout().run_directory(id));
    let mut sessions = Vec::new();
    for run in all(host)? {
        if Some(&run.directory) != current.as_ref() && !run.is_settled() {
            sessions.extend(saved::rebuild(host, &run.directory)?);
        }
    }
    Ok(sessions)
}

/// Removes the oldest runs beyond those that are kept. What cannot be removed stays: it is no
/// reason to stop a batch. Only directories with a journal of ours count, and only files of ours go:
/// whatever else someone keeps there stays.
pub fn prune(host: Host<'_>, current: &str) -> Result<(), Failure> {
    let saved = match progress::find(host) {
        Found::Valid(progress) => Some(host.layout().run_directory(&progress.session_id)),
        _ => None,
    };
    let is_needed = |run: &Run| {
        run.directory == current || Some(&run.directory) == saved.as_ref() || !run.is_settled()
    };
    let old = all(host)?.into_iter().filter(|run| run.last.is_some() && !is_needed(run));
    for run in old.skip(KEPT - 1) {
        if journal::names_session(host, &run.directory)? {
            remove_run(host, &run.directory)?;
        }
    }
    Ok(())
}

/// Removes the files of a run, its journal last: what is cut off is still known for a run. The
/// directory goes if nothing else is in it.
fn remove_run(host: Host<'_>, directory: &str) -> Result<(), Failure> {
    let (ours, others): (Vec<Entry>, Vec<Entry>) = host
        .list(directory)?
        .into_iter()
        .partition(|entry| entry.kind == Kind::File && layout::is_of_run(&entry.name));
    let mut names: Vec<String> = ours.into_iter().map(|entry| entry.name).collect();
    names.sort_by_key(|name| std::cmp::Reverse(layout::segment_number(name).unwrap_or(u32::MAX)));
    for name in names {
        remove_or_say(host, &format!("{directory}/{name}"));
    }
    if others.is_empty() {
        remove_or_say(host, directory);
    }
    Ok(())
}

fn remove_or_say(host: Host<'_>, path: &str) {
    if let Err(failure) = host.remove(path) {
        host.log(Level::Warning, &failure.to_string());
    }
}

/// The last event of a journal; so many results are not where they belong.
pub fn finished(now: Timestamp, reason: &str, resumable: bool, unsynced: usize) -> Event {
    let event = Event::new(EventKind::BatchFinished, now).with("reason", reason);
    event.with("resumable", resumable).with_some("unsynced", (unsynced > 0).then_some(unsynced))
}
