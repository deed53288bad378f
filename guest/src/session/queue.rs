//! The queue: items in order, each after its dependencies.
//!
//! It does not access files or the time. The cost of taking or completing an item does not depend on the size of the batch.

use std::collections::{BTreeSet, HashMap, HashSet};

/// The position of an item in the queue.
pub type QueueIndex = usize;

/// A dependency of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dependency {
    /// Another item of the queue.
    Queued(QueueIndex),
    /// An item that will not complete; why, as `depends on X, which …`.
    Unsatisfiable(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Taken,
    Completed,
    Failed,
}

#[derive(Debug)]
struct Node {
    state: State,
    first: bool,
    /// How many dependencies have not completed. Unsatisfiable ones never do.
    unmet: usize,
    dependencies: Vec<Dependency>,
    dependents: Vec<QueueIndex>,
}

/// The items of a session that have not ended, with their dependencies.
#[derive(Debug, Default)]
pub struct Queue {
    nodes: Vec<Node>,
    /// The items that can start, in order: those that were in flight when the session stopped come first.
    ready: BTreeSet<(bool, QueueIndex)>,
    taken: usize,
}

impl Queue {
    /// Creates a queue of items in their order. For each: its dependencies, and whether it precedes the others.
    pub fn new(items: impl IntoIterator<Item = (Vec<Dependency>, bool)>) -> Self {
        let mut queue = Queue::default();
        for (dependencies, first) in items {
            queue.nodes.push(Node {
                state: State::Waiting,
                first,
                unmet: dependencies.len(),
                dependencies,
                dependents: Vec::new(),
            });
        }
        for item in 0..queue.nodes.len() {
            for index in 0..queue.nodes[item].dependencies.len() {
                if let Dependency::Queued(on) = queue.nodes[item].dependencies[index] {
                    queue.nodes[on].dependents.push(item);
                }
            }
            queue.offer(item);
        }
        queue
    }

    /// Takes the next item that can run.
    pub fn take(&mut self) -> Option<QueueIndex> {
        let (_, item) = self.ready.pop_first()?;
        self.nodes[item].state = State::Taken;
        self.taken += 1;
        Some(item)
    }

    /// Returns a taken item to the front of the queue.
    pub fn put_back(&mut self, item: QueueIndex) {
        self.end(item, State::Waiting);
        self.nodes[item].first = true;
        self.offer(item);
    }

    /// Records that an item completed, so that its dependents may run.
    pub fn complete(&mut self, item: QueueIndex) {
        self.end(item, State::Completed);
        for index in 0..self.nodes[item].dependents.len() {
            let dependent = self.nodes[item].dependents[index];
            self.nodes[dependent].unmet -= 1;
            self.offer(dependent);
        }
    }

    /// Records that an item failed. Its dependents cannot run.
    pub fn fail(&mut self, item: QueueIndex) {
        self.end(item, State::Failed);
    }

    /// True if nothing is in flight and nothing can start.
    pub fn is_exhausted(&self) -> bool {
        self.taken == 0 && self.ready.is_empty()
    }

    /// The items that can start now, in order.
    pub fn ready(&self) -> impl Iterator<Item = QueueIndex> {
        self.ready.iter().map(|(_, item)| *item)
    }

    /// All items in the order in which they would start, each after its dependencies. Items that can never
    /// start come last.
    pub fn order(&self) -> Vec<QueueIndex> {
        let mut unmet: Vec<usize> = self.nodes.iter().map(|node| node.unmet).collect();
        let mut ready = self.ready.clone();
        let mut order = Vec::with_capacity(self.nodes.len());
        while let Some((_, item)) = ready.pop_first() {
            order.push(item);
            for &dependent in &self.nodes[item].dependents {
                unmet[dependent] -= 1;
                if unmet[dependent] == 0 {
                    ready.insert((!self.nodes[dependent].first, dependent));
                }
            }
        }
        let reached: HashSet<QueueIndex> = order.iter().copied().collect();
        order.extend((0..self.nodes.len()).filter(|item| !reached.contains(item)));
        order
    }

