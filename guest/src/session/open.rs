//! Opening a session: resuming the saved one or starting another.

use serde_json::Value;

use crate::backup;
use crate::formats::item;
use crate::formats::journal::{self, Event, EventKind, Writer};
use crate::formats::layout;
use crate::formats::progress::{self, Found, Owner};
use crate::io::capabilities::{Identity, Level, Liveness, Worker};
use crate::io::lock::{self, Holder, Work};
use crate::io::tree::{Failure, Tree};
use crate::session::Options;
use crate::session::checkpoint::Checkpoint;
use crate::session::ledger::Ledger;
use crate::session::leftovers;
use crate::session::plan::{self, Findings, Plan};
use crate::session::protocol::Counts;
use crate::session::resume::{self, Decision, Reason, State, Wishes};
use crate::session::runs;
use crate::session::saved::{self, Saved};
use crate::session::select::{self, Unresolved};
use crate::session::session::Session;
use crate::session::settle;

/// Why no session was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenError {
    /// Another batch, fix or `next` works here, or may.
    Busy(Box<Holder>),
    /// Words for an item do not name one.
    Unresolved(Unresolved),
    /// Agents of an interrupted batch still run and could not be ended.
    Orphaned(Vec<Worker>),
    /// A file could not be read or written.
    Storage(Failure),
}

impl From<Failure> for OpenError {
    fn from(failure: Failure) -> Self {
        OpenError::Storage(failure)
    }
}

/// Where a session comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
#[derive(Debug, Clone, PartialEq, Eq)]
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
    liveness: Option<Liveness>,
}

/// Opens a session. After an error nothing has changed, but for what a storage failure interrupted.
pub fn open(tree: Tree<'_>, options: &Options) -> Result<(Session, Opening), OpenError> {
    let chosen =
        select::resolve(&options.items, &item::ids(tree)?).map_err(OpenError::Unresolved)?;
    let identity = tree.current_process();
    if let Err(holder) = lock::acquire(tree, &identity, Work::Beginning, options.take_over)? {
        return Err(OpenError::Busy(Box::new(holder)));
    }
    let options = Options { items: chosen, ..options.clone() };
    let opened = open_locked(tree, options, &identity);
    if opened.is_err() {
        lock::release(tree)?;
    }
    opened
}

/// Looks at what `open` would do. Changes nothing and takes no lock.
pub fn preview(tree: Tree<'_>, options: &Options) -> Result<Preview, OpenError> {
    let chosen =
        select::resolve(&options.items, &item::ids(tree)?).map_err(OpenError::Unresolved)?;
    let holder = lock::current_holder(tree)?;
    if let Some(holder) = holder.filter(|holder| holder.locked || !options.take_over) {
        return Err(OpenError::Busy(Box::new(holder)));
    }
    let assessment = assess(tree, options, &tree.current_process())?;
    assessment.refuse()?;
    let mut unsettled = runs::unsettled(tree, None)?;
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
        &Event::new(EventKind::BatchStarted, tree.now())
            .with("skipped", settled.collect::<Vec<_>>()),
    );
    let started = start_event(tree, options, &mut ledger, &chosen)?;
    let plan = Plan::new(tree, &ledger, &started.findings, &chosen);
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
    tree: Tree<'_>,
    options: Options,
    identity: &Identity,
) -> Result<(Session, Opening), OpenError> {
    let mut assessment = assess(tree, &options, identity)?;
    assessment.refuse()?;
    if backup::finish(tree)? {
        assessment = assess(tree, &options, identity)?;
        assessment.refuse()?;
    }
    let found = assessment.saved.as_ref();
    let others = runs::unsettled(tree, found.map(|saved| saved.progress.session_id.as_str()))?;
    leftovers::mark_root(tree);
    end_orphans(tree, others.iter().chain(found).collect(), options.take_over)?;

    let origin = if options.single { Origin::Fresh } else { assessment.origin() };
    let kept = match options.single {
        true => keep_for_later(tree, assessment)?,
        false => make_way(tree, assessment)?,
    };
    others.into_iter().try_for_each(|saved| runs::leave(tree, saved))?;
    start(tree, options, identity, kept.filter(|_| origin != Origin::Fresh), origin)
}

/// Nothing may run beside what an earlier batch left: two agents of one item, perhaps.
fn end_orphans(tree: Tree<'_>, sessions: Vec<&Saved>, take_over: bool) -> Result<(), OpenError> {
    let orphans = leftovers::end(tree, layout::LOCK, &sessions);
    if !orphans.left.is_empty() {
        return Err(OpenError::Orphaned(orphans.left));
    }
    if !orphans.unproven.is_empty() && !take_over {
        return Err(OpenError::Orphaned(orphans.unproven));
    }
    orphans.report(tree, "batch");
    Ok(())
}

