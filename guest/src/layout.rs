//! Where things are in `.wreckit`, the root of the instance.

/// A root that an instance may have.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// What messages and manifests put in front of a path: they count from the repository's root.
    pub prefix: &'static str,
    /// Where backups are.
    pub backups: &'static str,
    /// What is never backed up and never restored over.
    pub kept_out: &'static [&'static str],
}

/// `.wreckit`.
pub const STATE: Place = Place { prefix: PREFIX, backups: "backups", kept_out: &[LOCK, "backups"] };
/// The features of a repository.
pub const FEATURES: Place = Place {
    prefix: ".claude/.output/features/",
    backups: ".backups",
    kept_out: &[FEATURE_LOCK, RUN_LOCK, ".backups"],
};

/// Locked while a feature is changed; never removed.
pub const FEATURE_LOCK: &str = ".lock";
/// Locked while agents run for a feature; never removed.
pub const RUN_LOCK: &str = ".run.lock";

/// The progress of the batch.
pub const PROGRESS: &str = "batch-progress.json";
/// Locked while a batch, a fix or `next` works; never removed.
pub const LOCK: &str = "batch.lock";
/// The root itself: locked as well, since it cannot be removed while it is in use.
pub const ROOT: &str = ".";
/// The id of the root: agents carry it in their environment. Features have one of their own.
pub const ROOT_ID: &str = ".repository-id";
/// The items' directories.
pub const ITEMS: &str = "items";
/// How the directory of an item is named while it is being made.
pub const UNFINISHED_ITEM: &str = ".new-";
/// Journals and logs, a directory for each session.
pub const RUNS: &str = "runs";
/// What messages put in front of a path in `.wreckit`: they count from the repository's root.
pub const PREFIX: &str = ".wreckit/";

/// The directory of an item.
pub fn item_directory(id: &str) -> String {
    format!("{ITEMS}/{id}")
}

/// The `item.json` of an item.
pub fn item_file(id: &str) -> String {
    format!("{ITEMS}/{id}/item.json")
}

/// The `prd.json` of an item.
pub fn prd_file(id: &str) -> String {
    format!("{ITEMS}/{id}/prd.json")
}

/// The directory of a session's journal and logs.
///
/// A session id that other hands wrote may be anything; one that is no safe name gets a directory
/// named after its checksum (the journal in it says whose it is).
pub fn run_directory(session: &str) -> String {
    if is_safe_name(session) {
        format!("{RUNS}/{session}")
    } else {
        format!("{RUNS}/session-{:08x}", crc32fast::hash(session.as_bytes()))
    }
}

/// A segment of a journal, counted from 1.
pub fn segment(run_directory: &str, number: u32) -> String {
    format!("{run_directory}/events.{number}.jsonl")
}

/// The number of a segment from its file name.
pub fn segment_number(name: &str) -> Option<u32> {
    let number = name.strip_prefix("events.")?.strip_suffix(".jsonl")?;
    number.parse().ok().filter(|n: &u32| *n > 0 && n.to_string() == number)
}

/// The log of one start of an item.
pub fn log_file(run_directory: &str, item: &str, attempt: u32) -> String {
    format!("{run_directory}/{item}.{attempt}.log")
}

/// `[A-Za-z0-9._-]{1,64}` without a leading dot.
pub fn is_safe_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_id_of_other_hands_never_names_a_path() {
        for id in ["../../etc", "", ".hidden", "a/b", &"x".repeat(65), "a b"] {
            let directory = run_directory(id);
            assert!(
                directory.starts_with("runs/session-") && directory.len() == 21,
                "{id} {directory}"
            );
        }
        assert_eq!(run_directory("7e6e3dab-f73a"), "runs/7e6e3dab-f73a");
    }

    #[test]
    fn only_canonical_segment_names_count() {
        assert_eq!(segment_number("events.12.jsonl"), Some(12));
        for name in [
            "events.0.jsonl",
            "events.01.jsonl",
            "events.jsonl",
            "events.1.jsonl.tmp",
            "events.-1.jsonl",
        ] {
            assert_eq!(segment_number(name), None, "{name}");
        }
    }
}
