//! The state of a repository, seen from outside.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::formats::item::{self, Change, Item};
use crate::formats::journal::{Event, EventKind};
use crate::formats::json;
use crate::formats::progress::{self, Found};
use crate::io::capabilities::ProcessStatus;
use crate::io::host::{Failure, Host};
use crate::session::ledger::{ItemIndex, ItemState, Ledger};
use crate::session::plan::{Findings, Plan};
use crate::session::protocol::Counts;
use crate::session::resume;
use crate::session::runs;
use crate::session::saved::{self, Saved};

/// What an item is to the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemStanding {
    /// It can run.
    Ready,
    /// It waits for another one.
    Blocked,
    /// An agent works on it.
    Running,
    /// Completed in the session; without one: done.
    Completed,
    /// Failed in the session.
    Failed,
    /// Done before the session.
    Skipped,
    /// Its `item.json` cannot be used.
    Invalid,
}

/// One item of a status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemStatus {
    /// The name of its directory.
    pub id: String,
    /// As in `item.json`; empty for an invalid item.
    pub state: String,
    /// Its title; for an invalid item what is wrong with it.
    pub title: String,
    /// What it depends on.
    pub depends_on: Vec<String>,
    /// Why it failed when it was run last.
    pub last_error: Option<String>,
    /// What it is to the batch.
    pub standing: ItemStanding,
}

/// The state of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The session, as JSON.
    pub session: Option<String>,
    /// Whether its owner runs.
    pub owner: Option<ProcessStatus>,
    /// True if the session is more than 24 hours old.
    pub stale: bool,
    /// What is wrong with the progress file.
    pub damage: Option<String>,
    /// How many items are where.
    pub counts: Counts,
    /// Every item, in running order.
    pub items: Vec<ItemStatus>,
}

/// Looks at everything. Changes nothing.
pub fn status(host: Host<'_>) -> Result<Status, Failure> {
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
    let counts = in_session.then(|| Counts::of(&ledger));

    let read: Vec<(String, Result<Seen, String>)> = item::ids(host)?
        .into_iter()
        .map(|id| {
            let seen = read(host, &id, &results).map(Seen::from);
            (id, seen)
        })
        .collect();
    let standings = Standings::new(host, &mut ledger, &read, in_session, owner);
    let items: Vec<ItemStatus> =
        read.into_iter().map(|(id, item)| standings.of(&ledger, id, item)).collect();
    let counts = counts.unwrap_or_else(|| count(&items));
    Ok(Status { session, owner, stale, damage, counts, items })
}

/// Results that a journal has and that are not in the items' files yet, by item: those of the session, of
/// a `next` that was killed, of a session whose progress file was removed.
fn results(host: Host<'_>, saved: Option<&Saved>) -> Result<HashMap<String, Vec<Change>>, Failure> {
    let current = saved.map(|saved| saved.progress.session_id.as_str());
    let mut results: HashMap<String, Vec<Change>> = HashMap::new();
    for saved in runs::unsettled(host, current)?.iter().chain(saved) {
        for outcome in &saved.unsynced {
            results.entry(outcome.item.clone()).or_default().push(outcome.change.clone());
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

/// What a status needs of an item. The rest of its document is dropped at once: there may be hundreds
/// of thousands of them.
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

/// Without a session every item counts for what its file says.
fn count(items: &[ItemStatus]) -> Counts {
    let of = |standing| items.iter().filter(|item| item.standing == standing).count();
    let (completed, invalid) = (of(ItemStanding::Completed), of(ItemStanding::Invalid));
    Counts {
        queued: items.len() - invalid,
        completed,
        left: items.len() - invalid - completed,
        ..Counts::default()
    }
}

/// What is needed to say what an item is to the batch.
struct Standings {
    in_session: bool,
    owner: Option<ProcessStatus>,
    ready: HashSet<ItemIndex>,
}

impl Standings {
    fn new(
        host: Host<'_>,
        ledger: &mut Ledger,
        read: &[(String, Result<Seen, String>)],
        in_session: bool,
        owner: Option<ProcessStatus>,
    ) -> Self {
        let mut findings = Findings {
            ids: read.iter().map(|(id, _)| id.clone()).collect(),
            ..Findings::default()
        };
        for (place, (id, item)) in read.iter().enumerate() {
            match item {
                _ if ledger.find(id).is_some_and(|item| !ledger.is_remaining(item)) => {}
                Ok(item) if item.state == item::DONE => findings.done.push(id.clone()),
                Ok(item) => findings.open.push((place, item.depends_on.clone())),
                Err(problem) => findings.invalid.push((id.clone(), problem.clone())),
            }
        }
        // What the next run would take up, so that what waits for what is seen the same way.
        let new: Value = findings.open_ids().collect();
        let event = Event::new(EventKind::BatchStarted, host.now())
            .with("queue", new)
            .with("skipped", findings.done.clone());
        ledger.apply(&event);
        let plan = Plan::new(host, ledger, &findings, &[]);
        let ready = plan.queue.ready().map(|place| plan.places[place]).collect();
        Standings { in_session, owner, ready }
    }

    fn of(&self, ledger: &Ledger, id: String, item: Result<Seen, String>) -> ItemStatus {
        let index = ledger.find(&id);
        let standing = match (&item, index.map(|index| (index, ledger.state(index)))) {
            (_, Some((_, ItemState::Completed))) => ItemStanding::Completed,
            (_, Some((_, ItemState::Failed))) => ItemStanding::Failed,
            (Err(_), _) => ItemStanding::Invalid,
            (_, Some((_, ItemState::Skipped))) if self.in_session => ItemStanding::Skipped,
            (_, Some((_, ItemState::Skipped))) => ItemStanding::Completed,
            (_, Some((_, ItemState::InFlight))) if self.owner == Some(ProcessStatus::Running) => {
                ItemStanding::Running
            }
            (_, Some((index, _))) if self.ready.contains(&index) => ItemStanding::Ready,
            _ => ItemStanding::Blocked,
        };
        match item {
            Ok(Seen { state, title, depends_on, last_error }) => {
                ItemStatus { id, state, title, depends_on, last_error, standing }
            }
            Err(problem) => ItemStatus {
                id,
                state: String::new(),
                title: problem,
                depends_on: Vec::new(),
                last_error: None,
                standing,
            },
        }
    }
}
