//! Starting a session that was opened, new or resumed.

use serde_json::Value;

use crate::agents::Agent;
use crate::bindings::exports::wreckit::batch::session::{Opening, Origin};
use crate::formats::journal::{self, Event, EventKind, Writer};
use crate::formats::progress::Progress;
use crate::io::capabilities::{Level, ProcessInfo};
use crate::io::host::{Failure, Host};
use crate::io::lock::{self, Purpose};
use crate::io::owner::Owner;
use crate::session::checkpoint::Checkpoint;
use crate::session::events::{counts, publish};
use crate::session::ledger::Ledger;
use crate::session::plan::Plan;
use crate::session::running::{Limits, Parts, Session, State};
use crate::session::saved::{self, Saved};
use crate::time::Timestamp;
use crate::workload::{Survey, Workload};

/// How to start a session.
#[derive(Debug)]
pub(super) struct Start {
    /// What it runs.
    pub workload: Box<dyn Workload>,
    /// The agent.
    pub agent: Agent,
    /// What the agent is called, where results name it.
    pub agent_name: String,
    /// Its limits.
    pub limits: Limits,
    /// The items that were chosen; empty: all.
    pub chosen: Vec<String>,
    /// Whether items that failed run again.
    pub retry_failed: bool,
    /// The absolute path of the repository's root, as agents see it.
    pub repository: String,
    /// Whether to ignore an owner that may still be running.
    pub take_over: bool,
}

/// The first event of an opening, and the survey that it was made from.
pub(super) struct Inventory {
    event: Event,
    pub(super) survey: Survey,
}

/// Determines what there is to do, and updates the ledger accordingly.
pub(super) fn take_inventory(
    host: Host<'_>,
    workload: &dyn Workload,
    ledger: &mut Ledger,
    chosen: &[String],
    retry_failed: bool,
) -> Result<Inventory, Failure> {
    let is_chosen = |id: &str| chosen.is_empty() || chosen.iter().any(|chosen| chosen == id);
    let failed = ledger.failed().iter().map(|item| ledger.id(*item).to_owned());
    let retried: Vec<String> = failed.filter(|id| retry_failed && is_chosen(id)).collect();
    let event = Event::new(EventKind::BatchStarted, host.now());
    ledger.apply(&event.clone().with("retried", retried.clone()));
    let survey = workload.survey(host, ledger, chosen)?;
    let new = survey.open_ids().filter(|id| !ledger.is_queued(id));
    let event = event
        .with("queue", new.collect::<Value>())
        .with("skipped", survey.done.clone())
        .with("retried", retried);
    ledger.apply(&event);
    Ok(Inventory { event, survey })
}

impl Start {
    /// Starts a new session, or resumes a saved one, and records that durably. A new session that has nothing
    /// to do leaves no files.
    pub(crate) fn start(
        self,
        host: Host<'_>,
        process: &ProcessInfo,
        saved: Option<Saved>,
        origin: Origin,
    ) -> Result<(Session, Opening), Failure> {
        let now = host.now();
        let damaged = saved.as_ref().map_or(0, |saved| saved.damage.len());
        let mut unwritten = Vec::new();
        let (mut snapshot, mut ledger, last_event) = match saved {
            Some(mut saved) => {
                unwritten = saved.apply_results(host)?;
                (saved.progress, saved.ledger, saved.last_event)
            }
            None => (saved::new_snapshot(session_id(host)?, now), Ledger::default(), 0),
        };
        self.claim(host, process, &mut snapshot)?;
        let workload = self.workload.as_ref();
        let Inventory { event, survey } =
            take_inventory(host, workload, &mut ledger, &self.chosen, self.retry_failed)?;
        let plan = Plan::new(host, workload, &ledger, &survey, &self.chosen);
        let directory = host.layout().run_directory(&snapshot.session_id);
        let is_idle = origin == Origin::Fresh && plan.queue.is_exhausted();
        let mut journal = match is_idle {
            true => Writer::idle(&directory),
            false => Writer::open(host, &directory, last_event)?,
        };
        let mut lists = event.more;
        if origin != Origin::Fresh && journal::segments(host, &directory)?.is_empty() {
            // Another tool started the session: from here on, its journal must be complete.
            lists.extend(ledger.to_lists());
        }
        let mut first = self.first_event(process, &snapshot.session_id, origin, now);
        first.more.extend(lists);
        let mut events = vec![first];
        if origin != Origin::Fresh && unwritten.is_empty() {
            events.push(Event::new(EventKind::Synced, now).with("through", last_event));
        }
        events.extend(warn_unusable(host, &survey));
        journal.append(host, &mut events, true)?;
        if let Some(warning) = health_warning(&survey, &plan, &ledger, damaged) {
            host.log(Level::Warning, &warning);
        }
        let writes_snapshot = !is_idle && !self.limits.single && workload.feature().is_none();
        let mut checkpoint = Checkpoint::new(now, writes_snapshot);
        checkpoint.retry_later(host, unwritten);
        checkpoint.write(host, &mut snapshot, &ledger, &journal, true)?;
        let opening = opening(&snapshot, &ledger, origin, events);
        let Start { workload, agent, agent_name, limits, repository, .. } = self;
        let parts = Parts { workload, agent, agent_name, limits, repository };
        let state = State { snapshot, ledger, plan, journal, checkpoint, invalid: survey.invalid };
        Ok((Session::new(parts, host.marker(), state), opening))
    }

