//! Opening a session over the items of a repository.

use crate::agents::{Agent, PromptSet};
use crate::backup;
use crate::bindings::exports::wreckit::batch::batch::{
    AgentChoice, Forecast, OpenError, Options, Unresolved as Words,
};
use crate::bindings::exports::wreckit::batch::session::{BlockedItem, FailedItem, Opening, Origin};
use crate::formats::config::Source;
use crate::formats::item;
use crate::formats::journal::{Event, EventKind};
use crate::formats::progress::{self, Found};
use crate::formats::result::ItemResult;
use crate::io::capabilities::{Level, ProcessInfo, ProcessStatus};
use crate::io::host::{Failure, Host};
use crate::io::layout;
use crate::io::lock::{self, Purpose};
use crate::io::root::{self, RootError};
use crate::select::{self, Unresolved};
use crate::session::ledger::Ledger;
use crate::session::leftovers::{self, Terminated, Termination};
use crate::session::plan::Plan;
use crate::session::resume::{self, Decision, Reason, ResumeFlags, State};
use crate::session::running::{Limits, Session};
use crate::session::runs;
use crate::session::saved::{self, Saved};
use crate::session::start::{Start, take_inventory};
use crate::workload::items::Items;

impl From<Failure> for OpenError {
    fn from(failure: Failure) -> Self {
        OpenError::Storage(failure.into())
    }
}

impl From<RootError> for OpenError {
    fn from(error: RootError) -> Self {
        match error {
            RootError::Wrong(why) => OpenError::WrongRoot(why),
            RootError::Storage(failure) => failure.into(),
        }
    }
}

impl From<Unresolved> for OpenError {
    fn from(unresolved: Unresolved) -> Self {
        let Unresolved { given, candidates, ambiguous } = unresolved;
        let words = Words { given, candidates };
        match ambiguous {
            true => OpenError::AmbiguousItem(words),
            false => OpenError::UnknownItem(words),
        }
    }
}

impl Default for Options {
    /// The options of a run without any flags.
    fn default() -> Self {
        Options {
            items: Vec::new(),
            agent: AgentChoice::Configured,
            no_resume: false,
            retry_failed: false,
            take_over: false,
            parallel: 1,
            single: false,
            timeout: None,
            limit_wait: None,
            retries: 0,
            max_failures: 0,
            max_iterations: None,
            lookahead: 0,
            repository: String::new(),
        }
    }
}

/// What was found of an earlier session, and what to do about it.
struct Assessment {
    found: Found,
    decision: Decision,
    saved: Option<Saved>,
    owner: Option<ProcessStatus>,
}

/// Opens a session. While it returns `Terminating`, this instance holds the lock, and the call must be repeated
/// with the same `termination`.
pub fn open(
    host: Host<'_>,
    options: &Options,
    termination: &mut Termination,
) -> Result<(Session, Opening), OpenError> {
    root::check(host)?;
    let chosen = select::resolve(&options.items, &item::ids(host)?)?;
    let agent = Agent::new(Source::Root(host), options, PromptSet::Items)
        .map_err(OpenError::Configuration)?;
    let process = host.current_process();
    if let Err(holder) = lock::acquire(host, &process, Purpose::Opening, options.take_over)? {
        return Err(OpenError::Busy(holder));
    }
    let opened = open_locked(host, options, start(options, chosen, agent), &process, termination);
    if !matches!(opened, Ok(_) | Err(OpenError::Terminating(_))) {
        lock::release(host)?;
    }
    opened
}

fn start(options: &Options, chosen: Vec<String>, agent: Agent) -> Start {
    let limits = Limits {
        parallel: (options.parallel as usize).max(1),
        lookahead: options.lookahead as usize,
        single: options.single,
        retries: options.retries,
        max_failures: options.max_failures,
        limit_wait: agent.limit_wait(),
    };
    Start {
        workload: Box::new(items(&agent)),
        agent,
        agent_name: String::new(),
        limits,
        chosen,
        retry_failed: options.retry_failed,
        repository: options.repository.clone(),
        take_over: options.take_over,
    }
}

fn items(agent: &Agent) -> Items {
    Items { has_phases: agent.has_phases(), max_iterations: agent.max_iterations() }
}

