//! The phases of an item: which one its state requires, and which artifacts each one must produce.

use crate::formats::prd;
use crate::io::capabilities::Kind;
use crate::io::host::Host;
use crate::io::layout;

/// Minimum size of a document, in bytes. A file of one byte has no content: an agent only created it.
const SHORTEST_DOCUMENT: u64 = 2;

/// What an agent is called for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Produces `research.md`.
    Research,
    /// Produces `plan.md` and a valid `prd.json`.
    Plan,
    /// Completes every story. Called once per story.
    Implement,
}

/// The next step of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// Call an agent; in `Implement`, for this story.
    Call(Phase, Option<String>),
    /// Nothing remains to be done.
    Nothing,
}

impl Phase {
    /// Its name, and that of its prompt.
    pub(super) fn name(self) -> &'static str {
        match self {
            Phase::Research => "research",
            Phase::Plan => "plan",
            Phase::Implement => "implement",
        }
    }

    /// The state of an item after it (after a part of it, for `Implement`).
    pub(super) fn state_after(self) -> &'static str {
        match self {
            Phase::Research => "researched",
            Phase::Plan => "planned",
            Phase::Implement => "implementing",
        }
    }

    /// The phase that an item in this state continues with, if there is one.
    fn of_state(state: &str) -> Option<Self> {
        match state {
            "idea" => Some(Phase::Research),
            "researched" => Some(Phase::Plan),
            "planned" | "implementing" => Some(Phase::Implement),
            // Beyond what an agent of these phases does: in review, or done.
            _ => None,
        }
    }
}

/// True for a state from which a phase follows.
pub(super) fn is_within(state: &str) -> bool {
    Phase::of_state(state).is_some()
}

/// The next step of an item in this state. If an artifact is missing that the state implies, the phase that produces
/// it.
pub(super) fn next(host: Host<'_>, id: &str, state: &str) -> Next {
    let Some(mut phase) = Phase::of_state(state) else { return Next::Nothing };
    if phase == Phase::Implement && !has_artifacts(host, id, Phase::Plan) {
        phase = Phase::Plan;
    }
    if phase == Phase::Plan && !has_artifacts(host, id, Phase::Research) {
        phase = Phase::Research;
    }
    call(host, id, phase)
}

/// The next step after a call of `phase` that produced its artifacts, with the item in `state` now.
pub(super) fn after(host: Host<'_>, id: &str, phase: Phase, state: &str) -> Next {
    // Never an earlier phase: an agent that resets the state would otherwise be called forever.
    let least = match phase {
        Phase::Research => Phase::Plan,
        Phase::Plan | Phase::Implement => Phase::Implement,
    };
    match Phase::of_state(state) {
        Some(of_state) => call(host, id, of_state.max(least)),
        None => Next::Nothing,
    }
}

/// Checks the artifacts of a phase. On failure, what is wrong.
pub(super) fn check(host: Host<'_>, id: &str, phase: Phase) -> Result<(), String> {
    match phase {
        Phase::Research => document(host, id, "research.md"),
        Phase::Plan => {
            document(host, id, "plan.md")?;
            stories(host, id)
        }
        Phase::Implement => stories(host, id),
    }
}

/// Without a story, the item would be done although nothing was done.
fn stories(host: Host<'_>, id: &str) -> Result<(), String> {
    match prd::read(host, id)?.is_empty() {
        true => Err("prd.json has no stories".to_owned()),
        false => Ok(()),
    }
}

fn has_artifacts(host: Host<'_>, id: &str, phase: Phase) -> bool {
    check(host, id, phase).is_ok()
}

fn call(host: Host<'_>, id: &str, phase: Phase) -> Next {
    if phase != Phase::Implement {
        return Next::Call(phase, None);
    }
    match prd::read(host, id) {
        Ok(prd) => match prd.next() {
            Some(story) => Next::Call(phase, Some(story.to_owned())),
            None => Next::Nothing,
        },
        // It was valid before and is damaged now: the check after the call reports that.
        Err(_) => Next::Call(phase, None),
    }
}

fn document(host: Host<'_>, id: &str, name: &str) -> Result<(), String> {
    let path = format!("{}/{name}", layout::item_directory(id));
    match host.stat(&path) {
        Err(failure) => Err(failure.to_string()),
        Ok(None) => Err(format!("{name} is missing")),
        Ok(Some(metadata)) if metadata.kind != Kind::File => {
            Err(format!("{name} is {}", metadata.kind.describe()))
        }
        Ok(Some(metadata)) if metadata.size < SHORTEST_DOCUMENT => {
            Err(format!("{name} is empty ({} bytes)", metadata.size))
        }
        Ok(Some(_)) => Ok(()),
    }
}
