//! `process`: who we are, whether a recorded process runs, and what agents of this root are left.

use std::io;

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

    fn marked(&mut self, witness: Option<String>) -> Vec<Worker> {
        self.of_root(|root| root.marked(witness))
    }

    fn leaders(&mut self, recorded: Vec<Worker>, witness: Option<String>) -> Vec<Worker> {
        self.of_root(|root| root.leaders(recorded, witness))
    }

    fn end(&mut self, leaders: Vec<Worker>, witness: Option<String>) -> Vec<Worker> {
        self.of_root(|root| root.end(&leaders, witness))
    }
}

impl Imports {
    /// None where the root cannot be looked at.
    fn of_root(&self, look: impl FnOnce(&Root) -> io::Result<Vec<Worker>>) -> Vec<Worker> {
        self.root.as_ref().and_then(|root| look(root).ok()).unwrap_or_default()
    }
}
