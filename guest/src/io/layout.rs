//! The paths of files in the root of an instance.

/// The paths of the files of a root.
#[derive(Debug, PartialEq, Eq)]
pub struct RootLayout {
    /// The path of the root, relative to the root of the repository, with a `/` at its end.
    pub prefix: &'static str,
    /// The lock of the process that runs a session.
    pub lock: &'static str,
    /// The directory of journals and logs, with a directory for each session.
    pub runs: &'static str,
    /// The directory of backups.
    pub backups: &'static str,
    /// Files and directories that are never backed up and never restored over.
    pub excluded: &'static [&'static str],
    /// Whether the name of an item starts with its number. Otherwise items are phases, with any name.
    pub numbered_items: bool,
}

/// `.wreckit`, the root of a batch.
pub const STATE: RootLayout = RootLayout {
    prefix: PREFIX,
    lock: LOCK,
    runs: "runs",
    backups: "backups",
    excluded: &[LOCK, "backups"],
    numbered_items: true,
};
/// The directory of the features of a repository.
pub const FEATURES: RootLayout = RootLayout {
    prefix: ".claude/.output/features/",
    lock: RUN_LOCK,
    runs: ".runs",
    backups: ".backups",
    excluded: &[FEATURE_LOCK, RUN_LOCK, ".backups", ".runs"],
    numbered_items: false,
};

impl RootLayout {
    /// The directory of a session's journal and logs.
    ///
    /// A session id that another tool wrote may be anything. One that is not a safe name gets a directory
    /// named after its checksum; the journal in it names the session.
    pub fn run_directory(&self, session: &str) -> String {
        match is_safe_name(session) {
            true => format!("{}/{session}", self.runs),
            false => format!("{}/session-{:08x}", self.runs, crc32fast::hash(session.as_bytes())),
        }
    }
}

/// Locked while a feature is changed; never removed.
pub const FEATURE_LOCK: &str = ".lock";
/// Locked while agents run for a feature; never removed.
pub const RUN_LOCK: &str = ".run.lock";

/// The progress of the batch.
pub const PROGRESS: &str = "batch-progress.json";
/// Locked while a batch, a fix or `next` works; never removed.
pub const LOCK: &str = "batch.lock";
/// The root itself. It is locked as well, because it cannot be removed while it is in use.
pub const ROOT: &str = ".";
/// The id of the root, which agents have in their environment. A directory of features has its own.
pub const ROOT_ID: &str = ".repository-id";
/// The items' directories.
pub const ITEMS: &str = "items";
/// The prefix of the name of an item's directory while the item is created.
pub const UNFINISHED_ITEM: &str = ".new-";
/// The prompts of the phases.
pub const PROMPTS: &str = "prompts";
/// The prefix of paths in messages, which are relative to the root of the repository.
pub const PREFIX: &str = ".wreckit/";

/// The directory of an item.
pub fn item_directory(id: &str) -> String {
    format!("{ITEMS}/{id}")
}

/// The number of an item id (`^\d{3,}-`), without leading zeros; `None` if it does not start with one.
pub fn item_number(id: &str) -> Option<&str> {
    let digits = id.bytes().take_while(u8::is_ascii_digit).count();
    (digits >= 3 && id.as_bytes().get(digits) == Some(&b'-'))
        .then(|| id[..digits].trim_start_matches('0'))
}

/// The `item.json` of an item.
pub fn item_file(id: &str) -> String {
    format!("{ITEMS}/{id}/item.json")
}

/// The `prd.json` of an item.
pub fn prd_file(id: &str) -> String {
    format!("{ITEMS}/{id}/prd.json")
}

impl RootLayout {
    /// Whether a file in the directory of a session has a name that this tool uses: of a segment, of the log of an
    /// attempt, or of a temporary file of one of them.
    pub fn is_session_file(&self, name: &str) -> bool {
        let is_log = |name: &str| {
            let attempt = name.strip_suffix(".log").and_then(|name| name.rsplit_once('.'));
            attempt.is_some_and(|(item, attempt)| {
                (!self.numbered_items || item_number(item).is_some())
                    && attempt.parse().is_ok_and(|n: u32| n > 0 && n.to_string() == attempt)
            })
        };
        let name = temporary_target(name).unwrap_or(name);
        segment_number(name).is_some() || is_log(name)
    }
}

/// The file of a segment of a journal. Segments are numbered from 1.
pub fn segment(run_directory: &str, number: u32) -> String {
    format!("{run_directory}/events.{number}.jsonl")
}

/// The number of a segment from its file name.
pub fn segment_number(name: &str) -> Option<u32> {
    let number = name.strip_prefix("events.")?.strip_suffix(".jsonl")?;
    number.parse().ok().filter(|n: &u32| *n > 0 && n.to_string() == number)
}

/// The log of an attempt.
pub fn log_file(run_directory: &str, item: &str, attempt: u32) -> String {
    format!("{run_directory}/{item}.{attempt}.log")
}

/// The target of a temporary file: `item.json.9f68aee0695f.tmp`, here and in the existing tool.
pub fn temporary_target(name: &str) -> Option<&str> {
    let (target, digits) = name.strip_suffix(".tmp")?.rsplit_once('.')?;
    let is_ours = digits.len() == 12
        && digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'))
        && !target.is_empty();
    is_ours.then_some(target)
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
    fn a_foreign_session_id_is_never_used_as_a_path() {
        for id in ["../../etc", "", ".hidden", "a/b", &"x".repeat(65), "a b"] {
            let directory = STATE.run_directory(id);
            assert!(
                directory.starts_with("runs/session-") && directory.len() == 21,
                "{id} {directory}"
            );
        }
        assert_eq!(STATE.run_directory("7e6e3dab-f73a"), "runs/7e6e3dab-f73a");
    }

    #[test]
    fn files_of_a_session_are_recognised_by_name() {
        for name in
            ["events.1.jsonl", "001-a.1.log", "1000-a.b.12.log", "events.2.jsonl.9f68aee0695f.tmp"]
        {
            assert!(STATE.is_session_file(name), "{name}");
        }
        for name in [
            "model.bin",
            "events.jsonl",
            "train.1.log",
            "001-a.log",
            "001-a.0.log",
            "001-a.01.log",
            "001-a.1.log.gz",
            "notes.9f68aee0695f.tmp",
        ] {
            assert!(!STATE.is_session_file(name), "{name}");
        }
    }

    #[test]
    fn temporary_files_are_recognised_by_name() {
        assert_eq!(temporary_target("item.json.9f68aee0695f.tmp"), Some("item.json"));
        for name in [
            "item.json",
            "notes.tmp",
            "item.json.tmp",
            "item.json.9f68.tmp",
            "item.json.9F68AEE0695F.tmp",
            ".9f68aee0695f.tmp",
            "item.json.9f68aee0695f.tmp.md",
        ] {
            assert_eq!(temporary_target(name), None, "{name}");
        }
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
