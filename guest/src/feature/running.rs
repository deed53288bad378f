//! What a run reads from a feature's document and writes into it.

use serde_json::{Value, json};

use super::approval::{APPROVED, AWAITING, is_awaited, is_wanted};
use super::document::{Document, PhaseStatus};
use super::store::{DocumentError, change, load, locked, open};
use super::{legal, metrics, moves, number};
use crate::bindings::exports::wreckit::batch::feature::{
    Details, FeatureError, Field, PhaseMove as Move,
};
use crate::formats::item::Change;
use crate::formats::result::ItemResult;
use crate::io::host::Host;
use crate::time::Timestamp;

/// A feature as a run sees it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RunState {
    /// Its name.
    pub(crate) name: String,
    /// Whether it was aborted.
    pub(crate) is_aborted: bool,
    /// Its phases, in order.
    pub(crate) phases: Vec<PhaseState>,
}

/// A phase as a run sees it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PhaseState {
    /// Its name.
    pub(crate) name: String,
    /// Its status.
    pub(crate) status: PhaseStatus,
    /// Whether it needs approval and does not have it.
    pub(crate) needs_approval: bool,
    /// Whether it has done its work and only the approval is missing.
    pub(crate) awaits_approval: bool,
    /// Why it has this status.
    pub(crate) reason: Option<String>,
}

impl PhaseState {
    /// Whether nothing remains to be done.
    pub(crate) fn is_done(&self) -> bool {
        self.status == PhaseStatus::Complete && !self.needs_approval
    }
}

impl RunState {
    /// Reads a feature by its complete id.
    pub(crate) fn read(host: Host<'_>, id: &str) -> Result<Self, DocumentError> {
        load(host, id).map(|document| RunState::of(&document))
    }

    fn of(document: &Document) -> Self {
        let phases = document.phases().map(|(name, fields)| PhaseState {
            name: name.to_owned(),
            status: document.phase_status(name).unwrap_or(PhaseStatus::Pending),
            needs_approval: is_wanted(fields),
            awaits_approval: is_awaited(fields),
            reason: fields.get("reason").and_then(Value::as_str).map(str::to_owned),
        });
        RunState {
            name: document.text("feature_name").to_owned(),
            is_aborted: document.is_aborted(),
            phases: phases.collect(),
        }
    }

    /// A phase by its name.
    pub(crate) fn phase(&self, name: &str) -> Option<&PhaseState> {
        self.phases.iter().find(|phase| phase.name == name)
    }
}

/// Prepares a run: completes an interrupted repair, finds the feature, and checks that it can be run and has the
/// phases in `approve`. Returns its complete id.
pub(crate) fn prepare(
    host: Host<'_>,
    given: &str,
    approve: &[String],
) -> Result<(String, RunState), FeatureError> {
    locked(host, || Ok::<(), FeatureError>(()))?;
    let (id, document) = open(host, given)?;
    if let Some(unknown) = approve.iter().find(|name| document.phase(name).is_none()) {
        return Err(document.unknown_phase(unknown));
    }
    if document.is_aborted() {
        let message = "the feature was aborted: start one of its phases to reopen it";
        return Err(legal::illegal(&document, message));
    }
    let state = RunState::of(&document);
    Ok((id, state))
}

/// Records that an agent starts to work on a phase: the phase is in progress before the agent starts.
pub(crate) fn start(host: Host<'_>, id: &str, phase: &str) -> Result<(), FeatureError> {
    let now = host.now();
    let started = change(host, id, |document| {
        if document.phase_status(phase) != Some(PhaseStatus::InProgress) {
            moves::apply(document, phase, Move::Start, &Details::default(), now)?;
        }
        metrics::count_agent(document)?;
        Ok(String::new())
    });
    started.map(drop)
}

/// Writes results of a run into the document. A result that the document has already changes nothing, and
/// neither does one that it contradicts: an agent or a person has changed the phase since.
pub(crate) fn apply_results(
    host: Host<'_>,
    id: &str,
    results: &[ItemResult],
) -> Result<(), FeatureError> {
    let now = host.now();
    let applied = change(host, id, |document| {
        for result in results {
            apply(document, &result.item, &result.change, now)?;
        }
        Ok(String::new())
    });
    applied.map(drop)
}

fn apply(
    document: &mut Document,
    phase: &str,
    result: &Change,
    now: Timestamp,
) -> Result<(), FeatureError> {
    let Some(status) = document.phase_status(phase) else { return Ok(()) };
    match (result, status) {
        (Change::Complete { agent, .. }, PhaseStatus::InProgress) => {
            complete(document, phase, agent.as_deref(), now)
        }
        (Change::Approve, PhaseStatus::Complete) => approve(document, phase),
        (Change::Approve, _) if document.phase(phase).is_some_and(is_awaited) => {
            complete(document, phase, None, now)
        }
        (Change::AwaitApproval, PhaseStatus::InProgress) => await_approval(document, phase, now),
        (Change::Fail { error }, PhaseStatus::InProgress) => {
            let details = Details { reason: Some(error.clone()), ..Details::default() };
            moves::apply(document, phase, Move::Fail, &details, now).map(drop)
        }
        _ => Ok(()),
    }
}

/// A phase whose agent succeeded is complete. If it needs approval, a person has given it.
fn complete(
    document: &mut Document,
    phase: &str,
    agent: Option<&str>,
    now: Timestamp,
) -> Result<(), FeatureError> {
    if let (Some(agent), Some(fields)) = (agent, document.phase_mut(phase))
        && !fields.contains_key("agent_used")
        && !fields.contains_key("agents_used")
    {
        fields.insert("agent_used".to_owned(), json!(agent));
    }
    let needs_approval = document.phase(phase).is_some_and(is_wanted);
    let approved = || Field { name: APPROVED.to_owned(), value: "true".to_owned() };
    let set = needs_approval.then(approved).into_iter().collect();
    let details = Details { set, ..Details::default() };
    moves::apply(document, phase, Move::Complete, &details, now).map(drop)
}

/// A person approves a phase that was completed without approval.
fn approve(document: &mut Document, phase: &str) -> Result<(), FeatureError> {
    let Some(fields) = document.phase_mut(phase) else { return Ok(()) };
    if fields.insert(APPROVED.to_owned(), json!(true)) == Some(json!(true)) {
        return Ok(());
    }
    number::count(document.part_mut("metadata")?, "human_checkpoints", 1)
}

fn await_approval(
    document: &mut Document,
    phase: &str,
    now: Timestamp,
) -> Result<(), FeatureError> {
    let details = Details { reason: Some(approval_reason(phase)), ..Details::default() };
    moves::apply(document, phase, Move::Block, &details, now)?;
    if let Some(fields) = document.phase_mut(phase) {
        fields.insert(AWAITING.to_owned(), json!(true));
    }
    Ok(())
}

/// Why a phase that awaits approval is blocked.
pub(crate) fn approval_reason(phase: &str) -> String {
    format!("waiting for your approval: --approve {phase}")
}
