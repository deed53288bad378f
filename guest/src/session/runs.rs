//! The directories of sessions under `runs/`: finding those that were never closed, and keeping
//! their number down.

use crate::formats::journal::{self, Event, EventKind, Writer};
use crate::formats::layout;
use crate::formats::progress::{self, Found};
use crate::io::capabilities::{Entry, Kind, Level};
use crate::io::time::Timestamp;
use crate::io::tree::{Failure, Tree};
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
pub fn all(tree: Tree<'_>) -> Result<Vec<Run>, Failure> {
    let mut runs = Vec::new();
    for entry in tree.list(layout::RUNS)? {
        if entry.kind == Kind::Directory {
            let directory = format!("{}/{}", layout::RUNS, entry.name);
            // What is wrong with another session's directory must not stop this one.
            match journal::last_event(tree, &directory) {
                Ok(last) => runs.push(Run { directory, last }),
                Err(failure) => tree.log(Level::Warning, &failure.to_string()),
            }
        }
    }
    runs.sort_by_key(|run| std::cmp::Reverse(run.time()));
    Ok(runs)
}

/// The session that a damaged progress file was of: the one that it names, else the newest that
/// could go on.
pub fn behind_damage(tree: Tree<'_>, session_id: Option<&str>) -> Result<Option<Saved>, Failure> {
    let named = session_id.map(layout::run_directory);
    let all = all(tree)?;
    if let Some(run) = all.iter().find(|run| Some(&run.directory) == named.as_ref()) {
        // One that was closed for good is not gone on with, nor is another in its place.
        return match run.is_resumable() {
            true => saved::rebuild(tree, &run.directory),
            false => Ok(None),
        };
    }
    for run in all.into_iter().filter(Run::is_resumable) {
        if let Some(saved) = saved::rebuild(tree, &run.directory)?
            && !saved.single
        {
            return Ok(Some(saved));
        }
    }
    Ok(None)
}

/// Brings the results of a session into their items' files and records that they are there. What
/// cannot be written stays unsynced.
pub fn sync(tree: Tree<'_>, saved: &mut Saved) -> Result<Writer, Failure> {
    settle::complain(tree, &saved.settle(tree)?);
    let mut journal = Writer::open(tree, &saved.directory, saved.last_event)?;
    if saved.unsynced.is_empty() {
        let synced = Event::new(EventKind::Synced, tree.now()).with("through", saved.last_event);
        journal.append(tree, &mut [synced], true)?;
        saved.last_event = journal.last();
    }
    Ok(journal)
}

/// Settles a session that is left and closes its journal. If a result cannot be written, the
/// session stays unsettled: every later opening tries again.
pub fn leave(tree: Tree<'_>, mut saved: Saved) -> Result<(), Failure> {
    let mut journal = sync(tree, &mut saved)?;
    let finished = finished(tree.now(), "left", false, saved.unsynced.len());
    journal.append(tree, &mut [finished], true)
}

/// Settles every session that was never closed, but for that of the progress file.
pub fn settle_others(tree: Tree<'_>) -> Result<(), Failure> {
    let current = match progress::find(tree) {
        Found::Valid(progress) => Some(progress.session_id),
        // Which one it is of is not known: all of them are behind it, perhaps.
        Found::Damaged { .. } | Found::Unreadable(_) => return Ok(()),
        Found::Missing => None,
    };
    unsettled(tree, current.as_deref())?.into_iter().try_for_each(|saved| leave(tree, saved))
}

/// Every session that was never closed, that of the progress file included.
pub fn open_sessions(tree: Tree<'_>) -> Result<Vec<Saved>, Failure> {
    let saved = match progress::find(tree) {
        Found::Valid(progress) => Some(saved::load(tree, *progress)?),
        _ => None,
    };
    let current = saved.as_ref().map(|saved| saved.progress.session_id.as_str());
    let mut sessions = unsettled(tree, current)?;
    sessions.extend(saved);
    Ok(sessions)
}

/// Every session but `current` that was never closed: that of a progress file which somebody
/// removed, for instance.
pub fn unsettled(tree: Tree<'_>, current: Option<&str>) -> Result<Vec<Saved>, Failure> {
    let current = current.map(layout::run_directory);
    let mut sessions = Vec::new();
    for run in all(tree)? {
        if Some(&run.directory) != current.as_ref() && !run.is_settled() {
            sessions.extend(saved::rebuild(tree, &run.directory)?);
        }
    }
    Ok(sessions)
}

/// Removes the oldest runs beyond those that are kept. What cannot be removed stays: it is no
/// reason to stop a batch. Only directories with a journal of ours count, and only files of ours go:
/// whatever else someone keeps there stays.
pub fn prune(tree: Tree<'_>, current: &str) -> Result<(), Failure> {
    let saved = match progress::find(tree) {
        Found::Valid(progress) => Some(layout::run_directory(&progress.session_id)),
        _ => None,
    };
    let is_needed = |run: &Run| {
        run.directory == current || Some(&run.directory) == saved.as_ref() || !run.is_settled()
    };
    let old = all(tree)?.into_iter().filter(|run| run.last.is_some() && !is_needed(run));
    for run in old.skip(KEPT - 1) {
        if journal::names_session(tree, &run.directory)? {
            remove_run(tree, &run.directory)?;
        }
    }
    Ok(())
}

/// Removes the files of a run, its journal last: what is cut off is still known for a run. The
/// directory goes if nothing else is in it.
fn remove_run(tree: Tree<'_>, directory: &str) -> Result<(), Failure> {
    let (ours, others): (Vec<Entry>, Vec<Entry>) = tree
        .list(directory)?
        .into_iter()
        .partition(|entry| entry.kind == Kind::File && layout::is_of_run(&entry.name));
    let mut names: Vec<String> = ours.into_iter().map(|entry| entry.name).collect();
    names.sort_by_key(|name| std::cmp::Reverse(layout::segment_number(name).unwrap_or(u32::MAX)));
    for name in names {
        remove_or_say(tree, &format!("{directory}/{name}"));
    }
    if others.is_empty() {
        remove_or_say(tree, directory);
    }
    Ok(())
}

fn remove_or_say(tree: Tree<'_>, path: &str) {
    if let Err(failure) = tree.remove(path) {
        tree.log(Level::Warning, &failure.to_string());
    }
}

/// The last event of a journal; so many results are not where they belong.
pub fn finished(now: Timestamp, reason: &str, resumable: bool, unsynced: usize) -> Event {
    let event = Event::new(EventKind::BatchFinished, now).with("reason", reason);
    event.with("resumable", resumable).with_some("unsynced", (unsynced > 0).then_some(unsynced))
}