    /// The items that can never start, each with the reason. `name` returns the id of an item.
    pub fn blocked<'n>(&self, name: impl Fn(QueueIndex) -> &'n str) -> Vec<(QueueIndex, String)> {
        let blocked = self.unsatisfiable();
        let cycles = self.cycles(&blocked);
        let items = (0..self.nodes.len()).filter(|item| blocked.contains(item));
        items.map(|item| (item, self.reason(item, &blocked, &cycles, &name))).collect()
    }

    fn offer(&mut self, item: QueueIndex) {
        let node = &self.nodes[item];
        if node.state == State::Waiting && node.unmet == 0 {
            self.ready.insert((!node.first, item));
        }
    }

    fn end(&mut self, item: QueueIndex, state: State) {
        if self.nodes[item].state == State::Taken {
            self.taken -= 1;
        }
        self.nodes[item].state = state;
    }

    /// The waiting items that cannot start even if everything that can run completes.
    fn unsatisfiable(&self) -> HashSet<QueueIndex> {
        let mut unmet: Vec<usize> = self.nodes.iter().map(|node| node.unmet).collect();
        let can_complete = |item: QueueIndex, unmet: &[usize]| match self.nodes[item].state {
            State::Waiting => unmet[item] == 0,
            State::Taken => true,
            State::Completed | State::Failed => false,
        };
        let mut runnable: Vec<QueueIndex> =
            (0..self.nodes.len()).filter(|item| can_complete(*item, &unmet)).collect();
        let mut waiting: HashSet<QueueIndex> = (0..self.nodes.len())
            .filter(|item| self.nodes[*item].state == State::Waiting)
            .collect();
        while let Some(item) = runnable.pop() {
            waiting.remove(&item);
            for &dependent in &self.nodes[item].dependents {
                unmet[dependent] -= 1;
                if can_complete(dependent, &unmet) && waiting.contains(&dependent) {
                    runnable.push(dependent);
                }
            }
        }
        waiting
    }

    fn reason<'n>(
        &self,
        item: QueueIndex,
        blocked: &HashSet<QueueIndex>,
        cycles: &Cycles,
        name: &impl Fn(QueueIndex) -> &'n str,
    ) -> String {
        let dependencies = &self.nodes[item].dependencies;
        let unsatisfiable = dependencies.iter().find_map(|dependency| match dependency {
            Dependency::Unsatisfiable(why) => Some(why.clone()),
            Dependency::Queued(on) => (self.nodes[*on].state == State::Failed)
                .then(|| format!("depends on {}, which failed", name(*on))),
        });
        if let Some(reason) = unsatisfiable {
            return reason;
        }
        if let Some(cycle) = cycles.through(item) {
            let mut names: Vec<&str> = cycle.take(LONGEST_CYCLE).map(name).collect();
            if names.len() == LONGEST_CYCLE {
                names.push("…");
            }
            names.push(name(item));
            return format!("circular dependency: {}", names.join(" -> "));
        }
        match self.blocked_dependencies(item, blocked).next() {
            Some(on) => format!("depends on {}, which is blocked", name(on)),
            None => "waits for nothing".to_owned(),
        }
    }

    fn blocked_dependencies<'q>(
        &'q self,
        item: QueueIndex,
        blocked: &'q HashSet<QueueIndex>,
    ) -> impl Iterator<Item = QueueIndex> + use<'q> {
        self.nodes[item].dependencies.iter().filter_map(|dependency| match dependency {
            Dependency::Queued(on) if blocked.contains(on) => Some(*on),
            _ => None,
        })
    }

    /// The cycles among blocked items. Follows one blocked dependency of each item until the path ends or
    /// reaches itself, so that each item is visited once. An item that is part of a cycle only through another
    /// of its dependencies is reported as blocked by a dependency, which is also true.
    fn cycles(&self, blocked: &HashSet<QueueIndex>) -> Cycles {
        let mut cycles = Cycles::default();
        let mut seen: HashSet<QueueIndex> = HashSet::new();
        for start in (0..self.nodes.len()).filter(|item| blocked.contains(item)) {
            let mut path = Vec::new();
            let mut next = Some(start);
            while let Some(item) = next.filter(|item| seen.insert(*item)) {
                path.push(item);
                next = self.blocked_dependencies(item, blocked).next();
            }
            if let Some(met) = next.and_then(|item| path.iter().position(|other| *other == item)) {
                cycles.add(&path[met..]);
            }
        }
        cycles
    }
}

/// Disjoint cycles.
#[derive(Debug, Default)]
struct Cycles {
    cycles: Vec<Vec<QueueIndex>>,
    /// The cycle of each item, and its position in it.
    position: HashMap<QueueIndex, (usize, usize)>,
}

impl Cycles {
    fn add(&mut self, cycle: &[QueueIndex]) {
        for (index, item) in cycle.iter().enumerate() {
            self.position.insert(*item, (self.cycles.len(), index));
        }
        self.cycles.push(cycle.to_vec());
    }

    /// The cycle of an item, beginning with the item.
    fn through(&self, item: QueueIndex) -> Option<impl Iterator<Item = QueueIndex>> {
        let (cycle, index) = self.position.get(&item)?;
        let cycle = &self.cycles[*cycle];
        Some(cycle[*index..].iter().chain(&cycle[..*index]).copied())
    }
}

