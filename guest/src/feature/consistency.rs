//! FEATURE_INCONSISTENT: a document that contradicts itself.

use serde_json::json;

use super::document::{COMPLETE, Document, PhaseStatus, status_of, time_in};

/// The contradictions in the document of a feature, in words.
pub(crate) fn contradictions(id: &str, document: &Document) -> Vec<String> {
    let mut found = Vec::new();
    current_phase(document, &mut found);
    status(document, &mut found);
    if document.text("feature_id") != id {
        let own = document.text("feature_id");
        found.push(format!("its directory is {id}, but `feature_id` is {own:?}"));
    }
    times(document, &mut found);
    abort(document, &mut found);
    found.extend(document.invalid_parts());
    found
}

/// The phases in progress, and `current_phase`.
fn current_phase(document: &Document, found: &mut Vec<String>) {
    let working = document.in_status(&PhaseStatus::InProgress);
    if working.len() > 1 {
        found.push(format!("{} are in progress at the same time", working.join(" and ")));
    }
    let (current, status) = (document.text("current_phase"), document.status());
    match (document.phase_status(current), current) {
        (None, COMPLETE) if status != PhaseStatus::Complete => {
            found.push(format!("`current_phase` is {COMPLETE}, but `status` is {}", status.name()));
        }
        (None, COMPLETE) => {}
        (None, _) => found.push(format!("`current_phase` is {current:?}, which does not exist")),
        (Some(PhaseStatus::Complete), _) if status == PhaseStatus::InProgress => {
            found.push(format!("`current_phase` is {current}, which is complete"));
        }
        (Some(_), _) => {
            if let [other] = working[..]
                && other != current
            {
                found.push(format!("`current_phase` is {current}, but {other} is in progress"));
            }
        }
    }
}

/// `status`, compared with the phases.
fn status(document: &Document, found: &mut Vec<String>) {
    let status = document.status();
    let open: Vec<&str> = document
        .phases()
        .filter(|(_, phase)| {
            // An unknown status may be as good as complete.
            !matches!(status_of(phase), PhaseStatus::Complete | PhaseStatus::Other(_))
        })
        .map(|(name, _)| name)
        .collect();
    if status == PhaseStatus::Complete && !open.is_empty() {
        let verb = if open.len() == 1 { "is" } else { "are" };
        found.push(format!("`status` is complete, but {} {verb} not", open.join(", ")));
    }
    if document.next_phase().is_none() && status != PhaseStatus::Complete {
        found.push(format!("every phase is complete, but `status` is {}", status.name()));
    }
    let is_started = document.phases().any(|(_, phase)| status_of(phase) != PhaseStatus::Pending);
    if !is_started && !matches!(status, PhaseStatus::Pending | PhaseStatus::Aborted) {
        found.push(format!("no phase was started, but `status` is {}", status.name()));
    }
}

/// The times of each phase.
fn times(document: &Document, found: &mut Vec<String>) {
    for (name, phase) in document.phases() {
        let (started, completed) = (time_in(phase, "started_at"), time_in(phase, "completed_at"));
        if started.zip(completed).is_some_and(|(started, completed)| completed < started) {
            found.push(format!("{name} was completed before it was started"));
        }
        if status_of(phase) == PhaseStatus::Pending && completed.is_some() {
            found.push(format!("{name} is pending, but has a `completed_at`"));
        }
    }
}

/// `abort_info`, compared with `status`.
fn abort(document: &Document, found: &mut Vec<String>) {
    let status = document.status();
    if document.is_aborted() != (status == PhaseStatus::Aborted) {
        found.push(format!(
            "`abort_info.aborted` is {}, but `status` is {}",
            document.is_aborted(),
            status.name()
        ));
    }
    let info = document.part("abort_info");
    let is_cleaned = info.and_then(|info| info.get("cleanup_performed")) != Some(&json!(false));
    if document.is_aborted() && !is_cleaned {
        let problem =
            "it was aborted, and its cleanup is not finished: the same `abort` tries again";
        found.push(problem.to_owned());
    }
}
