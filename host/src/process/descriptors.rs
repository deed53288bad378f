//! File descriptors: how many this process may have, and that agents do not take the last ones.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, setrlimit};

/// So many are free whenever an agent is started: its log, the journal and the items' files need them.
const RESERVE: usize = 32;

/// The limit that this process was started with, if it was raised.
static ORIGINAL: OnceLock<Rlimit> = OnceLock::new();

/// Raises the soft limit on open files to the hard one: each agent takes two or three.
///
/// Only where agents can be given theirs back: programs that use `select(2)`, or close every possible
/// descriptor, do badly with a high limit.
pub(crate) fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    if cfg!(target_os = "linux") && limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if setrlimit(Resource::Nofile, raised).is_ok() {
            let _ = ORIGINAL.set(limit);
        }
    }
}

/// Gives an agent that was just started the limit that this process was started with.
#[cfg(target_os = "linux")]
pub(super) fn give_back_limit(pid: Pid) {
    if let Some(limit) = ORIGINAL.get() {
        // It may have exited already.
        let _ = rustix::process::prlimit(Some(pid), Resource::Nofile, *limit);
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn give_back_limit(_: Pid) {}

/// Takes the reserve, to be dropped when the agent runs; fails as starting an agent would.
pub(super) fn reserve() -> io::Result<Vec<OwnedFd>> {
    let (first, _) = io::pipe()?;
    let first = OwnedFd::from(first);
    (0..RESERVE).map(|_| first.try_clone()).collect()
}
