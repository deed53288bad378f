//! File descriptors: how many this process may have, and a reserve that agents do not use up.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, setrlimit};

/// Number of descriptors that are free whenever an agent is started: its log, the journal and the items'
/// files need them.
const RESERVE: usize = 32;

/// The limit that this process was started with, if it was raised.
static ORIGINAL: OnceLock<Rlimit> = OnceLock::new();

/// Raises the soft limit on open files to the hard one: each agent needs two or three.
///
/// This happens only where agents can be given the original limit: programs that use `select(2)`, or close
/// every possible descriptor, fare badly with a high limit.
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
pub(super) fn restore_limit(pid: Pid) {
    if let Some(limit) = ORIGINAL.get() {
        // The agent may have exited already.
        let _ = rustix::process::prlimit(Some(pid), Resource::Nofile, *limit);
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn restore_limit(_: Pid) {}

/// Opens the reserve, which is dropped once the agent is running. Fails as starting an agent would.
pub(super) fn reserve() -> io::Result<Vec<OwnedFd>> {
    let (first, _) = io::pipe()?;
    let first = OwnedFd::from(first);
    (0..RESERVE).map(|_| first.try_clone()).collect()
}
