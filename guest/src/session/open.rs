//! Opening a session: resuming the saved one or starting another.

use serde_json::Value;

use crate::backup;
use crate::bindings::exports::wreckit::batch::session::Holder;
use crate::formats::item;
use crate::formats::journal::{self, Event, EventKind, Writer};
use crate::formats::layout;
use crate::formats::progress::{self, Found, Owner};
use crate::io::capabilities::{Leftover, Level, ProcessInfo, ProcessStatus};
use crate::io::host::{Failure, Host};
use crate::io::lock::{self, Work};
use crate::session::Options;
use crate::session::checkpoint::Checkpoint;
use crate::session::ledger::Ledger;
use crate::session::leftovers::{self, Terminated, Termination};
use crate::session::plan::{self, Findings, Plan};
use crate::session::protocol::Counts;
use crate::session::resume::{self, Decision, Reason, State, Wishes};
use crate::session::runs;
use crate::session::saved::{self, Saved};
use crate::session::select::{self, Unresolved};
use crate::session::session::Session;
use crate::session::settle;

/// Why no session was opened.
#[derive(Debug, Clone, PartialEq)]
pub enum OpenError {
    /// Another batch, fix or `next` works here, or may.
    Busy(Box<Holder>),
    /// Words for an item do not name one.
    Unresolved(Unresolved),
    /// Leftover processes are being ended: to be called again after this many milliseconds.
    Terminating(u64),
    /// Leftover processes could not be ended, or are not proven to be agents.
    Leftovers(Vec<Leftover>),
    /// A file could not be read or written.
    Storage(Failure),
}

impl From<Failure> for OpenError {
    fn from(failure: Failure) -> Self {
        OpenError::Storage(failure)
    }
}

/// Where a session comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Origin {
    /// A new one.
    Fresh,
    /// The saved one.
    Resumed,
    /// The saved one, from its journal.
    Rebuilt,
}

impl Origin {
    fn word(self) -> &'static str {
        match self {
            Origin::Fresh => "fresh",
            Origin::Resumed => "resumed",
            Origin::Rebuilt => "rebuilt",
        }
    }
}

/// An opened session.
#[derive(Debug, Clone, PartialEq)]
pub struct Opening {
    /// Its id.
    pub session: String,
    /// Where it comes from.
    pub origin: Origin,
    /// Its state.
    pub counts: Counts,
    /// What was recorded.
    pub events: Vec<Event>,
}

/// What an `open` would do.
#[derive(Debug, Clone, PartialEq)]
pub struct Preview {
    /// The session that would go on.
    pub resumes: Option<String>,
    /// What would run.
    pub queue: Vec<String>,
    /// What could not run, and why.
    pub blocked: Vec<(String, String)>,
    /// What cannot be used, and why.
    pub invalid: Vec<(String, String)>,
    /// How much would be left alone.
    pub settled: usize,
}

/// What was found and what is to be done with it.
struct Assessment {
    found: Found,
    decision: Decision,
    /// The session in the file, or the one behind a damaged file.
    saved: Option<Saved>,
    liveness: Option<ProcessStatus>,
}

/// Opens a session. After an error nothing has changed, but for what a storage failure interrupted.
pub fn open(
    host: Host<'_>,
    options: &Options,
    termination: &mut Termination,
) -> Result<(Session, Opening), OpenError> {
    let chosen =
        select::resolve(&options.items, &item::ids(host)?).map_err(OpenError::Unresolved)?;
    let identity = host.current_process();
    if let Err(holder) = lock::acquire(host, &identity, Work::Opening, options.take_over)? {
        return Err(OpenError::Busy(Box::new(holder)));
    }
    let options = Options { items: chosen, ..options.clone() };
    let opened = open_locked(host, options, &identity, termination);
    if !matches!(opened, Ok(_) | Err(OpenError::Terminating(_))) {
        lock::release(host)?;
    }
    opened
}