/// What `open` would do. Changes nothing and takes no lock.
pub fn preview(host: Host<'_>, options: &Options) -> Result<Forecast, OpenError> {
    root::check(host)?;
    let chosen = select::resolve(&options.items, &item::ids(host)?)?;
    let agent = Agent::new(Source::Root(host), options, PromptSet::Items)
        .map_err(OpenError::Configuration)?;
    let holder = lock::current_holder(host)?;
    if let Some(holder) = holder.filter(|holder| holder.locked || !options.take_over) {
        return Err(OpenError::Busy(holder));
    }
    let assessment = assess(host, options, &host.current_process())?;
    assessment.refuse()?;
    let mut abandoned = runs::unapplied(host, None)?;
    let (mut ledger, resumes) = match (assessment.decision, assessment.saved) {
        (Decision::Resume | Decision::Rebuild, Some(saved)) if !options.single => {
            (saved.ledger, Some(saved.progress.session_id))
        }
        (_, saved) => {
            abandoned.extend(saved);
            (Ledger::default(), None)
        }
    };
    // A new session first applies the results of those that it abandons.
    let results = abandoned.iter().flat_map(|saved| &saved.unapplied);
    let completed = results.filter_map(ItemResult::completed).collect::<Vec<_>>();
    ledger.apply(&Event::new(EventKind::BatchStarted, host.now()).with("skipped", completed));
    let items = items(&agent);
    let inventory = take_inventory(host, &items, &mut ledger, &chosen, options.retry_failed)?;
    let plan = Plan::new(host, &items, &ledger, &inventory.survey, &chosen);
    let blocked = plan.blocked(&ledger);
    let is_blocked = |item: &usize| blocked.iter().any(|(other, _)| other == item);
    let id = |item: usize| ledger.id(item).to_owned();
    let finished = ledger.completed().len() + ledger.failed().len() + ledger.skipped().len();
    let invalid = inventory.survey.invalid.into_iter();
    Ok(Forecast {
        resumes,
        queue: plan.order().into_iter().filter(|item| !is_blocked(item)).map(id).collect(),
        blocked: blocked
            .iter()
            .map(|(item, reason)| BlockedItem { item: id(*item), reason: reason.clone() })
            .collect(),
        invalid: invalid.map(|(item, error)| FailedItem { item, error }).collect(),
        finished: u32::try_from(finished).unwrap_or(u32::MAX),
    })
}

fn open_locked(
    host: Host<'_>,
    options: &Options,
    start: Start,
    process: &ProcessInfo,
    termination: &mut Termination,
) -> Result<(Session, Opening), OpenError> {
    let mut assessment = assess(host, options, process)?;
    assessment.refuse()?;
    if backup::finish(host)? {
        assessment = assess(host, options, process)?;
        assessment.refuse()?;
    }
    let found = assessment.saved.as_ref();
    let others = runs::unapplied(host, found.map(|saved| saved.progress.session_id.as_str()))?;
    leftovers::ensure_root_id(host);
    let sessions: Vec<&Saved> = others.iter().chain(found).collect();
    end_leftovers(host, &sessions, options.take_over, termination)?;

    let origin = if options.single { Origin::Fresh } else { assessment.origin() };
    let resumed = match options.single {
        true => flush_results(host, assessment)?,
        false => carry_out(host, assessment)?,
    };
    others.into_iter().try_for_each(|saved| runs::abandon(host, saved))?;
    let resumed = resumed.filter(|_| origin != Origin::Fresh);
    Ok(start.start(host, process, resumed, origin)?)
}

/// Ends the leftover processes of earlier sessions: nothing starts beside them, because two agents might work on
/// one item.
pub(super) fn end_leftovers(
    host: Host<'_>,
    sessions: &[&Saved],
    take_over: bool,
    termination: &mut Termination,
) -> Result<(), OpenError> {
    let outcome = match termination.poll(host, sessions) {
        Terminated::Pending(milliseconds) => return Err(OpenError::Terminating(milliseconds)),
        Terminated::Finished(outcome) => outcome,
    };
    if !outcome.remaining.is_empty() {
        return Err(OpenError::Leftovers(outcome.remaining));
    }
    if !outcome.unproven.is_empty() && !take_over {
        return Err(OpenError::Leftovers(outcome.unproven));
    }
    outcome.report(host);
    Ok(())
}

