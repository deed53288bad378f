//! The items one by one: INVALID_ITEM_ID, MISSING_ITEM_JSON, INVALID_ITEM_JSON, ARTIFACT_UNREADABLE,
//! STATE_FILE_MISMATCH, what is wrong with their stories, and temporary files beside them.

use serde_json::Value;

use super::finding::{Code, Diagnostic};
use super::stories::{self, Stories};
use super::temporary_files;
use crate::formats::item::{self, Change, Item};
use crate::formats::json;
use crate::formats::layout;
use crate::io::capabilities::{Entry, FsError, Kind};
use crate::io::host::{Failure, Host};
use crate::io::time::Timestamp;

const RESEARCH: &str = "research.md";
const PLAN: &str = "plan.md";
const PRD: &str = "prd.json";

/// What other findings need to know of the items. Of each only this is kept: there may be many.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Every item's directory, in running order.
    pub ids: Vec<String>,
    /// The items that can be used, in running order.
    pub items: Vec<Known>,
}

impl Survey {
    /// True if an item has a directory.
    pub(super) fn has(&self, id: &str) -> bool {
        self.ids.binary_search_by(|other| item::compare(other, id)).is_ok()
    }
}

/// An item that can be used.
#[derive(Debug)]
pub(super) struct Known {
    pub id: String,
    pub state: String,
    pub title: String,
    pub depends_on: Vec<String>,
}

/// Looks at every item; `None` if their directory cannot be read. `is_quiet`: nobody may be writing.
pub(super) fn examine(
    host: Host<'_>,
    is_quiet: bool,
    found: &mut Vec<Diagnostic>,
) -> Option<Survey> {
    let entries = match host.list(layout::ITEMS) {
        Ok(entries) => entries,
        Err(failure) => {
            let message = format!("Cannot read items directory: {}", failure.error);
            found.push(Diagnostic::new(Code::ItemsDirUnreadable, message));
            return None;
        }
    };
    if is_quiet {
        temporary_files::unfinished_items(host, &entries, found);
    }
    misnamed(host, &entries, found);
    let mut survey = Survey { ids: item::ids_of(entries), items: Vec::new() };
    for id in &survey.ids {
        survey.items.extend(examine_item(host, id, is_quiet, found));
    }
    Some(survey)
}

/// Directories with an `item.json` that no command sees.
fn misnamed(host: Host<'_>, entries: &[Entry], found: &mut Vec<Diagnostic>) {
    let directories = entries.iter().filter(|entry| {
        matches!(entry.kind, Kind::Directory | Kind::Link)
            && item::number(&entry.name).is_none()
            && !entry.name.starts_with('.')
    });
    for Entry { name, .. } in directories {
        if matches!(host.stat(&layout::item_file(name)), Ok(Some(_))) {
            let message = format!(
                "{}{} has an item.json, but is not named like an item: three digits or more, a dash and a name",
                layout::PREFIX,
                layout::item_directory(name)
            );
            found.push(
                Diagnostic::new(Code::InvalidItemJson, message)
                    .of(name)
                    .by_hand("no command sees the item before its directory is renamed"),
            );
        }
    }
}

/// What can be said of a document beside an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Artifact {
    Missing,
    Readable,
    /// Nobody can tell what is in it.
    Unreadable,
}

fn examine_item(
    host: Host<'_>,
    id: &str,
    is_quiet: bool,
    found: &mut Vec<Diagnostic>,
) -> Option<Known> {
    let directory = layout::item_directory(id);
    // None if it cannot be listed: then nothing in it can be said to be missing.
    let names = match host.list(&directory) {
        Ok(entries) => Some(entries),
        Err(failure) => {
            found.push(Diagnostic::new(Code::ArtifactUnreadable, sentence(&failure)).of(id));
            None
        }
    };
    if is_quiet {
        temporary_files::examine(
            layout::PREFIX,
            &directory,
            Some(id),
            names.iter().flatten(),
            found,
        );
    }
    let has = |name: &str| names.as_ref().map(|names| names.iter().any(|entry| entry.name == name));
    if has("item.json") == Some(false) {
        let hint = match id.contains(char::REPLACEMENT_CHARACTER) {
            true => " (the directory's name is not UTF-8: rename it)",
            false => "",
        };
        let message = format!("item.json missing in {}{directory}{hint}", layout::PREFIX);
        found.push(Diagnostic::new(Code::MissingItemJson, message).of(id));
        return None;
    }
    let item = match item::read(host, id) {
        Ok(item) => item,
        Err(problem) => {
            let message = format!("{problem} (in {}{directory})", layout::PREFIX);
            found.push(Diagnostic::new(Code::InvalidItemJson, message).of(id));
            return None;
        }
    };
    if !item::is_legal(id) && item.state != item::DONE {
        let message = format!("{}: {}{directory}", item::LEGAL, layout::PREFIX);
        found.push(Diagnostic::new(Code::InvalidItemId, message).of(id));
    }
    future_times(host.now(), id, &item, found);

    let mut look = |name: &str| match has(name) {
        Some(false) => Artifact::Missing,
        // One byte is enough to find out.
        Some(true) | None => match host.read_at(&format!("{directory}/{name}"), 0, 1) {
            Ok(_) => Artifact::Readable,
            Err(Failure { error: FsError::NotFound, .. }) => Artifact::Missing,
            Err(failure) => {
                let message = format!("Cannot read {name}: {}", failure.error);
                found.push(Diagnostic::new(Code::ArtifactUnreadable, message).of(id));
                Artifact::Unreadable
            }
        },
    };
    let research = look(RESEARCH);
    let plan = look(PLAN);
    let stories = match has(PRD) {
        Some(false) => Stories::Missing,
        Some(true) | None => stories::examine(host, id, found),
    };
    mismatches(id, &item, research, plan, stories, found);
    Some(Known {
        id: id.to_owned(),
        state: item.state,
        title: item.title,
        depends_on: item.depends_on,
    })
}

