//! The loop of a batch.

use std::io;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::report::Reporter;
use super::signals::Signals;
use crate::agents::{Agent, Ending, Place, Work};
use crate::engine::batch::{
    Attempt, CloseReason, Ended, Outcome, Report, SessionError, Started, Step, StorageFailure,
    Summary,
};
use crate::engine::{ComponentError, Instance};
use crate::liveness;

/// How long agents have after the first signal.
const GRACE: Duration = Duration::from_secs(10);
/// EX_TEMPFAIL of sysexits.h: try again later, for no fault of the item.
const TEMPORARY_FAILURE: i32 = 75;
/// A storage failure is tried again this often while agents still run.
const STORAGE_RETRY: Duration = Duration::from_secs(1);

/// Why a batch stopped before its end.
#[derive(Debug)]
pub(crate) enum Stop {
    /// By a signal.
    Signal(i32),
    /// A file could not be read or written.
    Storage(StorageFailure),
    /// The component failed.
    Component(ComponentError),
}

/// Runs an opened session to its end, or to where it has to stop; the summary is missing only if
/// the session could not be closed.
pub(crate) fn run(
    instance: &mut Instance,
    agent: &Agent,
    place: &Place<'_>,
    parallel: usize,
    signals: &mut Signals,
    reporter: &mut dyn Reporter,
) -> (Option<Summary>, Option<Stop>) {
    let dispatcher = Dispatcher {
        instance,
        agent,
        place,
        parallel,
        signals,
        reporter,
        running: Vec::new(),
        reports: Vec::new(),
        ended: Vec::new(),
        stop: None,
    };
    dispatcher.run()
}

/// An attempt in hand.
struct Running {
    attempt: Attempt,
    started: Instant,
    work: Work,
    /// True if it was ended because the batch stops.
    interrupted: bool,
}

struct Dispatcher<'a> {
    instance: &'a mut Instance,
    agent: &'a Agent,
    place: &'a Place<'a>,
    parallel: usize,
    signals: &'a mut Signals,
    reporter: &'a mut dyn Reporter,
    running: Vec<Running>,
    /// What the component has not been told yet.
    reports: Vec<Report>,
    /// What the user has not been told yet, with its log.
    ended: Vec<(Ended, Option<String>)>,
    stop: Option<Stop>,
}

