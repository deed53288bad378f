//! ORPHANED_AGENT.

use std::collections::{BTreeMap, HashSet};

use super::finding::{Code, Finding};
use crate::bindings::exports::wreckit::batch::doctor::{FixResult, RepairError};
use crate::io::capabilities::{Leftover, Level};
use crate::io::host::Host;
use crate::session::leftovers::{self, Outcome, Terminated, Termination};
use crate::session::runs;
use crate::session::saved::Saved;
use crate::time::{Timestamp, describe_span};

/// What a person can do about a process that is not proven to be an agent.
const UNPROVEN: &str = "nothing starts while it is running: if it is an agent, end it (`kill PID`); if it is not, use `wreckit-host run --take-over`";

/// Finds the processes that a batch left running: one finding for each item. No other process holds the lock.
pub(super) fn examine(host: Host<'_>) -> Vec<Finding> {
    let sessions = sessions(host);
    findings(host, leftovers::find(host, &sessions.iter().collect::<Vec<_>>()))
}

/// Ends the leftover processes of every session that was not closed. Does not block: while some of them are still
/// running, it returns how long to wait before the next call.
pub(crate) fn terminate(
    host: Host<'_>,
    termination: &mut Termination,
) -> Result<Outcome, RepairError> {
    let sessions = sessions(host);
    match termination.poll(host, &sessions.iter().collect::<Vec<_>>()) {
        Terminated::Pending(milliseconds) => Err(RepairError::Terminating(milliseconds)),
        Terminated::Finished(outcome) => Ok(outcome),
    }
}

/// What a fix did about leftover processes: those that it ended, and those that it could not end.
pub(crate) fn results(host: Host<'_>, outcome: &Outcome) -> Vec<FixResult> {
    let ended = findings(host, outcome.ended.clone());
    let remaining = findings(host, outcome.remaining.clone());
    let done = || Ok("Ended the process".to_owned());
    let failed = || Err("The process could not be ended (SIGKILL had no effect)".to_owned());
    let ended = ended.iter().map(|finding| finding.result(done(), None));
    ended.chain(remaining.iter().map(|finding| finding.result(failed(), None))).collect()
}

/// One finding for each item that these processes belong to.
pub(crate) fn findings(host: Host<'_>, leftovers: Vec<Leftover>) -> Vec<Finding> {
    let mut by_item: BTreeMap<(Option<String>, bool), Vec<String>> = BTreeMap::new();
    // A process can be found twice: by its marker and as the leader of a group.
    let mut seen = HashSet::new();
    for leftover in leftovers.into_iter().filter(|it| seen.insert(it.process.pid)) {
        let since = leftover.started_at.map(Timestamp::from_millis).map(|since| {
            format!(" (since {since}, for {})", describe_span(host.now().since(since)))
        });
        let process = format!("{}{}", leftover.process.pid, since.unwrap_or_default());
        by_item.entry((leftover.item, leftover.proven)).or_default().push(process);
    }
    let finding = |((item, proven), processes): ((Option<String>, bool), Vec<String>)| {
        let pids = processes.join(", ");
        let finding = match proven {
            true => {
                let message = format!("an interrupted batch left a process running: pid {pids}");
                Finding::new(Code::OrphanedAgent, message)
            }
            false => {
                let message = format!(
                    "a running process may be an agent of an interrupted batch; nothing proves it, so it is never signalled: pid {pids}"
                );
                Finding::new(Code::OrphanedAgent, message).by_hand(UNPROVEN)
            }
        };
        match item {
            Some(item) => finding.of(&item),
            None => finding,
        }
    };
    by_item.into_iter().map(finding).collect()
}

/// The sessions that were not closed. If they cannot be read, only marked processes are found.
fn sessions(host: Host<'_>) -> Vec<Saved> {
    runs::open_sessions(host).unwrap_or_else(|failure| {
        host.log(Level::Debug, &failure.to_string());
        Vec::new()
    })
}
