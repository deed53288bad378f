//! Phases that a person has to approve, in a run.

use serde_json::json;

use super::Run;
use crate::feature::approval::{APPROVED, AWAITING, is_awaited, is_wanted};
use crate::feature::document::{Document, PhaseStatus};
use crate::feature::moves::{self, Details, Move};
use crate::feature::store::change;
use crate::feature::{FeatureError, number};
use crate::formats::journal::{Event, EventKind};
use crate::io::time::Timestamp;
use crate::io::tree::Tree;
use crate::session::Attempt;

/// What a phase says that waits for a person.
fn waits(phase: &str) -> String {
    format!("it waits for approval: --approve {phase}")
}

/// The phase whose approval is missing before the next one can begin: one that waits for it, or the
/// one before, which was completed without.
pub(super) fn missing(document: &Document) -> Option<&str> {
    if !document.in_status(&PhaseStatus::InProgress).is_empty() {
        return None;
    }
    let next = document.next_phase()?;
    if document.phase(next).is_some_and(is_awaited) {
        return Some(next);
    }
    let (before, phase) = document.phases().take_while(|(name, _)| *name != next).last()?;
    is_wanted(phase).then_some(before)
}

impl Run {
    pub(super) fn is_approved(&self, phase: &str) -> bool {
        self.options.approve_all || self.options.approve.iter().any(|name| name == phase)
    }

    /// What the document says of a phase whose agent did what it should: the agent may have moved it
    /// itself, and one that wants approval waits for a person.
    pub(super) fn conclude(&self, tree: Tree<'_>, phase: &str) -> Result<(), FeatureError> {
        let now = tree.now();
        change(tree, &self.id, |document| {
            if document.phase_status(phase) != Some(PhaseStatus::InProgress) {
                return Ok(String::new());
            }
            let is_wanted = document.phase(phase).is_some_and(is_wanted);
            match is_wanted && !self.is_approved(phase) {
                true => await_approval(document, phase, now),
                false => complete(document, phase, &self.options.agent, now),
            }
        })
        .map(drop)
    }

    /// A phase whose agent is done waits for a person: it goes on if that person is there, or ends the
    /// run.
    pub(super) fn approve(
        &mut self,
        tree: Tree<'_>,
        phase: &str,
    ) -> Result<Option<Attempt>, FeatureError> {
        let now = tree.now();
        if !self.is_approved(phase) {
            self.blocked = Some((phase.to_owned(), waits(phase)));
            self.is_over = true;
            return Ok(None);
        }
        change(tree, &self.id, |document| match document.phase_status(phase) {
            Some(PhaseStatus::Complete) => give(document, phase),
            _ => complete(document, phase, &self.options.agent, now),
        })?;
        if !self.skipped.iter().chain(&self.completed).any(|name| name == phase) {
            self.completed.push(phase.to_owned());
        }
        self.happened(Event::of(EventKind::ItemCompleted, now, phase).with("reason", "approved"));
        self.next(tree)
    }
}

fn await_approval(
    document: &mut Document,
    phase: &str,
    now: Timestamp,
) -> Result<String, FeatureError> {
    let details = Details { reason: Some(waits(phase)), ..Details::default() };
    let done = moves::apply(document, phase, Move::Block, &details, now)?;
    if let Some(fields) = document.phase_mut(phase) {
        fields.insert(AWAITING.to_owned(), json!(true));
    }
    Ok(done)
}

/// A phase whose agent did what it should is done, and approved if that was wanted.
fn complete(
    document: &mut Document,
    phase: &str,
    agent: &str,
    now: Timestamp,
) -> Result<String, FeatureError> {
    if let Some(fields) = document.phase_mut(phase)
        && !fields.contains_key("agent_used")
        && !fields.contains_key("agents_used")
    {
        fields.insert("agent_used".to_owned(), json!(agent));
    }
    let is_wanted = document.phase(phase).is_some_and(is_wanted);
    let approved = is_wanted.then(|| (APPROVED.to_owned(), "true".to_owned()));
    let details = Details { set: approved.into_iter().collect(), ..Details::default() };
    moves::apply(document, phase, Move::Complete, &details, now)
}

/// A person approves a phase that was completed without.
fn give(document: &mut Document, phase: &str) -> Result<String, FeatureError> {
    if let Some(fields) = document.phase_mut(phase) {
        fields.insert(APPROVED.to_owned(), json!(true));
    }
    number::count(document.part_mut("metadata")?, "human_checkpoints", 1)?;
    Ok(format!("approved {phase}"))
}
