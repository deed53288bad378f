//! Items: `items/NNN-slug/item.json`, read, checked and changed.

use std::cmp::Ordering;

use serde_json::{Map, Value, json};

use crate::formats::slug;
use crate::io::capabilities::{Entry, FsError, Kind, Replacement};
use crate::io::host::{Failure, Host};
use crate::io::layout;
use crate::json::{self, Fields};
use crate::time::Timestamp;

/// Maximum size of an `item.json` in bytes. A larger one is damage.
const LIMIT: u64 = 4 << 20;

/// The states of an item, in the order in which it goes through them.
const STATES: [&str; 7] =
    ["idea", "researched", "planned", "implementing", "critique", "in_pr", "done"];

/// The state of an item that needs no more work.
pub const DONE: &str = "done";

/// A valid `item.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// Its title.
    pub title: String,
    /// Its state.
    pub state: String,
    /// Its description.
    pub overview: String,
    /// The section that it belongs to.
    pub section: Option<String>,
    /// Its branch.
    pub branch: Option<String>,
    /// The ids of the items that must be done before it.
    pub depends_on: Vec<String>,
    document: Map<String, Value>,
}

/// A change of the file that records the result of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The item completed: it becomes `done`, unless its state is no longer `from` because the agent or
    /// someone else changed it.
    Complete {
        /// The state in which it was started.
        from: String,
        /// The agent that a phase of a feature gets if it does not name one.
        agent: Option<String>,
    },
    /// The item completed a phase: its state becomes `to`, unless it is no longer `from`.
    Advance {
        /// The state before.
        from: String,
        /// The state after.
        to: String,
    },
    /// The item failed: `last_error` is set, unless the item is done by now.
    Fail {
        /// Why.
        error: String,
    },
    /// The file already said that the item is done: nothing changes.
    Found,
    /// A person approved the phase of a feature: it is complete.
    Approve,
    /// The phase of a feature has done its work and needs a person's approval.
    AwaitApproval,
}

impl Change {
    /// True if the item is done after it.
    pub fn completes(&self) -> bool {
        matches!(self, Change::Complete { .. } | Change::Found | Change::Approve)
    }
}

impl Item {
    /// The item after these changes, applied in order.
    pub fn after(mut self, changes: &[&Change], now: Timestamp) -> Self {
        if let Some(document) = self.changed(changes, now) {
            self.state = document["state"].as_str().unwrap_or_default().to_owned();
            self.document = document;
        }
        self
    }

    /// A field as the file has it.
    pub fn field(&self, key: &str) -> Option<&Value> {
        self.document.get(key)
    }

    /// The document after these changes, applied in order; `None` if nothing changes.
    pub fn changed(&self, changes: &[&Change], now: Timestamp) -> Option<Map<String, Value>> {
        let mut document = self.document.clone();
        for change in changes {
            match change {
                Change::Complete { from, .. } if document["state"] == json!(from) => {
                    document["state"] = json!(DONE);
                    document["last_error"] = Value::Null;
                }
                Change::Advance { from, to } if document["state"] == json!(from) => {
                    document["state"] = json!(to);
                }
                Change::Fail { error } if document["state"] != json!(DONE) => {
                    document["last_error"] = json!(error);
                }
                Change::Complete { .. }
                | Change::Advance { .. }
                | Change::Fail { .. }
                | Change::Found
                | Change::Approve
                | Change::AwaitApproval => {}
            }
        }
        if document == self.document {
            return None;
        }
        document["updated_at"] = json!(now.to_string());
        Some(document)
    }
}

/// The names of the items' directories in running order: by number, then by name.
pub fn ids(host: Host<'_>) -> Result<Vec<String>, Failure> {
    Ok(ids_of(host.list(layout::ITEMS)?))
}

/// The same, from the entries of their directory.
pub fn ids_of(entries: Vec<Entry>) -> Vec<String> {
    let mut ids: Vec<String> = entries
        .into_iter()
        .filter(|entry| {
            matches!(entry.kind, Kind::Directory | Kind::Link)
                && layout::item_number(&entry.name).is_some()
        })
        .map(|entry| entry.name)
        .collect();
    ids.sort_by(|a, b| compare(a, b));
    ids
}

/// Running order: by number (of any length), then by name.
pub fn compare(a: &str, b: &str) -> Ordering {
    let key = |id| layout::item_number(id).map(|number: &str| (number.len(), number));
    key(a).cmp(&key(b)).then_with(|| a.cmp(b))
}

/// Whether an id contains only letters and digits of any script, `-`, `_` and `.`. Ids are used in command lines,
/// prompts, logs and file names.
pub fn is_legal(id: &str) -> bool {
    id.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.') || is_mark(c))
}

/// Which characters an id may contain, for messages.
pub const LEGAL: &str = "an id may only contain letters, digits, `-`, `_` and `.`";

/// Whether a character is a mark that is part of letters: a combining accent, or a mark of the scripts from
/// Devanagari to Myanmar or of Khmer.
fn is_mark(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{900}'..='\u{109f}' | '\u{1780}'..='\u{17ff}')
}

