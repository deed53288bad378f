//! The items: ITEMS_DIR_UNREADABLE, INVALID_ITEM_ID, MISSING_ITEM_JSON, INVALID_ITEM_JSON, ARTIFACT_UNREADABLE and
//! FUTURE_TIMESTAMP. Calls the modules that examine states, stories and temporary files of an item.

use serde_json::Value;

use super::finding::{Code, Finding};
use super::states::{self, Artifact, Documents, PLAN, PRD, RESEARCH};
use super::stories::{self, Stories};
use super::temporary_files;
use crate::formats::item::{self, Item};
use crate::io::capabilities::{Entry, Kind};
use crate::io::host::{Failure, Host};
use crate::io::layout;
use crate::time::Timestamp;

/// What other examinations need to know of the items. Nothing else is retained, because there may be many.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Every item that has a directory, in running order.
    pub ids: Vec<String>,
    /// The items that can be used, in running order.
    pub items: Vec<ItemSummary>,
}

impl Survey {
    /// Whether an item has a directory.
    pub(super) fn has(&self, id: &str) -> bool {
        self.ids.binary_search_by(|other| item::compare(other, id)).is_ok()
    }
}

/// An item that can be used.
#[derive(Debug)]
pub(super) struct ItemSummary {
    pub id: String,
    pub state: String,
    pub title: String,
    pub depends_on: Vec<String>,
}

/// Examines every item; `None` if their directory cannot be read. `is_quiet`: no other process may be writing.
pub(super) fn examine(host: Host<'_>, is_quiet: bool, found: &mut Vec<Finding>) -> Option<Survey> {
    let entries = match host.list(layout::ITEMS) {
        Ok(entries) => entries,
        Err(failure) => {
            let message = format!("Cannot read items directory: {}", failure.error.describe());
            found.push(Finding::new(Code::ItemsDirUnreadable, message));
            return None;
        }
    };
    if is_quiet {
        temporary_files::unfinished_items(host, &entries, found);
    }
    examine_misnamed(host, &entries, found);
    let mut survey = Survey { ids: item::ids_of(entries), items: Vec::new() };
    for id in &survey.ids {
        survey.items.extend(examine_item(host, id, is_quiet, found));
    }
    Some(survey)
}

/// Finds directories with an `item.json` whose name is not that of an item, so that no command finds them.
fn examine_misnamed(host: Host<'_>, entries: &[Entry], found: &mut Vec<Finding>) {
    let directories = entries.iter().filter(|entry| {
        matches!(entry.kind, Kind::Directory | Kind::Link)
            && layout::item_number(&entry.name).is_none()
            && !entry.name.starts_with('.')
    });
    for Entry { name, .. } in directories {
        if matches!(host.stat(&layout::item_file(name)), Ok(Some(_))) {
            let message = format!(
                "{}{} has an item.json, but its name is not that of an item: at least three digits, a dash and a name",
                layout::PREFIX,
                layout::item_directory(name)
            );
            found.push(
                Finding::new(Code::InvalidItemJson, message)
                    .of(name)
                    .by_hand("no command finds the item: rename its directory"),
            );
        }
    }
}

/// Examines an item and the files in its directory. Returns `None` if the item cannot be used.
fn examine_item(
    host: Host<'_>,
    id: &str,
    is_quiet: bool,
    found: &mut Vec<Finding>,
) -> Option<ItemSummary> {
    let directory = layout::item_directory(id);
    let names = Names::list(host, id, &directory, found);
    if is_quiet {
        let entries = names.0.as_deref().unwrap_or_default();
        temporary_files::examine(host, &directory, Some(id), entries, found);
    }
    let item = examine_item_json(host, id, &directory, &names, found)?;
    if !item::is_legal(id) && item.state != item::DONE {
        let message = format!("{}: {}{directory}", item::LEGAL, layout::PREFIX);
        found.push(Finding::new(Code::InvalidItemId, message).of(id));
    }
    examine_times(host.now(), id, &item, found);
    let documents = Documents {
        research: examine_artifact(host, id, RESEARCH, &names, found),
        plan: examine_artifact(host, id, PLAN, &names, found),
        stories: match names.lacks(PRD) {
            true => Stories::Missing,
            false => stories::examine(host, id, found),
        },
    };
    states::examine(id, &item, documents, found);
    Some(ItemSummary {
        id: id.to_owned(),
        state: item.state,
        title: item.title,
        depends_on: item.depends_on,
    })
}

/// The entries of an item's directory; `None` if it cannot be listed.
struct Names(Option<Vec<Entry>>);

impl Names {
    fn list(host: Host<'_>, id: &str, directory: &str, found: &mut Vec<Finding>) -> Self {
        match host.list(directory) {
            Ok(entries) => Names(Some(entries)),
            Err(Failure { operation, path, error, prefix }) => {
                let message = format!("Cannot {operation} {prefix}{path}: {}", error.describe());
                found.push(Finding::new(Code::ArtifactUnreadable, message).of(id));
                Names(None)
            }
        }
    }

    /// Whether a file is known not to exist.
    fn lacks(&self, name: &str) -> bool {
        self.0.as_ref().is_some_and(|names| names.iter().all(|entry| entry.name != name))
    }
}

fn examine_item_json(
    host: Host<'_>,
    id: &str,
    directory: &str,
    names: &Names,
    found: &mut Vec<Finding>,
) -> Option<Item> {
    if names.lacks("item.json") {
        let hint = match id.contains(char::REPLACEMENT_CHARACTER) {
            true => " (the name of the directory is not UTF-8: rename it)",
            false => "",
        };
        let message = format!("item.json missing in {}{directory}{hint}", layout::PREFIX);
        found.push(Finding::new(Code::MissingItemJson, message).of(id));
        return None;
    }
    item::read(host, id)
        .map_err(|problem| {
            let message = format!("{problem} (in {}{directory})", layout::PREFIX);
            found.push(Finding::new(Code::InvalidItemJson, message).of(id));
        })
        .ok()
}

/// Examines a document of an item.
fn examine_artifact(
    host: Host<'_>,
    id: &str,
    name: &str,
    names: &Names,
    found: &mut Vec<Finding>,
) -> Artifact {
    if names.lacks(name) {
        return Artifact::Missing;
    }
    match states::exists(host, id, name) {
        Ok(true) => Artifact::Readable,
        Ok(false) => Artifact::Missing,
        Err(failure) => {
            let message = format!("Cannot read {name}: {}", failure.error.describe());
            found.push(Finding::new(Code::ArtifactUnreadable, message).of(id));
            Artifact::Unreadable
        }
    }
}

fn examine_times(now: Timestamp, id: &str, item: &Item, found: &mut Vec<Finding>) {
    for key in ["created_at", "updated_at"] {
        let text = item.field(key).and_then(Value::as_str).unwrap_or_default();
        if Timestamp::parse(text).is_some_and(|time| time > now) {
            let message = format!("`{key}` of item.json is {text}, which is after now ({now})");
            found.push(Finding::new(Code::FutureTimestamp, message).of(id));
        }
    }
}