impl Dispatcher<'_> {
    fn run(mut self) -> (Option<Summary>, Option<Stop>) {
        loop {
            self.look_at_signals();
            let wake_after = match self.step() {
                Ok(Some(step)) => {
                    let finished = step.finished;
                    let wake_after = Duration::from_millis(step.wake_after);
                    self.start(step);
                    if !self.reports.is_empty() {
                        continue;
                    }
                    if finished || (self.stop.is_some() && self.running.is_empty()) {
                        break;
                    }
                    wake_after
                }
                Ok(None) if self.running.is_empty() => break,
                Ok(None) => STORAGE_RETRY,
                Err(error) => return self.abandon(error),
            };
            self.wait(wake_after);
            self.look_at_agents();
        }
        self.close()
    }

    /// Tells the component what happened; `None` if that could not be recorded.
    fn step(&mut self) -> Result<Option<Step>, ComponentError> {
        let slots = match self.stop {
            None => self.parallel.saturating_sub(self.running.len()),
            Some(_) => 0,
        };
        let reports = std::mem::take(&mut self.reports);
        let answer = self.instance.advance(&reports, u32::try_from(slots).unwrap_or(u32::MAX))?;
        self.pass_on_messages();
        match answer {
            Ok(step) => {
                for event in &step.events {
                    self.reporter.event(event);
                }
                self.reporter.counts(&step.counts);
                self.tell_ended();
                self.check(&step, slots)?;
                Ok(Some(step))
            }
            Err(SessionError::Storage(failure)) => {
                self.stop.get_or_insert(Stop::Storage(failure));
                Ok(None)
            }
            Err(SessionError::NotOpen) => Err(nonsense("it knows of no session")),
            Err(SessionError::UnknownAttempt(which)) => Err(nonsense(&which)),
        }
    }

    /// What a component says ends up in paths, arguments and the environment of agents: it has to
    /// make sense before anything is started. (The log is opened through the directory's capability
    /// in any case.)
    fn check(&self, step: &Step, slots: usize) -> Result<(), ComponentError> {
        if step.start.len() > slots {
            return Err(nonsense("it starts more agents than there is room for"));
        }
        if step.finished && !(step.start.is_empty() && self.running.is_empty()) {
            return Err(nonsense("it is finished, and agents are running"));
        }
        let is_name = |name: &str| !matches!(name, "" | "." | "..") && !name.contains(['/', '\0']);
        for (index, attempt) in step.start.iter().enumerate() {
            let is_path = |path: &str| path.split('/').all(is_name);
            if !is_name(&attempt.item) || !is_path(&attempt.directory) || !is_path(&attempt.log) {
                return Err(nonsense("it starts an item whose name is no name"));
            }
            let mut others =
                self.running.iter().map(|running| &running.attempt).chain(&step.start[..index]);
            if others.any(|other| other.item == attempt.item) {
                return Err(nonsense("it starts an item twice at once"));
            }
        }
        Ok(())
    }

    fn start(&mut self, step: Step) {
        for attempt in step.start {
            let started = Instant::now();
            self.reporter.started(&attempt);
            match self.agent.start(&attempt, self.place) {
                Ok(work) => {
                    if let Work::Process(process) = &work {
                        self.reports.push(Report::Started(Started {
                            item: attempt.item.clone(),
                            attempt: attempt.number,
                            phase: "run".to_owned(),
                            pid: u64::from(process.pid().as_raw_nonzero().get().unsigned_abs()),
                            start_time: liveness::start_time(process.pid()),
                        }));
                    }
                    self.running.push(Running { attempt, started, work, interrupted: false });
                }
                Err(error) => self.end(&attempt, started, not_started(&error), None, None),
            }
        }
    }

    /// Waits until something happens, at most this long.
    fn wait(&self, wake_after: Duration) {
        let now = Instant::now();
        let deadline = self.running.iter().filter_map(|running| match &running.work {
            Work::Process(process) => process.deadline(),
            Work::Mock { until } => Some(*until),
        });
        let timeout =
            deadline.map(|at| at.saturating_duration_since(now)).fold(wake_after, Duration::min);
        // Rounded up: a wait that ends just before the deadline would be made again and again.
        let timeout =
            timeout.saturating_add(Duration::from_micros(500)).min(Duration::from_secs(3600));
        let timeout = Timespec::try_from(timeout).ok();

        let mut descriptors = vec![PollFd::from_borrowed_fd(self.signals.wake(), PollFlags::IN)];
        for running in &self.running {
            if let Work::Process(process) = &running.work
                && let Some(output) = process.output()
            {
                descriptors.push(PollFd::from_borrowed_fd(output, PollFlags::IN));
            }
        }
        // Interrupted by a signal: then there is something to look at.
        let _ = poll(&mut descriptors, timeout.as_ref());
    }

    fn look_at_signals(&mut self) {
        let Some(signal) = self.signals.take() else { return };
        let again = matches!(self.stop, Some(Stop::Signal(_)));
        if !again {
            self.reporter.stopping(signal, self.running.len());
            self.stop = Some(Stop::Signal(signal));
        }
        for running in &mut self.running {
            match &mut running.work {
                Work::Process(process) if again => process.kill(),
                Work::Process(process) => running.interrupted = process.terminate(GRACE),
                Work::Mock { until } => {
                    running.interrupted = true;
                    *until = Instant::now();
                }
            }
        }
    }

    fn look_at_agents(&mut self) {
        for mut running in std::mem::take(&mut self.running) {
            let ended = match &mut running.work {
                Work::Mock { until } => {
                    (*until <= Instant::now()).then_some((Outcome::Completed, None, None))
                }
                Work::Process(process) => {
                    process.take_output();
                    match process.advance() {
                        Ok(None) => None,
                        Ok(Some(ending)) => {
                            Some((outcome(ending), Some(ending), log_of(process, self.reporter)))
                        }
                        Err(error) => {
                            process.kill();
                            let outcome = Outcome::Failed(format!("the agent was lost: {error}"));
                            Some((outcome, None, log_of(process, self.reporter)))
                        }
                    }
                }
            };
            match ended {
                None => self.running.push(running),
                Some((outcome, ending, log)) => {
                    let outcome = if running.interrupted { Outcome::Interrupted } else { outcome };
                    self.end(&running.attempt, running.started, outcome, ending, log);
                }
            }
        }
    }

    fn end(
        &mut self,
        attempt: &Attempt,
        started: Instant,
        outcome: Outcome,
        ending: Option<Ending>,
        log: Option<String>,
    ) {
        let ended = Ended {
            item: attempt.item.clone(),
            attempt: attempt.number,
            outcome,
            exit_code: ending.and_then(|ending| ending.exit_code),
            signal: ending.and_then(|ending| ending.signal),
            duration: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        self.reports.push(Report::Ended(ended.clone()));
        self.ended.push((ended, log));
    }

    /// Tells the user of what is recorded by now: not before, it might never be.
    fn tell_ended(&mut self) {
        for (ended, log) in std::mem::take(&mut self.ended) {
            self.reporter.ended(&ended, log.as_deref());
        }
    }

    fn close(mut self) -> (Option<Summary>, Option<Stop>) {
        let reason = match self.stop {
            None => CloseReason::Ended,
            Some(_) => CloseReason::Interrupted,
        };
        let answer = self.instance.close(reason);
        self.pass_on_messages();
        match answer {
            Ok(Ok(summary)) => {
                self.tell_ended();
                for event in &summary.events {
                    self.reporter.event(event);
                }
                (Some(summary), self.stop)
            }
            Ok(Err(SessionError::Storage(failure))) => (None, Some(Stop::Storage(failure))),
            Ok(Err(SessionError::NotOpen | SessionError::UnknownAttempt(_))) => {
                (None, Some(Stop::Component(nonsense("it cannot close its session"))))
            }
            Err(error) => (None, Some(Stop::Component(error))),
        }
    }

    /// The component is of no more use: agents are ended as on a signal, and what it acknowledged
    /// is on disk.
    fn abandon(mut self, error: ComponentError) -> (Option<Summary>, Option<Stop>) {
        self.pass_on_messages();
        for running in &mut self.running {
            if let Work::Process(process) = &mut running.work {
                running.interrupted = process.terminate(GRACE);
            }
        }
        self.running.retain(|running| matches!(running.work, Work::Process(_)));
        self.stop = Some(Stop::Signal(0));
        while !self.running.is_empty() {
            self.wait(GRACE);
            self.look_at_signals();
            self.look_at_agents();
        }
        (None, Some(Stop::Component(error)))
    }

    fn pass_on_messages(&mut self) {
        for (level, message) in self.instance.take_messages() {
            self.reporter.message(level, &message);
        }
    }
}

