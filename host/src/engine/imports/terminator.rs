//! `terminator`: the processes that agents of this root left running.

use super::Imports;
use crate::wit::terminator::{Host, Leftover, StopSignal, Variable};

impl Host for Imports {
    fn marker(&mut self) -> Vec<Variable> {
        self.leftovers.as_ref().and_then(|leftovers| leftovers.marker().ok()).into_iter().collect()
    }

    fn list_leftovers(&mut self, recorded: Vec<String>, witness: Option<String>) -> Vec<Leftover> {
        // Where the root cannot be examined, nothing is proven and nothing is found.
        let listed = self.leftovers.as_mut().map(|it| it.list(&recorded, witness));
        listed.and_then(Result::ok).unwrap_or_default()
    }

    fn signal(&mut self, targets: Vec<String>, signal: StopSignal, witness: Option<String>) {
        if let Some(leftovers) = &mut self.leftovers {
            // For the same reason nothing is signalled. The component lists again what is still running.
            let _ = leftovers.signal(&targets, signal, witness);
        }
    }
}
