//! Bringing the results of a journal into the items' files.

use crate::capabilities::Replacement;
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
}

impl Outcome {
    /// The result that an event records, if it records one that belongs into a file. The mock
    /// agent did nothing, so nothing is said of its items.
    pub fn of(event: &Event) -> Option<Self> {
        let change = match event.kind {
            _ if event.is("mock") => return None,
            // Without a state it was not started: it was found done.
            EventKind::ItemCompleted => Change::Complete { from: event.text("state")?.to_owned() },
            EventKind::ItemFailed => {
                Change::Fail { error: event.text("error").unwrap_or_default().to_owned() }
            }
            _ => return None,
        };
        Some(Outcome { item: event.item.clone()?, change, time: event.time })
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

/// Brings results into their files, durably, and says how many files were changed.
pub fn settle(tree: Tree<'_>, outcomes: &[Outcome], since: Since) -> Result<usize, Failure> {
    let mut changed = 0;
    for group in outcomes.chunks(GROUP) {
        let mut files: Vec<Replacement> = Vec::new();
        for outcome in group {
            if since == Since::Respect && is_changed_since(tree, outcome)? {
                continue;
            }
            match items::replacement(tree, &outcome.item, &outcome.change) {
                // A later result of the same item stands for both.
                Ok(Some(file)) => {
                    files.retain(|other| other.path != file.path);
                    files.push(file);
                }
                Ok(None) => {}
                Err(problem) => tree.log(
                    crate::capabilities::Level::Warning,
                    &format!("{}: its result cannot be written: {problem}", outcome.item),
                ),
            }
        }
        if !files.is_empty() {
            changed += files.len();
            tree.replace(files, true)?;
        }
    }
    Ok(changed)
}

fn is_changed_since(tree: Tree<'_>, outcome: &Outcome) -> Result<bool, Failure> {
    let metadata = tree.stat(&layout::item_file(&outcome.item))?;
    Ok(metadata.is_some_and(|metadata| metadata.modified > outcome.time))
}
