//! Beginning a feature.

use serde_json::{Map, Value, json};

use super::document::Document;
use super::store::{locked, progress_file, text};
use super::{Changed, FeatureError, approval};
use crate::io::host::Host;
use crate::io::time::Timestamp;

/// The phases of a feature that names none.
const PHASES: [&str; 5] =
    ["brainstorming", "planning", "architecture", "implementation", "testing"];
/// What these leave behind is looked at by a person before the next phase begins.
const WITH_APPROVAL: [&str; 2] = ["brainstorming", "planning"];
/// A longer slug helps nobody: with the time behind it, it is the name of a directory.
const LONGEST_SLUG: usize = 50;
/// How often an implementation is tried, reviewed and tested before a person has to help.
const MOST_ITERATIONS: u64 = 5;

/// What a feature begins with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct New {
    /// Its name.
    pub name: String,
    /// Its phases; empty: the usual ones.
    pub phases: Vec<String>,
    /// Where it is built.
    pub worktree: Option<Worktree>,
}

/// A git worktree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worktree {
    /// Its path, from the repository's root.
    pub path: String,
    /// The commit before the feature, if there is one.
    pub commit: Option<String>,
}

/// Makes a feature. Its id is that of its name and the time.
pub fn create(host: Host<'_>, new: &New) -> Result<Changed, FeatureError> {
    let name = new.name.trim();
    if name.is_empty() {
        return Err(FeatureError::Invalid("a feature needs a name".to_owned()));
    }
    check_phases(&new.phases)?;
    locked(host, || {
        let now = host.now();
        let mut time = now;
        // Two in one second: the later one is named after the next second.
        let id = loop {
            let id = format!("{}_{}", slug(name), stamp(time));
            if host.stat(&id)?.is_none() {
                break id;
            }
            time = time.after(1000);
        };
        let document = document(host, &id, name, new, now);
        // The directory gets its name when it is complete: a crash leaves no half feature.
        let unfinished = format!(".new-{id}");
        host.create_directory(&unfinished)?;
        host.write(&format!("{unfinished}/progress.json"), document.to_bytes())?;
        host.rename(&unfinished, &id)?;
        Ok(Changed { message: format!("made {id}"), document: text(&document), id })
    })
}

fn check_phases(phases: &[String]) -> Result<(), FeatureError> {
    for (index, phase) in phases.iter().enumerate() {
        let is_name = !phase.is_empty()
            && phase.len() <= LONGEST_SLUG
            && phase.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
            && !phase.starts_with('-');
        if !is_name {
            return Err(FeatureError::Invalid(format!(
                "{phase:?} is no name for a phase: letters, digits, `_` and `-`, at most {LONGEST_SLUG}"
            )));
        }
        if phase == super::document::COMPLETE {
            return Err(FeatureError::Invalid(format!(
                "a phase cannot be named {phase:?}: a feature says so that has no phase left"
            )));
        }
        if phases[..index].contains(phase) {
            return Err(FeatureError::Invalid(format!("the phase {phase:?} is named twice")));
        }
    }
    Ok(())
}

fn document(host: Host<'_>, id: &str, name: &str, new: &New, now: Timestamp) -> Document {
    let names: Vec<&str> = match new.phases.is_empty() {
        true => PHASES.to_vec(),
        false => new.phases.iter().map(String::as_str).collect(),
    };
    let phase = |name: &&str| {
        let mut phase = json!({"status": "pending"});
        if WITH_APPROVAL.contains(name) {
            phase[approval::APPROVED] = json!(false);
        }
        ((*name).to_owned(), phase)
    };
    let now = now.to_string();
    let mut document = json!({
        "feature_id": id,
        "feature_name": name,
        "created": now,
        "updated": now,
        "current_phase": names.first(),
        "status": "pending",
        "phases": names.iter().map(phase).collect::<Map<String, Value>>(),
        "artifacts": {"progress": format!("{}{}", host.layout().prefix, progress_file(id))},
    });
    if let Some(worktree) = &new.worktree {
        document["worktree"] = json!({
            "path": worktree.path,
            "pre_feature_commit": worktree.commit,
            "created_at": now,
        });
    }
    document["metadata"] =
        json!({"total_duration_minutes": 0, "agents_spawned": 0, "human_checkpoints": 0});
    document["abort_info"] = super::abort::nothing();
    document["feedback_loop"] = super::feedback::nothing(MOST_ITERATIONS);
    document["metrics"] = super::metrics::nothing();
    match document {
        Value::Object(document) => Document(document),
        _ => Document(Map::new()),
    }
}

/// Lower case, spaces to `-`, then only `[a-z0-9-]`; not so long, and with no `-` at the ends.
fn slug(name: &str) -> String {
    let name = name.to_lowercase().replace(char::is_whitespace, "-");
    let kept = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '-';
    let mut slug: String = name.chars().filter(kept).collect();
    slug = slug.trim_start_matches('-').to_owned();
    slug.truncate(LONGEST_SLUG);
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { "feature".to_owned() } else { slug.to_owned() }
}

/// `20260301_081500`, UTC.
fn stamp(time: Timestamp) -> String {
    let text = time.to_string();
    let digits: String = text.chars().filter(char::is_ascii_digit).take(14).collect();
    format!("{}_{}", &digits[..8], &digits[8..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_and_stamps() {
        for (name, expected) in [
            ("Asset Export", "asset-export"),
            ("Asset  Export to CSV!", "asset--export-to-csv"),
            ("../../etc", "etc"),
            ("!!!", "feature"),
            ("日本語", "feature"),
            ("--flag", "flag"),
            ("42", "42"),
        ] {
            assert_eq!(slug(name), expected, "{name}");
        }
        assert_eq!(slug(&"a ".repeat(100)).len(), 49);
        let time = Timestamp::parse("2026-03-01T08:15:00.123Z").unwrap();
        assert_eq!(stamp(time), "20260301_081500");
    }
}
