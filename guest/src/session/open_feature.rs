//! Opening a session over the phases of a feature.

use crate::agents::{Agent, PromptSet};
use crate::bindings::exports::wreckit::batch::batch::OpenError;
use crate::bindings::exports::wreckit::batch::feature::{FeatureError, RunOptions};
use crate::bindings::exports::wreckit::batch::session::{Opening, Origin};
use crate::feature::running::{self, RunState};
use crate::formats::config::Source;
use crate::io::capabilities::{Level, ProcessInfo};
use crate::io::host::{Failure, Host};
use crate::io::lock::{self, Purpose};
use crate::io::root;
use crate::session::ledger::ItemState;
use crate::session::leftovers::{self, Termination};
use crate::session::open::end_leftovers;
use crate::session::resume;
use crate::session::running::{Limits, Session};
use crate::session::runs;
use crate::session::saved::{self, Saved};
use crate::session::start::Start;
use crate::workload::phases::Phases;

impl From<OpenError> for FeatureError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Busy(holder) => FeatureError::Busy(holder),
            OpenError::UnknownItem(words) => FeatureError::UnknownFeature(words),
            OpenError::AmbiguousItem(words) => FeatureError::AmbiguousFeature(words),
            OpenError::AlreadyOpen => FeatureError::AlreadyOpen,
            OpenError::WrongRoot(why) => FeatureError::WrongRoot(why),
            OpenError::Configuration(problems) => FeatureError::Configuration(problems),
            OpenError::Terminating(milliseconds) => FeatureError::Terminating(milliseconds),
            OpenError::Leftovers(leftovers) => FeatureError::Leftovers(leftovers),
            OpenError::Storage(failure) => FeatureError::Storage(failure),
        }
    }
}

/// Opens a session over the phases of a feature. While it returns `Terminating`, this instance holds the lock, and the
/// call must be repeated with the same `termination`.
pub fn open_feature(
    host: Host<'_>,
    feature: &str,
    options: RunOptions,
    termination: &mut Termination,
) -> Result<(Session, Opening), FeatureError> {
    root::check(host).map_err(OpenError::from)?;
    let (id, state) = running::prepare(host, feature, &options.approve)?;
    let phases: Vec<String> = state.phases.iter().map(|phase| phase.name.clone()).collect();
    let source = Source::Contents(&options.configuration);
    let agent = Agent::new(source, &options.session, PromptSet::Feature(&phases))
        .map_err(FeatureError::Configuration)?;
    let process = host.current_process();
    let take_over = options.session.take_over;
    if let Err(holder) = lock::acquire(host, &process, Purpose::Opening, take_over)? {
        return Err(FeatureError::Busy(holder));
    }
    let opened = open_locked(host, id, agent, options, &process, termination);
    if !matches!(opened, Ok(_) | Err(OpenError::Terminating(_))) {
        lock::release(host)?;
    }
    Ok(opened?)
}

fn open_locked(
    host: Host<'_>,
    id: String,
    agent: Agent,
    options: RunOptions,
    process: &ProcessInfo,
    termination: &mut Termination,
) -> Result<(Session, Opening), OpenError> {
    leftovers::ensure_root_id(host);
    // Agents of other features may have outlived their run as well.
    let open = runs::unapplied(host, None)?;
    let saved = newest(host, &id)?;
    let sessions: Vec<&Saved> = open.iter().chain(saved.as_ref()).collect();
    end_leftovers(host, &sessions, options.session.take_over, termination)?;
    if let Some(warning) = agent.phase_warning() {
        host.log(Level::Warning, &warning.message);
    }
    let resumed = resumed(host, &id, saved, options.session.no_resume)?;
    let current = resumed.as_ref().map(|saved| saved.directory.clone());
    for saved in open {
        if saved.feature.as_deref() == Some(&id) && Some(&saved.directory) != current.as_ref() {
            runs::abandon(host, saved)?;
        }
    }
    let origin = if resumed.is_some() { Origin::Resumed } else { Origin::Fresh };
    let start = Start {
        limits: Limits {
            // One phase at a time, each after the one before it.
            parallel: 1,
            lookahead: 0,
            single: false,
            retries: options.session.retries,
            max_failures: options.session.max_failures,
            limit_wait: agent.limit_wait(),
        },
        workload: Box::new(Phases {
            id,
            approve: options.approve,
            approve_all: options.approve_all,
            worktree: options.worktree,
        }),
        agent,
        agent_name: options.agent_name,
        chosen: Vec::new(),
        retry_failed: true,
        repository: options.session.repository,
        take_over: options.session.take_over,
    };
    Ok(start.start(host, process, resumed, origin)?)
}

/// The newest session of a feature, if it can be resumed.
fn newest(host: Host<'_>, id: &str) -> Result<Option<Saved>, Failure> {
    for run in runs::all(host)? {
        if let Some(saved) = saved::rebuild(host, &run.directory)?
            && saved.feature.as_deref() == Some(id)
        {
            return Ok(Some(saved).filter(|_| run.is_resumable()));
        }
    }
    Ok(None)
}

/// Applies the results of a saved session, and returns it if it can be resumed: it is recent, and the document agrees
/// with it. If someone has restarted a phase that the session completed, the document counts.
fn resumed(
    host: Host<'_>,
    id: &str,
    saved: Option<Saved>,
    no_resume: bool,
) -> Result<Option<Saved>, Failure> {
    let Some(mut saved) = saved else { return Ok(None) };
    if no_resume || resume::is_stale(saved.progress.updated_at, host.now()) {
        return Ok(None);
    }
    runs::flush_results(host, &mut saved)?;
    let Ok(state) = RunState::read(host, id) else { return Ok(None) };
    let is_done = |name: &str| state.phase(name).is_some_and(running::PhaseState::is_done);
    let ledger = &saved.ledger;
    let ended = ledger.completed().iter().chain(ledger.skipped());
    let agrees = ended.map(|item| ledger.id(*item)).all(is_done)
        && ledger.queue().iter().all(|item| {
            ledger.state(*item) != ItemState::Failed || state.phase(ledger.id(*item)).is_some()
        });
    Ok(agrees.then_some(saved))
}
