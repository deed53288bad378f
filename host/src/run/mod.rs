//! A batch: the component decides, this module starts and ends agents, waits, and tells the user.
//!
//! One thread owns everything. It waits for what happens next (output, the end of an agent, a
//! signal, a deadline), tells the component, and does what that says.

mod call;
mod dispatcher;
mod report;
mod signals;

pub(crate) use dispatcher::{Batch, Session, Stop, run};
pub(crate) use report::{Human, Json, Progress, Reporter, Screen, Watched, Watcher, print_message};
pub(crate) use signals::{Signals, Stopping, survive_file_size_limit, suspend_ourselves};

use std::thread;
use std::time::{Duration, Instant};

use crate::engine::ComponentError;
use crate::engine::batch::{Holder, OpenError};
use crate::engine::doctor::RepairError;

/// A lock that nobody alive claims is tried again for this long.
const MOMENT: Duration = Duration::from_secs(2);
/// How often it is tried.
const RETRY: Duration = Duration::from_millis(10);

/// Makes a call that takes the lock, again and again while the lock is held only for a moment.
pub(crate) fn patiently<T, E>(
    call: impl FnMut() -> Result<Result<T, E>, ComponentError>,
    holder: impl Fn(&E) -> Option<&Holder>,
) -> Result<Result<T, E>, ComponentError> {
    retry_while(call, |error| holder(error).is_some_and(|holder| holder.momentary))
}

/// Makes a call again and again while it fails in a way that passes, for a few seconds at most.
pub(crate) fn retry_while<T, E>(
    mut call: impl FnMut() -> Result<Result<T, E>, ComponentError>,
    passes: impl Fn(&E) -> bool,
) -> Result<Result<T, E>, ComponentError> {
    let until = Instant::now() + MOMENT;
    loop {
        match call()? {
            Err(error) if passes(&error) && Instant::now() < until => thread::sleep(RETRY),
            answer => return Ok(answer),
        }
    }
}

/// Who is in the way of a session.
pub(crate) fn holder_of_open(error: &OpenError) -> Option<&Holder> {
    match error {
        OpenError::Busy(holder) => Some(holder),
        _ => None,
    }
}

/// Who is in the way of a repair.
pub(crate) fn holder_of_repair(error: &RepairError) -> Option<&Holder> {
    match error {
        RepairError::Busy(holder) => Some(holder),
        _ => None,
    }
}
