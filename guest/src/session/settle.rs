//! Bringing the results of a journal into the items' files.

use std::collections::HashMap;

use crate::formats::item::{self, Change};
use crate::formats::journal::{Event, EventKind};
use crate::formats::layout;
use crate::io::capabilities::{FsError, Level, Replacement};
use crate::io::host::{Failure, Host};
use crate::io::time::Timestamp;

/// So many files are replaced at once: enough to share a sync, few enough to be held in memory.
const GROUP: usize = 512;

/// A result that may not be in its `item.json` yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The item.
    pub item: String,
    /// What is to change in its file.
    pub change: Change,
    /// The number of the event that recorded it.
    pub seq: u64,
}

impl Outcome {
    /// The result that an event records, if it records one that belongs into a file. The mock
    /// agent did nothing, so nothing is said of its items.
    pub fn of(event: &Event) -> Option<Self> {
        let change = match event.kind {
            _ if event.is("mock") => return None,
            EventKind::ItemCompleted => match event.text("state") {
                Some(state) => Change::Complete { from: state.to_owned() },
                // It was not started, because its file said that it is done.
                None => Change::Found,
            },
            EventKind::PhaseCompleted => Change::Advance {
                from: event.text("from")?.to_owned(),
                to: event.text("state")?.to_owned(),
            },
            EventKind::ItemFailed => {
                Change::Fail { error: event.text("error").unwrap_or_default().to_owned() }
            }
            _ => return None,
        };
        Some(Outcome { item: event.item.clone()?, change, seq: event.seq })
    }

    /// An event that records it.
    pub fn to_event(&self, now: Timestamp) -> Event {
        let event = |kind| Event::of(kind, now, &self.item);
        match &self.change {
            Change::Complete { from } => {
                event(EventKind::ItemCompleted).with("state", from.clone())
            }
            Change::Found => event(EventKind::ItemCompleted),
            Change::Advance { from, to } => event(EventKind::PhaseCompleted)
                .with("from", from.clone())
                .with("state", to.clone()),
            Change::Fail { error } => event(EventKind::ItemFailed).with("error", error.clone()),
        }
    }

    /// The item, if this is a completion.
    pub fn completed(&self) -> Option<String> {
        matches!(self.change, Change::Complete { .. }).then(|| self.item.clone())
    }
}

/// A result that could not be brought into its file, and why.
pub type Unwritten = (Outcome, String);

/// Brings results into their files, durably, and returns those that could not be written: a file
/// that cannot be read or a directory that cannot be written to affects only its item. A full disk
/// affects every item: that is a failure.
///
/// Whether a result is in its file is decided by what the file says, never by when it was modified. A
/// file that says so already is synced all the same: an agent wrote it, or a process that was killed
/// before its sync.
pub fn settle(host: Host<'_>, outcomes: &[Outcome]) -> Result<Vec<Unwritten>, Failure> {
    let mut unwritten = Vec::new();
    let mut items = by_item(outcomes).into_iter().peekable();
    while items.peek().is_some() {
        let mut writing: Vec<(Vec<&Outcome>, Replacement)> = Vec::new();
        let mut written: Vec<(Vec<&Outcome>, String)> = Vec::new();
        for outcomes in items.by_ref().take(GROUP) {
            let changes: Vec<&Change> = outcomes.iter().map(|outcome| &outcome.change).collect();
            let Some(item) = outcomes.first().map(|outcome| &outcome.item) else { continue };
            match item::replacement(host, item, &changes) {
                Ok(Some(file)) => writing.push((outcomes, file)),
                Ok(None) => written.push((outcomes, layout::item_file(item))),
                // There is no file to bring the result of a removed item into.
                Err(_) if host.stat(&layout::item_directory(item))?.is_none() => {}
                Err(problem) => unwritten.extend(each(&outcomes, &problem)),
            }
        }
        unwritten.extend(write(host, writing)?);
        unwritten.extend(sync(host, &written)?);
    }
    // In the order in which they were recorded: a snapshot claims what precedes the first of them.
    unwritten.sort_by_key(|(outcome, _)| outcome.seq);
    Ok(unwritten)
}

/// The results of each item in their order.
fn by_item(outcomes: &[Outcome]) -> Vec<Vec<&Outcome>> {
    let mut groups: Vec<Vec<&Outcome>> = Vec::new();
    let mut group_of: HashMap<&str, usize> = HashMap::new();
    for outcome in outcomes {
        let group = *group_of.entry(&outcome.item).or_insert(groups.len());
        if group == groups.len() {
            groups.push(Vec::new());
        }
        groups[group].push(outcome);
    }
    groups
}

/// Replaces files together; if that fails, one by one, to find out which of them cannot be replaced.
fn write(
    host: Host<'_>,
    files: Vec<(Vec<&Outcome>, Replacement)>,
) -> Result<Vec<Unwritten>, Failure> {
    let together: Vec<Replacement> = files.iter().map(|(_, file)| file.clone()).collect();
    if together.is_empty() || host.replace(together, true).is_ok() {
        return Ok(Vec::new());
    }
    one_by_one(files, |file| host.replace(vec![file], true))
}

/// Syncs files that need no change, in the same way.
fn sync(host: Host<'_>, files: &[(Vec<&Outcome>, String)]) -> Result<Vec<Unwritten>, Failure> {
    let together: Vec<String> = files.iter().map(|(_, path)| path.clone()).collect();
    if host.sync(&together).is_ok() {
        return Ok(Vec::new());
    }
    one_by_one(files.to_vec(), |path| match host.sync(&[path]) {
        // Removed in the meantime.
        Err(Failure { error: FsError::NotFound, .. }) => Ok(()),
        other => other,
    })
}

fn one_by_one<F>(
    files: Vec<(Vec<&Outcome>, F)>,
    attempt: impl Fn(F) -> Result<(), Failure>,
) -> Result<Vec<Unwritten>, Failure> {
    let mut unwritten = Vec::new();
    for (outcomes, file) in files {
        match attempt(file) {
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
pub fn complain(host: Host<'_>, unwritten: &[Unwritten]) {
    for (outcome, problem) in unwritten {
        host.log(
            Level::Warning,
            &format!("{}: its result cannot be written yet: {problem}", outcome.item),
        );
    }
}
