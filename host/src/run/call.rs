//! A call of an agent in hand: its time, its end, and what that means.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::Pid;

use crate::agents::{Ending, Output, StraysOf, Work};
use crate::ambient;
use crate::engine::batch::{Attempt, Ended, Outcome};

/// How long an agent has to end after it was asked to because the batch stops.
const GRACE: Duration = Duration::from_secs(10);
/// How long it has when it took longer than it may.
const GRACE_AFTER_TIMEOUT: Duration = Duration::from_secs(5);
/// EX_TEMPFAIL of sysexits.h: try again later, for no fault of the item.
const TEMPORARY_FAILURE: i32 = 75;

/// Why an agent has failed that waits for somebody at the terminal.
const WANTS_TERMINAL: &str =
    "the agent asked for something at the terminal (a password?), which agents do not have";

/// Why a call was ended by us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CutShort {
    /// The batch stops.
    Interrupted,
    /// It took too long.
    TimedOut,
    /// It asked for something at the terminal.
    WantsTerminal,
}

/// A call in hand.
pub(super) struct Call {
    pub attempt: Attempt,
    pub work: Work,
    started: Instant,
    timeout: Option<Duration>,
    cut_short: Option<CutShort>,
    /// How it ended, while what it left is being ended.
    ended: Option<Ended>,
    /// What of it still runs although it was given up.
    lost: Option<String>,
}

impl Call {
    /// A call that has just begun and may take so long.
    pub(super) fn new(attempt: Attempt, work: Work, timeout: Option<Duration>) -> Self {
        Call {
            attempt,
            work,
            started: Instant::now(),
            timeout,
            cut_short: None,
            ended: None,
            lost: None,
        }
    }

    /// When [`Call::look`] has something to do even if nothing happens.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.work {
            Work::Mock { until } => Some(*until),
            Work::Process(process) => {
                process.deadline().into_iter().chain(self.times_out_at()).min()
            }
        }
    }

    fn times_out_at(&self) -> Option<Instant> {
        match self.cut_short {
            None => self.started.checked_add(self.timeout?),
            Some(_) => None,
        }
    }

    /// True while its agent itself works.
    pub(super) fn works(&self) -> bool {
        match &self.work {
            Work::Process(process) => !process.has_exited(),
            Work::Mock { .. } => true,
        }
    }

    /// Ends it because the batch stops.
    pub(super) fn interrupt(&mut self) {
        if self.ended.is_some() {
            return;
        }
        match &mut self.work {
            Work::Process(process) => {
                if process.terminate(GRACE) {
                    self.cut_short.get_or_insert(CutShort::Interrupted);
                }
            }
            Work::Mock { until } => {
                self.cut_short = Some(CutShort::Interrupted);
                *until = Instant::now();
            }
        }
    }

    /// Ends it at once.
    pub(super) fn kill(&mut self) {
        // The number of a group that has ended may be another's by now.
        if self.ended.is_some() {
            return;
        }
        if let Work::Process(process) = &mut self.work {
            process.kill();
        }
    }

    /// The program is about to be stopped: so is the agent.
    pub(super) fn suspend(&self) {
        if self.ended.is_some() {
            return;
        }
        if let Work::Process(process) = &self.work {
            process.suspend();
        }
    }

    /// The program was stopped for so long, which does not count.
    pub(super) fn resume(&mut self, after: Duration) {
        self.started += after;
        if self.ended.is_some() {
            return;
        }
        match &mut self.work {
            Work::Process(process) => process.resume(after),
            Work::Mock { until } => *until += after,
        }
    }

    /// True if its process and its group have ended.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// How it ended, if it has and nothing else that it started is left, or nothing that can be ended.
    pub(super) fn end(&mut self, strays: &StraysOf) -> Option<Ended> {
        match strays {
            StraysOf::None => self.ended.take(),
            StraysOf::Ending => None,
            StraysOf::Stuck(pids) => self.ended.take().map(|_| self.lose(pids)),
        }
    }

    /// Looks at what has become of it.
    pub(super) fn look(&mut self) {
        if self.ended.is_some() {
            return;
        }
        let now = Instant::now();
        let times_out_at = self.times_out_at();
        let process = match &mut self.work {
            Work::Mock { until } if *until <= now => {
                let outcome = match self.cut_short {
                    Some(_) => Outcome::Interrupted,
                    None => Outcome::Completed,
                };
                self.ended = Some(self.describe_end(outcome, None, None));
                return;
            }
            Work::Mock { .. } => return,
            Work::Process(process) => process,
        };
        process.exchange();
        if times_out_at.is_some_and(|at| at <= now) && process.terminate(GRACE_AFTER_TIMEOUT) {
            self.cut_short = Some(CutShort::TimedOut);
        }
        if self.cut_short.is_none()
            && process.wants_terminal()
            && process.terminate(GRACE_AFTER_TIMEOUT)
        {
            self.cut_short = Some(CutShort::WantsTerminal);
        }
        self.ended = match process.advance() {
            Ok(None) => match process.stuck() {
                None => None,
                Some(pids) => {
                    process.abandon();
                    Some(self.lose(&pids))
                }
            },
            Ok(Some(ending)) => {
                let output = process.output();
                let last_lines = output.last_lines();
                let outcome = match self.cut_short {
                    Some(CutShort::Interrupted) => Outcome::Interrupted,
                    Some(CutShort::TimedOut) => {
                        Outcome::TimedOut(self.timeout.unwrap_or_default().as_secs())
                    }
                    Some(CutShort::WantsTerminal) => Outcome::Failed(WANTS_TERMINAL.to_owned()),
                    None => outcome(ending, output),
                };
                Some(self.describe_end(outcome, Some(ending), last_lines))
            }
            Err(error) => {
                process.kill();
                let outcome = Outcome::Failed(format!("the agent was lost: {error}"));
                Some(self.describe_end(outcome, None, None))
            }
        };
    }

    /// SIGKILL has no effect on what it started: that is not waited for.
    pub(super) fn lose(&mut self, pids: &[Pid]) -> Ended {
        let pids: Vec<String> = pids.iter().map(|pid| pid.as_raw_nonzero().to_string()).collect();
        let pids = pids.join(", ");
        let why = match self.cut_short {
            Some(CutShort::TimedOut) => {
                let seconds = self.timeout.unwrap_or_default().as_secs();
                format!("timed out after {seconds} s, and ")
            }
            _ => String::new(),
        };
        let outcome = match self.cut_short {
            Some(CutShort::Interrupted) => Outcome::Interrupted,
            _ => Outcome::Lost(format!(
                "{why}SIGKILL does not end the agent: it hangs in the kernel (pid {pids})"
            )),
        };
        self.lost = Some(pids);
        self.describe_end(outcome, None, None)
    }

    /// The processes of it that still run although it was given up.
    pub(super) fn lost(&self) -> Option<&str> {
        self.lost.as_deref()
    }

    fn describe_end(
        &self,
        outcome: Outcome,
        ending: Option<Ending>,
        output: Option<String>,
    ) -> Ended {
        ended(&self.attempt, self.started.elapsed(), outcome, ending, output)
    }
}

