//! The loop of a session.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Pid;

use super::call::{Call, GRACE, not_started};
use super::check::{check, violation};
use super::launch::{Launcher, Work, Workspace};
use super::signals::{Request, Signals, suspend_this_process};
use crate::engine::{ComponentError, Instance};
use crate::exit_code::StopSignal;
use crate::process::{Attempt, Descendants, Identity, MARKER, descriptors, is_orphaned};
use crate::report::{self, Reporter};
use crate::wit::log::Level;
use crate::wit::session::{
    CloseReason, Report, SessionError, Started, Step, StorageFailure, Summary,
};

/// How often to repeat a call that failed because of storage, while agents are running.
const STORAGE_RETRY: Duration = Duration::from_secs(1);
/// Minimum time between two searches for descendants that nothing else calls for.
const DESCENDANTS_INTERVAL: Duration = Duration::from_millis(100);
/// Minimum wait: a component that wants to be called again at once would keep us from everything else.
const SHORTEST_WAIT: Duration = Duration::from_millis(5);
/// Maximum wait, in case a component asks for none.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// Maximum number of bytes that one call of `session.output` passes on.
const CHUNK: usize = 64 << 10;

/// Why a session stopped before its end.
#[derive(Debug)]
pub(crate) enum Stop {
    /// A signal.
    Signal(StopSignal),
    /// A file operation failed.
    Storage(StorageFailure),
    /// The component failed.
    Component(ComponentError),
}

/// An open session and what it runs with.
pub(crate) struct Session<'a> {
    pub(crate) instance: &'a mut Instance,
    pub(crate) workspace: &'a Workspace<'a>,
    /// Maximum number of agents that run at the same time.
    pub(crate) parallel: usize,
    pub(crate) signals: &'a mut Signals,
    pub(crate) reporter: &'a mut dyn Reporter,
}

/// Runs an open session until it ends or must stop. The summary is missing only if the session could not be
/// closed.
pub(crate) fn run(session: Session<'_>) -> (Option<Summary>, Option<Stop>) {
    descriptors::raise_limit();
    let dispatcher = Dispatcher {
        launcher: Launcher::new(session.workspace),
        session,
        running: Vec::new(),
        descendants: Descendants::new(),
        searched_at: Instant::now(),
        needs_search: false,
        reports: Vec::new(),
        stop: None,
        retry_at: None,
        is_abandoned: false,
        at_once: false,
        stuck: Vec::new(),
    };
    dispatcher.run()
}

struct Dispatcher<'a> {
    session: Session<'a>,
    launcher: Launcher<'a>,
    running: Vec<Call>,
    descendants: Descendants,
    /// When descendants were last searched for.
    searched_at: Instant,
    /// Whether something has happened since.
    needs_search: bool,
    /// Observations that the component has not been given yet.
    reports: Vec<Report>,
    stop: Option<Stop>,
    /// When to repeat a call that failed because of storage.
    retry_at: Option<Instant>,
    /// Whether the component has failed and is not called any more.
    is_abandoned: bool,
    /// Whether a second signal asked to kill everything.
    at_once: bool,
    /// Items whose agents were given up, and the processes that are still running.
    stuck: Vec<(String, String)>,
}

