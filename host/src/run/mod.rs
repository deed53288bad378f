//! A batch: the component decides, this module starts and ends agents, waits, and tells the user.
//!
//! One thread owns everything. It waits for what happens next (output, the end of an agent, a
//! signal, a deadline), tells the component, and does what that says.

mod dispatcher;
mod report;
mod signals;

pub(crate) use dispatcher::{Stop, run};
pub(crate) use report::{Human, Json, Reporter, print_message};
pub(crate) use signals::Signals;

use std::thread;
use std::time::{Duration, Instant};

use crate::engine::batch::{OpenError, Opening, Options};
use crate::engine::{ComponentError, Instance};

/// A lock that nobody alive claims is tried again for this long.
const MOMENT: Duration = Duration::from_secs(2);
/// How often it is tried.
const RETRY: Duration = Duration::from_millis(10);

/// Opens a session; a lock that is held only for a moment is waited for.
pub(crate) fn open(
    instance: &mut Instance,
    options: &Options,
) -> Result<Result<Opening, OpenError>, ComponentError> {
    let until = Instant::now() + MOMENT;
    loop {
        match instance.open(options)? {
            Err(OpenError::Busy(holder)) if holder.momentary && Instant::now() < until => {
                thread::sleep(RETRY);
            }
            answer => return Ok(answer),
        }
    }
}
