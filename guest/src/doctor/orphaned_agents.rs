//! ORPHANED_AGENT.

use std::collections::BTreeMap;

use super::finding::{Code, Diagnostic};
use crate::capabilities::{Level, Worker};
use crate::orphans;
use crate::runs;
use crate::saved::Saved;
use crate::time::describe_span;
use crate::tree::Tree;

/// One finding for each item whose processes a batch left. Nobody else may hold the lock.
pub(super) fn examine(tree: Tree<'_>) -> Vec<Diagnostic> {
    let sessions = sessions(tree);
    let left = orphans::find(tree, &sessions.iter().collect::<Vec<_>>());
    diagnostics(tree, left)
}

/// Ends them all. Returns the findings that remain.
pub(super) fn mend(tree: Tree<'_>) -> Vec<Diagnostic> {
    let sessions = sessions(tree);
    let (_, left) = orphans::end(tree, &sessions.iter().collect::<Vec<_>>());
    diagnostics(tree, left)
}

/// One finding for each item of these.
pub(crate) fn diagnostics(tree: Tree<'_>, workers: Vec<Worker>) -> Vec<Diagnostic> {
    let mut by_item: BTreeMap<Option<String>, Vec<String>> = BTreeMap::new();
    for worker in workers {
        let since = worker.since.map(|since| {
            format!(" (since {since}, for {})", describe_span(tree.now().since(since)))
        });
        let words = format!("{}{}", worker.pid, since.unwrap_or_default());
        by_item.entry(worker.item).or_default().push(words);
    }
    let diagnostic = |(item, processes): (Option<String>, Vec<String>)| {
        let message =
            format!("an interrupted batch left a process running: pid {}", processes.join(", "));
        let diagnostic = Diagnostic::new(Code::OrphanedAgent, message);
        match item {
            Some(item) => diagnostic.of(&item),
            None => diagnostic,
        }
    };
    by_item.into_iter().map(diagnostic).collect()
}

/// The sessions whose agents may be left. If they cannot be read, the marked processes are left.
fn sessions(tree: Tree<'_>) -> Vec<Saved> {
    runs::open_sessions(tree).unwrap_or_else(|failure| {
        tree.log(Level::Debug, &failure.to_string());
        Vec::new()
    })
}
