//! The queue of a session, and which item each of its entries is.

use std::collections::HashMap;

use crate::io::host::Host;
use crate::session::ledger::{ItemIndex, ItemState, Ledger};
use crate::session::queue::{Dependency, Queue, QueueIndex};
use crate::workload::{Survey, Workload};

/// The queue of a session.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub queue: Queue,
    /// The item of each entry of the queue.
    pub items: Vec<ItemIndex>,
    /// The entry of each queued item.
    pub queue_index: HashMap<ItemIndex, QueueIndex>,
}

impl Plan {
    /// Queues the items that are to run now: queued ones that remain and can be used, of those that were chosen.
    pub(super) fn new(
        host: Host<'_>,
        workload: &dyn Workload,
        ledger: &Ledger,
        survey: &Survey,
        chosen: &[String],
    ) -> Self {
        let dependencies: HashMap<&str, &[String]> = survey
            .open_ids()
            .zip(survey.open.iter().map(|(_, depends_on)| depends_on.as_slice()))
            .collect();
        let is_to_run = |item: &ItemIndex| {
            let id = ledger.id(*item);
            ledger.is_remaining(*item)
                && dependencies.contains_key(id)
                && (chosen.is_empty() || chosen.iter().any(|chosen| chosen == id))
        };
        let items: Vec<ItemIndex> = ledger.queue().iter().copied().filter(is_to_run).collect();
        let queue_index: HashMap<ItemIndex, QueueIndex> =
            items.iter().enumerate().map(|(queued, item)| (*item, queued)).collect();
        let resolver = Resolver { host, workload, ledger, survey, queue_index: &queue_index };
        let queue = Queue::new(items.iter().map(|item| {
            let depends_on = dependencies.get(ledger.id(*item)).copied().unwrap_or_default();
            let depends_on = depends_on.iter().filter_map(|id| resolver.resolve(id)).collect();
            (depends_on, ledger.state(*item) == ItemState::InFlight)
        }));
        Plan { queue, items, queue_index }
    }

    /// The items in the order in which they would start. Those that were in flight come first.
    pub(super) fn order(&self) -> Vec<ItemIndex> {
        self.queue.order().into_iter().map(|queued| self.items[queued]).collect()
    }

    /// The items that cannot start, with the reason, in queue order.
    pub(super) fn blocked(&self, ledger: &Ledger) -> Vec<(ItemIndex, String)> {
        let blocked = self.queue.blocked(|queued| ledger.id(self.items[queued]));
        blocked.into_iter().map(|(queued, reason)| (self.items[queued], reason)).collect()
    }
}

/// Determines what a dependency means for the queue.
struct Resolver<'a> {
    host: Host<'a>,
    workload: &'a dyn Workload,
    ledger: &'a Ledger,
    survey: &'a Survey,
    queue_index: &'a HashMap<ItemIndex, QueueIndex>,
}

impl Resolver<'_> {
    /// `None` if the dependency is satisfied.
    fn resolve(&self, id: &str) -> Option<Dependency> {
        let known = self.ledger.find(id);
        match known.map(|item| self.ledger.state(item)) {
            Some(ItemState::Completed | ItemState::Skipped) => return None,
            Some(ItemState::Failed) => {
                // Someone may have completed it by hand since.
                let is_done = self.workload.is_done(self.host, id);
                let reason = format!("depends on {id}, which failed");
                return (!is_done).then_some(Dependency::Unsatisfiable(reason));
            }
            Some(ItemState::Queued | ItemState::InFlight) | None => {}
        }
        if let Some(queued) = known.and_then(|item| self.queue_index.get(&item)) {
            return Some(Dependency::Queued(*queued));
        }
        self.workload.unmet(self.host, self.survey, id).map(Dependency::Unsatisfiable)
    }
}
