//! The phases of a feature.
//!
//! The document of the feature is the checkpoint: a phase is in progress in it before its agent starts, and the
//! result of a phase is in it before the next one starts. An agent may move its phase itself; what the document
//! says counts, however the call ended.

use super::results::Unwritten;
use super::{Begin, Conclusion, Done, Failing, Recorded, Subject, Survey, Verdict, Work, Workload};
use crate::agents::{FeatureContext, Outcome};
use crate::bindings::exports::wreckit::batch::feature::FeatureError;
use crate::feature::running::{self, RunState, approval_reason};
use crate::feature::{DocumentError, PhaseStatus};
use crate::formats::result::ItemResult;
use crate::io::host::{Failure, Host};

/// `state` in the result of a phase that the session completes.
const IN_PROGRESS: &str = "in_progress";

/// The phases of a feature.
#[derive(Debug)]
pub struct Phases {
    /// The complete id of the feature.
    pub id: String,
    /// The phases that a person has approved.
    pub approve: Vec<String>,
    /// Whether a person has approved all phases.
    pub approve_all: bool,
    /// The absolute path of the worktree, if there is one.
    pub worktree: Option<String>,
}

impl Phases {
    fn is_approved(&self, phase: &str) -> bool {
        self.approve_all || self.approve.iter().any(|name| name == phase)
    }

    fn subject(&self, state: &RunState, phase: &str) -> Subject {
        Subject {
            phase: phase.to_owned(),
            story: None,
            title: state.name.clone(),
            overview: String::new(),
            section: None,
            branch: None,
            directory: self.id.clone(),
        }
    }

    /// What remains to be done for a phase without starting it; `None` if its agent must be called.
    fn without_a_call(&self, state: &RunState, name: &str) -> Option<Begin> {
        if state.is_aborted {
            return Some(Begin::Blocked("the feature was aborted".to_owned()));
        }
        let Some(phase) = state.phase(name) else {
            return Some(Begin::Invalid(format!("the feature has no phase {name:?}")));
        };
        if phase.is_done() {
            let reason = "found complete".to_owned();
            return Some(Begin::Done(Done { reason, state: None, approved: false }));
        }
        let is_worked_out = phase.awaits_approval || phase.status == PhaseStatus::Complete;
        is_worked_out.then(|| match self.is_approved(name) {
            true => {
                let reason = "approved".to_owned();
                Begin::Done(Done { reason, state: None, approved: true })
            }
            false => Begin::Blocked(approval_reason(name)),
        })
    }
}

impl Workload for Phases {
    fn survey(
        &self,
        host: Host<'_>,
        session: &dyn Recorded,
        _: &[String],
    ) -> Result<Survey, Failure> {
        let state = match RunState::read(host, &self.id) {
            Ok(state) => state,
            Err(DocumentError::Storage(failure)) => return Err(failure),
            Err(DocumentError::Corrupt(problem)) => {
                let invalid = vec![(self.id.clone(), problem)];
                return Ok(Survey { invalid, ..Survey::default() });
            }
        };
        let mut survey = Survey::default();
        let mut previous: Option<&str> = None;
        for (index, phase) in state.phases.iter().enumerate() {
            survey.ids.push(phase.name.clone());
            let is_pending = session.is_pending(&phase.name).unwrap_or(true);
            match phase.is_done() {
                true if is_pending => survey.done.push(phase.name.clone()),
                false if is_pending => {
                    let depends_on = previous.map(str::to_owned).into_iter().collect();
                    survey.open.push((index, depends_on));
                }
                true | false => {}
            }
            previous = Some(&phase.name);
        }
        let pending = session.pending().into_iter();
        survey.gone =
            pending.filter(|name| state.phase(name).is_none()).map(str::to_owned).collect();
        Ok(survey)
    }

    fn unmet(&self, _: Host<'_>, survey: &Survey, id: &str) -> Option<String> {
        let is_done = survey.done.iter().any(|done| done == id);
        (!is_done).then(|| format!("depends on {id}, which is not complete"))
    }

    fn is_done(&self, host: Host<'_>, id: &str) -> bool {
        let state = RunState::read(host, &self.id);
        state.is_ok_and(|state| state.phase(id).is_some_and(running::PhaseState::is_done))
    }

    fn ids(&self, host: Host<'_>) -> Result<Vec<String>, Failure> {
        match RunState::read(host, &self.id) {
            Ok(state) => Ok(state.phases.into_iter().map(|phase| phase.name).collect()),
            Err(DocumentError::Storage(failure)) => Err(failure),
            Err(DocumentError::Corrupt(_)) => Ok(Vec::new()),
        }
    }

