//! Checking that the root of an instance is a `.wreckit` or a directory of features.
//!
//! An embedder that opens the root of the repository instead of its `.wreckit` would otherwise create a
//! session next to the code.

use crate::io::host::{Failure, Host};
use crate::io::layout::{self, STATE};

/// Why a root is not used.
#[derive(Debug, Clone, PartialEq)]
pub enum RootError {
    /// It is another directory; which one it looks like.
    Wrong(String),
    /// It cannot be listed.
    Storage(Failure),
}

impl From<Failure> for RootError {
    fn from(failure: Failure) -> Self {
        RootError::Storage(failure)
    }
}

/// Entries that only a directory above the right one has.
const ABOVE_STATE: [&str; 1] = [".wreckit"];
/// The same for a directory of features.
const ABOVE_FEATURES: [&str; 3] = [".wreckit", ".claude", ".git"];

/// Checks that the root of the instance is a `.wreckit` or a directory of features, by the layout of `host`. An
/// empty directory is either.
pub fn check(host: Host<'_>) -> Result<(), RootError> {
    let entries = host.list(layout::ROOT)?;
    let has = |name: &str| entries.iter().any(|entry| entry.name == name);
    let is_state =
        ["config.json", layout::ITEMS, layout::PROGRESS, STATE.runs].into_iter().any(has);
    let wrong = |what: &str| Err(RootError::Wrong(what.to_owned()));
    match host.layout() == &STATE {
        true if ABOVE_STATE.into_iter().any(has) => {
            wrong("it contains a .wreckit: open that directory instead")
        }
        true if !is_state && !is_new(&entries) => {
            wrong("it has neither config.json nor items/: it is not a .wreckit")
        }
        false if ABOVE_FEATURES.into_iter().any(has) => {
            wrong("it is the root of a repository: open .claude/.output/features in it instead")
        }
        false if is_state => wrong("it is a .wreckit, not a directory of features"),
        false if has("progress.json") => {
            wrong("it is the directory of one feature: open the directory above it instead")
        }
        true | false => Ok(()),
    }
}

/// Whether a directory contains nothing but hidden files, locks, owner records and backups.
fn is_new(entries: &[crate::io::capabilities::Entry]) -> bool {
    let is_ours = |name: &str| {
        name.starts_with('.')
            || name.starts_with("batch.")
            || matches!(name, "backups" | "prompts" | "index.json" | "config.local.json")
    };
    entries.iter().all(|entry| is_ours(&entry.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::layout::FEATURES;
    use crate::io::memory::Machine;

    fn is_accepted(paths: &[&str], is_state: bool) -> bool {
        let machine = Machine::new();
        for path in paths {
            machine.put(path, "{}");
        }
        let process = machine.process(1);
        let host = match is_state {
            true => Host::new(&process),
            false => Host::with_layout(&process, &FEATURES),
        };
        check(host).is_ok()
    }

    #[test]
    fn the_root_of_a_repository_is_not_a_root_of_an_instance() {
        for paths in [&["src/main.rs"][..], &[".wreckit/config.json", "items/x"], &["package.json"]]
        {
            assert!(!is_accepted(paths, true), "{paths:?}");
        }
        for paths in [
            &[".git/HEAD"][..],
            &[".claude/settings.json"],
            &["config.json"],
            &["items/001-a/item.json"],
            &["progress.json"],
        ] {
            assert!(!is_accepted(paths, false), "{paths:?}");
        }
    }

    #[test]
    fn an_empty_directory_and_one_with_our_files_are_accepted() {
        for paths in [
            &[][..],
            &["config.json", "notes.txt"],
            &["items/001-a/item.json"],
            &["batch-progress.json"],
            &[".gitignore", "batch.lock", "backups/x/manifest.json"],
        ] {
            assert!(is_accepted(paths, true), "{paths:?}");
        }
        for paths in [&[][..], &["a_20260301_081500/progress.json", ".run.lock"], &["notes.txt"]] {
            assert!(is_accepted(paths, false), "{paths:?}");
        }
    }
}
