//! What an opening does with the progress file that it finds: one table.

use crate::io::capabilities::ProcessStatus;
use crate::time::Timestamp;

/// A session that has not been written to for longer than this is stale.
pub const STALE_AFTER: u64 = 24 * 60 * 60 * 1000;

/// The state of the progress file, as far as the decision needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It does not exist.
    Missing,
    /// It is damaged.
    Damaged {
        /// Whether a journal can replace it.
        journal: bool,
    },
    /// It is valid.
    Valid {
        /// Who wrote it.
        owner: Owner,
        /// Whether it is older than [`STALE_AFTER`].
        stale: bool,
    },
}

/// The process that wrote the progress file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// This process.
    Us,
    /// Another process, with its status.
    Other(ProcessStatus),
}

/// The options that affect the decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResumeFlags {
    /// Abandon a saved session.
    pub no_resume: bool,
    /// Continue although the owner may still be running.
    pub take_over: bool,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Start a new session.
    Fresh,
    /// Apply the results of the session, set its file aside, start a new one.
    Abandon(Reason),
    /// Set the damaged file aside and resume from the journal.
    Rebuild,
    /// Resume the session.
    Resume,
    /// Refuse: another process may be running it.
    Refuse,
}

/// Why a progress file is set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It is damaged and has no journal.
    Damaged,
    /// It is too old.
    Stale,
    /// The options say so.
    Requested,
}

/// Whether a file last written at `updated` is stale now. A clock that was set back makes nothing stale.
pub fn is_stale(updated: Timestamp, now: Timestamp) -> bool {
    now.since(updated) > STALE_AFTER
}

/// The table. The lock is held.
pub fn decide(state: State, flags: ResumeFlags) -> Decision {
    use ProcessStatus::{Exited, Running, Unknown};
    match (state, flags) {
        (State::Missing, _) => Decision::Fresh,

        (State::Damaged { .. }, ResumeFlags { no_resume: true, .. }) => {
            Decision::Abandon(Reason::Requested)
        }
        (State::Damaged { journal: true }, _) => Decision::Rebuild,
        (State::Damaged { journal: false }, _) => Decision::Abandon(Reason::Damaged),

        (State::Valid { stale: true, .. }, _) => Decision::Abandon(Reason::Stale),
        (
            State::Valid { owner: Owner::Other(Running | Unknown), .. },
            ResumeFlags { take_over: false, .. },
        ) => Decision::Refuse,
        (State::Valid { .. }, ResumeFlags { no_resume: true, .. }) => {
            Decision::Abandon(Reason::Requested)
        }
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
        let plain = ResumeFlags::default();
        let take_over = ResumeFlags { take_over: true, ..plain };
        let no_resume = ResumeFlags { no_resume: true, ..plain };
        for (state, flags, decision) in [
            (State::Missing, plain, Decision::Fresh),
            (State::Damaged { journal: true }, plain, Decision::Rebuild),
            (State::Damaged { journal: false }, plain, Decision::Abandon(Reason::Damaged)),
            (valid(Owner::Other(Running), false), plain, Decision::Refuse),
            (valid(Owner::Other(Unknown), false), plain, Decision::Refuse),
            (valid(Owner::Other(Running), false), no_resume, Decision::Refuse),
            (valid(Owner::Other(Running), false), take_over, Decision::Resume),
            (valid(Owner::Other(Unknown), false), take_over, Decision::Resume),
            (valid(Owner::Us, false), plain, Decision::Resume),
            (valid(Owner::Other(Exited), false), plain, Decision::Resume),
            (valid(Owner::Other(Exited), false), no_resume, Decision::Abandon(Reason::Requested)),
            (valid(Owner::Other(Exited), true), plain, Decision::Abandon(Reason::Stale)),
            (valid(Owner::Other(Running), true), plain, Decision::Abandon(Reason::Stale)),
            (valid(Owner::Us, true), plain, Decision::Abandon(Reason::Stale)),
        ] {
            assert_eq!(decide(state, flags), decision, "{state:?} {flags:?}");
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
            let decision = decide(state, ResumeFlags { no_resume, take_over: false });
            if let State::Valid { owner: Owner::Other(ProcessStatus::Running | ProcessStatus::Unknown), stale: false } = state {
                prop_assert_eq!(decision, Decision::Refuse);
            }
        }

        #[test]
        fn a_resume_is_of_a_valid_file_of_the_last_day(state in any_state(), no_resume: bool, take_over: bool) {
            let decision = decide(state, ResumeFlags { no_resume, take_over });
            let resumable = matches!(state, State::Valid { stale: false, .. });
            prop_assert!(decision != Decision::Resume || (resumable && !no_resume));
        }

        #[test]
        fn what_is_there_is_never_passed_over(state in any_state(), no_resume: bool, take_over: bool) {
            let decision = decide(state, ResumeFlags { no_resume, take_over });
            prop_assert_eq!(decision == Decision::Fresh, state == State::Missing);
        }

        #[test]
        fn staleness_only_grows(updated in 0u64..1 << 50, age in 0u64..1 << 40, more in 0u64..1 << 40) {
            let updated = Timestamp::from_millis(updated);
            prop_assert!(!is_stale(updated, updated.after(age)) || is_stale(updated, updated.after(age + more)));
        }
    }
}
