//! The items of a batch.

use std::collections::HashSet;

use super::item_phases::{self, Next, Phase};
use super::results::{self, Unwritten};
use super::{
    Begin, CompletedPhase, Conclusion, Done, Failing, Recorded, Subject, Survey, Verdict, Work,
    Workload,
};
use crate::agents::{FeatureContext, Outcome};
use crate::formats::item::{self, Item};
use crate::formats::result::ItemResult;
use crate::io::host::{Failure, Host};
use crate::io::layout;

/// The items of a repository.
#[derive(Debug)]
pub struct Items {
    /// Whether the agent is called once per phase and story.
    pub has_phases: bool,
    /// Maximum number of calls of an attempt in the phase `implement`.
    pub max_iterations: u32,
}

impl Workload for Items {
    fn survey(
        &self,
        host: Host<'_>,
        session: &dyn Recorded,
        chosen: &[String],
    ) -> Result<Survey, Failure> {
        survey(host, session, chosen)
    }

    fn unmet(&self, host: Host<'_>, survey: &Survey, id: &str) -> Option<String> {
        unmet(host, &survey.ids, id)
    }

    fn is_done(&self, host: Host<'_>, id: &str) -> bool {
        item::read(host, id).is_ok_and(|item| item.state == item::DONE)
    }

    fn ids(&self, host: Host<'_>) -> Result<Vec<String>, Failure> {
        item::ids(host)
    }

    fn begin(&mut self, host: Host<'_>, id: &str) -> Result<Begin, Failure> {
        // Read again: hours may have passed since the session was opened.
        let item = match item::read_to_run(host, id) {
            Ok(item) => item,
            Err(problem) => return Ok(Begin::Invalid(problem)),
        };
        let next = match self.has_phases {
            true => item_phases::next(host, id, &item.state),
            false => Next::Nothing,
        };
        let (phase, story) = match next {
            Next::Call(phase, story) => (Some(phase), story),
            Next::Nothing if self.has_phases || item.state == item::DONE => {
                return Ok(Begin::Done(found_done(&item)));
            }
            Next::Nothing => (None, None),
        };
        let work = Work { state: item.state.clone(), phase, story, iterations: 0 };
        let subject = subject(id, item, &work);
        Ok(Begin::Start(work, Box::new(subject)))
    }

    fn next_call(&self, host: Host<'_>, id: &str, work: &Work) -> Result<Subject, String> {
        item::read(host, id).map(|item| subject(id, item, work))
    }

    fn conclude(&self, host: Host<'_>, id: &str, work: &mut Work, outcome: Outcome) -> Conclusion {
        if outcome != Outcome::Completed {
            return Verdict::Outcome(outcome).into();
        }
        let Some(phase) = work.phase else {
            return completion(Some(work.state.clone())).into();
        };
        match self.verify_artifacts(host, id, work, phase) {
            Ok(conclusion) => conclusion,
            Err(error) => Verdict::Failed(error.into()).into(),
        }
    }

    fn apply_results(
        &self,
        host: Host<'_>,
        results: &[ItemResult],
    ) -> Result<Vec<Unwritten>, Failure> {
        results::apply(host, results)
    }

    fn applies_results_at_once(&self) -> bool {
        false
    }

    fn awaiting_approval(&self, _: Host<'_>) -> Option<String> {
        None
    }

    fn feature(&self) -> Option<FeatureContext<'_>> {
        None
    }
}

impl Items {
    /// Checks the artifacts of a successful call, and chooses the next one.
    fn verify_artifacts(
        &self,
        host: Host<'_>,
        id: &str,
        work: &mut Work,
        phase: Phase,
    ) -> Result<Conclusion, String> {
        work.iterations += u32::from(phase == Phase::Implement);
        let item = item::read(host, id)?;
        item_phases::check(host, id, phase)?;
        let after = phase.state_after();
        let change = match item.state == work.state && item.state != after {
            true => Some((item.state.clone(), after.to_owned())),
            // The agent changed the state: that counts.
            false => None,
        };
        work.state = change.as_ref().map_or(item.state, |(_, to)| to.clone());
        let completed = CompletedPhase { phase: phase.name(), story: work.story.take(), change };
        let verdict = match item_phases::after(host, id, phase, &work.state) {
            // An agent that moved the item into review has decided its state.
            Next::Nothing => {
                completion(item_phases::is_within(&work.state).then(|| work.state.clone()))
            }
            Next::Call(Phase::Implement, _) if work.iterations >= self.max_iterations => {
                let error = format!(
                    "stories are still pending in prd.json after {} calls (max_iterations)",
                    work.iterations
                );
                let reason = Some("max-iterations".to_owned());
                Verdict::Failed(Failing { error, reason, may_retry: true })
            }
            Next::Call(phase, story) => {
                work.phase = Some(phase);
                work.story = story;
                Verdict::Continues
            }
        };
        Ok(Conclusion { phase: Some(completed), verdict })
    }
}

/// Examines the items' directory.
pub fn survey(
    host: Host<'_>,
    session: &dyn Recorded,
    chosen: &[String],
) -> Result<Survey, Failure> {
    let mut survey = Survey { ids: item::ids(host)?, ..Survey::default() };
    let is_chosen = |id: &String| chosen.is_empty() || chosen.contains(id);
    for (index, id) in survey.ids.iter().enumerate() {
        if !session.is_pending(id).unwrap_or_else(|| is_chosen(id)) {
            continue;
        }
        match item::read_to_run(host, id) {
            Ok(item) if item.state == item::DONE => survey.done.push(id.clone()),
            Ok(item) => survey.open.push((index, item.depends_on)),
            Err(problem) => survey.invalid.push((id.clone(), problem)),
        }
    }
    let existing: HashSet<&str> = survey.ids.iter().map(String::as_str).collect();
    let pending = session.pending().into_iter();
    survey.gone = pending.filter(|id| !existing.contains(id)).map(str::to_owned).collect();
    Ok(survey)
}

/// Why a dependency that is not part of the queue will not complete; `None` if it is done. `ids` are all items,
/// in running order.
pub fn unmet(host: Host<'_>, ids: &[String], id: &str) -> Option<String> {
    let why = if ids.binary_search_by(|other| item::compare(other, id)).is_err() {
        "does not exist".to_owned()
    } else {
        match item::read_to_run(host, id) {
            Ok(Item { state, .. }) if state == item::DONE => return None,
            Ok(_) => "is not done and not part of this run".to_owned(),
            Err(problem) => format!("cannot be used: {problem}"),
        }
    };
    Some(format!("depends on {id}, which {why}"))
}

fn completion(state: Option<String>) -> Verdict {
    Verdict::Completed { state, approved: false }
}

fn subject(id: &str, item: Item, work: &Work) -> Subject {
    Subject {
        phase: work.phase.map_or("run", Phase::name).to_owned(),
        story: work.story.clone(),
        title: item.title,
        overview: item.overview,
        section: item.section,
        branch: item.branch,
        directory: layout::item_directory(id),
    }
}

/// Someone else completed it, or an interrupted attempt did and only the state is missing.
fn found_done(item: &Item) -> Done {
    match item.state.as_str() {
        "planned" | "implementing" => Done {
            reason: "every story is done".to_owned(),
            state: Some(item.state.clone()),
            approved: false,
        },
        state => Done { reason: format!("found {state}"), state: None, approved: false },
    }
}
