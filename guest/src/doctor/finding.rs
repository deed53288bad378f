//! Every code that `doctor` reports: its severity, its meaning, and what can be done about it. The module that finds a
//! problem also fixes it. A test compares the table with `docs/doctor.md`.

use crate::bindings::exports::wreckit::batch::doctor::{
    BackupReference, Diagnostic, FixResult, Severity,
};

/// What can be done about a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Advice {
    /// `fix` fixes it, by this.
    Fix(&'static str),
    /// Only a person can fix it, like this.
    Manual(&'static str),
}
use Advice::{Fix, Manual};

macro_rules! codes {
    ($($variant:ident = $name:literal, $severity:ident, $meaning:literal, $advice:expr;)*) => {
        /// What is wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(missing_docs, reason = "the table gives the meaning of each")]
        pub enum Code {
            $($variant,)*
        }

        impl Code {
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self { $(Code::$variant => $name,)* }
            }

            /// When it is reported, in Markdown.
            pub fn meaning(self) -> &'static str {
                match self { $(Code::$variant => $meaning,)* }
            }

            fn severity(self) -> Severity {
                match self { $(Code::$variant => Severity::$severity,)* }
            }

            fn advice(self) -> Advice {
                match self { $(Code::$variant => $advice,)* }
            }
        }
    };
}

