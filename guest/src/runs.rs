//! The directories of sessions under `runs/`: finding those that were never closed, and keeping
//! their number down.

use crate::capabilities::{Kind, Level};
use crate::journal::{self, Event, EventKind, Writer};
use crate::layout;
use crate::saved::{self, Saved};
use crate::settle::{self, Since};
use crate::time::Timestamp;
use crate::tree::{Failure, Tree};

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
        self.last.as_ref().is_none_or(|event| event.kind == EventKind::BatchFinished)
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
            let last = journal::last_event(tree, &directory)?;
            runs.push(Run { directory, last });
        }
    }
    runs.sort_by_key(|run| std::cmp::Reverse(run.time()));
    Ok(runs)
}

/// The session that a damaged progress file was of: the one that it names, else the newest that
/// could go on.
pub fn behind_damage(tree: Tree<'_>, session_id: Option<&str>) -> Result<Option<Saved>, Failure> {
    let named = session_id.map(layout::run_directory);
    if let Some(directory) = named
        && let Some(saved) = saved::rebuild(tree, &directory)?
    {
        return Ok(Some(saved));
    }
    match all(tree)?.into_iter().find(Run::is_resumable) {
        Some(run) => saved::rebuild(tree, &run.directory),
        None => Ok(None),
    }
}

/// Brings the results of a session that is left into its items' files and closes its journal.
pub fn leave(tree: Tree<'_>, saved: &Saved) -> Result<(), Failure> {
    saved.report_damage(tree);
    let changed = settle::settle(tree, &saved.unsynced, Since::Respect)?;
    if changed > 0 {
        let session = &saved.progress.session_id;
        tree.log(
            Level::Info,
            &format!("session {session}: {changed} results brought into their item.json"),
        );
    }
    let mut journal = Writer::open(tree, &saved.directory(), saved.last_event)?;
    let now = tree.now();
    let synced = Event::new(EventKind::Synced, now).with("through", saved.last_event);
    journal.append(tree, &mut [synced, finished(now, "left", false)], true)
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

/// Settles and closes every session but `current` that was never closed.
pub fn settle_others(tree: Tree<'_>, current: Option<&str>) -> Result<(), Failure> {
    unsettled(tree, current)?.iter().try_for_each(|saved| leave(tree, saved))
}

/// Removes the oldest runs beyond those that are kept. What cannot be removed stays: it is no
/// reason to stop a batch.
pub fn prune(tree: Tree<'_>, current: &str) -> Result<(), Failure> {
    let old = all(tree)?.into_iter().filter(|run| run.directory != current && run.is_settled());
    for run in old.skip(KEPT - 1) {
        for entry in tree.list(&run.directory)? {
            remove_or_say(tree, &format!("{}/{}", run.directory, entry.name));
        }
        remove_or_say(tree, &run.directory);
    }
    Ok(())
}

fn remove_or_say(tree: Tree<'_>, path: &str) {
    if let Err(failure) = tree.remove(path) {
        tree.log(Level::Warning, &failure.to_string());
    }
}

/// The last event of a journal: everything in it has been brought to where it belongs.
pub fn finished(now: Timestamp, reason: &str, resumable: bool) -> Event {
    Event::new(EventKind::BatchFinished, now).with("reason", reason).with("resumable", resumable)
}