/// What is reported of an agent that could not be started, for a repository at `root`. That the system
/// has no more to give (EMFILE, EAGAIN, …) is no fault of the item.
pub(super) fn not_started(attempt: &Attempt, error: &io::Error, root: &Path) -> Ended {
    let is_gone = error.kind() == io::ErrorKind::NotFound && !ambient::is_dir(root);
    let reason = match is_gone {
        true => format!(
            "the agent could not be started: there is no directory {} any more, was the repository moved?",
            root.display()
        ),
        false => format!("the agent could not be started: {error}"),
    };
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    let remedy = match errno {
        Some(Errno::MFILE) => Some("raise the limit on open files (`ulimit -n`)"),
        Some(Errno::NFILE) => Some("the whole system has too many files open"),
        Some(Errno::AGAIN) => {
            Some("raise the limit on processes (`ulimit -u`, `pids.max` of the container)")
        }
        Some(Errno::NOMEM) => Some("the system is out of memory"),
        _ => None,
    };
    let outcome = match remedy {
        Some(remedy) => Outcome::NotStarted(format!("{reason}; {remedy}")),
        None => Outcome::Failed(reason),
    };
    ended(attempt, Duration::ZERO, outcome, None, None)
}

fn ended(
    attempt: &Attempt,
    took: Duration,
    outcome: Outcome,
    ending: Option<Ending>,
    output: Option<String>,
) -> Ended {
    Ended {
        item: attempt.item.clone(),
        attempt: attempt.number,
        outcome,
        exit_code: ending.and_then(|ending| ending.exit_code),
        signal: ending.and_then(|ending| ending.signal),
        duration: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        output,
    }
}

/// What an agent's end and its output mean for its item.
fn outcome(ending: Ending, output: &Output) -> Outcome {
    let has_signal = output.has_signal();
    if let Some(code @ TEMPORARY_FAILURE) = ending.exit_code {
        let reason = format!("the agent asks to be tried again later (exit code {code})");
        return Outcome::Paused(reason);
    }
    // An agent that proves that its work is complete may have talked of limits on the way.
    let is_proven = ending.exit_code == Some(0) && has_signal;
    if let Some(line) = output.limit()
        && !is_proven
    {
        return Outcome::Paused(format!("the agent ran into a limit: {line}"));
    }
    match (ending, output.wanted_signal()) {
        (Ending { exit_code: Some(0), .. }, Some(signal)) if !has_signal => Outcome::Failed(
            format!("the agent exited without printing its completion signal, {signal}"),
        ),
        (Ending { exit_code: Some(0), .. }, _) => Outcome::Completed,
        (Ending { exit_code: Some(code), .. }, _) => {
            Outcome::Failed(format!("the agent exited with code {code}"))
        }
        (Ending { signal: Some(signal), .. }, _) => {
            Outcome::Failed(format!("the agent was ended by signal {signal}{}", name_of(signal)))
        }
        (Ending { exit_code: None, signal: None }, _) => {
            Outcome::Failed("the agent ended".to_owned())
        }
    }
}

fn name_of(signal: i32) -> String {
    signal_hook::low_level::signal_name(signal).map(|name| format!(" ({name})")).unwrap_or_default()
}
