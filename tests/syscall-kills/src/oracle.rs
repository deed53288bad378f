//! What has to hold after a kill.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::place::{Place, Ran, events_in};
use crate::tree::Tree;

/// Entries of the state directory that no backup contains.
pub(crate) const NOT_BACKED_UP: [&str; 3] =
    [".wreckit/backups", ".wreckit/batch.lock", ".wreckit/.repository-id"];
const KILLED: &str = "killed";

/// What the undisturbed command made of the repository.
pub(crate) struct Reference {
    pub(crate) before: Tree,
    pub(crate) after: Tree,
    /// What doctor finds after.
    pub(crate) findings: Vec<String>,
    /// The titles of the items before.
    titles: BTreeMap<String, Value>,
    pub(crate) backups: BTreeSet<String>,
}

impl Reference {
    /// What has to be known before the command.
    pub(crate) fn before(place: &Place) -> Self {
        let before = place.tree("");
        Reference {
            after: before.clone(),
            before,
            findings: Vec::new(),
            titles: place
                .items()
                .into_iter()
                .map(|(id, item)| (id, item["title"].clone()))
                .collect(),
            backups: place.backups(".wreckit/backups"),
        }
    }
}

/// A repository in which a command has just been killed.
pub(crate) struct Round<'r> {
    pub(crate) place: &'r Place,
    pub(crate) arguments: &'r [String],
    pub(crate) reference: &'r Reference,
    /// The items whose completion was printed, or is in a journal.
    acknowledged: BTreeSet<String>,
    /// How often each item had been started.
    starts: BTreeMap<String, usize>,
    /// What the killed command had printed.
    pub(crate) printed: String,
    problems: RefCell<Vec<String>>,
}

impl<'r> Round<'r> {
    pub(crate) fn new(place: &'r Place, arguments: &'r [String], reference: &'r Reference) -> Self {
        let printed = place.said("stdout");
        let events = place.events().into_iter().chain(events_in(&printed));
        let completed = events.filter(|event| event["event"] == "item-completed");
        let acknowledged =
            completed.filter_map(|event| event["item"].as_str().map(str::to_owned)).collect();
        let problems = RefCell::default();
        let starts = starts(place);
        Round { place, arguments, reference, acknowledged, starts, printed, problems }
    }

    pub(crate) fn into_problems(self) -> Vec<String> {
        self.problems.into_inner()
    }

    pub(crate) fn problem(&self, problem: impl Into<String>) {
        self.problems.borrow_mut().push(problem.into());
    }

    pub(crate) fn require(&self, holds: bool, problem: impl FnOnce() -> String) {
        if !holds {
            self.problem(problem());
        }
    }

    /// Notes how things stand, to come back to it.
    pub(crate) fn save(&self, name: &str) {
        if let Err(error) = self.place.save(name) {
            self.problem(format!("cannot copy: {error}"));
        }
    }

    pub(crate) fn back(&self, name: &str) {
        if let Err(error) = self.place.back(name) {
            self.problem(format!("cannot copy: {error}"));
        }
    }

    /// Checks each way on from the kill by itself, from a copy.
    pub(crate) fn each(&self, ways: &[&dyn Fn(&Self)]) {
        self.save(KILLED);
        for (index, way) in ways.iter().enumerate() {
            if index > 0 {
                self.back(KILLED);
            }
            way(self);
        }
    }

    /// Runs a command that has to end with one of these codes, with a word of why unless it is 0.
    pub(crate) fn run(&self, arguments: &[&str], codes: &[i32]) -> Ran {
        let ran = self.place.run(arguments);
        let is_expected = ran.code.is_some_and(|code| codes.contains(&code));
        let is_told = ran.code == Some(0) || !(ran.stderr.is_empty() && ran.stdout.is_empty());
        self.require(is_expected && is_told, || ran.told());
        ran
    }

    /// Runs the killed command again.
    pub(crate) fn repeat(&self, codes: &[i32]) -> Ran {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        self.run(&arguments, codes)
    }

    /// A plain `run`: afterwards everything is done, and nothing acknowledged ran again.
    pub(crate) fn finish_session(&self) {
        self.run(&["run"], &[0]);
        self.all_is_done();
    }

