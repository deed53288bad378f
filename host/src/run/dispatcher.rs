//! The loop of a batch.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Pid;

use super::call::{Call, not_started};
use super::report::Reporter;
use super::signals::{Signals, Stopping, suspend_ourselves};
use crate::agents::{Agent, Place, Start, Strays, Work, descriptors};
use crate::engine::batch::{
    CloseReason, Report, SessionError, Started, Step, StorageFailure, Summary,
};
use crate::engine::{ComponentError, Instance, describe};
use crate::imports::Level;
use crate::liveness;

/// A storage failure is tried again this often while agents still run.
const STORAGE_RETRY: Duration = Duration::from_secs(1);
/// After anything has happened it is looked for what agents leave, but not more often than this.
const STRAYS_INTERVAL: Duration = Duration::from_millis(100);
/// A component that wants to be called again at once has to wait so long: it would keep us from
/// everything else.
const SHORTEST_WAIT: Duration = Duration::from_millis(5);
/// While the component cannot be asked, agents are looked at this often.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

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

/// Whose items are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Session {
    /// The items of a repository.
    Batch,
    /// The phases of a feature.
    Feature,
}

impl Session {
    fn advance(
        self,
        instance: &mut Instance,
        reports: &[Report],
        slots: u32,
    ) -> Result<Result<Step, SessionError>, ComponentError> {
        match self {
            Session::Batch => instance.advance(reports, slots),
            Session::Feature => instance.feature_advance_run(reports, slots),
        }
    }

    fn close(
        self,
        instance: &mut Instance,
        reason: CloseReason,
    ) -> Result<Result<Summary, SessionError>, ComponentError> {
        match self {
            Session::Batch => instance.close(reason),
            Session::Feature => instance.feature_close_run(reason),
        }
    }
}

/// What a batch runs with.
pub(crate) struct Batch<'a> {
    pub(crate) instance: &'a mut Instance,
    pub(crate) session: Session,
    pub(crate) agent: &'a Agent,
    pub(crate) place: &'a Place<'a>,
    /// How many agents may run at once.
    pub(crate) parallel: usize,
    /// How long a call of an agent may take.
    pub(crate) timeout: Option<Duration>,
    pub(crate) signals: &'a mut Signals,
    pub(crate) reporter: &'a mut dyn Reporter,
}

/// Runs an opened session to its end, or to where it has to stop; the summary is missing only if
/// the session could not be closed.
pub(crate) fn run(batch: Batch<'_>) -> (Option<Summary>, Option<Stop>) {
    descriptors::raise_limit();
    let strays = Strays::new(batch.place.marker);
    let dispatcher = Dispatcher {
        batch,
        running: Vec::new(),
        strays,
        looked: Instant::now(),
        is_to_look: false,
        reports: Vec::new(),
        stop: None,
        retry_at: None,
        at_once: false,
        lost: Vec::new(),
    };
    dispatcher.run()
}

struct Dispatcher<'a> {
    batch: Batch<'a>,
    running: Vec<Call>,
    strays: Strays,
    /// When it was last looked at them.
    looked: Instant,
    /// True if something has happened since.
    is_to_look: bool,
    /// What the component has not been told yet.
    reports: Vec<Report>,
    stop: Option<Stop>,
    /// After a storage failure the component is not asked again before then.
    retry_at: Option<Instant>,
    /// True once a second signal asked to end everything at once.
    at_once: bool,
    /// Items whose agents were given up, and the processes of those.
    lost: Vec<(String, String)>,
}