/// Maximum number of items of a cycle that a reason names. Every item of the cycle has a reason of its own.
const LONGEST_CYCLE: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A queue of items that depend on those with these positions.
    fn queue(items: &[&[QueueIndex]]) -> Queue {
        Queue::new(
            items.iter().map(|on| (on.iter().map(|on| Dependency::Queued(*on)).collect(), false)),
        )
    }

    fn reasons(queue: &Queue) -> Vec<(QueueIndex, String)> {
        queue.blocked(|item| ["a", "b", "c", "d", "e"][item])
    }

    #[test]
    fn items_run_in_order_and_after_their_dependencies() {
        let mut queue = queue(&[&[1], &[], &[]]);
        assert_eq!([queue.take(), queue.take(), queue.take()], [Some(1), Some(2), None]);
        queue.complete(1);
        assert_eq!(queue.take(), Some(0));
        assert!(!queue.is_exhausted(), "two are in flight");
    }

    #[test]
    fn items_that_were_in_flight_come_first() {
        let mut queue = Queue::new([(vec![], false), (vec![], true), (vec![], true)]);
        assert_eq!(queue.take(), Some(1));
        queue.put_back(1);
        assert_eq!([queue.take(), queue.take(), queue.take()], [Some(1), Some(2), Some(0)]);
    }

    #[test]
    fn a_failure_blocks_its_dependents_with_a_reason() {
        let mut queue = queue(&[&[], &[0], &[1]]);
        queue.take();
        assert_eq!(reasons(&queue), [], "it may still complete");
        queue.fail(0);
        assert!(queue.is_exhausted());
        assert_eq!(
            reasons(&queue),
            [
                (1, "depends on a, which failed".to_owned()),
                (2, "depends on b, which is blocked".to_owned())
            ]
        );
    }

    #[test]
    fn a_cycle_is_named_from_the_item_back_to_itself() {
        let queue = queue(&[&[1], &[0], &[2], &[0]]);
        assert!(queue.is_exhausted());
        assert_eq!(
            reasons(&queue),
            [
                (0, "circular dependency: a -> b -> a".to_owned()),
                (1, "circular dependency: b -> a -> b".to_owned()),
                (2, "circular dependency: c -> c".to_owned()),
                (3, "depends on a, which is blocked".to_owned()),
            ]
        );
    }

    #[test]
    fn an_unsatisfiable_dependency_is_the_reason() {
        let missing = Dependency::Unsatisfiable("depends on x, which does not exist".to_owned());
        let queue = Queue::new([(vec![missing], false)]);
        assert_eq!(reasons(&queue), [(0, "depends on x, which does not exist".to_owned())]);
    }

    #[test]
    fn reasons_for_long_chains_and_cycles_are_short_and_fast_to_compute() {
        let count = 50_000;
        let after = |item: QueueIndex| vec![Dependency::Queued((item + 1) % count)];
        let cycle = Queue::new((0..count).map(|item| (after(item), false)));
        let reasons = cycle.blocked(|_| "001-some-item");
        assert_eq!(reasons.len(), count);
        assert!(reasons.iter().all(|(_, reason)| reason.len() < 300 && reason.contains("…")));

        let before =
            |item: QueueIndex| item.checked_sub(1).map(Dependency::Queued).into_iter().collect();
        let mut chain = Queue::new((0..count).map(|item| (before(item), false)));
        chain.take();
        chain.fail(0);
        assert_eq!(chain.blocked(|_| "001-some-item").len(), count - 1);
    }

    proptest! {
        /// For any dependencies, the queue ends, each item runs at most once and only after its dependencies,
        /// and items that did not run have a reason.
        #[test]
        fn every_queue_ends(edges in proptest::collection::vec((0usize..12, 0usize..12), 0..30), fails: [bool; 12]) {
            let mut dependencies = vec![Vec::new(); 12];
            for (from, on) in edges {
                dependencies[from].push(Dependency::Queued(on));
            }
            let mut queue = Queue::new(dependencies.iter().cloned().map(|on| (on, false)));
            let mut completed = HashSet::new();
            let mut ran = HashSet::new();
            while let Some(item) = queue.take() {
                prop_assert!(ran.insert(item));
                for on in &dependencies[item] {
                    let Dependency::Queued(on) = on else { continue };
                    prop_assert!(completed.contains(on));
                }
                if fails[item] {
                    queue.fail(item);
                } else {
                    completed.insert(item);
                    queue.complete(item);
                }
            }
            prop_assert!(queue.is_exhausted());
            let blocked = queue.blocked(|_| "item");
            prop_assert_eq!(blocked.len() + ran.len(), 12);
            prop_assert!(blocked.iter().all(|(_, reason)| reason != "waits for nothing"));
        }
    }
}
