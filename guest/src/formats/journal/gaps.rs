//! The sequence numbers that a reading has skipped.

use std::ops::RangeInclusive;

/// Events that have not been read although later ones have, as ranges of sequence numbers.
#[derive(Debug, Default)]
pub(super) struct Gaps(Vec<RangeInclusive<u64>>);

impl Gaps {
    /// Adds the numbers between two others.
    pub(super) fn open(&mut self, last: u64, next: u64) {
        if last.saturating_add(1) < next {
            self.0.push(last + 1..=next - 1);
        }
    }

    /// Removes a number. False if it is not missing.
    pub(super) fn fill(&mut self, seq: u64) -> bool {
        let Some(index) = self.0.iter().position(|gap| gap.contains(&seq)) else { return false };
        let gap = self.0.swap_remove(index);
        let (start, end) = (*gap.start(), *gap.end());
        let parts = [(start, seq.checked_sub(1)), (seq.saturating_add(1), Some(end))];
        let parts = parts.into_iter().filter_map(|(start, end)| Some(start..=end?));
        self.0.extend(parts.filter(|part| !part.is_empty()));
        true
    }

    /// True if nothing is missing.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_number_is_accepted_once_in_any_order(
            order in Just((1u64..40).collect::<Vec<_>>()).prop_shuffle(),
            repeats in proptest::collection::vec(1u64..40, 0..40),
        ) {
            let mut gaps = Gaps::default();
            let (mut last, mut seen) = (0, Vec::new());
            for seq in order.into_iter().chain(repeats) {
                let is_new = seq > last;
                if is_new {
                    gaps.open(last, seq);
                    last = seq;
                }
                if is_new || gaps.fill(seq) {
                    seen.push(seq);
                }
            }
            seen.sort_unstable();
            prop_assert_eq!(seen, (1..40).collect::<Vec<_>>());
            prop_assert!(gaps.is_empty());
        }
    }
}
