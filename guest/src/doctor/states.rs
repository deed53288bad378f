//! STATE_FILE_MISMATCH: the state of an item claims documents that do not exist.

use serde_json::Value;

use super::finding::{Code, Finding};
use super::fix::{Edit, FileFix};
use super::stories::Stories;
use crate::formats::item::{self, Change, Item};
use crate::io::capabilities::FsError;
use crate::io::host::{Failure, Host};
use crate::io::layout;
use crate::json;

pub(super) const RESEARCH: &str = "research.md";
pub(super) const PLAN: &str = "plan.md";
pub(super) const PRD: &str = "prd.json";

/// A document of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Artifact {
    /// It does not exist.
    Missing,
    /// It can be read.
    Readable,
    /// It exists, and cannot be read.
    Unreadable,
}

/// The documents of an item.
#[derive(Debug, Clone, Copy)]
pub(super) struct Documents {
    pub research: Artifact,
    pub plan: Artifact,
    pub stories: Stories,
}

/// Compares the state of an item with its documents.
pub(super) fn examine(id: &str, item: &Item, documents: Documents, found: &mut Vec<Finding>) {
    use Artifact::Missing;
    let Documents { research, plan, stories } = documents;
    let state = item.state.as_str();
    let finding = |problem: &str| {
        let message = format!("State is '{state}' but {problem}");
        Finding::new(Code::StateFileMismatch, message).of(id)
    };
    let fixable = |problem: &str| finding(problem).at(layout::item_file(id));
    let by_hand = |problem: &str| {
        finding(problem).by_hand("write what is missing, or correct `state` in item.json")
    };
    let is_set =
        |key: &str| item.field(key).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
    match state {
        "researched" if research == Missing => found.push(fixable("research.md is missing")),
        "planned" if (plan, stories) == (Missing, Stories::Missing) => {
            found.push(fixable("plan.md and prd.json are missing"));
        }
        "planned" if plan == Missing => found.push(by_hand("plan.md is missing")),
        "planned" if stories == Stories::Missing => found.push(by_hand("prd.json is missing")),
        "implementing" if stories == Stories::Missing => {
            found.push(by_hand("prd.json is missing, so there is no pending story"));
        }
        "implementing" if stories == Stories::Pending(0) => {
            found.push(by_hand("no pending stories in prd.json"));
        }
        "in_pr" => {
            let missing = ["pr_url", "branch"].into_iter().filter(|key| !is_set(key));
            found.extend(missing.map(|key| by_hand(&format!("{key} is not set"))));
        }
        _ => {}
    }
}

/// Resets the state to the last one whose documents exist.
pub(super) fn fix(host: Host<'_>, file: &FileFix<'_>) -> Result<(Edit, String), String> {
    let id = file.item();
    let item = item::read(host, id)?;
    let has = |name: &str| exists(host, id, name).map_err(|failure| failure.to_string());
    let to = match item.state.as_str() {
        "researched" if !has(RESEARCH)? => Some("idea"),
        "planned" if !has(PLAN)? && !has(PRD)? => match has(RESEARCH)? {
            true => Some("researched"),
            false => Some("idea"),
        },
        _ => None,
    };
    let changed = to.and_then(|to| {
        let change = Change::Advance { from: item.state.clone(), to: to.to_owned() };
        let document = item.changed(&[&change], host.now())?;
        Some((Edit::Replace(json::pretty(&document)), to))
    });
    Ok(match changed {
        Some((edit, to)) => (edit, format!("Reset state from '{}' to '{to}'", item.state)),
        None => (Edit::Keep, "The state agrees with the files by now".to_owned()),
    })
}

/// Whether a document of an item exists. A dangling link does not count.
pub(super) fn exists(host: Host<'_>, id: &str, name: &str) -> Result<bool, Failure> {
    // Reading one byte also checks that the file can be read.
    match host.read_at(&format!("{}/{name}", layout::item_directory(id)), 0, 1) {
        Ok(_) => Ok(true),
        Err(Failure { error: FsError::NotFound, .. }) => Ok(false),
        Err(failure) => Err(failure),
    }
}
