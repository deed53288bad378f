//! What a session has to do: which items there are, which of them are done, and what waits for
//! what.

use std::collections::HashMap;

use crate::formats::item::{self, Item};
use crate::io::host::{Failure, Host};
use crate::session::ledger::{ItemIndex, ItemState, Ledger};
use crate::session::queue::{Dependency, Queue};

/// What is in the items' directory beyond what a session knows.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Findings {
    /// Items that are to run, in running order: their place in `ids`, and what they depend on.
    pub open: Vec<(usize, Vec<String>)>,
    /// Items that are done already.
    pub done: Vec<String>,
    /// Items that cannot be used, and why.
    pub invalid: Vec<(String, String)>,
    /// Items that were queued and have no directory any more.
    pub gone: Vec<String>,
    /// Every directory, in running order.
    pub ids: Vec<String>,
}

impl Findings {
    /// The ids of the items that are to run.
    pub(super) fn open_ids(&self) -> impl Iterator<Item = &str> {
        self.open.iter().map(|(place, _)| self.ids[*place].as_str())
    }
}

/// Looks at every item that `ledger` does not already have among its results. `chosen` limits the
/// new ones to these; what is queued is looked at in any case.
pub(super) fn survey(
    host: Host<'_>,
    ledger: &Ledger,
    chosen: &[String],
) -> Result<Findings, Failure> {
    let mut findings = Findings { ids: item::ids(host)?, ..Findings::default() };
    let is_left = |item: Option<ItemIndex>| item.is_none_or(|item| ledger.is_remaining(item));
    for (place, id) in findings.ids.iter().enumerate() {
        let known = ledger.find(id);
        if !is_left(known) || (known.is_none() && !chosen.is_empty() && !chosen.contains(id)) {
            continue;
        }
        match item::read_to_run(host, id) {
            Ok(item) if item.state == item::DONE => findings.done.push(id.clone()),
            Ok(item) => findings.open.push((place, item.depends_on)),
            Err(problem) => findings.invalid.push((id.clone(), problem)),
        }
    }
    let mut gone: Vec<&str> = ledger.remaining().map(|item| ledger.id(item)).collect();
    gone.retain(|id| findings.ids.binary_search_by(|other| item::compare(other, id)).is_err());
    findings.gone = gone.into_iter().map(str::to_owned).collect();
    Ok(findings)
}

/// The queue of a session, and which item each of its places is.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// What can run when.
    pub queue: Queue,
    /// The item of each place, in the order of the session's queue.
    pub places: Vec<ItemIndex>,
    /// The place of each item.
    pub place_of: HashMap<ItemIndex, usize>,
}

impl Plan {
    /// The plan for what is open. With `chosen`, only those items run.
    pub(super) fn new(
        host: Host<'_>,
        ledger: &Ledger,
        findings: &Findings,
        chosen: &[String],
    ) -> Self {
        let dependencies: HashMap<&str, &[String]> =
            findings.open_ids().zip(findings.open.iter().map(|(_, on)| on.as_slice())).collect();
        let runs = |item: &ItemIndex| {
            let id = ledger.id(*item);
            ledger.is_remaining(*item)
                && dependencies.contains_key(id)
                && (chosen.is_empty() || chosen.iter().any(|chosen| chosen == id))
        };
        let places: Vec<ItemIndex> = ledger.queue().iter().copied().filter(runs).collect();
        let place_of: HashMap<ItemIndex, usize> =
            places.iter().enumerate().map(|(place, item)| (*item, place)).collect();
        let resolver = Resolver { host, ledger, findings, place_of: &place_of };
        let queue = Queue::new(places.iter().map(|item| {
            let on = dependencies.get(ledger.id(*item)).copied().unwrap_or_default();
            let on = on.iter().filter_map(|id| resolver.resolve(id)).collect();
            (on, ledger.state(*item) == ItemState::InFlight)
        }));
        Plan { queue, places, place_of }
    }

    /// The items in the order in which they would be considered: those in hand before go first.
    pub(super) fn order(&self) -> Vec<ItemIndex> {
        self.queue.order().into_iter().map(|place| self.places[place]).collect()
    }

    /// What cannot run, with the reason, in queue order.
    pub(super) fn blocked(&self, ledger: &Ledger) -> Vec<(ItemIndex, String)> {
        let blocked = self.queue.blocked(|place| ledger.id(self.places[place]));
        blocked.into_iter().map(|(place, reason)| (self.places[place], reason)).collect()
    }
}

/// Finds out what a dependency means for the queue.
struct Resolver<'a> {
    host: Host<'a>,
    ledger: &'a Ledger,
    findings: &'a Findings,
    place_of: &'a HashMap<ItemIndex, usize>,
}

impl Resolver<'_> {
    /// `None` if there is nothing to wait for.
    fn resolve(&self, id: &str) -> Option<Dependency> {
        let known = self.ledger.find(id);
        match known.map(|item| self.ledger.state(item)) {
            Some(ItemState::Completed | ItemState::Skipped) => return None,
            // Somebody may have finished it by hand since.
            Some(ItemState::Failed) => {
                let is_done = item::read(self.host, id).is_ok_and(|item| item.state == item::DONE);
                return if is_done { None } else { hopeless(id, "failed") };
            }
            Some(ItemState::Queued | ItemState::InFlight) | None => {}
        }
        if let Some(place) = known.and_then(|item| self.place_of.get(&item)) {
            return Some(Dependency::Queued(*place));
        }
        if self.findings.ids.binary_search_by(|other| item::compare(other, id)).is_err() {
            return hopeless(id, "does not exist");
        }
        match item::read_to_run(self.host, id) {
            Ok(Item { state, .. }) if state == item::DONE => None,
            Ok(_) => hopeless(id, "is not done and not part of this run"),
            Err(problem) => hopeless(id, &format!("cannot be used: {problem}")),
        }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "one kind of answer of `resolve`")]
fn hopeless(id: &str, why: &str) -> Option<Dependency> {
    Some(Dependency::Hopeless(format!("depends on {id}, which {why}")))
}
