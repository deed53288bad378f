//! What can be found: every code with its severity, and what mends it.

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something cannot work.
    Error,
    /// Something is not as it should be.
    Warning,
    /// Good to know.
    Info,
}

/// What mends a finding: `Fix` is what a repair does, `Hand` what only a person can do.
enum Remedy {
    Fix(&'static str),
    Hand(&'static str),
}
use Remedy::{Fix, Hand};

macro_rules! codes {
    ($($variant:ident = $name:literal, $severity:ident, $remedy:expr;)*) => {
        /// Which finding it is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(missing_docs, reason = "each is documented by its remedy and in docs/doctor.md")]
        pub enum Code {
            $($variant,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self { $(Code::$variant => $name,)* }
            }

            fn severity(self) -> Severity {
                match self { $(Code::$variant => Severity::$severity,)* }
            }

            fn remedy(self) -> Remedy {
                match self { $(Code::$variant => $remedy,)* }
            }
        }
    };
}

codes! {
    MissingConfig = "MISSING_CONFIG", Warning,
        Hand("there is no agent to run: `wreckit-host init` makes one; `--mock-agent` needs none");
    InvalidConfig = "INVALID_CONFIG", Error,
        Hand("no agent can run before the file is corrected");
    UnsafePlaceholder = "UNSAFE_PLACEHOLDER", Warning,
        Hand("a title with `$(…)` in it would be executed: use the variables in double quotes, as in docs/agents.md");
    MissingPrompts = "MISSING_PROMPTS", Info,
        Fix("writes the default prompts, for you to change");
    ItemsDirUnreadable = "ITEMS_DIR_UNREADABLE", Warning,
        Hand("nothing can run: make it a directory that can be read");
    InvalidItemId = "INVALID_ITEM_ID", Error,
        Hand("the item cannot run: rename its directory, and correct `id` in item.json and `depends_on` of other items");
    MissingItemJson = "MISSING_ITEM_JSON", Error,
        Hand("the item cannot run: bring the file back, or remove the directory");
    InvalidItemJson = "INVALID_ITEM_JSON", Error,
        Hand("the item cannot run before this is corrected");
    ArtifactUnreadable = "ARTIFACT_UNREADABLE", Error,
        Hand("agents cannot read it either: make it a file that can be read");
    StateFileMismatch = "STATE_FILE_MISMATCH", Warning,
        Fix("sets the state back to what the files say");
    InvalidPrd = "INVALID_PRD", Error,
        Hand("correct the file, or remove it: the plan phase writes a new one");
    PrdMissingId = "PRD_MISSING_ID", Error,
        Fix("takes it from the item; the rest of the file is checked then");
    PrdMissingBranchName = "PRD_MISSING_BRANCH_NAME", Error, Fix("makes it `wreckit/` and the id");
    PrdInvalidPriority = "PRD_INVALID_PRIORITY", Warning, Fix("takes the nearest of 1 to 4");
    PoorStoryQuality = "POOR_STORY_QUALITY", Warning,
        Hand("agents do better with 1 to 15 stories, each with an id such as US-1, a title, two criteria and a priority from 1 to 4");
    CircularDependency = "CIRCULAR_DEPENDENCY", Error,
        Hand("none of these can run: take one of them out of `depends_on`");
    MissingDependency = "MISSING_DEPENDENCY", Warning,
        Hand("the item cannot run before this is corrected in its `depends_on`");
    IndexStale = "INDEX_STALE", Warning, Fix("rebuilds it from the items");
    StaleBatchProgress = "STALE_BATCH_PROGRESS", Warning,
        Fix("brings its results into the items and removes the file, after a backup");
    BatchProgressCorrupt = "BATCH_PROGRESS_CORRUPT", Warning,
        Fix("rebuilds it from its journal, or removes it if there is none, after a backup");
    DuplicateResult = "DUPLICATE_RESULT", Warning,
        Hand("the better result counts; correct the lists in batch-progress.json if that is wrong");
    UnknownItem = "UNKNOWN_ITEM", Warning,
        Hand("it is passed over: bring its directory back if it is still wanted");
    FutureTimestamp = "FUTURE_TIMESTAMP", Warning,
        Hand("a time that is yet to come never counts as old: check this machine's clock, or correct the time");
    JournalDamaged = "JOURNAL_DAMAGED", Warning,
        Fix("keeps every line of it that is sound, in order, after a backup");
    OrphanedTempFile = "ORPHANED_TEMP_FILE", Warning, Fix("moves it into a backup");
    RepairInterrupted = "REPAIR_INTERRUPTED", Warning,
        Fix("finishes it");
    OrphanedAgent = "ORPHANED_AGENT", Warning,
        Fix("ends it, and so does the next run, before it starts anything");
    FeatureProgressCorrupt = "FEATURE_PROGRESS_CORRUPT", Error,
        Fix("brings it back from its newest good backup");
    FeatureArtifactMissing = "FEATURE_ARTIFACT_MISSING", Warning,
        Hand("bring the file back, or correct `artifacts` in progress.json");
    FeatureInconsistent = "FEATURE_INCONSISTENT", Warning,
        Hand("`wreckit-host feature show` tells what is there; correct progress.json");
    LockUnusable = "LOCK_UNUSABLE", Error,
        Hand("no batch can start: move what stands there out of the way");
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The item that it is about.
    pub item: Option<String>,
    /// How much it matters.
    pub severity: Severity,
    /// Which finding it is.
    pub code: Code,
    /// What is wrong, with the evidence.
    pub message: String,
    /// True if a repair mends it.
    pub fixable: bool,
    /// What a repair does about it, or what a person can do.
    pub remedy: &'static str,
    /// The file that a repair changes, from `.wreckit`.
    pub path: Option<String>,
}

impl Diagnostic {
    /// A finding with the severity and the remedy of its code.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let (fixable, remedy) = match code.remedy() {
            Fix(remedy) => (true, remedy),
            Hand(remedy) => (false, remedy),
        };
        Diagnostic {
            item: None,
            severity: code.severity(),
            code,
            message: message.into(),
            fixable,
            remedy,
            path: None,
        }
    }

    /// About this item.
    pub fn of(mut self, item: &str) -> Self {
        self.item = Some(item.to_owned());
        self
    }

    /// Mended by changing this file.
    pub fn at(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// Worse than others of its code.
    pub fn error(mut self) -> Self {
        self.severity = Severity::Error;
        self
    }

    /// Only a person can mend it, by this.
    pub fn by_hand(mut self, remedy: &'static str) -> Self {
        self.fixable = false;
        self.remedy = remedy;
        self
    }

    /// Mended by this, unlike others of its code.
    pub fn mended_by(mut self, remedy: &'static str) -> Self {
        self.remedy = remedy;
        self
    }
}
