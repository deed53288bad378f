//! What a component may consume. It has a process of its own, so that the system enforces much of it.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::ambient;

/// Maximum size of all memories and tables together, in bytes.
pub(super) const MEMORY: usize = 256 << 20;
/// Maximum number of core instances. Components that link libraries dynamically have dozens.
pub(super) const INSTANCES: usize = 100;
/// Maximum number of handles (files, streams, …) at a time.
pub(super) const RESOURCES: usize = 10_000;
/// Maximum number of bytes that it may write to files and as output, in total.
const WRITTEN: u64 = 1 << 30;
/// Maximum number of open files and sockets of the process.
const DESCRIPTORS: u64 = 256;
/// Maximum number of bytes that the process may allocate. Compiling and the component's memory have smaller
/// bounds with better messages; this one covers everything else.
const ALLOCATED: u64 = 2 << 30;

/// Limits this process. Beyond RLIMIT_FSIZE a write fails: the program catches SIGXFSZ.
pub(super) fn apply() -> io::Result<()> {
    let limits =
        [(Resource::Fsize, WRITTEN), (Resource::Nofile, DESCRIPTORS), (Resource::Data, ALLOCATED)];
    for (resource, limit) in limits {
        // A stricter limit stays in effect.
        let before = getrlimit(resource);
        let lower =
            |limit: u64, before: Option<u64>| Some(before.map_or(limit, |it| it.min(limit)));
        let after =
            Rlimit { current: lower(limit, before.current), maximum: lower(limit, before.maximum) };
        setrlimit(resource, after)?;
    }
    Ok(())
}

/// Returns a check that says why the process must end, once it has written too much.
pub(super) fn exceeded() -> impl Fn() -> Option<String> {
    let before = written();
    move || {
        let is_exceeded = written().saturating_sub(before) > WRITTEN;
        is_exceeded.then(|| format!("the component wrote more than {} MiB", WRITTEN >> 20))
    }
}

/// Returns the number of bytes that this process has written; 0 where that is not known.
fn written() -> u64 {
    let io = ambient::read_to_string("/proc/self/io".as_ref()).unwrap_or_default();
    let bytes = io.lines().find_map(|line| line.strip_prefix("wchar: "));
    bytes.and_then(|bytes| bytes.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn what_is_written_is_counted() {
        let before = written();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![0; 1 << 20]).unwrap();
        assert!(written() >= before + (1 << 20));
        assert!(exceeded()().is_none());
    }
}