codes! {
    MissingConfig = "MISSING_CONFIG", Warning,
        "`config.json` does not exist",
        Manual("no agent is configured: create it with `wreckit-host init`; `--mock-agent` needs none");
    InvalidConfig = "INVALID_CONFIG", Error,
        "`config.json` or `config.local.json` cannot be read, has invalid JSON, or both together are not what [file-formats.md](file-formats.md) says. The SDK kinds of the wreckit tool are valid",
        Manual("no agent can run until the file is corrected");
    UnsafePlaceholder = "UNSAFE_PLACEHOLDER", Warning,
        "a placeholder in the script of `sh -c` or another shell, where its value is run as code: [agents.md](agents.md#titles-are-text-never-code)",
        Manual("a title that contains `$(…)` would be executed: use the variables in double quotes, as in docs/agents.md");
    MissingPrompts = "MISSING_PROMPTS", Info,
        "the directory `prompts` does not exist",
        Fix("writes the default prompts, for you to change");
    ItemsDirUnreadable = "ITEMS_DIR_UNREADABLE", Warning,
        "`items` is not a directory, or cannot be read",
        Manual("nothing can run: make it a readable directory");
    InvalidItemId = "INVALID_ITEM_ID", Error,
        "the id of an item that is not done contains other characters than letters, digits, `-`, `_` and `.`: the item does not run",
        Manual("the item cannot run: rename its directory, and correct `id` in item.json and `depends_on` of other items");
    MissingItemJson = "MISSING_ITEM_JSON", Error,
        "the directory of an item has no `item.json`",
        Manual("the item cannot run: restore the file, or remove the directory");
    InvalidItemJson = "INVALID_ITEM_JSON", Error,
        "an `item.json` cannot be read, has invalid JSON, invalid fields or another id than its directory; or the name of its directory is not that of an item, so that no command finds it",
        Manual("the item cannot run until this is corrected");
    ArtifactUnreadable = "ARTIFACT_UNREADABLE", Error,
        "`research.md`, `plan.md`, `prd.json` or the directory of an item exists and cannot be read",
        Manual("agents cannot read it either: make it a readable file");
    StateFileMismatch = "STATE_FILE_MISMATCH", Warning,
        "`researched` without `research.md`; `planned` without `plan.md` or `prd.json`; `implementing` without a pending story; `in_pr` without `pr_url` or `branch`",
        Fix("resets the state to what the files support, if `research.md`, or both `plan.md` and `prd.json`, are missing");
    InvalidPrd = "INVALID_PRD", Error,
        "`prd.json` has invalid JSON or invalid fields",
        Manual("correct the file, or remove it: the plan phase writes a new one");
    PrdMissingId = "PRD_MISSING_ID", Error,
        "`id` in `prd.json` is missing, null or empty; nothing else in the file is checked then",
        Fix("sets it to the id of the item; the rest of the file is checked afterwards");
    PrdMissingBranchName = "PRD_MISSING_BRANCH_NAME", Error,
        "`branch_name` in `prd.json` is missing, null or empty",
        Fix("sets it to `wreckit/` and the id");
    PrdInvalidPriority = "PRD_INVALID_PRIORITY", Warning,
        "a priority in `prd.json` is not between 1 and 4",
        Fix("sets it to the nearest number from 1 to 4");
    PoorStoryQuality = "POOR_STORY_QUALITY", Warning,
        "a valid `prd.json` has no stories or more than 15; or a story has no title, fewer than two acceptance criteria that are not blank, a priority that is not between 1 and 4, or an id unlike `US-1` and `US-012-3`",
        Manual("agents do better with 1 to 15 stories, each with an id such as US-1, a title, two acceptance criteria and a priority from 1 to 4");
    CircularDependency = "CIRCULAR_DEPENDENCY", Error,
        "items depend on each other in a cycle",
        Manual("none of these items can run: remove one of them from `depends_on`");
    MissingDependency = "MISSING_DEPENDENCY", Warning,
        "`depends_on` names an item that has no directory",
        Manual("the item cannot run until its `depends_on` is corrected");
    IndexStale = "INDEX_STALE", Warning,
        "`index.json` exists, and is invalid or contradicts the items",
        Fix("rebuilds it from the items");
    StaleBatchProgress = "STALE_BATCH_PROGRESS", Warning,
        "no process works on the session, and it is more than 24 hours old or its process has exited",
        Fix("saves its results to the items and removes the file, after a backup");
    BatchProgressCorrupt = "BATCH_PROGRESS_CORRUPT", Warning,
        "`batch-progress.json` is damaged, or its `journal` does not match its checksum or the end of the journal. An error if the file cannot be read",
        Fix("rebuilds it from its journal, after a backup; removes it if it has no journal, or if the session is more than 24 hours old");
    DuplicateResult = "DUPLICATE_RESULT", Warning,
        "an item is in two of the lists of results in `batch-progress.json`",
        Manual("the better result counts; correct the lists in batch-progress.json if it is wrong");
    UnknownItem = "UNKNOWN_ITEM", Warning,
        "`batch-progress.json` names an item that does not exist",
        Manual("the item is skipped: restore its directory if you still want it");
    FutureTimestamp = "FUTURE_TIMESTAMP", Warning,
        "a time in `batch-progress.json` or an `item.json` is in the future",
        Manual("a time in the future never counts as old: check the clock of this machine, or correct the time");
    JournalDamaged = "JOURNAL_DAMAGED", Warning,
        "a line of a journal is damaged, except for a torn last line; lines are out of order; or a segment is larger than 512 MiB, beyond which it is not read",
        Fix("keeps its valid lines, in order, after a backup");
    OrphanedTempFile = "ORPHANED_TEMP_FILE", Warning,
        "a file `….{12 hexadecimal digits}.tmp`, from a write that was interrupted; an item whose creation was interrupted, after a minute",
        Fix("moves it into a backup");
    RepairInterrupted = "REPAIR_INTERRUPTED", Warning,
        "a `doctor --fix` or a `backups restore` was interrupted. A run completes a restore and rolls back a fix",
        Fix("finishes it");
    OrphanedAgent = "ORPHANED_AGENT", Warning,
        "processes of an interrupted batch are still running ([agents.md](agents.md#leftover-processes))",
        Fix("ends it if it is proven to be an agent, and so does the next run, before it starts anything");
    FeatureProgressCorrupt = "FEATURE_PROGRESS_CORRUPT", Error,
        "the `progress.json` of a feature is missing or damaged",
        Fix("restores it from its newest valid backup, if there is one");
    FeatureArtifactMissing = "FEATURE_ARTIFACT_MISSING", Warning,
        "an artifact of a feature, in the directory of features, does not exist",
        Manual("restore the file, or correct `artifacts` in progress.json");
    FeatureInconsistent = "FEATURE_INCONSISTENT", Warning,
        "phases of a feature contradict each other, or the current phase",
        Manual("compare with `wreckit-host feature show`, and correct progress.json");
    LockUnusable = "LOCK_UNUSABLE", Error,
        "`batch.lock` is not a regular file",
        Manual("no batch can start: move what is at this path elsewhere");
}

