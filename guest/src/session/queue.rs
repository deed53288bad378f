//! What can run now: items in order, each behind what it depends on.
//!
//! Knows nothing of files or time. Every operation costs the same however large the batch is.

use std::collections::{BTreeSet, HashMap, HashSet};

/// An item of the queue, by its place in it.
pub type QueueIndex = usize;

/// Something that an item waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dependency {
    /// Another item of the queue.
    Queued(QueueIndex),
    /// Something that will not come; why, as `depends on X, which …`.
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
    /// How many dependencies have not completed; hopeless ones never do.
    unmet: usize,
    dependencies: Vec<Dependency>,
    dependents: Vec<QueueIndex>,
}

/// The items still to run.
#[derive(Debug, Default)]
pub struct Queue {
    nodes: Vec<Node>,
    /// What could start, in order: those that were in hand when the session stopped come first.
    ready: BTreeSet<(bool, QueueIndex)>,
    taken: usize,
}

impl Queue {
    /// A queue of items in their order. For each: what it waits for, and whether it goes first.
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
        for place in 0..queue.nodes.len() {
            for index in 0..queue.nodes[place].dependencies.len() {
                if let Dependency::Queued(on) = queue.nodes[place].dependencies[index] {
                    queue.nodes[on].dependents.push(place);
                }
            }
            queue.offer(place);
        }
        queue
    }

    /// Takes the next item that can run.
    pub fn take(&mut self) -> Option<QueueIndex> {
        let (_, place) = self.ready.pop_first()?;
        self.nodes[place].state = State::Taken;
        self.taken += 1;
        Some(place)
    }

    /// Puts an item back that was taken: it goes first.
    pub fn put_back(&mut self, place: QueueIndex) {
        self.end(place, State::Waiting);
        self.nodes[place].first = true;
        self.offer(place);
    }

    /// The item completed: what waited for it may run.
    pub fn complete(&mut self, place: QueueIndex) {
        self.end(place, State::Completed);
        for index in 0..self.nodes[place].dependents.len() {
            let dependent = self.nodes[place].dependents[index];
            self.nodes[dependent].unmet -= 1;
            self.offer(dependent);
        }
    }

    /// The item failed: what depends on it cannot run.
    pub fn fail(&mut self, place: QueueIndex) {
        self.end(place, State::Failed);
    }

    /// True if nothing is in hand and nothing can start.
    pub fn is_exhausted(&self) -> bool {
        self.taken == 0 && self.ready.is_empty()
    }

    /// What could start now, in order.
    pub fn ready(&self) -> impl Iterator<Item = QueueIndex> {
        self.ready.iter().map(|(_, place)| *place)
    }

    /// All places in the order in which they would start, each behind what it depends on; those
    /// that can never start come last.
    pub fn order(&self) -> Vec<QueueIndex> {
        let mut unmet: Vec<usize> = self.nodes.iter().map(|node| node.unmet).collect();
        let mut ready = self.ready.clone();
        let mut order = Vec::with_capacity(self.nodes.len());
        while let Some((_, place)) = ready.pop_first() {
            order.push(place);
            for &dependent in &self.nodes[place].dependents {
                unmet[dependent] -= 1;
                if unmet[dependent] == 0 {
                    ready.insert((!self.nodes[dependent].first, dependent));
                }
            }
        }
        let reached: HashSet<QueueIndex> = order.iter().copied().collect();
        order.extend((0..self.nodes.len()).filter(|place| !reached.contains(place)));
        order
    }

    /// What waits for something that will never come, each with the reason. `name` gives the id of
    /// an item.
    pub fn blocked<'n>(&self, name: impl Fn(QueueIndex) -> &'n str) -> Vec<(QueueIndex, String)> {
        let blocked = self.unsatisfiable();
        let cycles = self.cycles(&blocked);
        let places = (0..self.nodes.len()).filter(|place| blocked.contains(place));
        places.map(|place| (place, self.reason(place, &blocked, &cycles, &name))).collect()
    }

    fn offer(&mut self, place: QueueIndex) {
        let node = &self.nodes[place];
        if node.state == State::Waiting && node.unmet == 0 {
            self.ready.insert((!node.first, place));
        }
    }

    fn end(&mut self, place: QueueIndex, state: State) {
        if self.nodes[place].state == State::Taken {
            self.taken -= 1;
        }
        self.nodes[place].state = state;
    }

    /// The waiting items that cannot start even if everything that can run completes.
    fn unsatisfiable(&self) -> HashSet<QueueIndex> {
        let mut unmet: Vec<usize> = self.nodes.iter().map(|node| node.unmet).collect();
        let can_complete = |place: QueueIndex, unmet: &[usize]| match self.nodes[place].state {
            State::Waiting => unmet[place] == 0,
            State::Taken => true,
            State::Completed | State::Failed => false,
        };
        let mut hopeful: Vec<QueueIndex> =
            (0..self.nodes.len()).filter(|place| can_complete(*place, &unmet)).collect();
        let mut waiting: HashSet<QueueIndex> = (0..self.nodes.len())
            .filter(|place| self.nodes[*place].state == State::Waiting)
            .collect();
        while let Some(place) = hopeful.pop() {
            waiting.remove(&place);
            for &dependent in &self.nodes[place].dependents {
                unmet[dependent] -= 1;
                if can_complete(dependent, &unmet) && waiting.contains(&dependent) {
                    hopeful.push(dependent);
                }
            }
        }
        waiting
    }

    fn reason<'n>(
        &self,
        place: QueueIndex,
        blocked: &HashSet<QueueIndex>,
        cycles: &Cycles,
        name: &impl Fn(QueueIndex) -> &'n str,
    ) -> String {
        let dependencies = &self.nodes[place].dependencies;
        let hopeless = dependencies.iter().find_map(|dependency| match dependency {
            Dependency::Unsatisfiable(why) => Some(why.clone()),
            Dependency::Queued(on) => (self.nodes[*on].state == State::Failed)
                .then(|| format!("depends on {}, which failed", name(*on))),
        });
        if let Some(reason) = hopeless {
            return reason;
        }
        if let Some(cycle) = cycles.through(place) {
            let mut names: Vec<&str> = cycle.take(LONGEST_CIRCLE).map(name).collect();
            if names.len() == LONGEST_CIRCLE {
                names.push("…");
            }
            names.push(name(place));
            return format!("circular dependency: {}", names.join(" -> "));
        }
        match self.blocked_dependencies(place, blocked).next() {
            Some(on) => format!("depends on {}, which is blocked", name(on)),
            None => "waits for nothing".to_owned(),
        }
    }

    fn blocked_dependencies<'q>(
        &'q self,
        place: QueueIndex,
        blocked: &'q HashSet<QueueIndex>,
    ) -> impl Iterator<Item = QueueIndex> + use<'q> {
        self.nodes[place].dependencies.iter().filter_map(|dependency| match dependency {
            Dependency::Queued(on) if blocked.contains(on) => Some(*on),
            _ => None,
        })
    }

    /// The cycles among blocked items. From each item one blocked dependency is followed until the
    /// way ends or meets itself, so every item is looked at once; an item that only another of its
    /// dependencies leads round is named as blocked by its neighbour, which is as true.
    fn cycles(&self, blocked: &HashSet<QueueIndex>) -> Cycles {
        let mut cycles = Cycles::default();
        let mut seen: HashSet<QueueIndex> = HashSet::new();
        for start in (0..self.nodes.len()).filter(|place| blocked.contains(place)) {
            let mut way = Vec::new();
            let mut next = Some(start);
            while let Some(place) = next.filter(|place| seen.insert(*place)) {
                way.push(place);
                next = self.blocked_dependencies(place, blocked).next();
            }
            if let Some(met) = next.and_then(|place| way.iter().position(|other| *other == place)) {
                cycles.add(&way[met..]);
            }
        }
        cycles
    }
}

