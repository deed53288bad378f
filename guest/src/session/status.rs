//! The state of a repository, as seen from outside.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::bindings::exports::wreckit::batch::batch::{
    ItemState as BatchState, ItemStatus, Overview,
};
use crate::bindings::exports::wreckit::batch::session::Counts;
use crate::formats::item::{self, Change, Item};
use crate::formats::journal::{Event, EventKind};
use crate::formats::progress::{self, Found};
use crate::io::capabilities::ProcessStatus;
use crate::io::host::{Failure, Host};
use crate::json;
use crate::session::events::counts;
use crate::session::ledger::{ItemIndex, ItemState, Ledger};
use crate::session::plan::Plan;
use crate::session::resume;
use crate::session::runs;
use crate::session::saved::{self, Saved};
use crate::workload::Survey;
use crate::workload::items::Items;

/// The state of the repository. Changes nothing.
pub fn status(host: Host<'_>) -> Result<Overview, Failure> {
    let found = progress::find(host);
    let damage = found.damage().map(str::to_owned);
    let (saved, owner, stale) = match found {
        Found::Valid(progress) => {
            let owner = progress.owner_status(host);
            let stale = resume::is_stale(progress.updated_at, host.now());
            (Some(saved::load(host, *progress)?), Some(owner), stale)
        }
        _ => (None, None, false),
    };
    let session =
        saved.as_ref().and_then(|saved| String::from_utf8(json::pretty(&saved.document())).ok());
    let in_session = saved.is_some();
    let results = results(host, saved.as_ref())?;
    let mut ledger = saved.map(|saved| saved.ledger).unwrap_or_default();
    let session_counts = in_session.then(|| counts(&ledger));

    let read: Vec<(String, Result<Seen, String>)> = item::ids(host)?
        .into_iter()
        .map(|id| {
            let seen = read(host, &id, &results).map(Seen::from);
            (id, seen)
        })
        .collect();
    let states = States::new(host, &mut ledger, &read, in_session, owner);
    let items: Vec<ItemStatus> =
        read.into_iter().map(|(id, item)| states.of(&ledger, id, item)).collect();
    let counts = session_counts.unwrap_or_else(|| count(&items));
    Ok(Overview { session, owner, stale, damage, counts, items })
}

/// Results in a journal that are not in the files of their items yet, by item: those of the session, of a `next` that
/// was killed, of a session whose progress file was removed.
fn results(host: Host<'_>, saved: Option<&Saved>) -> Result<HashMap<String, Vec<Change>>, Failure> {
    let current = saved.map(|saved| saved.progress.session_id.as_str());
    let mut results: HashMap<String, Vec<Change>> = HashMap::new();
    for saved in runs::unapplied(host, current)?.iter().chain(saved) {
        for result in &saved.unapplied {
            results.entry(result.item.clone()).or_default().push(result.change.clone());
        }
    }
    Ok(results)
}

/// An item as the next run finds it.
fn read(host: Host<'_>, id: &str, results: &HashMap<String, Vec<Change>>) -> Result<Item, String> {
    let item = item::read_to_run(host, id)?;
    Ok(match results.get(id) {
        Some(changes) => item.after(&changes.iter().collect::<Vec<_>>(), host.now()),
        None => item,
    })
}

/// The part of an item that a status needs. The rest of its document is dropped at once: there may be hundreds of
/// thousands of items.
struct Seen {
    state: String,
    title: String,
    depends_on: Vec<String>,
    last_error: Option<String>,
}

impl From<Item> for Seen {
    fn from(item: Item) -> Self {
        let last_error = item.field("last_error").and_then(Value::as_str).map(str::to_owned);
        let Item { state, title, depends_on, .. } = item;
        Seen { state, title, depends_on, last_error }
    }
}

/// Counts without a session: every item counts as its file says.
fn count(items: &[ItemStatus]) -> Counts {
    let of = |state| items.iter().filter(|item| item.batch_state == state).count();
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let (completed, invalid) = (of(BatchState::Completed), of(BatchState::Invalid));
    Counts {
        queued: count(items.len() - invalid),
        completed: count(completed),
        failed: 0,
        skipped: 0,
        in_flight: 0,
        remaining: count(items.len() - invalid - completed),
    }
}

/// What determines the state of an item.
struct States {
    in_session: bool,
    owner: Option<ProcessStatus>,
    ready: HashSet<ItemIndex>,
}

impl States {
    fn new(
        host: Host<'_>,
        ledger: &mut Ledger,
        read: &[(String, Result<Seen, String>)],
        in_session: bool,
        owner: Option<ProcessStatus>,
    ) -> Self {
        let mut survey =
            Survey { ids: read.iter().map(|(id, _)| id.clone()).collect(), ..Survey::default() };
        for (index, (id, item)) in read.iter().enumerate() {
            match item {
                _ if ledger.find(id).is_some_and(|item| !ledger.is_remaining(item)) => {}
                Ok(item) if item.state == item::DONE => survey.done.push(id.clone()),
                Ok(item) => survey.open.push((index, item.depends_on.clone())),
                Err(problem) => survey.invalid.push((id.clone(), problem.clone())),
            }
        }
        // The items that the next run would queue, so that dependencies are seen the same way.
        let new: Value = survey.open_ids().collect();
        let event = Event::new(EventKind::BatchStarted, host.now())
            .with("queue", new)
            .with("skipped", survey.done.clone());
        ledger.apply(&event);
        let items = Items { has_phases: false, max_iterations: 0 };
        let plan = Plan::new(host, &items, ledger, &survey, &[]);
        let ready = plan.queue.ready().map(|queued| plan.items[queued]).collect();
        States { in_session, owner, ready }
    }

    fn of(&self, ledger: &Ledger, id: String, item: Result<Seen, String>) -> ItemStatus {
        let index = ledger.find(&id);
        let batch_state = match (&item, index.map(|index| (index, ledger.state(index)))) {
            (_, Some((_, ItemState::Completed))) => BatchState::Completed,
            (_, Some((_, ItemState::Failed))) => BatchState::Failed,
            (Err(_), _) => BatchState::Invalid,
            (_, Some((_, ItemState::Skipped))) if self.in_session => BatchState::Skipped,
            (_, Some((_, ItemState::Skipped))) => BatchState::Completed,
            (_, Some((_, ItemState::InFlight))) if self.owner == Some(ProcessStatus::Running) => {
                BatchState::Running
            }
            (_, Some((index, _))) if self.ready.contains(&index) => BatchState::Ready,
            _ => BatchState::Blocked,
        };
        match item {
            Ok(Seen { state, title, depends_on, last_error }) => {
                ItemStatus { id, state, title, depends_on, last_error, batch_state }
            }
            Err(problem) => ItemStatus {
                id,
                state: String::new(),
                title: problem,
                depends_on: Vec::new(),
                last_error: None,
                batch_state,
            },
        }
    }
}