/// Looks at what `open` would do. Changes nothing and takes no lock.
pub fn preview(host: Host<'_>, options: &Options) -> Result<Preview, OpenError> {
    let chosen =
        select::resolve(&options.items, &item::ids(host)?).map_err(OpenError::Unresolved)?;
    let holder = lock::current_holder(host)?;
    if let Some(holder) = holder.filter(|holder| holder.locked || !options.take_over) {
        return Err(OpenError::Busy(Box::new(holder)));
    }
    let assessment = assess(host, options, &host.current_process())?;
    assessment.refuse()?;
    let mut unsettled = runs::unsettled(host, None)?;
    let (mut ledger, resumes) = match (assessment.decision, assessment.saved) {
        (Decision::Resume | Decision::Rebuild, Some(saved)) if !options.single => {
            (saved.ledger, Some(saved.progress.session_id))
        }
        (_, saved) => {
            unsettled.extend(saved);
            (Ledger::default(), None)
        }
    };
    // What a new session would settle first will be done then.
    let settled =
        unsettled.iter().flat_map(|saved| &saved.unsynced).filter_map(settle::Outcome::completed);
    ledger.apply(
        &Event::new(EventKind::BatchStarted, host.now())
            .with("skipped", settled.collect::<Vec<_>>()),
    );
    let started = start_event(host, options, &mut ledger, &chosen)?;
    let plan = Plan::new(host, &ledger, &started.findings, &chosen);
    let blocked = plan.blocked(&ledger);
    let is_blocked = |item: &usize| blocked.iter().any(|(other, _)| other == item);
    let name = |item: usize| ledger.id(item).to_owned();
    Ok(Preview {
        resumes,
        queue: plan.order().into_iter().filter(|item| !is_blocked(item)).map(name).collect(),
        blocked: blocked.iter().map(|(item, reason)| (name(*item), reason.clone())).collect(),
        invalid: started.findings.invalid,
        settled: ledger.completed().len() + ledger.failed().len() + ledger.skipped().len(),
    })
}

fn open_locked(
    host: Host<'_>,
    options: Options,
    identity: &ProcessInfo,
    termination: &mut Termination,
) -> Result<(Session, Opening), OpenError> {
    let mut assessment = assess(host, &options, identity)?;
    assessment.refuse()?;
    if backup::finish(host)? {
        assessment = assess(host, &options, identity)?;
        assessment.refuse()?;
    }
    let found = assessment.saved.as_ref();
    let others = runs::unsettled(host, found.map(|saved| saved.progress.session_id.as_str()))?;
    leftovers::ensure_root_id(host);
    let sessions: Vec<&Saved> = others.iter().chain(found).collect();
    end_leftovers(host, &sessions, options.take_over, termination)?;

    let origin = if options.single { Origin::Fresh } else { assessment.origin() };
    let kept = match options.single {
        true => keep_for_later(host, assessment)?,
        false => make_way(host, assessment)?,
    };
    others.into_iter().try_for_each(|saved| runs::leave(host, saved))?;
    start(host, options, identity, kept.filter(|_| origin != Origin::Fresh), origin)
}

