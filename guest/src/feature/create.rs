//! Creating a feature.

use serde_json::{Map, Value, json};

use super::approval;
use super::document::{COMPLETE, Document};
use super::store::{locked, progress_file, snapshot};
use crate::bindings::exports::wreckit::batch::feature::{FeatureError, NewFeature, Snapshot};
use crate::formats::slug::{self, slug};
use crate::io::host::Host;
use crate::time::Timestamp;

/// The phases of a feature that does not name its own.
const PHASES: [&str; 5] =
    ["brainstorming", "planning", "architecture", "implementation", "testing"];
/// The phases whose results a person must approve before the next phase starts.
const WITH_APPROVAL: [&str; 2] = ["brainstorming", "planning"];
/// Maximum length of the name of a phase.
const LONGEST_PHASE: usize = 50;
/// Number of iterations of the feedback loop before a person must help.
const MAX_ITERATIONS: u64 = 5;
/// How the name of a feature becomes the beginning of its id.
const SLUG: slug::Rule = slug::Rule { separators: &[], collapse: false, fallback: "feature" };

/// Creates a feature. Its id is derived from its name and the time.
pub fn create(host: Host<'_>, feature: &NewFeature) -> Result<Snapshot, FeatureError> {
    let name = feature.name.trim();
    if name.is_empty() {
        return Err(FeatureError::Invalid("a feature needs a name".to_owned()));
    }
    check_phases(&feature.phases)?;
    locked(host, || {
        let now = host.now();
        let mut time = now;
        // Of two with the same name in one second, the later one gets the next second.
        let id = loop {
            let id = format!("{}_{}", slug(name, SLUG), stamp(time));
            if host.stat(&id)?.is_none() {
                break id;
            }
            time = time.after(1000);
        };
        let document = document(host, &id, name, feature, now);
        // The directory is renamed to its name when it is complete: a crash leaves no incomplete feature.
        let unfinished = format!(".new-{id}");
        host.create_directory(&unfinished)?;
        host.write(&format!("{unfinished}/progress.json"), document.to_bytes())?;
        host.rename(&unfinished, &id)?;
        Ok(snapshot(id.clone(), format!("created {id}"), &document))
    })
}

fn check_phases(phases: &[String]) -> Result<(), FeatureError> {
    for (index, phase) in phases.iter().enumerate() {
        let is_name = !phase.is_empty()
            && phase.len() <= LONGEST_PHASE
            && phase.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
            && !phase.starts_with('-');
        if !is_name {
            return Err(FeatureError::Invalid(format!(
                "{phase:?} is not a valid name for a phase: use up to {LONGEST_PHASE} letters, digits, `_` and `-`"
            )));
        }
        if phase == COMPLETE {
            return Err(FeatureError::Invalid(format!(
                "a phase cannot be named {phase:?}: that is the `current_phase` of a complete feature"
            )));
        }
        if phases[..index].contains(phase) {
            return Err(FeatureError::Invalid(format!("duplicate phase {phase:?}")));
        }
    }
    Ok(())
}

fn document(
    host: Host<'_>,
    id: &str,
    name: &str,
    feature: &NewFeature,
    now: Timestamp,
) -> Document {
    let names: Vec<&str> = match feature.phases.is_empty() {
        true => PHASES.to_vec(),
        false => feature.phases.iter().map(String::as_str).collect(),
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
    if let Some(worktree) = &feature.worktree {
        document["worktree"] = json!({
            "path": worktree.path,
            "pre_feature_commit": worktree.commit,
            "created_at": now,
        });
    }
    document["metadata"] =
        json!({"total_duration_minutes": 0, "agents_spawned": 0, "human_checkpoints": 0});
    document["abort_info"] = super::abort::initial();
    document["feedback_loop"] = super::feedback::initial(MAX_ITERATIONS);
    document["metrics"] = super::metrics::initial();
    match document {
        Value::Object(document) => Document(document),
        _ => Document(Map::new()),
    }
}

/// The time in an id, in UTC: `20260301_081500`.
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
            assert_eq!(slug(name, SLUG), expected, "{name}");
        }
        assert_eq!(slug(&"a ".repeat(100), SLUG).len(), 49);
        let time = Timestamp::parse("2026-03-01T08:15:00.123Z").unwrap();
        assert_eq!(stamp(time), "20260301_081500");
    }
}
