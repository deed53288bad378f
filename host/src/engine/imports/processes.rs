//! `processes`: this process, and whether a recorded one is still running.

use super::Imports;
use crate::process::{Identity, status};
use crate::wit::processes::{Host, Process, ProcessStatus, RecordedProcess};

impl Host for Imports {
    fn current(&mut self) -> Process {
        Identity::current().into()
    }

    fn status(&mut self, process: RecordedProcess) -> ProcessStatus {
        status(&process)
    }
}
