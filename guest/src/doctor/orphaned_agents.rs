//! ORPHANED_AGENT.

use std::collections::{BTreeMap, HashSet};

use super::finding::{Code, Diagnostic};
use crate::formats::layout;
use crate::io::capabilities::{Level, Worker};
use crate::io::time::describe_span;
use crate::io::tree::Tree;
use crate::session::leftovers;
use crate::session::runs;
use crate::session::saved::Saved;

/// What a person can do about a process that is not proven to be an agent.
const UNPROVEN: &str = "nothing starts beside it: if it is an agent, end it (`kill PID`); if it is not, `wreckit-host run --take-over`";

/// One finding for each item whose processes a batch left. Nobody else may hold the lock.
pub(super) fn examine(tree: Tree<'_>) -> Vec<Diagnostic> {
    let sessions = sessions(tree);
    let left = leftovers::find(tree, layout::LOCK, &sessions.iter().collect::<Vec<_>>());
    diagnostics(tree, left)
}

/// Ends them all. Returns the findings that remain.
pub(super) fn mend(tree: Tree<'_>) -> Vec<Diagnostic> {
    let sessions = sessions(tree);
    let orphans = leftovers::end(tree, layout::LOCK, &sessions.iter().collect::<Vec<_>>());
    diagnostics(tree, orphans.left.into_iter().chain(orphans.unproven).collect())
}

/// One finding for each item of these.
pub(crate) fn diagnostics(tree: Tree<'_>, workers: Vec<Worker>) -> Vec<Diagnostic> {
    let mut by_item: BTreeMap<(Option<String>, bool), Vec<String>> = BTreeMap::new();
    // A process may be found twice: by its marker and as the leader of a group.
    let mut seen = HashSet::new();
    for worker in workers.into_iter().filter(|worker| seen.insert(worker.pid)) {
        let since = worker.since.map(|since| {
            format!(" (since {since}, for {})", describe_span(tree.now().since(since)))
        });
        let words = format!("{}{}", worker.pid, since.unwrap_or_default());
        by_item.entry((worker.item, worker.proven)).or_default().push(words);
    }
    let diagnostic = |((item, proven), processes): ((Option<String>, bool), Vec<String>)| {
        let pids = processes.join(", ");
        let diagnostic = match proven {
            true => {
                let message = format!("an interrupted batch left a process running: pid {pids}");
                Diagnostic::new(Code::OrphanedAgent, message)
            }
            false => {
                let message = format!(
                    "a process still runs that may be an agent of an interrupted batch; nothing proves it, so it is never signalled: pid {pids}"
                );
                Diagnostic::new(Code::OrphanedAgent, message).by_hand(UNPROVEN)
            }
        };
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