/// Nothing starts beside the leftover processes of an earlier session: two agents of one item, perhaps.
fn end_leftovers(
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

/// Reads the progress file, the journal behind it, and what is known of its owner.
fn assess(
    host: Host<'_>,
    options: &Options,
    identity: &ProcessInfo,
) -> Result<Assessment, Failure> {
    let wishes = Wishes { no_resume: options.no_resume, take_over: options.take_over };
    let found = progress::find(host);
    let now = host.now();
    let (state, saved, liveness) = match &found {
        Found::Missing => (State::Missing, None, None),
        Found::Valid(progress) => {
            let liveness = progress.owner_status(host);
            let owner = match progress.is_of(identity) {
                true => resume::Owner::Us,
                false => resume::Owner::Other(liveness),
            };
            let stale = resume::is_stale(progress.updated_at, now);
            let saved = saved::load(host, (**progress).clone())?;
            (State::Valid { owner, stale }, Some(saved), Some(liveness))
        }
        Found::Damaged { .. } | Found::Unreadable(_) => {
            let named = match &found {
                Found::Damaged { session_id, .. } => session_id.as_deref(),
                _ => None,
            };
            let saved = runs::behind_damage(host, named)?
                .filter(|saved| !resume::is_stale(saved.progress.updated_at, now));
            (State::Damaged { journal: saved.is_some() }, saved, None)
        }
    };
    Ok(Assessment { found, decision: resume::decide(state, wishes), saved, liveness })
}

impl Assessment {
    fn refuse(&self) -> Result<(), OpenError> {
        match (self.decision, &self.found) {
            (Decision::Refuse, Found::Valid(progress)) => {
                let liveness = self.liveness.unwrap_or(ProcessStatus::Unknown);
                Err(OpenError::Busy(Box::new(Holder::of_progress(progress, liveness))))
            }
            _ => Ok(()),
        }
    }

    fn origin(&self) -> Origin {
        match self.decision {
            Decision::Resume => Origin::Resumed,
            Decision::Rebuild => Origin::Rebuilt,
            Decision::Fresh | Decision::Leave(_) | Decision::Refuse => Origin::Fresh,
        }
    }
}

/// For a single run: the saved session stays, but its results go where every reader sees them.
fn keep_for_later(host: Host<'_>, mut assessment: Assessment) -> Result<Option<Saved>, Failure> {
    if let Some(saved) = &mut assessment.saved
        && !saved.unsynced.is_empty()
    {
        runs::sync(host, saved)?;
    }
    Ok(assessment.saved)
}

/// Carries out the decision about what is there; the session that goes on, if one does.
fn make_way(host: Host<'_>, assessment: Assessment) -> Result<Option<Saved>, Failure> {
    let Assessment { found, decision, saved, .. } = assessment;
    let damage = found.damage().unwrap_or_default();
    match decision {
        Decision::Fresh | Decision::Refuse => Ok(None),
        Decision::Resume => Ok(saved),
        Decision::Rebuild => {
            let code = "BATCH_PROGRESS_CORRUPT";
            let id = match found {
                // It stays until the new one takes its place: a crash in between changes nothing.
                Found::Damaged { .. } => backup::copy(host, backup::RUN, layout::PROGRESS, code)?,
                _ => backup::set_aside(host, backup::RUN, layout::PROGRESS, code)?,
            };
            let what = saved.as_ref().map(Saved::describe).unwrap_or_default();
            let kept = id.map(|id| format!("; the damaged file is in backup {id}"));
            host.log(
                Level::Warning,
                &format!(
                    "{damage}; it was rebuilt from its journal ({what}){}",
                    kept.unwrap_or_default()
                ),
            );
            Ok(saved)
        }
        Decision::Leave(reason) => {
            let what = saved.as_ref().map(Saved::describe);
            let what = what.map(|what| format!(" ({what})")).unwrap_or_default();
            if let Some(saved) = saved {
                runs::leave(host, saved)?;
            }
            let (code, why) = match reason {
                Reason::Damaged => ("BATCH_PROGRESS_CORRUPT", damage.to_owned()),
                Reason::Stale => (
                    "STALE_BATCH_PROGRESS",
                    format!("{} is stale (older than 24 hours)", layout::PROGRESS),
                ),
                Reason::Asked => ("NO_RESUME", "the saved session is left".to_owned()),
            };
            let id = backup::set_aside(host, backup::RUN, layout::PROGRESS, code)?;
            let level = if reason == Reason::Asked { Level::Info } else { Level::Warning };
            let kept = match id {
                Some(id) => format!(
                    "it was set aside and a new session starts; `wreckit-host backups restore {id}` brings it back"
                ),
                None => "a new session starts".to_owned(),
            };
            host.log(level, &format!("{why}{what}; {kept}"));
            Ok(None)
        }
    }
}

/// The first event of an opening, and the findings that it was made from.
struct Start {
    event: Event,
    findings: Findings,
}

/// Finds out what a session has to do and brings the ledger to its start.
fn start_event(
    host: Host<'_>,
    options: &Options,
    ledger: &mut Ledger,
    chosen: &[String],
) -> Result<Start, Failure> {
    let now = host.now();
    let is_chosen = |id: &str| chosen.is_empty() || chosen.iter().any(|chosen| chosen == id);
    let retried: Vec<String> = match options.retry_failed {
        true => ledger
            .failed()
            .iter()
            .map(|item| ledger.id(*item).to_owned())
            .filter(|id| is_chosen(id))
            .collect(),
        false => Vec::new(),
    };
    let event = Event::new(EventKind::BatchStarted, now);
    ledger.apply(&event.clone().with("retried", retried.clone()));
    let findings = plan::survey(host, ledger, chosen)?;
    let new = findings.open_ids().filter(|id| !ledger.is_queued(id));
    let event = event
        .with("queue", new.collect::<Value>())
        .with("skipped", findings.done.clone())
        .with("retried", retried);
    ledger.apply(&event);
    Ok(Start { event, findings })
}

/// Starts a session, new or going on, and records that.
fn start(
    host: Host<'_>,
    options: Options,
    identity: &ProcessInfo,
    saved: Option<Saved>,
    origin: Origin,
) -> Result<(Session, Opening), OpenError> {
    let now = host.now();
    let mut unwritten = Vec::new();
    let damaged = saved.as_ref().map_or(0, |saved| saved.damage.len());
    let (mut head, mut ledger, last_event) = match saved {
        Some(mut saved) => {
            unwritten = saved.settle(host)?;
            (saved.progress, saved.ledger, saved.last_event)
        }
        None => (saved::new_head(session_id(host)?, now), Ledger::default(), 0),
    };
    // Held already: now others can be told of the session, too.
    let _ = lock::acquire(host, identity, Work::Session(&head.session_id), options.take_over)?;
    head.pid = identity.pid;
    head.owner = Some(Owner::of(identity));
    head.parallel = options.parallel.max(1);
    if let Some(journal) = &mut head.journal {
        journal.rebuilt_at = None;
    }

    let Start { event, findings } = start_event(host, &options, &mut ledger, &options.items)?;
    let directory = host.layout().run_directory(&head.session_id);
    let mut lists = event.more;
    if origin != Origin::Fresh && journal::segments(host, &directory)?.is_empty() {
        // A session that another tool began: from here on its journal alone is to tell it whole.
        lists.extend(ledger.to_lists());
    }
    let mut event = Event::new(EventKind::BatchStarted, now)
        .with("session_id", head.session_id.clone())
        .with("reason", origin.word())
        .with("pid", identity.pid)
        .with("owner", Owner::of(identity).to_json())
        .with("parallel", head.parallel);
    if options.single {
        event = event.with("single", true);
    }
    event.more.extend(lists);
    let mut events = vec![event];
    if origin != Origin::Fresh && unwritten.is_empty() {
        events.push(Event::new(EventKind::Synced, now).with("through", last_event));
    }
    for (id, problem) in &findings.invalid {
        host.log(Level::Warning, &format!("{id}: {problem}"));
        events.push(Event::of(EventKind::ItemInvalid, now, id).with("error", problem.clone()));
    }
    for id in &findings.gone {
        host.log(Level::Warning, &format!("{id} was queued, but its directory is gone"));
    }

    let mut journal = Writer::open(host, &directory, last_event)?;
    journal.append(host, &mut events, true)?;
    let plan = Plan::new(host, &ledger, &findings, &options.items);
    if let Some(words) = foretell(&findings, &plan, &ledger, damaged) {
        host.log(Level::Warning, &words);
    }
    let mut checkpoint = Checkpoint::new(now, !options.single);
    checkpoint.keep(host, unwritten);
    checkpoint.write(host, &mut head, &ledger, &journal, true)?;

    if origin != Origin::Fresh {
        // Those who follow the events from here on are told everything; the journal has it already.
        events[0].more.extend(ledger.to_lists());
        let in_hand = ledger.in_flight().iter().map(|item| ledger.id(*item)).collect::<Value>();
        events[0].more.insert("in_flight".to_owned(), in_hand);
    }
    let opening =
        Opening { session: head.session_id.clone(), origin, counts: Counts::of(&ledger), events };
    let session = Session::new(head, ledger, plan, journal, checkpoint, findings.invalid, options);
    Ok((session, opening))
}

/// What `doctor` would find that stands in the way of this session, in a line; `None` if nothing does.
fn foretell(
    findings: &Findings,
    plan: &Plan,
    ledger: &Ledger,
    damaged_journals: usize,
) -> Option<String> {
    let any_waits = findings.open.iter().any(|(_, depends_on)| !depends_on.is_empty());
    let blocked = if any_waits { plan.blocked(ledger).len() } else { 0 };
    let counts = [
        (findings.invalid.len(), "items that cannot be used"),
        (blocked, "items that can never start, for what they depend on"),
        (findings.gone.len(), "queued items without a directory"),
        (damaged_journals, "damaged places in the journal"),
    ];
    let words: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    (!words.is_empty()).then(|| {
        format!(
            "not everything here is sound: {}; `wreckit-host doctor` explains it",
            words.join(", ")
        )
    })
}

/// A new session id: a random UUID.
fn session_id(host: Host<'_>) -> Result<String, Failure> {
    let random = host.random_bytes(16)?;
    let random = <[u8; 16]>::try_from(random).unwrap_or_default();
    Ok(uuid::Builder::from_random_bytes(random).into_uuid().to_string())
}
