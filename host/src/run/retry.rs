//! Calls that are worth repeating: another process is in the way for a moment, or leftover processes are
//! being ended.

use std::thread;
use std::time::{Duration, Instant};

use super::Signals;
use crate::engine::ComponentError;
use crate::wit::batch::{AddError, OpenError};
use crate::wit::doctor::RepairError;
use crate::wit::feature::FeatureError;
use crate::wit::session::Holder;

/// How often to try a call while another process is in the way.
const INTERVAL: Duration = Duration::from_millis(10);
/// How long to wait for a lock that no running process claims.
const LOCK: Duration = Duration::from_secs(2);
/// How long to wait for other changes of features, which are quick.
const CHANGES: Duration = Duration::from_secs(10);
/// How long to wait for leftover processes to end. The component gives up earlier.
const TERMINATION: Duration = Duration::from_secs(60);

/// Why a call that failed is worth repeating.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    /// Another process is in the way; how long to wait for it.
    Busy(Duration),
    /// Leftover processes are being ended; when to call again.
    Terminating(Duration),
}

/// An error of a call that may be worth repeating.
pub(crate) trait Transient {
    /// Returns why the call is worth repeating, if it is.
    fn retry(&self) -> Option<Retry>;
}

impl Transient for OpenError {
    fn retry(&self) -> Option<Retry> {
        match self {
            OpenError::Busy(holder) => while_transient(holder, LOCK),
            OpenError::Terminating(after) => Some(terminating(*after)),
            _ => None,
        }
    }
}

impl Transient for RepairError {
    fn retry(&self) -> Option<Retry> {
        match self {
            RepairError::Busy(holder) => while_transient(holder, LOCK),
            RepairError::Terminating(after) => Some(terminating(*after)),
            _ => None,
        }
    }
}

impl Transient for FeatureError {
    fn retry(&self) -> Option<Retry> {
        match self {
            FeatureError::Busy(holder) => while_transient(holder, CHANGES),
            FeatureError::Terminating(after) => Some(terminating(*after)),
            _ => None,
        }
    }
}

impl Transient for AddError {
    fn retry(&self) -> Option<Retry> {
        matches!(self, AddError::Busy).then_some(Retry::Busy(LOCK))
    }
}

fn while_transient(holder: &Holder, limit: Duration) -> Option<Retry> {
    holder.transient.then_some(Retry::Busy(limit))
}

fn terminating(milliseconds: u64) -> Retry {
    // A component that wants to be called again at once, or much later, gets neither.
    let after = Duration::from_millis(milliseconds).clamp(INTERVAL, Duration::from_secs(1));
    Retry::Terminating(after)
}

/// Repeats a call while that is worthwhile. With `signals`, one that asks to stop ends the wait: then the
/// call fails with [`ComponentError::Interrupted`].
pub(crate) fn retry_while_busy<T, E: Transient>(
    mut call: impl FnMut() -> Result<Result<T, E>, ComponentError>,
    mut signals: Option<&mut Signals>,
) -> Result<Result<T, E>, ComponentError> {
    let started = Instant::now();
    loop {
        let answer = call()?;
        let (wait, limit) = match answer.as_ref().err().and_then(Transient::retry) {
            None => return Ok(answer),
            Some(Retry::Busy(limit)) => (INTERVAL, limit),
            Some(Retry::Terminating(after)) => (after, TERMINATION),
        };
        if started.elapsed() >= limit {
            return Ok(answer);
        }
        match &mut signals {
            None => thread::sleep(wait),
            Some(signals) => {
                if signals.sleep(wait) {
                    return Err(ComponentError::Interrupted);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(transient: bool) -> Holder {
        Holder { session: None, pid: None, since: None, status: None, locked: true, transient }
    }

    #[test]
    fn a_call_is_repeated_until_nothing_is_in_the_way() {
        let mut calls = 0;
        let answer = retry_while_busy(
            || {
                calls += 1;
                Ok(match calls {
                    1 => Err(RepairError::Busy(holder(true))),
                    2 => Err(RepairError::Terminating(20)),
                    _ => Ok(calls),
                })
            },
            None,
        );
        assert!(matches!(answer, Ok(Ok(3))));
    }

    #[test]
    fn a_lasting_conflict_is_returned_at_once() {
        let mut calls = 0;
        let answer = retry_while_busy(
            || {
                calls += 1;
                Ok(Err::<(), _>(OpenError::Busy(holder(false))))
            },
            None,
        );
        assert!(matches!(answer, Ok(Err(OpenError::Busy(_)))));
        assert_eq!(calls, 1);
    }
}
