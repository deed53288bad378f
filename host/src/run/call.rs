//! A call that is being carried out: its time, and how it ends.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::launch::Work;
use crate::process::{Exit, Remains};
use crate::wit::session::{self, Ended, Ending, NotStarted, StopCause};

/// Time between SIGTERM and SIGKILL for an agent that is ended because the session stops.
pub(super) const GRACE: Duration = Duration::from_secs(10);
/// The same for an agent that exceeded its timeout, or used the terminal.
const GRACE_AFTER_TIMEOUT: Duration = Duration::from_secs(5);

/// A call that is being carried out.
pub(super) struct Call {
    pub(super) call: session::Call,
    pub(super) work: Work,
    started: Instant,
    timeout: Option<Duration>,
    /// Why this host stopped it.
    stopped: Option<StopCause>,
    /// How it ended, while the processes that it left are being ended.
    ended: Option<Ended>,
    /// The processes that are still running although the call was given up.
    stuck: Option<String>,
}

impl Call {
    /// Creates a call that has just started.
    pub(super) fn new(call: session::Call, work: Work) -> Self {
        let timeout = call.launch.timeout.map(Duration::from_millis);
        Call {
            call,
            work,
            started: Instant::now(),
            timeout,
            stopped: None,
            ended: None,
            stuck: None,
        }
    }

    /// Returns the process that leads the group of the agent.
    pub(super) fn pid(&self) -> Option<Pid> {
        match &self.work {
            Work::Process(group) => Some(group.pid()),
            Work::Mock { .. } => None,
        }
    }

    /// Returns when [`Call::poll`] has something to do even if nothing happens.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let own = match &self.work {
            Work::Mock { until } => Some(*until),
            Work::Process(group) => group.deadline(),
        };
        own.into_iter().chain(self.times_out_at()).min()
    }

    fn times_out_at(&self) -> Option<Instant> {
        match self.stopped {
            None => self.started.checked_add(self.timeout?),
            Some(_) => None,
        }
    }

    /// Whether its agent itself is running.
    pub(super) fn agent_runs(&self) -> bool {
        match &self.work {
            Work::Process(group) => !group.leader_is_gone(),
            Work::Mock { .. } => true,
        }
    }

    /// Ends it because the session stops.
    pub(super) fn interrupt(&mut self) {
        if self.ended.is_none() {
            self.stop(StopCause::Interrupt, GRACE);
        }
    }

    /// Kills it.
    pub(super) fn kill(&mut self) {
        // The number of a group that has ended may have been reused.
        if self.ended.is_none()
            && let Work::Process(group) = &mut self.work
        {
            group.kill();
        }
    }

    /// Asks the agent to stop, because this process is about to be stopped.
    pub(super) fn suspend(&self) {
        if self.ended.is_none()
            && let Work::Process(group) = &self.work
        {
            group.suspend();
        }
    }

    /// Continues the agent. The time that this process was stopped for does not count.
    pub(super) fn resume(&mut self, stopped_for: Duration) {
        self.started += stopped_for;
        if self.ended.is_some() {
            return;
        }
        match &mut self.work {
            Work::Process(group) => group.resume(stopped_for),
            Work::Mock { until } => *until += stopped_for,
        }
    }

    /// Whether its process and its group have ended.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// Takes how it ended, once nothing that it started remains, or nothing that can be ended.
    pub(super) fn take_end(&mut self, remains: &Remains) -> Option<Ended> {
        match remains {
            Remains::None => self.ended.take(),
            Remains::Ending => None,
            Remains::Stuck(pids) => self.ended.take().map(|_| self.give_up(pids)),
        }
    }

    /// Moves input and output, enforces the timeout, and checks whether it has ended.
    pub(super) fn poll(&mut self) {
        if self.ended.is_some() {
            return;
        }
        let used_terminal = match &mut self.work {
            Work::Process(group) => {
                group.exchange();
                group.used_terminal()
            }
            Work::Mock { .. } => false,
        };
        if self.times_out_at().is_some_and(|at| at <= Instant::now()) {
            self.stop(StopCause::Timeout, GRACE_AFTER_TIMEOUT);
        }
        if used_terminal && self.stopped.is_none() {
            self.stop(StopCause::Terminal, GRACE_AFTER_TIMEOUT);
        }
        let Work::Process(group) = &mut self.work else {
            self.poll_mock();
            return;
        };
        self.ended = match group.poll() {
            Ok(None) => match group.stuck() {
                None => None,
                Some(pids) => {
                    group.abandon();
                    Some(self.give_up(&pids))
                }
            },
            Ok(Some(exit)) => {
                let output = group.output().last_lines();
                let ending = match exit {
                    Exit::Code(code) => Ending::Exited(code),
                    Exit::Signal(signal) => Ending::Signaled(signal),
                };
                Some(self.describe_end(ending, output))
            }
            Err(error) => {
                group.kill();
                let reason = format!("the agent's process cannot be observed any more: {error}");
                Some(self.describe_end(Ending::Lost(reason), None))
            }
        };
    }

    fn poll_mock(&mut self) {
        let Work::Mock { until } = self.work else { return };
        let ending = match self.stopped {
            // As if it were a process.
            Some(_) => Ending::Signaled(Signal::TERM.as_raw()),
            None if until <= Instant::now() => Ending::Exited(0),
            None => return,
        };
        self.ended = Some(self.describe_end(ending, None));
    }

    /// Ends the agent, unless it has exited: then its exit counts. The first cause counts as well.
    fn stop(&mut self, cause: StopCause, grace: Duration) {
        let is_stopped = match &mut self.work {
            Work::Process(group) => group.terminate(grace),
            Work::Mock { until } => {
                *until = Instant::now();
                true
            }
        };
        if is_stopped {
            self.stopped.get_or_insert(cause);
        }
    }

    /// Gives up processes on which SIGKILL has no effect.
    fn give_up(&mut self, pids: &[Pid]) -> Ended {
        let pids: Vec<String> = pids.iter().map(|pid| pid.as_raw_nonzero().to_string()).collect();
        let pids = pids.join(", ");
        let reason = format!("SIGKILL does not end the agent: it hangs in the kernel (pid {pids})");
        self.stuck = Some(pids);
        self.describe_end(Ending::Lost(reason), None)
    }

    /// Returns the processes that are still running although the call was given up.
    pub(super) fn stuck(&self) -> Option<&str> {
        self.stuck.as_deref()
    }

    fn describe_end(&self, ending: Ending, output: Option<String>) -> Ended {
        ended(&self.call, self.started.elapsed(), ending, self.stopped, output)
    }
}

/// Describes a call that did not start.
pub(super) fn not_started(call: &session::Call, reason: NotStarted) -> Ended {
    ended(call, Duration::ZERO, Ending::NotStarted(reason), None, None)
}

fn ended(
    call: &session::Call,
    duration: Duration,
    ending: Ending,
    stopped: Option<StopCause>,
    output: Option<String>,
) -> Ended {
    Ended {
        item: call.item.clone(),
        attempt: call.attempt,
        ending,
        stopped,
        duration: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
        output,
    }
}