    fn begin(&mut self, host: Host<'_>, id: &str) -> Result<Begin, Failure> {
        let state = match RunState::read(host, &self.id) {
            Ok(state) => state,
            Err(DocumentError::Storage(failure)) => return Err(failure),
            Err(DocumentError::Corrupt(problem)) => return Ok(Begin::Invalid(problem)),
        };
        if let Some(without_a_call) = self.without_a_call(&state, id) {
            return Ok(without_a_call);
        }
        match running::start(host, &self.id, id) {
            Ok(()) => Ok(Begin::Start(Work::default(), Box::new(self.subject(&state, id)))),
            Err(FeatureError::Storage(failure)) => Err(host.failure(failure)),
            Err(FeatureError::Busy(_)) => Ok(Begin::Busy),
            Err(FeatureError::Illegal(illegal)) => Ok(Begin::Blocked(illegal.message)),
            Err(error) => Ok(Begin::Invalid(words(error))),
        }
    }

    fn next_call(&self, host: Host<'_>, id: &str, _: &Work) -> Result<Subject, String> {
        let state = RunState::read(host, &self.id).map_err(DocumentError::describe)?;
        Ok(self.subject(&state, id))
    }

    fn conclude(&self, host: Host<'_>, id: &str, _: &mut Work, outcome: Outcome) -> Conclusion {
        let fail = |error| Verdict::Failed(Failing { error, reason: None, may_retry: false });
        let state = match RunState::read(host, &self.id) {
            Ok(state) => state,
            // The document was damaged, or someone else moved the phase.
            Err(error) => return fail(error.describe()).into(),
        };
        let Some(phase) = state.phase(id) else {
            return fail(format!("the feature has no phase {id:?}")).into();
        };
        let needs_approval = phase.needs_approval && !self.is_approved(id);
        let reason = || {
            let status = format!("it is {}", phase.status.name());
            phase.reason.clone().unwrap_or(status)
        };
        let awaiting =
            |awaits_approval| Verdict::Blocked { reason: approval_reason(id), awaits_approval };
        let verdict = match (&phase.status, outcome) {
            (PhaseStatus::InProgress, Outcome::Completed) if needs_approval => awaiting(true),
            (PhaseStatus::InProgress, Outcome::Completed) => {
                Verdict::Completed { state: Some(IN_PROGRESS.to_owned()), approved: false }
            }
            (PhaseStatus::InProgress, outcome) => Verdict::Outcome(outcome),
            (PhaseStatus::Complete, _) if needs_approval => awaiting(false),
            (PhaseStatus::Complete, _) => {
                Verdict::Completed { state: None, approved: phase.needs_approval }
            }
            (PhaseStatus::Failed, _) => fail(reason()),
            (_, _) => Verdict::Blocked { reason: reason(), awaits_approval: false },
        };
        verdict.into()
    }

    fn apply_results(
        &self,
        host: Host<'_>,
        results: &[ItemResult],
    ) -> Result<Vec<Unwritten>, Failure> {
        apply_results(host, &self.id, results)
    }

    fn applies_results_at_once(&self) -> bool {
        true
    }

    fn awaiting_approval(&self, host: Host<'_>) -> Option<String> {
        let state = RunState::read(host, &self.id).ok()?;
        if state.phases.iter().any(|phase| phase.status == PhaseStatus::InProgress) {
            return None;
        }
        let open = state.phases.iter().find(|phase| !phase.is_done())?;
        let is_worked_out = open.awaits_approval || open.status == PhaseStatus::Complete;
        is_worked_out.then(|| open.name.clone())
    }

    fn is_resumable(&self, host: Host<'_>, has_failed: bool) -> bool {
        !has_failed && RunState::read(host, &self.id).is_ok_and(|state| !state.is_aborted)
    }

    fn feature(&self) -> Option<FeatureContext<'_>> {
        Some(FeatureContext { id: &self.id, worktree: self.worktree.as_deref() })
    }
}

/// Writes the results of a run into the document of a feature.
pub fn apply_results(
    host: Host<'_>,
    feature: &str,
    results: &[ItemResult],
) -> Result<Vec<Unwritten>, Failure> {
    let (problem, busy) = match running::apply_results(host, feature, results) {
        // The feature was removed, and its results with it.
        Ok(()) | Err(FeatureError::UnknownFeature(_)) => return Ok(Vec::new()),
        Err(FeatureError::Storage(failure)) => return Err(host.failure(failure)),
        Err(FeatureError::Busy(_)) => ("another process is changing the feature".to_owned(), true),
        Err(error) => (words(error), false),
    };
    let unwritten =
        |result: &ItemResult| Unwritten { result: result.clone(), problem: problem.clone(), busy };
    Ok(results.iter().map(unwritten).collect())
}

/// An error about the document of a feature, in words.
fn words(error: FeatureError) -> String {
    match error {
        FeatureError::Invalid(message) | FeatureError::Corrupt(message) => message,
        FeatureError::Illegal(illegal) => illegal.message,
        FeatureError::UnknownFeature(_) => "the feature does not exist any more".to_owned(),
        error => format!("{error:?}"),
    }
}
