//! The processes, the clock and the random numbers of a machine in memory.

use super::Process;
use crate::io::capabilities::{
    BareProcess, Clock, Leftover, Level, Log, ProcessInfo, ProcessStatus, ProcessToken, Processes,
    Random, RecordedProcess, StopSignal, Terminator, Variable,
};
use crate::json;
use crate::time::Timestamp;

/// The token of a process: `pid:4711`.
pub(crate) fn token(pid: u64) -> ProcessToken {
    format!("pid:{pid}")
}

/// A process by its id.
pub(crate) fn process(pid: u64) -> ProcessInfo {
    ProcessInfo { token: token(pid), pid }
}

/// A leftover process that carries the marker.
pub(crate) fn leftover(pid: u64, item: Option<&str>, proven: bool) -> Leftover {
    let item = item.map(str::to_owned);
    Leftover { process: process(pid), item, started_at: None, proven }
}

/// The process id in a token, of this build or of one before tokens.
fn pid_of(token: &str) -> u64 {
    let legacy = json::parse(token.as_bytes()).ok();
    let legacy = legacy.as_ref().and_then(|object| json::integer(object.get("pid")?));
    let pid = token.strip_prefix("pid:").and_then(|pid| pid.parse().ok());
    legacy.or(pid).unwrap_or_default()
}

impl Processes for Process {
    fn current(&self) -> ProcessInfo {
        process(self.pid)
    }

    fn status(&self, process: &RecordedProcess) -> ProcessStatus {
        let pid = match process {
            RecordedProcess::Token(token) => pid_of(token),
            RecordedProcess::Bare(BareProcess { pid, .. }) => *pid,
        };
        if self.machine.unknown.borrow().contains(&pid) {
            ProcessStatus::Unknown
        } else if self.machine.running.borrow().contains(&pid) {
            ProcessStatus::Running
        } else {
            ProcessStatus::Exited
        }
    }
}

impl Terminator for Process {
    fn marker(&self) -> Vec<Variable> {
        vec![Variable { name: "WRECKIT_ROOT".to_owned(), value: "the root".to_owned() }]
    }

    fn list_leftovers(&self, recorded: &[ProcessToken], _: Option<&str>) -> Vec<Leftover> {
        let machine = &self.machine;
        let mut leftovers = machine.marked.borrow().clone();
        for token in recorded {
            let pid = pid_of(token);
            let is_listed = leftovers.iter().any(|other| other.process.pid == pid);
            if !is_listed && machine.running.borrow().contains(&pid) {
                let proven = !machine.unmarked.borrow().contains(&pid);
                let process = ProcessInfo { token: token.clone(), pid };
                leftovers.push(Leftover { process, item: None, started_at: None, proven });
            }
        }
        if !leftovers.is_empty() {
            // Time passes between two checks of whether a process has exited.
            machine.clock.set(machine.clock.get() + 500);
        }
        leftovers
    }

    fn signal(&self, targets: &[ProcessToken], signal: StopSignal, _: Option<&str>) {
        let machine = &self.machine;
        for pid in targets.iter().map(|token| pid_of(token)) {
            machine.signals.borrow_mut().push((pid, signal));
            if machine.immortal.borrow().contains(&pid) || machine.unmarked.borrow().contains(&pid)
            {
                continue;
            }
            machine.running.borrow_mut().retain(|other| *other != pid);
            machine.marked.borrow_mut().retain(|other| other.process.pid != pid || !other.proven);
        }
    }
}

impl Log for Process {
    fn write(&self, _: Level, message: &str) {
        self.machine.messages.borrow_mut().push(message.to_owned());
    }
}

impl Clock for Process {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.machine.clock.get())
    }
}

impl Random for Process {
    fn bytes(&self, length: usize) -> Vec<u8> {
        (0..length.min(self.machine.randomness.get()))
            .map(|_| {
                // A linear congruential generator is random enough for names.
                let next = self
                    .machine
                    .random
                    .get()
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                self.machine.random.set(next);
                (next >> 56) as u8
            })
            .collect()
    }
}