/// Reads the progress file, the journal behind it, and what is known of its owner.
fn assess(tree: Tree<'_>, options: &Options, identity: &Identity) -> Result<Assessment, Failure> {
    let wishes = Wishes { no_resume: options.no_resume, take_over: options.take_over };
    let found = progress::find(tree);
    let now = tree.now();
    let (state, saved, liveness) = match &found {
        Found::Missing => (State::Missing, None, None),
        Found::Valid(progress) => {
            let liveness = progress.liveness(tree);
            let owner = match progress.is_of(identity) {
                true => resume::Owner::Us,
                false => resume::Owner::Other(liveness),
            };
            let stale = resume::is_stale(progress.updated_at, now);
            let saved = saved::load(tree, (**progress).clone())?;
            (State::Valid { owner, stale }, Some(saved), Some(liveness))
        }
        Found::Damaged { .. } | Found::Unreadable(_) => {
            let named = match &found {
                Found::Damaged { session_id, .. } => session_id.as_deref(),
                _ => None,
            };
            let saved = runs::behind_damage(tree, named)?
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
                let liveness = self.liveness.unwrap_or(Liveness::Unknown);
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
fn keep_for_later(tree: Tree<'_>, mut assessment: Assessment) -> Result<Option<Saved>, Failure> {
    if let Some(saved) = &mut assessment.saved
        && !saved.unsynced.is_empty()
    {
        runs::sync(tree, saved)?;
    }
    Ok(assessment.saved)
}

/// Carries out the decision about what is there; the session that goes on, if one does.
fn make_way(tree: Tree<'_>, assessment: Assessment) -> Result<Option<Saved>, Failure> {
    let Assessment { found, decision, saved, .. } = assessment;
    let damage = found.damage().unwrap_or_default();
    match decision {
        Decision::Fresh | Decision::Refuse => Ok(None),
        Decision::Resume => Ok(saved),
        Decision::Rebuild => {
            let code = "BATCH_PROGRESS_CORRUPT";
            let id = match found {
                // It stays until the new one takes its place: a crash in between changes nothing.
                Found::Damaged { .. } => backup::copy(tree, backup::RUN, layout::PROGRESS, code)?,
                _ => backup::set_aside(tree, backup::RUN, layout::PROGRESS, code)?,
            };
            let what = saved.as_ref().map(Saved::describe).unwrap_or_default();
            let kept = id.map(|id| format!("; the damaged file is in backup {id}"));
            tree.log(
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
                runs::leave(tree, saved)?;
            }
            let (code, why) = match reason {
                Reason::Damaged => ("BATCH_PROGRESS_CORRUPT", damage.to_owned()),
                Reason::Stale => (
                    "STALE_BATCH_PROGRESS",
                    format!("{} is stale (older than 24 hours)", layout::PROGRESS),
                ),
                Reason::Asked => ("NO_RESUME", "the saved session is left".to_owned()),
            };
            let id = backup::set_aside(tree, backup::RUN, layout::PROGRESS, code)?;
            let level = if reason == Reason::Asked { Level::Info } else { Level::Warning };
            let kept = match id {
                Some(id) => format!(
                    "it was set aside and a new session starts; `wreckit-host backups restore {id}` brings it back"
                ),
                None => "a new session starts".to_owned(),
            };
            tree.log(level, &format!("{why}{what}; {kept}"));
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
    tree: Tree<'_>,
    options: &Options,
    ledger: &mut Ledger,
    chosen: &[String],
) -> Result<Start, Failure> {
    let now = tree.now();
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
    let findings = plan::survey(tree, ledger, chosen)?;
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
    tree: Tree<'_>,
    options: Options,
    identity: &Identity,
    saved: Option<Saved>,
    origin: Origin,
) -> Result<(Session, Opening), OpenError> {
    let now = tree.now();
    let mut unwritten = Vec::new();
    let damaged = saved.as_ref().map_or(0, |saved| saved.damage.len());
    let (mut head, mut ledger, last_event) = match saved {
        Some(mut saved) => {
            unwritten = saved.settle(tree)?;
            (saved.progress, saved.ledger, saved.last_event)
        }
        None => (saved::new_head(session_id(tree), now), Ledger::default(), 0),
    };
    // Held already: now others can be told of the session, too.
    let _ = lock::acquire(tree, identity, Work::Session(&head.session_id), options.take_over)?;
    head.pid = identity.pid;
    head.owner = Some(Owner::of(identity));
    head.parallel = options.parallel.max(1);
    if let Some(journal) = &mut head.journal {
        journal.rebuilt_at = None;
    }

    let Start { event, findings } = start_event(tree, &options, &mut ledger, &options.items)?;
    let directory = layout::run_directory(&head.session_id);
    let mut lists = event.more;
    if origin != Origin::Fresh && journal::segments(tree, &directory)?.is_empty() {
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
        tree.log(Level::Warning, &format!("{id}: {problem}"));
        events.push(Event::of(EventKind::ItemInvalid, now, id).with("error", problem.clone()));
    }
    for id in &findings.gone {
        tree.log(Level::Warning, &format!("{id} was queued, but its directory is gone"));
    }

    let mut journal = Writer::open(tree, &directory, last_event)?;
    journal.append(tree, &mut events, true)?;
    let plan = Plan::new(tree, &ledger, &findings, &options.items);
    if let Some(words) = foretell(&findings, &plan, &ledger, damaged) {
        tree.log(Level::Warning, &words);
    }
    let mut checkpoint = Checkpoint::new(now, !options.single);
    checkpoint.keep(tree, unwritten);
    checkpoint.write(tree, &mut head, &ledger, &journal, true)?;

    if origin != Origin::Fresh {
        // Those who follow the events from here on are told everything; the journal has it already.
        events[0].more.extend(ledger.to_lists());
        let in_hand = ledger.in_hand().iter().map(|item| ledger.id(*item)).collect::<Value>();
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

/// A UUID, version 4 (RFC 9562, section 5.4).
fn session_id(tree: Tree<'_>) -> String {
    let mut bytes = tree.random_bytes(16);
    bytes.resize(16, 0);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
