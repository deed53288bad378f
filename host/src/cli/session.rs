//! Opening a session and running it to its end, for `run`, `next` and `feature run`.

use std::time::Duration;

use super::Context;
use super::error::{Error, Root};
use crate::engine::{ComponentError, Instance};
use crate::exit_code::ExitCode;
use crate::report::output::{self, Tone};
use crate::run::{self, Request, Session, Signals, Stop, Transient, suspend_this_process};
use crate::wit::session::{Opening, Summary};

/// How long a reader has in any case to read the rest of the output.
const LAST_READING: Duration = Duration::from_secs(1);

/// Handles signals from now on, before the lock is taken: one at any later moment stops the session. From now
/// on, no slow reader of the output delays it.
pub(super) fn handle_signals(instance: &mut Instance) -> Result<Signals, Error> {
    output::start_writer();
    let signals = Signals::new().map_err(Error::unexpected("cannot handle signals"))?;
    instance.interrupt_on(signals.interrupt());
    Ok(signals)
}

/// Opens a session. Returns the exit code if a signal came first.
pub(super) fn open<E: Transient>(
    instance: &mut Instance,
    signals: &mut Signals,
    context: &Context,
    open: impl FnMut(&mut Instance) -> Result<Result<Opening, E>, ComponentError>,
) -> Result<Result<Opening, ExitCode>, Error>
where
    Error: From<E>,
{
    match context.call_retrying(instance, Some(&mut *signals), open) {
        Err(Error::Component(ComponentError::Interrupted)) => {
            context.output.line(Tone::Warning, "stopped by a signal; nothing was started");
            Ok(Err(match signals.take() {
                Some(Request::Stop(signal)) => ExitCode::Signal(signal),
                Some(Request::Suspend) | None => ExitCode::Component,
            }))
        }
        opened => Ok(Ok(opened??)),
    }
}

/// Runs an open session to its end and reports the result.
pub(super) fn drive(session: Session<'_>, root: Root) -> Result<ExitCode, Error> {
    let Session { instance, workspace, parallel, signals, reporter } = session;
    let (summary, stop) = run::run(Session {
        instance,
        workspace,
        parallel,
        signals: &mut *signals,
        reporter: &mut *reporter,
    });
    if let Some(summary) = &summary {
        reporter.closed(summary);
    }
    if let Some(signal) = finish_output(signals) {
        return Ok(signal);
    }
    match (stop, summary) {
        (Some(Stop::Component(error)), _) => Err(Error::Aborted(error)),
        (Some(Stop::Storage(failure)), _) => Err(Error::Storage(root, failure)),
        (Some(Stop::Signal(signal)), _) => Ok(ExitCode::Signal(signal)),
        (None, Some(summary)) => Ok(exit_code(&summary)),
        (None, None) => Ok(ExitCode::Failure),
    }
}

/// Waits until the output is read. A signal that comes now, or came while the session was closed, ends the
/// wait, but does not cut a reader short: then its exit code is returned.
fn finish_output(signals: &mut Signals) -> Option<ExitCode> {
    output::flush(LAST_READING);
    let mut code = None;
    output::finish(|| match signals.take() {
        None => false,
        Some(Request::Suspend) => {
            suspend_this_process();
            false
        }
        Some(Request::Stop(signal)) => {
            code = Some(ExitCode::Signal(signal));
            true
        }
    });
    code
}

fn exit_code(summary: &Summary) -> ExitCode {
    let succeeded =
        summary.failed.is_empty() && summary.blocked.is_empty() && summary.invalid.is_empty();
    if succeeded { ExitCode::Success } else { ExitCode::Failure }
}