impl Dispatcher<'_> {
    fn run(mut self) -> (Option<Summary>, Option<Stop>) {
        match self.run_to_end() {
            Ok(()) => self.close(),
            Err(error) => self.abandon(error),
        }
    }

    /// Runs until nothing is in flight and nothing more starts.
    fn run_to_end(&mut self) -> Result<(), ComponentError> {
        loop {
            self.take_signals();
            let wake_after = match self.time_to_retry() {
                Some(remaining) => remaining,
                None => match self.advance()? {
                    Some(step) => {
                        let finished = step.finished;
                        let wake_after = Duration::from_millis(step.wake_after);
                        self.start(step);
                        if !self.reports.is_empty() {
                            continue;
                        }
                        if finished || (self.stop.is_some() && self.running.is_empty()) {
                            return Ok(());
                        }
                        wake_after
                    }
                    None if self.running.is_empty() => return Ok(()),
                    None => {
                        self.retry_at = Some(Instant::now() + STORAGE_RETRY);
                        STORAGE_RETRY
                    }
                },
            };
            self.wait(wake_after);
            self.poll_agents()?;
        }
    }

    /// Returns how long until a call is repeated that failed because of storage, while agents are running:
    /// every try writes.
    fn time_to_retry(&self) -> Option<Duration> {
        let at = self.retry_at.filter(|_| !self.running.is_empty())?;
        let remaining = at.saturating_duration_since(Instant::now());
        (!remaining.is_zero()).then_some(remaining)
    }

    /// Reports what happened; `None` if the component could not record it.
    fn advance(&mut self) -> Result<Option<Step>, ComponentError> {
        let slots = match self.stop {
            None => self.session.parallel.saturating_sub(self.running.len()),
            Some(_) => 0,
        };
        let reports = std::mem::take(&mut self.reports);
        let free = u32::try_from(slots).unwrap_or(u32::MAX);
        let answer = self.session.instance.advance(&reports, free)?;
        self.pass_on_messages();
        match answer {
            Ok(step) => {
                self.session.reporter.counts(&step.counts);
                for event in &step.events {
                    self.session.reporter.event(event);
                }
                let in_flight = self.running.iter().map(|call| call.call.item.as_str());
                check(&step, in_flight, slots)?;
                Ok(Some(step))
            }
            Err(SessionError::Storage(failure)) => {
                self.stop_for_storage(failure);
                Ok(None)
            }
            Err(SessionError::NotOpen) => Err(violation("it has no open session")),
            Err(SessionError::UnknownAttempt(which)) => {
                Err(violation(&format!("it does not know the attempt {which}")))
            }
        }
    }

    /// Starts nothing more. Running agents may finish, and are recorded once the component can write again.
    fn stop_for_storage(&mut self, failure: StorageFailure) {
        if self.retry_at.is_some() {
            return;
        }
        if !self.running.is_empty() {
            let text = format!(
                "{}. No more agents are started; waiting for {}",
                report::storage_failure(self.session.workspace.path, &failure),
                report::counted(self.running.len(), "running agent"),
            );
            self.session.reporter.message(Level::Error, &text);
        }
        self.stop.get_or_insert(Stop::Storage(failure));
    }

    fn start(&mut self, step: Step) {
        for call in step.start {
            let marker = call.launch.environment.iter().find(|it| it.name == MARKER);
            if let Some(marker) = marker {
                self.descendants.recognize(marker.value.as_ref());
            }
            match self.launcher.start(&call) {
                Ok(work) => {
                    let call = Call::new(call, work);
                    if let Some(pid) = call.pid() {
                        self.reports.push(Report::Started(Started {
                            item: call.call.item.clone(),
                            attempt: call.call.attempt,
                            process: Identity::of(pid).into(),
                        }));
                    }
                    self.running.push(call);
                }
                Err(reason) => self.reports.push(Report::Ended(not_started(&call, reason))),
            }
        }
    }

    /// Waits until something happens, but not longer than this.
    fn wait(&mut self, wake_after: Duration) {
        let now = Instant::now();
        // The exit of an agent that came while the signals were taken does not wake us again.
        let wake_after = match self.session.signals.was_woken() {
            true => SHORTEST_WAIT,
            false => wake_after.max(SHORTEST_WAIT),
        };
        let deadlines = self.running.iter().filter_map(Call::deadline);
        let timeout = deadlines
            .chain(self.descendants.deadline())
            .chain(self.needs_search.then(|| self.searched_at + DESCENDANTS_INTERVAL))
            .map(|at| at.saturating_duration_since(now))
            .chain(self.session.reporter.next_tick())
            .fold(wake_after, Duration::min);
        // Rounded up: a wait that ends just before the deadline would be repeated again and again.
        let timeout = timeout.saturating_add(Duration::from_micros(500)).min(LONGEST_WAIT);
        let timeout = Timespec::try_from(timeout).ok();

        let wake = PollFd::from_borrowed_fd(self.session.signals.wake(), PollFlags::IN);
        let mut descriptors = vec![wake];
        for call in &self.running {
            if let Work::Process(group) = &call.work {
                descriptors.extend(group.descriptors());
            }
        }
        // Interrupted by a signal: then there is something to do.
        let _ = poll(&mut descriptors, timeout.as_ref());
    }

    fn take_signals(&mut self) {
        match self.session.signals.take() {
            None => {}
            Some(Request::Suspend) => self.suspend(),
            Some(Request::Stop(signal)) => {
                let again = self.is_abandoned || matches!(self.stop, Some(Stop::Signal(_)));
                if !again {
                    self.session.reporter.stopping(self.running.len(), GRACE);
                    self.stop = Some(Stop::Signal(signal));
                }
                self.at_once |= again;
                for call in &mut self.running {
                    match again {
                        true => call.kill(),
                        false => call.interrupt(),
                    }
                }
            }
        }
    }

    /// Stops the agents and then this process, as the terminal asked for. Continues with SIGCONT.
    fn suspend(&mut self) {
        if is_orphaned() {
            return;
        }
        for call in &self.running {
            call.suspend();
        }
        self.session.reporter.leave_terminal();
        let stopped_for = suspend_this_process();
        for call in &mut self.running {
            call.resume(stopped_for);
        }
        self.session.reporter.resumed(stopped_for);
    }

    /// Checks on every agent, and reports those that have ended.
    fn poll_agents(&mut self) -> Result<(), ComponentError> {
        // A failure of the component is returned once every agent has been checked.
        let mut passed_on = Ok(());
        let mut running = std::mem::take(&mut self.running);
        for call in &mut running {
            call.poll();
            passed_on = passed_on.and(self.pass_on_output(call));
        }
        // Also while nothing ends: this process must reap what agents orphan.
        let is_due = self.searched_at.elapsed() >= DESCENDANTS_INTERVAL;
        self.needs_search = true;
        if is_due || !self.descendants.is_empty() || running.iter().any(Call::has_ended) {
            self.poll_descendants(&running);
        }
        for mut call in running {
            // Two agents of one item never run at the same time: the end of a call waits for everything that
            // it started.
            let remains = self.descendants.of(&call.call.item, call.call.attempt);
            match call.take_end(&remains) {
                Some(ended) => {
                    if let Some(pids) = call.stuck() {
                        self.stuck.push((call.call.item.clone(), pids.to_owned()));
                    }
                    self.reports.push(Report::Ended(ended));
                }
                None => self.running.push(call),
            }
        }
        self.session.reporter.tick();
        passed_on
    }

    /// Ends what agents that have ended left outside of their groups.
    fn poll_descendants(&mut self, running: &[Call]) {
        self.searched_at = Instant::now();
        self.needs_search = false;
        let is_agent = |pid: Pid| running.iter().any(|call| call.pid() == Some(pid));
        let attempts: Vec<(Attempt, bool)> = running
            .iter()
            .map(|call| ((call.call.item.clone(), call.call.attempt), call.agent_runs()))
            .collect();
        self.descendants.poll(is_agent, &attempts, self.at_once);
    }

    /// Passes output on: to the component if it asked for it, and to the user.
    fn pass_on_output(&mut self, call: &mut Call) -> Result<(), ComponentError> {
        let Work::Process(group) = &mut call.work else { return Ok(()) };
        let output = group.output();
        for line in output.take_lines() {
            self.session.reporter.output(&call.call.item, &line);
        }
        if let Some(error) = output.take_log_failure() {
            let text = format!("the log of {} is incomplete: {error}", call.call.item);
            self.session.reporter.message(Level::Warning, &text);
        }
        let bytes = output.take_unwatched();
        if self.is_abandoned {
            return Ok(());
        }
        for chunk in bytes.chunks(CHUNK) {
            self.session.instance.output(&call.call.item, call.call.attempt, chunk)?;
        }
        Ok(())
    }

    fn close(mut self) -> (Option<Summary>, Option<Stop>) {
        self.end_descendants();
        let reason = match self.stop {
            None => CloseReason::Ended,
            Some(_) => CloseReason::Interrupted,
        };
        let answer = self.session.instance.close(reason);
        self.pass_on_messages();
        match answer {
            Ok(Ok(summary)) => {
                for event in &summary.events {
                    self.session.reporter.event(event);
                }
                (Some(summary), self.stop)
            }
            Ok(Err(SessionError::Storage(failure))) => {
                self.session.reporter.leave_terminal();
                (None, Some(Stop::Storage(failure)))
            }
            Ok(Err(SessionError::NotOpen | SessionError::UnknownAttempt(_))) => {
                (None, Some(Stop::Component(violation("it cannot close its session"))))
            }
            Err(error) => {
                if matches!(error, ComponentError::Interrupted) {
                    self.take_signals();
                }
                (None, Some(self.stop_for(error)))
            }
        }
    }

    /// Ends the agents as on a signal: the component cannot be called any more. What it acknowledged is on
    /// disk.
    fn abandon(mut self, error: ComponentError) -> (Option<Summary>, Option<Stop>) {
        self.pass_on_messages();
        // Signals that came during the call are older than its failure.
        self.take_signals();
        self.running.iter_mut().for_each(Call::interrupt);
        self.running.retain(|call| matches!(call.work, Work::Process(_)));
        let stop = self.stop_for(error);
        self.is_abandoned = true;
        while !self.running.is_empty() {
            self.wait(LONGEST_WAIT);
            self.take_signals();
            // Output is not passed on any more, so nothing can fail.
            let _ = self.poll_agents();
        }
        self.end_descendants();
        self.session.reporter.leave_terminal();
        (None, Some(stop))
    }

    /// Returns why the session stops when a call of the component has failed: the signal that interrupted the
    /// call, if one did.
    fn stop_for(&mut self, error: ComponentError) -> Stop {
        match (&error, &self.stop) {
            (ComponentError::Interrupted, Some(Stop::Signal(signal))) => {
                let text = format!("{error}; acknowledged results are on disk");
                self.session.reporter.message(Level::Warning, &text);
                Stop::Signal(*signal)
            }
            _ => Stop::Component(error),
        }
    }

    /// Ends what agents left, and names what cannot be ended.
    fn end_descendants(&mut self) {
        self.descendants.end_all(self.at_once);
        for (item, pids) in &self.stuck {
            let text = format!(
                "SIGKILL did not end the agent of {item} (pid {pids}). The next run does not start while it is running: it ends with the operation that it waits for, or with a reboot"
            );
            self.session.reporter.message(Level::Warning, &text);
        }
    }

    fn pass_on_messages(&mut self) {
        for (level, message) in self.session.instance.take_messages() {
            self.session.reporter.message(level, &message);
        }
    }
}
