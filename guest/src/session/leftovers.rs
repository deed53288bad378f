//! Agents that a batch left running when it was killed.
//!
//! Two things tell them: the marker of this root in their environment, which their children have as
//! well, and the journal, which names the process that led each item's group. The marker is proof; what
//! a journal says is none, since agents can write to it.

use crate::formats::layout;
use crate::io::capabilities::{FsError, Level, Liveness, Worker};
use crate::io::claim;
use crate::io::tree::Tree;
use crate::session::saved::Saved;

/// So many are named in a message.
const NAMED: usize = 10;
/// Bytes of the id of a root.
const ID: usize = 16;

/// What became of the processes that agents left.
#[derive(Debug, Default)]
pub struct Orphans {
    /// What was ended.
    pub ended: Vec<Worker>,
    /// What could not be ended.
    pub left: Vec<Worker>,
    /// What may be an agent's, and is not proven to be: it was not touched.
    pub unproven: Vec<Worker>,
}

impl Orphans {
    /// Tells the user.
    pub fn report(&self, tree: Tree<'_>, of: &str) {
        if !self.ended.is_empty() {
            let words = describe(&self.ended);
            let text =
                format!("an interrupted {of} had left agents running; they were ended: {words}");
            tree.log(Level::Warning, &text);
        }
        if !self.unproven.is_empty() {
            let words = describe(&self.unproven);
            let text = format!("not proven to be agents, and left alone: {words}");
            tree.log(Level::Warning, &text);
        }
    }
}

/// Gives the root an id, if it has none: agents carry it in their environment. The lock is held.
pub fn mark_root(tree: Tree<'_>) {
    let is_id = |text: &[u8]| {
        let text = text.trim_ascii();
        text.len() == 2 * ID && text.iter().all(u8::is_ascii_hexdigit)
    };
    let result = match tree.read(layout::ROOT_ID, 1024) {
        Ok(text) if is_id(&text) => return,
        Ok(_) | Err(FsError::NotFound | FsError::TooLarge(_)) => {
            let mut bytes = tree.random_bytes(ID);
            bytes.resize(ID, 0);
            let id: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            tree.write(layout::ROOT_ID, format!("{id}\n").into_bytes())
        }
        Err(error) => Err(tree.failed("read", layout::ROOT_ID)(error)),
    };
    if let Err(failure) = result {
        // Without an id agents are known by the directory's device and inode alone.
        tree.log(Level::Warning, &failure.to_string());
    }
}

/// The processes that agents of these sessions left. Nobody else may hold the lock.
pub fn find(tree: Tree<'_>, lock: &str, sessions: &[&Saved]) -> Vec<Worker> {
    find_with(tree, claim::witness(tree, lock).as_deref(), sessions)
}

fn find_with(tree: Tree<'_>, witness: Option<&str>, sessions: &[&Saved]) -> Vec<Worker> {
    let mut found = tree.marked(witness);
    let recorded: Vec<Worker> = sessions.iter().flat_map(|saved| recorded(tree, saved)).collect();
    if recorded.is_empty() {
        return found;
    }
    for leader in tree.leaders(&recorded, witness) {
        if !found.iter().any(|worker| worker.pid == leader.pid) {
            found.push(leader);
        }
    }
    found
}

/// Ends what agents of these sessions left, as far as it is proven to be theirs. This process holds the
/// lock.
pub fn end(tree: Tree<'_>, lock: &str, sessions: &[&Saved]) -> Orphans {
    let witness = claim::witness(tree, lock);
    let witness = witness.as_deref();
    let (proven, unproven): (Vec<Worker>, Vec<Worker>) =
        find_with(tree, witness, sessions).into_iter().partition(|worker| worker.proven);
    if proven.is_empty() {
        return Orphans { unproven, ..Orphans::default() };
    }
    let recorded: Vec<Worker> = sessions.iter().flat_map(|saved| recorded(tree, saved)).collect();
    let left = tree.end(&tree.leaders(&recorded, witness), witness);
    let is_left = |worker: &Worker| left.iter().any(|other| other.pid == worker.pid);
    let ended = proven.into_iter().filter(|worker| !is_left(worker)).collect();
    Orphans { ended, left, unproven }
}

/// The processes that a session's journal names and that are provably the same ones.
fn recorded(tree: Tree<'_>, saved: &Saved) -> Vec<Worker> {
    let owner = saved.progress.owner.clone().unwrap_or_default();
    let is_running = |worker: &Worker| {
        let mut agent = owner.recorded(worker.pid, None);
        agent.start_time = worker.start_time;
        agent.start_time.is_some()
            && agent.boot_id.is_some()
            && tree.liveness(&agent) == Liveness::Running
    };
    saved.ledger.workers().filter(is_running).collect()
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