/// Reads an item to run it. An item with an illegal id is an error, unless it is done.
pub fn read_to_run(host: Host<'_>, id: &str) -> Result<Item, String> {
    let item = read(host, id)?;
    match is_legal(id) || item.state == DONE {
        true => Ok(item),
        false => Err(format!("{LEGAL}: rename its directory {}", layout::item_directory(id))),
    }
}

/// Reads and checks an item. On failure, what is wrong, in words.
pub fn read(host: Host<'_>, id: &str) -> Result<Item, String> {
    read_at(host, id, &layout::item_file(id))
}

/// Reads an item from another path, such as one in a backup.
pub fn read_at(host: Host<'_>, id: &str, path: &str) -> Result<Item, String> {
    let bytes = host.read(path, LIMIT).map_err(|error| match error {
        FsError::NotFound => "item.json is missing".to_owned(),
        error => format!("cannot read item.json: {}", error.describe()),
    })?;
    let document =
        json::parse(&bytes).map_err(|error| format!("item.json has invalid JSON: {error}"))?;
    let Value::Object(document) = document else {
        return Err("item.json is invalid: the document must be an object".to_owned());
    };

    let mut fields = Fields::new(&document);
    fields.required("schema_version", "a number", |value| value.is_number().then_some(()));
    let own_id = fields.string("id");
    let title = fields.string("title");
    let overview = fields.string("overview");
    for key in ["created_at", "updated_at"] {
        fields.string(key);
    }
    let state = fields.required("state", &format!("one of {}", STATES.join(", ")), |value| {
        value.as_str().filter(|state| STATES.contains(state))
    });
    let branch = fields.nullable_string("branch");
    for key in ["pr_url", "last_error"] {
        fields.nullable_string(key);
    }
    fields.required("pr_number", "a number or null", |value| {
        (value.is_number() || value.is_null()).then_some(())
    });
    let depends_on =
        fields.optional("depends_on", "a list of ids", json::strings).unwrap_or_default();

    if let Some(problems) = fields.problems() {
        return Err(format!("item.json is invalid: {problems}"));
    }
    let own_id = own_id.unwrap_or_default();
    if own_id != id {
        return Err(format!(
            "item.json is invalid: its `id` is {own_id:?}, its directory is {id:?}"
        ));
    }
    Ok(Item {
        title: title.unwrap_or_default().to_owned(),
        state: state.unwrap_or_default().to_owned(),
        overview: overview.unwrap_or_default().to_owned(),
        section: document.get("section").and_then(Value::as_str).map(str::to_owned),
        branch: branch.flatten().map(str::to_owned),
        depends_on,
        document,
    })
}

/// The replacement that applies changes to the file of an item; `None` if nothing changes. On failure, why the item
/// cannot be read.
pub fn replacement(
    host: Host<'_>,
    id: &str,
    changes: &[&Change],
) -> Result<Option<Replacement>, String> {
    let document = read(host, id)?.changed(changes, host.now());
    Ok(document.map(|document| Replacement::new(layout::item_file(id), json::pretty(&document))))
}

/// Creates an item in the state `idea`, numbered after the last one.
pub fn add(host: Host<'_>, title: &str) -> Result<String, Failure> {
    let last = ids(host)?
        .iter()
        .filter_map(|id| layout::item_number(id)?.parse::<u64>().ok())
        .max()
        .unwrap_or(0);
    let id = format!("{:03}-{}", last.saturating_add(1), slug::slug(title, SLUG));
    let now = host.now().to_string();
    let document = json!({
        "schema_version": 1,
        "id": id,
        "title": title,
        "state": "idea",
        "overview": "",
        "branch": null,
        "pr_url": null,
        "pr_number": null,
        "last_error": null,
        "created_at": now,
        "updated_at": now,
    });
    // The directory gets its name when it is complete: a crash leaves no incomplete item, and two processes that add
    // items cannot overwrite each other's.
    let suffix = json::hex(&host.random_bytes(8)?);
    let unfinished = format!("{}/{}{suffix}", layout::ITEMS, layout::UNFINISHED_ITEM);
    host.create_directory(&unfinished)?;
    host.write(&format!("{unfinished}/item.json"), json::pretty(&document))?;
    host.rename(&unfinished, &layout::item_directory(&id))?;
    Ok(id)
}

/// The rule of the existing tool for the names of items' directories.
const SLUG: slug::Rule = slug::Rule { separators: &['_'], collapse: true, fallback: "item" };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_letters_and_digits_of_any_script() {
        for id in
            ["001-a", "001-A_b.c", "1000-ünï", "001-日本語", "001-हिन्दी", "001-e\u{301}", "001-"]
        {
            assert!(is_legal(id), "{id}");
        }
        for id in [
            "001-$(touch PWNED)",
            "001-a b",
            "001-a;b",
            "001-`a`",
            "001-a'b",
            "001-a\"b",
            "001-a\nb",
            "001-a\u{1b}[31m",
            "001-a\u{202e}b",
            "001-a\u{2028}b",
            "001-a\u{fffd}",
            "001-a=b",
            "001-a*",
            "001-a\\b",
        ] {
            assert!(!is_legal(id), "{id}");
        }
    }
}
