//! `process`: who we are, whether a recorded process runs, and what agents of this root are left.

use super::Imports;
use crate::engine::process::{Host, Identity, Liveness, Recorded, Worker};
use crate::leftovers::Root;
use crate::liveness;

impl Host for Imports {
    fn current(&mut self) -> Identity {
        liveness::current()
    }

    fn query(&mut self, process: Recorded) -> Liveness {
        liveness::query(&process)
    }

    fn marked(&mut self) -> Vec<Worker> {
        self.root.as_ref().map(Root::marked).unwrap_or_default()
    }

    fn leaders(&mut self, recorded: Vec<Worker>) -> Vec<Worker> {
        self.root.as_ref().map(|root| root.leaders(recorded)).unwrap_or_default()
    }

    fn end(&mut self, leaders: Vec<Worker>) -> Vec<Worker> {
        self.root.as_ref().map(|root| root.end(&leaders)).unwrap_or_default()
    }
}
