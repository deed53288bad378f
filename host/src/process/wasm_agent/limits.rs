//! What a component may use up. It has a process of its own, so much of it is the system's to
//! enforce.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::ambient;

/// Bytes of all its memories and tables together.
pub(super) const MEMORY: usize = 256 << 20;
/// Core instances. Components that link libraries dynamically have dozens.
pub(super) const INSTANCES: usize = 100;
/// Handles of files, streams and the like at a time.
pub(super) const RESOURCES: usize = 10_000;
/// Bytes that it may write, into files and as output, all together.
const WRITTEN: u64 = 1 << 30;
/// Files and sockets of the process that are open at a time.
const DESCRIPTORS: u64 = 256;
/// Bytes that the process may allocate: compiling has a smaller bound that explains itself, and what
/// the component gets later counts on its own. This is for what neither of them sees.
const ALLOCATED: u64 = 2 << 30;

/// Limits this process. Beyond RLIMIT_FSIZE a write fails: the program catches SIGXFSZ.
pub(super) fn apply() -> io::Result<()> {
    let limits =
        [(Resource::Fsize, WRITTEN), (Resource::Nofile, DESCRIPTORS), (Resource::Data, ALLOCATED)];
    for (resource, limit) in limits {
        // One that is stricter already stays.
        let before = getrlimit(resource);
        let lower =
            |limit: u64, before: Option<u64>| Some(before.map_or(limit, |it| it.min(limit)));
        let after =
            Rlimit { current: lower(limit, before.current), maximum: lower(limit, before.maximum) };
        setrlimit(resource, after)?;
    }
    Ok(())
}

/// Says why the process has to end, once it has written too much.
pub(super) fn exceeded() -> impl Fn() -> Option<String> {
    let before = written();
    move || {
        let is_exceeded = written().saturating_sub(before) > WRITTEN;
        is_exceeded.then(|| format!("the component wrote more than {} MiB", WRITTEN >> 20))
    }
}

/// Bytes that this process has written; 0 where the system does not tell.
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
