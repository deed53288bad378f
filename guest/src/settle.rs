//! Bringing the results of a journal into the items' files.

use std::collections::HashMap;

use crate::capabilities::{FsError, Level, Replacement};
use crate::items::{self, Change};
use crate::journal::{Event, EventKind};
use crate::layout;
use crate::time::Timestamp;
use crate::tree::{Failure, Tree};

/// So many files are replaced at once: enough to share a sync, few enough to be held in memory.
const GROUP: usize = 512;

/// A result that may not be in its `item.json` yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The item.
    pub item: String,
    /// What is to change in its file.
    pub change: Change,
    /// When it was recorded.
    pub time: Timestamp,
    /// The number of the event that recorded it.
    pub seq: u64,
}

impl Outcome {
    /// The result that an event records, if it records one that belongs into a file. The mock
    /// agent did nothing, so nothing is said of its items.
    pub fn of(event: &Event) -> Option<Self> {
        let change = match event.kind {
            _ if event.is("mock") => return None,
            // Without a state it was not started: it was found done.
            EventKind::ItemCompleted => Change::Complete { from: event.text("state")?.to_owned() },
            EventKind::PhaseCompleted => Change::Advance {
                from: event.text("from")?.to_owned(),
                to: event.text("state")?.to_owned(),
            },
            EventKind::ItemFailed => {
                Change::Fail { error: event.text("error").unwrap_or_default().to_owned() }
            }
            _ => return None,
        };
        Some(Outcome { item: event.item.clone()?, change, time: event.time, seq: event.seq })
    }

    /// The item, if this is a completion.
    pub fn completed(&self) -> Option<String> {
        matches!(self.change, Change::Complete { .. }).then(|| self.item.clone())
    }
}

/// Whether a file counts that was written after the result was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// The result is of this moment: it is put into whatever the file says now.
    Ignore,
    /// Some time has passed: a file that was changed since says something newer.
    Respect,
}

/// A result that could not be brought into its file, and why.
pub type Unwritten = (Outcome, String);

/// Brings results into their files, durably, and returns those that could not be written: a file
/// that cannot be read or a directory that cannot be written to is that item's trouble alone. A full
/// disk is everybody's: that is a failure.
pub fn settle(
    tree: Tree<'_>,
    outcomes: &[Outcome],
    since: Since,
) -> Result<Vec<Unwritten>, Failure> {
    let mut unwritten = Vec::new();
    // All of them are looked at before the first file is written: that changes when it was modified.
    let mut items = by_item(tree, outcomes, since)?.into_iter().peekable();
    while items.peek().is_some() {
        let mut writing: Vec<(Vec<&Outcome>, Replacement)> = Vec::new();
        for outcomes in items.by_ref().take(GROUP) {
            let changes: Vec<&Change> = outcomes.iter().map(|outcome| &outcome.change).collect();
            let Some(item) = outcomes.first().map(|outcome| &outcome.item) else { continue };
            match items::replacement(tree, item, &changes) {
                Ok(Some(file)) => writing.push((outcomes, file)),
                Ok(None) => {}
                // Nobody can want anything of an item that is gone.
                Err(_) if tree.stat(&layout::item_directory(item))?.is_none() => {}
                Err(problem) => unwritten.extend(each(&outcomes, &problem)),
            }
        }
        unwritten.extend(write(tree, writing)?);
    }
    // In the order in which they were recorded: what comes behind the first counts on it.
    unwritten.sort_by_key(|(outcome, _)| outcome.seq);
    Ok(unwritten)
}

/// The results of each item that are to go into its file, in their order.
fn by_item<'o>(
    tree: Tree<'_>,
    outcomes: &'o [Outcome],
    since: Since,
) -> Result<Vec<Vec<&'o Outcome>>, Failure> {
    let mut groups: Vec<Vec<&Outcome>> = Vec::new();
    let mut group_of: HashMap<&str, usize> = HashMap::new();
    for outcome in outcomes {
        if since == Since::Respect && is_changed_since(tree, outcome)? {
            continue;
        }
        let group = *group_of.entry(&outcome.item).or_insert(groups.len());
        if group == groups.len() {
            groups.push(Vec::new());
        }
        groups[group].push(outcome);
    }
    Ok(groups)
}

/// Replaces files together; if that fails, one by one, to find out which cannot be.
fn write(
    tree: Tree<'_>,
    files: Vec<(Vec<&Outcome>, Replacement)>,
) -> Result<Vec<Unwritten>, Failure> {
    let together: Vec<Replacement> = files.iter().map(|(_, file)| file.clone()).collect();
    if together.is_empty() || tree.replace(together, true).is_ok() {
        return Ok(Vec::new());
    }
    let mut unwritten = Vec::new();
    for (outcomes, file) in files {
        match tree.replace(vec![file], true) {
            Ok(()) => {}
            Err(failure) if matches!(failure.error, FsError::Full(_)) => return Err(failure),
            Err(failure) => unwritten.extend(each(&outcomes, &failure.to_string())),
        }
    }
    Ok(unwritten)
}

fn each(outcomes: &[&Outcome], problem: &str) -> Vec<Unwritten> {
    outcomes.iter().map(|outcome| ((*outcome).clone(), problem.to_owned())).collect()
}

/// Tells the user which results could not be written.
pub fn complain(tree: Tree<'_>, unwritten: &[Unwritten]) {
    for (outcome, problem) in unwritten {
        tree.log(
            Level::Warning,
            &format!("{}: its result cannot be written yet: {problem}", outcome.item),
        );
    }
}

fn is_changed_since(tree: Tree<'_>, outcome: &Outcome) -> Result<bool, Failure> {
    let metadata = tree.stat(&layout::item_file(&outcome.item))?;
    Ok(metadata.is_some_and(|metadata| metadata.modified > outcome.time))
}
