//! Agents that a batch left running when it was killed.
//!
//! Two things tell them: the marker of this root in their environment, which their children have as
//! well, and the journal, which names the process that led each item's group.

use crate::capabilities::{Liveness, Recorded, Worker};
use crate::saved::Saved;
use crate::tree::Tree;

/// So many are named in a message.
const NAMED: usize = 10;

/// The processes that agents of these sessions left. Nobody else may hold the lock.
pub fn find(tree: Tree<'_>, sessions: &[&Saved]) -> Vec<Worker> {
    let mut found = tree.marked();
    let recorded = sessions.iter().flat_map(|saved| recorded(tree, saved));
    for leader in recorded {
        if !found.iter().any(|worker| worker.pid == leader.pid) {
            found.push(leader);
        }
    }
    found
}

/// Ends what agents of these sessions left; what was there, and what could not be ended.
pub fn end(tree: Tree<'_>, sessions: &[&Saved]) -> (Vec<Worker>, Vec<Worker>) {
    let found = find(tree, sessions);
    let left = match found.is_empty() {
        true => Vec::new(),
        false => {
            let leaders: Vec<Worker> =
                sessions.iter().flat_map(|saved| recorded(tree, saved)).collect();
            tree.end(&leaders)
        }
    };
    (found, left)
}

/// The processes that a session's journal names and that are provably the same ones.
fn recorded(tree: Tree<'_>, saved: &Saved) -> Vec<Worker> {
    let owner = saved.progress.owner.clone().unwrap_or_default();
    let is_running = |worker: &Worker| {
        worker.start_time.is_some()
            && owner.boot_id.is_some()
            && tree.liveness(&Recorded {
                pid: worker.pid,
                host: owner.host.clone(),
                boot_id: owner.boot_id.clone(),
                start_time: worker.start_time,
                seen: None,
            }) == Liveness::Running
    };
    let running: Vec<Worker> = saved.ledger.workers().filter(is_running).collect();
    // In a copy of a repository the journal names processes of the original.
    if running.is_empty() { running } else { tree.leaders(&running) }
}

/// `001-a (pid 4711), pid 4712 and 3 more`.
pub fn describe(workers: &[Worker]) -> String {
    let mut names: Vec<String> = workers
        .iter()
        .take(NAMED)
        .map(|worker| match &worker.item {
            Some(item) => format!("{item} (pid {})", worker.pid),
            None => format!("pid {}", worker.pid),
        })
        .collect();
    if workers.len() > NAMED {
        names.push(format!("{} more", workers.len() - NAMED));
    }
    names.join(", ")
}
