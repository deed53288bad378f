//! Outcomes: what the end of a call means for its item.

use super::{Agent, Watcher};
use crate::bindings::exports::wreckit::batch::session::{
    Ended, Ending, NotStarted, StartFailure, StopCause,
};

/// EX_TEMPFAIL of sysexits.h: try again later, the item is not at fault.
const TEMPORARY_FAILURE: i32 = 75;

/// The error of an agent that waits for someone at the terminal.
const WANTS_TERMINAL: &str =
    "the agent asked for something at the terminal (a password?), which agents do not have";

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The agent succeeded. Whether the item is complete is for its workload to say.
    Completed,
    /// It failed: the error.
    Failed(String),
    /// It took too long: the error.
    TimedOut(String),
    /// It was stopped because the session stops.
    Interrupted,
    /// The session pauses, and the item is not at fault: why.
    Paused(String),
    /// It did not start because the system is out of descriptors, processes or memory: the error.
    OutOfResources(String),
    /// The embedder did not start it.
    HandedBack,
    /// It may still be running, and cannot be stopped: the error. No other attempt of its item may start.
    Lost(String),
}

impl Agent {
    /// Returns what the end of a call means. `watcher` has received its output.
    pub fn outcome(&self, ended: &Ended, watcher: Option<&Watcher>) -> Outcome {
        let timed_out = || {
            let limit = self.timeout.unwrap_or(ended.duration);
            format!("timed out after {} s", seconds(limit))
        };
        match (&ended.ending, ended.stopped) {
            (Ending::NotStarted(failure), _) => not_started(failure),
            (_, Some(StopCause::Interrupt)) => Outcome::Interrupted,
            (Ending::Lost(reason), Some(StopCause::Timeout)) => {
                Outcome::Lost(format!("{}, and {reason}", timed_out()))
            }
            (Ending::Lost(reason), _) => Outcome::Lost(reason.clone()),
            (_, Some(StopCause::Timeout)) => Outcome::TimedOut(timed_out()),
            (_, Some(StopCause::Terminal)) => Outcome::Failed(WANTS_TERMINAL.to_owned()),
            (Ending::Exited(code), None) => exited(*code, watcher),
            (Ending::Signaled(signal), None) => {
                let name = signal_name(*signal).map(|name| format!(" ({name})"));
                let error =
                    format!("the agent was ended by signal {signal}{}", name.unwrap_or_default());
                limit(watcher).unwrap_or(Outcome::Failed(error))
            }
        }
    }
}

fn not_started(failure: &NotStarted) -> Outcome {
    let error = || format!("the agent could not be started: {}", failure.reason);
    match failure.failure {
        StartFailure::OutOfResources => Outcome::OutOfResources(error()),
        StartFailure::Failed => Outcome::Failed(error()),
        StartFailure::HandedBack => Outcome::HandedBack,
    }
}

fn exited(code: i32, watcher: Option<&Watcher>) -> Outcome {
    let missing_marker = watcher.and_then(Watcher::missing_marker);
    match (code, missing_marker) {
        (TEMPORARY_FAILURE, _) => {
            Outcome::Paused(format!("the agent asked to be retried later (exit code {code})"))
        }
        // An agent that succeeds may have mentioned limits in its output.
        (0, None) => Outcome::Completed,
        (0, Some(marker)) => limit(watcher).unwrap_or_else(|| {
            let error =
                format!("the agent exited without printing its completion marker, {marker}");
            Outcome::Failed(error)
        }),
        (code, _) => limit(watcher)
            .unwrap_or_else(|| Outcome::Failed(format!("the agent exited with code {code}"))),
    }
}

/// The outcome of a failed call whose output says that a limit was reached.
fn limit(watcher: Option<&Watcher>) -> Option<Outcome> {
    let line = watcher?.limit()?;
    Some(Outcome::Paused(format!("the agent reached a limit: {line}")))
}

/// Seconds, with as many decimals as needed.
fn seconds(milliseconds: u64) -> String {
    match (milliseconds / 1000, milliseconds % 1000) {
        (seconds, 0) => seconds.to_string(),
        (seconds, rest) => format!("{seconds}.{rest:03}").trim_end_matches('0').to_owned(),
    }
}

/// The name of a signal, of those that have the same number on every platform (7 has no other use in
/// practice).
fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        26 => "SIGVTALRM",
        27 => "SIGPROF",
        _ => return None,
    })
}
