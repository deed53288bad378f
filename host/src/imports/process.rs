//! `process`: who we are, and whether a recorded process runs.

use super::Imports;
use crate::engine::process::{Host, Identity, Liveness, Recorded};
use crate::liveness;

impl Host for Imports {
    fn current(&mut self) -> Identity {
        liveness::current()
    }

    fn query(&mut self, process: Recorded) -> Liveness {
        liveness::query(&process)
    }
}