/// What it means for an item that its agent could not be started. That the system has no more to
/// give (EMFILE, EAGAIN, …) is no fault of the item.
fn not_started(error: &io::Error) -> Outcome {
    let reason = format!("the agent could not be started: {error}");
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    match errno {
        Some(Errno::MFILE | Errno::NFILE | Errno::AGAIN | Errno::NOMEM) => Outcome::Paused(reason),
        _ => Outcome::Failed(reason),
    }
}

/// What an agent's end means for its item.
fn outcome(ending: Ending) -> Outcome {
    match ending {
        Ending { exit_code: Some(0), .. } => Outcome::Completed,
        Ending { exit_code: Some(TEMPORARY_FAILURE), .. } => Outcome::Paused(format!(
            "the agent asks to be tried again later (exit code {TEMPORARY_FAILURE})"
        )),
        Ending { exit_code: Some(code), .. } => {
            Outcome::Failed(format!("the agent exited with code {code}"))
        }
        Ending { signal: Some(signal), .. } => {
            Outcome::Failed(format!("the agent was ended by signal {signal}{}", name_of(signal)))
        }
        Ending { exit_code: None, signal: None } => Outcome::Failed("the agent ended".to_owned()),
    }
}

fn name_of(signal: i32) -> String {
    signal_hook::low_level::signal_name(signal).map(|name| format!(" ({name})")).unwrap_or_default()
}

fn log_of(process: &mut crate::agents::Process, reporter: &mut dyn Reporter) -> Option<String> {
    if let Some(error) = process.log_failure() {
        reporter.message(
            crate::imports::Level::Warning,
            &format!("an agent's log is not whole: {error}"),
        );
    }
    process.log_path().map(str::to_owned)
}

fn nonsense(what: &str) -> ComponentError {
    ComponentError::Nonsense(what.to_owned())
}
