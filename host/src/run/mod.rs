//! A session: the component decides; this module starts and ends agents, waits, and tells the reporter.
//!
//! One thread owns everything. It waits for the next event (output, the exit of an agent, a signal, a
//! deadline), reports it to the component, and does what the component answers.

mod call;
mod check;
mod dispatcher;
mod launch;
mod retry;
mod signals;

pub(crate) use dispatcher::{Session, Stop, run};
pub(crate) use launch::{AgentError, Workspace, check_component, find_program};
pub(crate) use retry::{Transient, retry_while_busy};
pub(crate) use signals::{Request, Signals, survive_file_size_limit, suspend_this_process};
