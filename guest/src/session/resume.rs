//! What `run` does with the progress file that it finds: one table.

use crate::io::capabilities::ProcessStatus;
use crate::io::time::Timestamp;

/// A session that has not been written to for longer than this is stale.
pub const STALE_AFTER: u64 = 24 * 60 * 60 * 1000;

/// The progress file, as far as the decision goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// There is none.
    Missing,
    /// Something that is no progress file.
    Damaged {
        /// Whether a journal can stand in for it.
        journal: bool,
    },
    /// A progress file.
    Valid {
        /// Who wrote it.
        owner: Owner,
        /// Whether it is older than [`STALE_AFTER`].
        stale: bool,
    },
}

/// Who wrote a progress file, seen from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// This very process.
    Us,
    /// A process of which this can be proven.
    Other(ProcessStatus),
}

/// What the caller asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wishes {
    /// Leave what is there.
    pub no_resume: bool,
    /// Go on in spite of an owner that may still run.
    pub take_over: bool,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Start a new session.
    Fresh,
    /// Settle the session, set its file aside, start a new one.
    Leave(Reason),
    /// Set the damaged file aside and go on with what its journal says.
    Rebuild,
    /// Go on.
    Resume,
    /// Another process may be working on it.
    Refuse,
}

/// Why a progress file is set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It is damaged and there is no journal.
    Damaged,
    /// It is too old.
    Stale,
    /// The caller wants to start afresh.
    Asked,
}

/// True if a file last written at `updated` is stale now. A clock that jumped back makes nothing
/// stale.
pub fn is_stale(updated: Timestamp, now: Timestamp) -> bool {
    now.since(updated) > STALE_AFTER
}

/// The table. The lock is held when this is asked.
pub fn decide(state: State, wishes: Wishes) -> Decision {
    use ProcessStatus::{Exited, Running, Unknown};
    match (state, wishes) {
        (State::Missing, _) => Decision::Fresh,

        (State::Damaged { .. }, Wishes { no_resume: true, .. }) => Decision::Leave(Reason::Asked),
        (State::Damaged { journal: true }, _) => Decision::Rebuild,
        (State::Damaged { journal: false }, _) => Decision::Leave(Reason::Damaged),

        (State::Valid { stale: true, .. }, _) => Decision::Leave(Reason::Stale),
        (
            State::Valid { owner: Owner::Other(Running | Unknown), .. },
            Wishes { take_over: false, .. },
        ) => Decision::Refuse,
        (State::Valid { .. }, Wishes { no_resume: true, .. }) => Decision::Leave(Reason::Asked),
        (State::Valid { owner: Owner::Us | Owner::Other(Exited | Running | Unknown), .. }, _) => {
            Decision::Resume
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: u64 = 60 * 60 * 1000;

    fn valid(owner: Owner, stale: bool) -> State {
        State::Valid { owner, stale }
    }

    #[test]
    fn the_table_of_the_design() {
        use ProcessStatus::{Exited, Running, Unknown};
        let plain = Wishes::default();
        let take_over = Wishes { take_over: true, ..plain };
        let no_resume = Wishes { no_resume: true, ..plain };
        for (state, wishes, decision) in [
            (State::Missing, plain, Decision::Fresh),
            (State::Damaged { journal: true }, plain, Decision::Rebuild),
            (State::Damaged { journal: false }, plain, Decision::Leave(Reason::Damaged)),
            (valid(Owner::Other(Running), false), plain, Decision::Refuse),
            (valid(Owner::Other(Unknown), false), plain, Decision::Refuse),
            (valid(Owner::Other(Running), false), no_resume, Decision::Refuse),
            (valid(Owner::Other(Running), false), take_over, Decision::Resume),
            (valid(Owner::Other(Unknown), false), take_over, Decision::Resume),
            (valid(Owner::Us, false), plain, Decision::Resume),
            (valid(Owner::Other(Exited), false), plain, Decision::Resume),
            (valid(Owner::Other(Exited), false), no_resume, Decision::Leave(Reason::Asked)),
            (valid(Owner::Other(Exited), true), plain, Decision::Leave(Reason::Stale)),
            (valid(Owner::Other(Running), true), plain, Decision::Leave(Reason::Stale)),
            (valid(Owner::Us, true), plain, Decision::Leave(Reason::Stale)),
        ] {
            assert_eq!(decide(state, wishes), decision, "{state:?} {wishes:?}");
        }
    }

    #[test]
    fn a_day_to_the_millisecond_is_not_stale() {
        let updated = Timestamp::from_millis(1_000_000_000_000);
        for (age, stale) in
            [(0, false), (24 * HOUR - 1, false), (24 * HOUR, false), (24 * HOUR + 1, true)]
        {
            assert_eq!(is_stale(updated, updated.after(age)), stale, "{age}");
        }
        assert!(!is_stale(updated, Timestamp::from_millis(0)), "the clock jumped back");
    }

    fn any_state() -> impl Strategy<Value = State> {
        let owner = prop_oneof![
            Just(Owner::Us),
            Just(Owner::Other(ProcessStatus::Running)),
            Just(Owner::Other(ProcessStatus::Exited)),
            Just(Owner::Other(ProcessStatus::Unknown)),
        ];
        prop_oneof![
            Just(State::Missing),
            any::<bool>().prop_map(|journal| State::Damaged { journal }),
            (owner, any::<bool>()).prop_map(|(owner, stale)| State::Valid { owner, stale }),
        ]
    }

    proptest! {
        #[test]
        fn an_owner_that_may_run_is_never_robbed(state in any_state(), no_resume: bool) {
            let decision = decide(state, Wishes { no_resume, take_over: false });
            if let State::Valid { owner: Owner::Other(ProcessStatus::Running | ProcessStatus::Unknown), stale: false } = state {
                prop_assert_eq!(decision, Decision::Refuse);
            }
        }

        #[test]
        fn a_resume_is_of_a_valid_file_of_the_last_day(state in any_state(), no_resume: bool, take_over: bool) {
            let decision = decide(state, Wishes { no_resume, take_over });
            let resumable = matches!(state, State::Valid { stale: false, .. });
            prop_assert!(decision != Decision::Resume || (resumable && !no_resume));
        }

        #[test]
        fn what_is_there_is_never_passed_over(state in any_state(), no_resume: bool, take_over: bool) {
            let decision = decide(state, Wishes { no_resume, take_over });
            prop_assert_eq!(decision == Decision::Fresh, state == State::Missing);
        }

        #[test]
        fn staleness_only_grows(updated in 0u64..1 << 50, age in 0u64..1 << 40, more in 0u64..1 << 40) {
            let updated = Timestamp::from_millis(updated);
            prop_assert!(!is_stale(updated, updated.after(age)) || is_stale(updated, updated.after(age + more)));
        }
    }
}