impl Dispatcher<'_> {
    fn run(mut self) -> (Option<Summary>, Option<Stop>) {
        loop {
            self.look_at_signals();
            if let Some(left) = self.time_to_retry() {
                self.wait(left);
                self.look_at_agents();
                continue;
            }
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
                Ok(None) => {
                    self.retry_at = Some(Instant::now() + STORAGE_RETRY);
                    STORAGE_RETRY
                }
                Err(error) => return self.abandon(error),
            };
            self.wait(wake_after);
            self.look_at_agents();
        }
        self.close()
    }

    /// How long until a storage failure is tried again, while agents still run: every try writes.
    fn time_to_retry(&self) -> Option<Duration> {
        let at = self.retry_at.filter(|_| !self.running.is_empty())?;
        Some(at.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    /// Tells the component what happened; `None` if that could not be recorded.
    fn step(&mut self) -> Result<Option<Step>, ComponentError> {
        let slots = match self.stop {
            None => self.batch.parallel.saturating_sub(self.running.len()),
            Some(_) => 0,
        };
        let reports = std::mem::take(&mut self.reports);
        let room = u32::try_from(slots).unwrap_or(u32::MAX);
        let answer = self.batch.session.advance(self.batch.instance, &reports, room)?;
        self.pass_on_messages();
        match answer {
            Ok(step) => {
                self.batch.reporter.counts(&step.counts);
                for event in &step.events {
                    self.batch.reporter.event(event);
                }
                self.check(&step, slots)?;
                Ok(Some(step))
            }
            Err(SessionError::Storage(failure)) => {
                self.stop_for_storage(failure);
                Ok(None)
            }
            Err(SessionError::NotOpen) => Err(nonsense("it knows of no session")),
            Err(SessionError::UnknownAttempt(which)) => Err(nonsense(&which)),
        }
    }

    /// Nothing more is started; what runs may end well, and is recorded once there is room again.
    fn stop_for_storage(&mut self, failure: StorageFailure) {
        if self.retry_at.is_some() {
            return;
        }
        if !self.running.is_empty() {
            let text = format!(
                "{}: nothing more is started; what runs ({}) is waited for",
                describe(self.batch.place.path, &failure),
                self.running.len()
            );
            self.batch.reporter.message(Level::Error, &text);
        }
        self.stop.get_or_insert(Stop::Storage(failure));
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
            let mut others = self.running.iter().map(|call| &call.attempt);
            if others.any(|other| other.item == attempt.item)
                || step.start[..index].iter().any(|other| other.item == attempt.item)
            {
                return Err(nonsense("it starts an item twice at once"));
            }
        }
        Ok(())
    }

    fn start(&mut self, step: Step) {
        for attempt in step.start {
            match self.batch.agent.start(&attempt, self.batch.place) {
                Ok(work) => {
                    if let Work::Process(process) = &work {
                        self.reports.push(Report::Started(Started {
                            item: attempt.item.clone(),
                            attempt: attempt.number,
                            phase: attempt.phase.clone(),
                            pid: u64::from(process.pid().as_raw_nonzero().get().unsigned_abs()),
                            start_time: liveness::start_time(process.pid()),
                        }));
                    }
                    self.running.push(Call::new(attempt, work, self.batch.timeout));
                }
                Err(error) => {
                    let ended = not_started(&attempt, &error, self.batch.place.root);
                    self.reports.push(Report::Ended(ended));
                }
            }
        }
    }

    /// Waits until something happens, at most this long.
    fn wait(&mut self, wake_after: Duration) {
        let now = Instant::now();
        // The end of an agent that came while the signals were taken does not wake us again.
        let wake_after = match self.batch.signals.was_woken() {
            true => SHORTEST_WAIT,
            false => wake_after.max(SHORTEST_WAIT),
        };
        let deadlines = self.running.iter().filter_map(Call::deadline);
        let timeout = deadlines
            .chain(self.strays.deadline())
            .chain(self.is_to_look.then(|| self.looked + STRAYS_INTERVAL))
            .map(|at| at.saturating_duration_since(now))
            .chain(self.batch.reporter.next_tick())
            .fold(wake_after, Duration::min);
        // Rounded up: a wait that ends just before the deadline would be made again and again.
        let timeout = timeout.saturating_add(Duration::from_micros(500)).min(LONGEST_WAIT);
        let timeout = Timespec::try_from(timeout).ok();

        let wake = PollFd::from_borrowed_fd(self.batch.signals.wake(), PollFlags::IN);
        let mut descriptors = vec![wake];
        for call in &self.running {
            if let Work::Process(process) = &call.work {
                descriptors.extend(process.descriptors());
            }
        }
        // Interrupted by a signal: then there is something to look at.
        let _ = poll(&mut descriptors, timeout.as_ref());
    }

    fn look_at_signals(&mut self) {
        match self.batch.signals.take() {
            None => {}
            Some(Stopping::Suspend) => self.suspend(),
            Some(Stopping::End(signal)) => {
                let again = matches!(self.stop, Some(Stop::Signal(_)));
                if !again {
                    self.batch.reporter.stopping(signal, self.running.len());
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

    /// Stops the agents and then this process, as the terminal asked for; goes on with SIGCONT.
    fn suspend(&mut self) {
        if liveness::is_orphaned() {
            return;
        }
        for call in &self.running {
            call.suspend();
        }
        self.batch.reporter.leave_terminal();
        let after = suspend_ourselves();
        for call in &mut self.running {
            call.resume(after);
        }
        self.batch.reporter.resumed(after);
    }

    fn look_at_agents(&mut self) {
        let mut running = std::mem::take(&mut self.running);
        for call in &mut running {
            call.look();
            self.pass_on_output(call);
        }
        // Also while nothing ends: what agents orphan is ours to collect.
        let is_due = self.looked.elapsed() >= STRAYS_INTERVAL;
        self.is_to_look = true;
        if is_due || !self.strays.is_empty() || running.iter().any(Call::has_ended) {
            self.look_at_strays(&running);
        }
        for mut call in running {
            // At no time do two agents of one item run: its end waits for everything it started.
            let strays = self.strays.of(&call.attempt.item, call.attempt.number);
            match call.end(&strays) {
                Some(ended) => {
                    if let Some(pids) = call.lost() {
                        self.lost.push((call.attempt.item.clone(), pids.to_owned()));
                    }
                    self.reports.push(Report::Ended(ended));
                }
                None => self.running.push(call),
            }
        }
        self.batch.reporter.tick();
    }

    /// What an ended agent left outside of its group is ended, too.
    fn look_at_strays(&mut self, running: &[Call]) {
        self.looked = Instant::now();
        self.is_to_look = false;
        let is_agent = |pid: Pid| {
            running.iter().any(|call| match &call.work {
                Work::Process(process) => process.pid() == pid,
                Work::Mock { .. } => false,
            })
        };
        let starts: Vec<(Start, bool)> = running
            .iter()
            .map(|call| ((call.attempt.item.clone(), call.attempt.number), call.works()))
            .collect();
        self.strays.look(is_agent, &starts, self.at_once);
    }

    fn pass_on_output(&mut self, call: &mut Call) {
        let Work::Process(process) = &mut call.work else { return };
        let output = process.output();
        for line in output.take_lines() {
            self.batch.reporter.output(&call.attempt.item, &line);
        }
        if let Some(error) = output.take_log_failure() {
            let text = format!("the log of {} is not whole: {error}", call.attempt.item);
            self.batch.reporter.message(Level::Warning, &text);
        }
    }

    fn close(mut self) -> (Option<Summary>, Option<Stop>) {
        self.end_strays();
        let reason = match self.stop {
            None => CloseReason::Ended,
            Some(_) => CloseReason::Interrupted,
        };
        let answer = self.batch.session.close(self.batch.instance, reason);
        self.pass_on_messages();
        match answer {
            Ok(Ok(summary)) => {
                for event in &summary.events {
                    self.batch.reporter.event(event);
                }
                (Some(summary), self.stop)
            }
            Ok(Err(SessionError::Storage(failure))) => {
                self.batch.reporter.leave_terminal();
                (None, Some(Stop::Storage(failure)))
            }
            Ok(Err(SessionError::NotOpen | SessionError::UnknownAttempt(_))) => {
                (None, Some(Stop::Component(nonsense("it cannot close its session"))))
            }
            Err(error) => {
                if matches!(error, ComponentError::Interrupted) {
                    self.look_at_signals();
                }
                (None, Some(self.failure(error)))
            }
        }
    }

    /// The component is of no more use: agents are ended as on a signal, and what it acknowledged
    /// is on disk.
    fn abandon(mut self, error: ComponentError) -> (Option<Summary>, Option<Stop>) {
        self.pass_on_messages();
        // The signals that came during the call are older than its failure.
        self.look_at_signals();
        self.running.iter_mut().for_each(Call::interrupt);
        self.running.retain(|call| matches!(call.work, Work::Process(_)));
        let failure = self.failure(error);
        if !matches!(self.stop, Some(Stop::Signal(_))) {
            self.stop = Some(Stop::Signal(0));
        }
        while !self.running.is_empty() {
            self.wait(LONGEST_WAIT);
            self.look_at_signals();
            self.look_at_agents();
        }
        self.end_strays();
        self.batch.reporter.leave_terminal();
        (None, Some(failure))
    }

    /// Why the batch stops when a call of the component has failed: because of the signal that
    /// interrupted it, if one did.
    fn failure(&mut self, error: ComponentError) -> Stop {
        match (&error, &self.stop) {
            (ComponentError::Interrupted, Some(Stop::Signal(signal))) => {
                let text = format!("{error}; what was acknowledged is on disk");
                self.batch.reporter.message(Level::Warning, &text);
                Stop::Signal(*signal)
            }
            _ => Stop::Component(error),
        }
    }

    /// Ends what agents left, and names what cannot be ended.
    fn end_strays(&mut self) {
        self.strays.end_all(self.at_once);
        for (item, pids) in &self.lost {
            let text = format!(
                "the agent of {item} was not ended by SIGKILL (pid {pids}); while it runs, the next run does not start: it ends with whatever it waits for, or with the machine"
            );
            self.batch.reporter.message(Level::Warning, &text);
        }
    }

    fn pass_on_messages(&mut self) {
        for (level, message) in self.batch.instance.take_messages() {
            self.batch.reporter.message(level, &message);
        }
    }
}

fn nonsense(what: &str) -> ComponentError {
    ComponentError::Nonsense(what.to_owned())
}