/// What the state of an item claims and is not so.
fn mismatches(
    id: &str,
    item: &Item,
    research: Artifact,
    plan: Artifact,
    stories: Stories,
    found: &mut Vec<Diagnostic>,
) {
    use Artifact::Missing;
    let state = item.state.as_str();
    let finding = |what: &str| {
        Diagnostic::new(Code::StateFileMismatch, format!("State is '{state}' but {what}")).of(id)
    };
    let by_hand = |what: &str| {
        finding(what).by_hand("write what is missing, or correct `state` in item.json")
    };
    let is_set =
        |key: &str| item.field(key).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
    match state {
        "researched" if research == Missing => {
            found.push(finding("research.md is missing").at(layout::item_file(id)));
        }
        "planned" if (plan, stories) == (Missing, Stories::Missing) => {
            found.push(finding("plan.md and prd.json are missing").at(layout::item_file(id)));
        }
        "planned" if plan == Missing => found.push(by_hand("plan.md is missing")),
        "planned" if stories == Stories::Missing => found.push(by_hand("prd.json is missing")),
        "implementing" if stories == Stories::Missing => {
            found.push(by_hand("prd.json is missing: there is no pending story"));
        }
        "implementing" if stories == Stories::Pending(0) => {
            found.push(by_hand("no pending stories in prd.json"));
        }
        "in_pr" => {
            for key in ["pr_url", "branch"] {
                if !is_set(key) {
                    found.push(by_hand(&format!("{key} is not set")));
                }
            }
        }
        _ => {}
    }
}

/// The `item.json` with the state that its files speak for, and what was done; `None` if that is the
/// one it has.
pub(super) fn mend(host: Host<'_>, id: &str) -> Result<Option<(Vec<u8>, String)>, String> {
    let item = item::read(host, id)?;
    // As they are looked at: a link that leads nowhere is no document.
    let stands = |name: &str| {
        let path = format!("{}/{name}", layout::item_directory(id));
        match host.read_at(&path, 0, 1) {
            Ok(_) => Ok(true),
            Err(Failure { error: FsError::NotFound, .. }) => Ok(false),
            Err(failure) => Err(failure.to_string()),
        }
    };
    let to = match item.state.as_str() {
        "researched" if !stands(RESEARCH)? => "idea",
        "planned" if !stands(PLAN)? && !stands(PRD)? => match stands(RESEARCH)? {
            true => "researched",
            false => "idea",
        },
        _ => return Ok(None),
    };
    let change = Change::Advance { from: item.state.clone(), to: to.to_owned() };
    let done = format!("Reset state from '{}' to '{to}'", item.state);
    Ok(item.changed(&[&change], host.now()).map(|document| (json::pretty(&document), done)))
}

fn future_times(now: Timestamp, id: &str, item: &Item, found: &mut Vec<Diagnostic>) {
    for key in ["created_at", "updated_at"] {
        let text = item.field(key).and_then(Value::as_str).unwrap_or_default();
        if Timestamp::parse(text).is_some_and(|time| time > now) {
            let message = format!("`{key}` of item.json is {text}, which is after now ({now})");
            found.push(Diagnostic::new(Code::FutureTimestamp, message).of(id));
        }
    }
}

/// A failure as the beginning of a message.
fn sentence(failure: &Failure) -> String {
    format!("Cannot {} {}{}: {}", failure.operation, layout::PREFIX, failure.path, failure.error)
}
