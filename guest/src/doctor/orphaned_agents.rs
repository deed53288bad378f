//! ORPHANED_AGENT.

use std::collections::{BTreeMap, HashSet};

use super::finding::{Code, Diagnostic};
use super::{Mended, RepairError};
use crate::io::capabilities::{Leftover, Level};
use crate::io::host::Host;
use crate::io::time::{Timestamp, describe_span};
use crate::session::leftovers::{self, Outcome, Terminated, Termination};
use crate::session::runs;
use crate::session::saved::Saved;

/// What a person can do about a process that is not proven to be an agent.
const UNPROVEN: &str = "nothing starts beside it: if it is an agent, end it (`kill PID`); if it is not, `wreckit-host run --take-over`";

/// One finding for each item whose processes a batch left. Nobody else may hold the lock.
pub(super) fn examine(host: Host<'_>) -> Vec<Diagnostic> {
    let sessions = sessions(host);
    diagnostics(host, leftovers::find(host, &sessions.iter().collect::<Vec<_>>()))
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

/// The findings about processes that a fix has ended or could not end, and the result for each.
pub(crate) fn fixes(host: Host<'_>, outcome: &Outcome) -> Vec<Mended> {
    let ended = diagnostics(host, outcome.ended.clone()).into_iter();
    let ended = ended.map(|it| Mended::new(it, Ok("Ended the process".to_owned())));
    let remaining = diagnostics(host, outcome.remaining.clone()).into_iter();
    let failed = "The process could not be ended (SIGKILL had no effect)".to_owned();
    ended.chain(remaining.map(|it| Mended::new(it, Err(failed.clone())))).collect()
}

/// One finding for each item of these.
pub(crate) fn diagnostics(host: Host<'_>, leftovers: Vec<Leftover>) -> Vec<Diagnostic> {
    let mut by_item: BTreeMap<(Option<String>, bool), Vec<String>> = BTreeMap::new();
    // A process may be found twice: by its marker and as the leader of a group.
    let mut seen = HashSet::new();
    for leftover in leftovers.into_iter().filter(|it| seen.insert(it.process.pid)) {
        let since = leftover.started_at.map(Timestamp::from_millis).map(|since| {
            format!(" (since {since}, for {})", describe_span(host.now().since(since)))
        });
        let words = format!("{}{}", leftover.process.pid, since.unwrap_or_default());
        by_item.entry((leftover.item, leftover.proven)).or_default().push(words);
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
fn sessions(host: Host<'_>) -> Vec<Saved> {
    runs::open_sessions(host).unwrap_or_else(|failure| {
        host.log(Level::Debug, &failure.to_string());
        Vec::new()
    })
}
