//! The phases of an item: which one follows from its state, and what each one has to leave behind.

use crate::formats::prd;
use crate::io::capabilities::Kind;
use crate::io::host::Host;
use crate::io::layout;

/// A document of one byte is none: an agent that only opens a file has not written it.
const SHORTEST_DOCUMENT: u64 = 2;

/// What an agent is called for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Leaves `research.md`.
    Research,
    /// Leaves `plan.md` and a valid `prd.json`.
    Plan,
    /// Leaves every story done; is called once a story.
    Implement,
}

/// What is to be done for an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// An agent is called, in `Implement` for this story.
    Call(Phase, Option<String>),
    /// Nothing.
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

    /// The state of an item that has gone through it (through a part of it, for `Implement`).
    pub(super) fn state_after(self) -> &'static str {
        match self {
            Phase::Research => "researched",
            Phase::Plan => "planned",
            Phase::Implement => "implementing",
        }
    }

    /// The phase that an item in this state goes on with, if there is one.
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

/// True for the state of an item that is on its way through the phases.
pub(super) fn is_within(state: &str) -> bool {
    Phase::of_state(state).is_some()
}

/// What an item in this state needs next. Where something is missing that its state claims, the
/// phase that makes it.
pub(super) fn next(host: Host<'_>, id: &str, state: &str) -> Next {
    let Some(mut phase) = Phase::of_state(state) else { return Next::Nothing };
    if phase == Phase::Implement && !is_left_behind(host, id, Phase::Plan) {
        phase = Phase::Plan;
    }
    if phase == Phase::Plan && !is_left_behind(host, id, Phase::Research) {
        phase = Phase::Research;
    }
    call(host, id, phase)
}

/// What comes after a call of `phase` that left what it should, with the item in `state` now.
pub(super) fn after(host: Host<'_>, id: &str, phase: Phase, state: &str) -> Next {
    // Never back: an agent that resets the state would otherwise be called for ever.
    let least = match phase {
        Phase::Research => Phase::Plan,
        Phase::Plan | Phase::Implement => Phase::Implement,
    };
    match Phase::of_state(state) {
        Some(of_state) => call(host, id, of_state.max(least)),
        None => Next::Nothing,
    }
}

/// Checks that a phase left what it should; otherwise what is wrong.
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

/// Without a story nothing would be left to do, and nothing would have been done.
fn stories(host: Host<'_>, id: &str) -> Result<(), String> {
    match prd::read(host, id)?.is_empty() {
        true => Err("prd.json has no stories".to_owned()),
        false => Ok(()),
    }
}

fn is_left_behind(host: Host<'_>, id: &str, phase: Phase) -> bool {
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
        // It has been checked, and is broken since: the agent's call will find that.
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