/// Reads the progress file, the journal behind it, and the status of its owner.
fn assess(host: Host<'_>, options: &Options, process: &ProcessInfo) -> Result<Assessment, Failure> {
    let flags = ResumeFlags { no_resume: options.no_resume, take_over: options.take_over };
    let found = progress::find(host);
    let now = host.now();
    let (state, saved, owner) = match &found {
        Found::Missing => (State::Missing, None, None),
        Found::Valid(progress) => {
            let status = progress.owner_status(host);
            let owner = match progress.is_of(process) {
                true => resume::Owner::Us,
                false => resume::Owner::Other(status),
            };
            let stale = resume::is_stale(progress.updated_at, now);
            let saved = saved::load(host, (**progress).clone())?;
            (State::Valid { owner, stale }, Some(saved), Some(status))
        }
        Found::Damaged { .. } | Found::Unreadable(_) => {
            let named = match &found {
                Found::Damaged { session_id, .. } => session_id.as_deref(),
                _ => None,
            };
            let saved = runs::find_session_for_corrupt_snapshot(host, named)?
                .filter(|saved| !resume::is_stale(saved.progress.updated_at, now));
            (State::Damaged { journal: saved.is_some() }, saved, None)
        }
    };
    Ok(Assessment { found, decision: resume::decide(state, flags), saved, owner })
}

impl Assessment {
    fn refuse(&self) -> Result<(), OpenError> {
        match (self.decision, &self.found) {
            (Decision::Refuse, Found::Valid(progress)) => {
                let status = self.owner.unwrap_or(ProcessStatus::Unknown);
                Err(OpenError::Busy(progress.holder(status)))
            }
            _ => Ok(()),
        }
    }

    fn origin(&self) -> Origin {
        match self.decision {
            Decision::Resume => Origin::Resumed,
            Decision::Rebuild => Origin::Rebuilt,
            Decision::Fresh | Decision::Abandon(_) | Decision::Refuse => Origin::Fresh,
        }
    }
}

/// For a single run: the saved session remains, but its results go where every reader sees them.
fn flush_results(host: Host<'_>, mut assessment: Assessment) -> Result<Option<Saved>, Failure> {
    if let Some(saved) = &mut assessment.saved
        && !saved.unapplied.is_empty()
    {
        runs::flush_results(host, saved)?;
    }
    Ok(assessment.saved)
}

/// Carries out the decision. Returns the session to resume, if there is one.
fn carry_out(host: Host<'_>, assessment: Assessment) -> Result<Option<Saved>, Failure> {
    let Assessment { found, decision, saved, .. } = assessment;
    match decision {
        Decision::Fresh | Decision::Refuse => Ok(None),
        Decision::Resume => Ok(saved),
        Decision::Rebuild => {
            set_damaged_aside(host, &found, saved.as_ref())?;
            Ok(saved)
        }
        Decision::Abandon(reason) => {
            abandon(host, &found, saved, reason)?;
            Ok(None)
        }
    }
}

/// Backs up a damaged progress file that is going to be rebuilt from its journal.
fn set_damaged_aside(host: Host<'_>, found: &Found, saved: Option<&Saved>) -> Result<(), Failure> {
    let code = "BATCH_PROGRESS_CORRUPT";
    let backup = match found {
        // It remains until the new one replaces it: a crash in between changes nothing.
        Found::Damaged { .. } => backup::copy(host, backup::RUN, layout::PROGRESS, code)?,
        _ => backup::set_aside(host, backup::RUN, layout::PROGRESS, code)?,
    };
    let damage = found.damage().unwrap_or_default();
    let content = saved.map(Saved::describe).unwrap_or_default();
    let backup = backup.map(|id| format!("; the damaged file is in backup {id}"));
    let text = format!(
        "{damage}; it was rebuilt from its journal ({content}){}",
        backup.unwrap_or_default()
    );
    host.log(Level::Warning, &text);
    Ok(())
}

/// Abandons a saved session and sets its progress file aside.
fn abandon(
    host: Host<'_>,
    found: &Found,
    saved: Option<Saved>,
    reason: Reason,
) -> Result<(), Failure> {
    let content = saved.as_ref().map(|saved| format!(" ({})", saved.describe()));
    if let Some(saved) = saved {
        runs::abandon(host, saved)?;
    }
    let (code, why) = match reason {
        Reason::Damaged => {
            ("BATCH_PROGRESS_CORRUPT", found.damage().unwrap_or_default().to_owned())
        }
        Reason::Stale => {
            ("STALE_BATCH_PROGRESS", format!("{} is stale (older than 24 hours)", layout::PROGRESS))
        }
        Reason::Requested => ("NO_RESUME", "The saved session was abandoned".to_owned()),
    };
    let backup = backup::set_aside(host, backup::RUN, layout::PROGRESS, code)?;
    let level = if reason == Reason::Requested { Level::Info } else { Level::Warning };
    let next = match backup {
        Some(id) => format!(
            "it was set aside and a new session starts; `wreckit-host backups restore {id}` restores it"
        ),
        None => "a new session starts".to_owned(),
    };
    host.log(level, &format!("{why}{}; {next}", content.unwrap_or_default()));
    Ok(())
}