    /// Makes this process the owner of the session.
    fn claim(
        &self,
        host: Host<'_>,
        process: &ProcessInfo,
        snapshot: &mut Progress,
    ) -> Result<(), Failure> {
        // The lock is held already; now its note names the session.
        let session = Purpose::Session(&snapshot.session_id);
        let _ = lock::acquire(host, process, session, self.take_over)?;
        snapshot.pid = process.pid;
        snapshot.owner = Some(Owner::of(process));
        snapshot.parallel = u32::try_from(self.limits.parallel).unwrap_or(u32::MAX);
        if let Some(journal) = &mut snapshot.journal {
            journal.rebuilt_at = None;
        }
        Ok(())
    }

    fn first_event(
        &self,
        process: &ProcessInfo,
        session: &str,
        origin: Origin,
        now: Timestamp,
    ) -> Event {
        let origin = match origin {
            Origin::Fresh => "fresh",
            Origin::Resumed => "resumed",
            Origin::Rebuilt => "rebuilt",
        };
        let event = Event::new(EventKind::BatchStarted, now)
            .with("session_id", session)
            .with("reason", origin)
            .with("pid", process.pid)
            .with("owner", Owner::of(process).to_json())
            .with("parallel", self.limits.parallel);
        let feature = self.workload.feature().map(|feature| feature.id.to_owned());
        let single = self.limits.single.then_some(true);
        event.with_some("single", single).with_some("feature", feature)
    }
}

/// The session as the embedder receives it.
fn opening(
    snapshot: &Progress,
    ledger: &Ledger,
    origin: Origin,
    mut events: Vec<Event>,
) -> Opening {
    if origin != Origin::Fresh
        && let Some(first) = events.first_mut()
    {
        list_items(first, ledger);
    }
    Opening {
        session: snapshot.session_id.clone(),
        origin,
        counts: counts(ledger),
        events: publish(&events),
    }
}

/// Events about items that cannot be used, with a warning for each.
fn warn_unusable(host: Host<'_>, survey: &Survey) -> Vec<Event> {
    for id in &survey.gone {
        host.log(Level::Warning, &format!("{id} was queued, but it does not exist any more"));
    }
    let invalid = survey.invalid.iter().map(|(id, problem)| {
        host.log(Level::Warning, &format!("{id}: {problem}"));
        Event::of(EventKind::ItemInvalid, host.now(), id).with("error", problem.clone())
    });
    invalid.collect()
}

/// Adds the state of every item to the first event after a resume, for programs that follow the events. The journal
/// does not repeat it.
fn list_items(event: &mut Event, ledger: &Ledger) {
    event.more.extend(ledger.to_lists());
    let in_flight = ledger.in_flight().iter().map(|item| ledger.id(*item)).collect::<Value>();
    event.more.insert("in_flight".to_owned(), in_flight);
}

/// What `doctor` would find that affects this session, in one line; `None` if it would find nothing.
fn health_warning(
    survey: &Survey,
    plan: &Plan,
    ledger: &Ledger,
    damaged_journals: usize,
) -> Option<String> {
    let has_dependencies = survey.open.iter().any(|(_, depends_on)| !depends_on.is_empty());
    let blocked = if has_dependencies { plan.blocked(ledger).len() } else { 0 };
    let counts = [
        (survey.invalid.len(), "item cannot be used", "items cannot be used"),
        (
            blocked,
            "item can never start because of its dependencies",
            "items can never start because of their dependencies",
        ),
        (survey.gone.len(), "queued item does not exist", "queued items do not exist"),
        (damaged_journals, "damaged place in the journal", "damaged places in the journal"),
    ];
    let problems: Vec<String> = counts
        .iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, one, many)| format!("{count} {}", if *count == 1 { one } else { many }))
        .collect();
    (!problems.is_empty())
        .then(|| format!("{}. `wreckit-host doctor` explains it.", problems.join(", ")))
}

/// A new session id: a random UUID.
fn session_id(host: Host<'_>) -> Result<String, Failure> {
    let random = host.random_bytes(16)?;
    let random = <[u8; 16]>::try_from(random).unwrap_or_default();
    Ok(uuid::Builder::from_random_bytes(random).into_uuid().to_string())
}
