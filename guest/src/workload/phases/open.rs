//! Opening a session over the phases of a feature.

use super::Phases;
use super::words;
use crate::agents::{Agent, PromptSet};
use crate::backup;
use crate::bindings::exports::wreckit::batch::batch::{OpenError, Options};
use crate::bindings::exports::wreckit::batch::feature::Field;
use crate::bindings::exports::wreckit::batch::session::{Opening, Origin};
use crate::feature::running::RunState;
use crate::feature::{FeatureError, locked, refuse_aborted, resolve};
use crate::formats::config::Source;
use crate::io::capabilities::{Level, ProcessInfo};
use crate::io::host::{Failure, Host};
use crate::io::lock::{self, Work};
use crate::session::leftovers::{self, Termination};
use crate::session::ledger::ItemState;
use crate::session::open::end_leftovers;
use crate::session::resume;
use crate::session::running::{Limits, Session};
use crate::session::runs;
use crate::session::saved::Saved;
use crate::session::start::Start;

/// How to run a feature.
#[derive(Debug, Clone, PartialEq)]
pub struct RunOptions {
    /// The options of the session.
    pub session: Options,
    /// The name of the agent: recorded for a phase that does not say which agents it used.
    pub agent_name: String,
    /// The phases that a person has approved.
    pub approve: Vec<String>,
    /// True if a person has approved all phases.
    pub approve_all: bool,
    /// The absolute path of the worktree, as agents see it.
    pub worktree: Option<String>,
    /// The configuration files of the repository, by name.
    pub configuration: Vec<Field>,
}