/// Cycles that share no item.
#[derive(Debug, Default)]
struct Cycles {
    cycles: Vec<Vec<QueueIndex>>,
    /// In which cycle an item is, and where in it.
    position: HashMap<QueueIndex, (usize, usize)>,
}

impl Cycles {
    fn add(&mut self, cycle: &[QueueIndex]) {
        for (index, place) in cycle.iter().enumerate() {
            self.position.insert(*place, (self.cycles.len(), index));
        }
        self.cycles.push(cycle.to_vec());
    }

    /// The cycle that an item is in, beginning with the item.
    fn through(&self, place: QueueIndex) -> Option<impl Iterator<Item = QueueIndex>> {
        let (cycle, index) = self.position.get(&place)?;
        let cycle = &self.cycles[*cycle];
        Some(cycle[*index..].iter().chain(&cycle[..*index]).copied())
    }
}

/// A longer cycle is not written out: every item of it has a reason of its own.
const LONGEST_CIRCLE: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A queue of items that depend on those with these places.
    fn queue(items: &[&[QueueIndex]]) -> Queue {
        Queue::new(
            items.iter().map(|on| (on.iter().map(|on| Dependency::Queued(*on)).collect(), false)),
        )
    }

    fn reasons(queue: &Queue) -> Vec<(QueueIndex, String)> {
        queue.blocked(|place| ["a", "b", "c", "d", "e"][place])
    }

    #[test]
    fn items_run_in_order_and_behind_what_they_depend_on() {
        let mut queue = queue(&[&[1], &[], &[]]);
        assert_eq!([queue.take(), queue.take(), queue.take()], [Some(1), Some(2), None]);
        queue.complete(1);
        assert_eq!(queue.take(), Some(0));
        assert!(!queue.is_exhausted(), "two are in hand");
    }

    #[test]
    fn what_was_in_hand_goes_first_again() {
        let mut queue = Queue::new([(vec![], false), (vec![], true), (vec![], true)]);
        assert_eq!(queue.take(), Some(1));
        queue.put_back(1);
        assert_eq!([queue.take(), queue.take(), queue.take()], [Some(1), Some(2), Some(0)]);
    }

    #[test]
    fn a_failure_blocks_what_depends_on_it_and_says_so() {
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
    fn cycles_are_named_from_the_item_back_to_it() {
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
    fn what_will_never_come_is_the_reason() {
        let missing = Dependency::Unsatisfiable("depends on x, which does not exist".to_owned());
        let queue = Queue::new([(vec![missing], false)]);
        assert_eq!(reasons(&queue), [(0, "depends on x, which does not exist".to_owned())]);
    }

    #[test]
    fn long_chains_and_cycles_are_named_in_short_and_soon() {
        let count = 50_000;
        let after = |place: QueueIndex| vec![Dependency::Queued((place + 1) % count)];
        let cycle = Queue::new((0..count).map(|place| (after(place), false)));
        let reasons = cycle.blocked(|_| "001-some-item");
        assert_eq!(reasons.len(), count);
        assert!(reasons.iter().all(|(_, reason)| reason.len() < 300 && reason.contains("…")));

        let before =
            |place: QueueIndex| place.checked_sub(1).map(Dependency::Queued).into_iter().collect();
        let mut chain = Queue::new((0..count).map(|place| (before(place), false)));
        chain.take();
        chain.fail(0);
        assert_eq!(chain.blocked(|_| "001-some-item").len(), count - 1);
    }

    proptest! {
        /// Whatever depends on whatever: the queue ends, each item runs at most once and only
        /// behind what it depends on, and what did not run is named.
        #[test]
        fn every_queue_ends(edges in proptest::collection::vec((0usize..12, 0usize..12), 0..30), fails: [bool; 12]) {
            let mut dependencies = vec![Vec::new(); 12];
            for (from, on) in edges {
                dependencies[from].push(Dependency::Queued(on));
            }
            let mut queue = Queue::new(dependencies.iter().cloned().map(|on| (on, false)));
            let mut completed = HashSet::new();
            let mut ran = HashSet::new();
            while let Some(place) = queue.take() {
                prop_assert!(ran.insert(place));
                for on in &dependencies[place] {
                    let Dependency::Queued(on) = on else { continue };
                    prop_assert!(completed.contains(on));
                }
                if fails[place] {
                    queue.fail(place);
                } else {
                    completed.insert(place);
                    queue.complete(place);
                }
            }
            prop_assert!(queue.is_exhausted());
            let blocked = queue.blocked(|_| "item");
            prop_assert_eq!(blocked.len() + ran.len(), 12);
            prop_assert!(blocked.iter().all(|(_, reason)| reason != "waits for nothing"));
        }
    }
}