/// A finding: the diagnostic, and what `fix` needs to know.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Finding {
    /// What is wrong.
    pub(crate) code: Code,
    /// The finding as embedders see it.
    pub(crate) diagnostic: Diagnostic,
    /// The file that `fix` changes, relative to the root of the instance.
    pub(crate) path: Option<String>,
}

/// What identifies a finding from one examination to the next.
pub(crate) type Key = (Code, Option<String>, Option<String>);

impl Finding {
    /// A finding with the severity and the advice of its code.
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        let (fixable, advice) = match code.advice() {
            Fix(advice) => (true, advice),
            Manual(advice) => (false, advice),
        };
        let diagnostic = Diagnostic {
            item_id: None,
            severity: code.severity(),
            code: code.name().to_owned(),
            message: message.into(),
            fixable,
            advice: advice.to_owned(),
        };
        Finding { code, diagnostic, path: None }
    }

    /// Sets the item that it concerns.
    pub(crate) fn of(mut self, item: &str) -> Self {
        self.diagnostic.item_id = Some(item.to_owned());
        self
    }

    /// Sets the file that `fix` changes.
    pub(crate) fn at(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// Makes it an error, unlike others with its code.
    pub(crate) fn error(mut self) -> Self {
        self.diagnostic.severity = Severity::Error;
        self
    }

    /// Makes it not fixable, unlike others with its code. A person can do this about it.
    pub(crate) fn by_hand(mut self, advice: &str) -> Self {
        self.diagnostic.fixable = false;
        self.diagnostic.advice = advice.to_owned();
        self
    }

    /// Sets what `fix` does about it, if that differs from others with its code.
    pub(crate) fn fixed_by(mut self, advice: &str) -> Self {
        self.diagnostic.advice = advice.to_owned();
        self
    }

    /// The item that it concerns, or an empty string.
    pub(crate) fn item(&self) -> &str {
        self.diagnostic.item_id.as_deref().unwrap_or_default()
    }

    pub(crate) fn key(&self) -> Key {
        (self.code, self.diagnostic.item_id.clone(), self.path.clone())
    }

    /// The outcome of fixing it: what was done, or why nothing could be done.
    pub(crate) fn result(
        &self,
        result: Result<String, String>,
        backup: Option<BackupReference>,
    ) -> FixResult {
        let fixed = result.is_ok();
        let message = result.unwrap_or_else(|problem| problem);
        FixResult { diagnostic: self.diagnostic.clone(), fixed, message, backup }
    }
}

/// The findings as embedders see them.
pub(crate) fn records(findings: Vec<Finding>) -> Vec<Diagnostic> {
    findings.into_iter().map(|finding| finding.diagnostic).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of `docs/doctor.md`.
    fn table() -> String {
        let mut table = "| code | severity | when | `--fix` |\n|---|---|---|---|\n".to_owned();
        for code in Code::ALL {
            let severity = match code.severity() {
                Severity::Error => "error",
                Severity::Warning => "warning",
                Severity::Info => "info",
            };
            let fix = match code.advice() {
                Fix(advice) => format!(" {advice} "),
                Manual(_) => " ".to_owned(),
            };
            let (name, meaning) = (code.name(), code.meaning());
            table += &format!("| {name} | {severity} | {meaning} |{fix}|\n");
        }
        table
    }

    #[test]
    fn the_documentation_has_the_table_of_codes() {
        let documentation = include_str!("../../../docs/doctor.md");
        let table = table();
        assert!(documentation.contains(&table), "docs/doctor.md must contain:\n{table}");
    }
}