    /// Every item is done under its title, and nothing acknowledged ran again.
    pub(crate) fn all_is_done(&self) {
        let items = self.place.items();
        for (id, title) in &self.reference.titles {
            let item = items.get(id).unwrap_or(&Value::Null);
            self.require(item["state"] == "done", || format!("{id} ends as {}", item["state"]));
            self.require(item["title"] == *title, || {
                format!("{id} has the title {}", item["title"])
            });
        }
        self.nothing_ran_again();
    }

    /// Nothing acknowledged was started again, and no item was worked on twice at once.
    pub(crate) fn nothing_ran_again(&self) {
        let now = starts(self.place);
        for (id, count) in &now {
            let is_acknowledged = self.acknowledged.contains(id);
            let before = self.starts.get(id).copied().unwrap_or_default();
            self.require(!is_acknowledged || *count == before, || {
                format!("{id} was done and ran again")
            });
        }
        let overlaps = self.place.ledger("overlaps");
        self.require(overlaps.is_empty(), || format!("two agents at once: {overlaps:?}"));
        let held = self.place.held_locks();
        self.require(held.is_empty(), || format!("agents are left: {held:?}"));
    }

    /// `status` offers nothing that is done.
    pub(crate) fn status_knows(&self) {
        let ran = self.run(&["status", "--json"], &[0]);
        let status: Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
        for item in status["items"].as_array().into_iter().flatten() {
            let id = item["id"].as_str().unwrap_or_default();
            let is_wrong = self.acknowledged.contains(id)
                && !["completed", "skipped"].iter().any(|word| item["status"] == *word);
            self.require(!is_wrong, || format!("`status` says of {id}, which is done: {item}"));
        }
    }

    /// `doctor` finds what it finds after the undisturbed command.
    pub(crate) fn has_the_same_findings(&self, what: &str) {
        let found = findings(self.place);
        let expected = &self.reference.findings;
        self.require(found == *expected, || {
            format!("{what}: doctor finds {found:?} instead of {expected:?}")
        });
    }

    /// `doctor` finds no error.
    pub(crate) fn is_sound(&self) {
        self.run(&["doctor"], &[0]);
    }

    /// What is below a directory is what it is in `expected`, but for times and what a cut-off write leaves.
    pub(crate) fn is_like(&self, what: &str, expected: &Tree, without: &[&str]) {
        let known = self.reference.before.clone().and(expected);
        let found = self.place.tree("").without_new_temporaries(&known);
        let tidy = |tree: Tree| tree.without(without).alike();
        let difference = tidy(expected.clone()).difference(&tidy(found));
        self.require(difference.is_none(), || {
            format!("{what}: {}", difference.clone().unwrap_or_default())
        });
    }

    /// Everything but backups and locks is as it was before the command, byte for byte.
    pub(crate) fn is_as_before(&self, what: &str) {
        let before = &self.reference.before;
        let found = self.place.tree("").without_new_temporaries(before).without(&NOT_BACKED_UP);
        let difference = before.clone().without(&NOT_BACKED_UP).difference(&found);
        self.require(difference.is_none(), || {
            format!("{what}: {}", difference.clone().unwrap_or_default())
        });
    }

    /// The backups that were not there before the command, the newest first.
    pub(crate) fn new_backups(&self) -> Vec<String> {
        let has_manifest =
            |id: &String| self.place.path(&format!(".wreckit/backups/{id}/manifest.json")).exists();
        let backups = self.place.backups(".wreckit/backups").into_iter().rev();
        let is_new = |id: &String| !self.reference.backups.contains(id);
        backups.filter(|id| is_new(id) && has_manifest(id)).collect()
    }
}

/// How often each item was started.
fn starts(place: &Place) -> BTreeMap<String, usize> {
    let mut starts = BTreeMap::new();
    for line in place.ledger("ledger") {
        let id = line.split(' ').next().unwrap_or_default().to_owned();
        *starts.entry(id).or_default() += 1;
    }
    starts
}

/// The codes of what doctor finds, with their items; but for what a cut-off write leaves.
pub(crate) fn findings(place: &Place) -> Vec<String> {
    let report: Value =
        serde_json::from_str(&place.run(&["doctor", "--json"]).stdout).unwrap_or_default();
    let found = report["diagnostics"].as_array().into_iter().flatten();
    let mut found: Vec<String> = found
        .filter(|finding| finding["code"] != "ORPHANED_TEMP_FILE")
        .map(|finding| format!("{} {}", finding["code"], finding["item_id"]))
        .collect();
    found.sort();
    found
}
