//! How a session tells the user what happens.

mod human;
mod json;
pub(crate) mod output;
mod screen;
mod watch;
mod words;

pub(crate) use human::Human;
pub(crate) use json::Json;
pub(crate) use output::counted;
pub(crate) use screen::{Progress, Screen};
pub(crate) use watch::{Watched, Watcher};
pub(crate) use words::storage_failure;

use std::time::Duration;

use self::output::{Output, Tone, safe};
use crate::wit::log::Level;
use crate::wit::session::{Counts, Event, Opening, Summary};

/// Receives what happens in a session.
pub(crate) trait Reporter {
    /// The session was opened.
    fn opened(&mut self, opening: &Opening);
    /// An event was recorded in the journal.
    fn event(&mut self, event: &Event);
    /// The state has changed.
    fn counts(&mut self, counts: &Counts);
    /// An agent printed a line. Called only if the output of agents is shown.
    fn output(&mut self, item: &str, line: &str);
    /// A signal stops the session: this many agents have this long to end.
    fn stopping(&mut self, agents: usize, grace: Duration);
    /// The component or the host has a message.
    fn message(&mut self, level: Level, text: &str);
    /// The session was closed.
    fn closed(&mut self, summary: &Summary);
    /// Returns how long until [`Reporter::tick`] has something to show even if nothing happens.
    fn next_tick(&self) -> Option<Duration>;
    /// Time has passed.
    fn tick(&mut self);
    /// This process is about to be stopped, or to end.
    fn leave_terminal(&mut self);
    /// This process was stopped for this long, which does not count.
    fn resumed(&mut self, stopped_for: Duration);
}

/// The commands that a reporter names after a session.
pub(crate) struct FollowUp {
    /// Continues an interrupted session.
    pub(crate) resume: String,
    /// Runs failed items again, where that is a command of its own.
    pub(crate) retry: Option<String>,
    /// Shows what a person is to approve, where phases need approval.
    pub(crate) review: Option<String>,
}

impl FollowUp {
    /// Says how to continue a session.
    fn continue_with(&self, summary: &Summary) -> String {
        let FollowUp { resume, review, .. } = self;
        match (&summary.awaiting_approval, review) {
            (None, _) => format!("Continue with: {resume}"),
            (Some(phase), None) => {
                format!("Continue with: {resume} --approve {}", safe::word(phase))
            }
            (Some(phase), Some(review)) => format!(
                "{phase} is waiting for your approval. Read `{review}`, then continue with: {resume} --approve {}",
                safe::word(phase)
            ),
        }
    }
}

/// Returns how many items of a session have ended. A component may report any numbers.
fn ended(counts: Counts) -> u32 {
    counts.completed.saturating_add(counts.failed)
}

/// Prints a message of the component.
pub(crate) fn print_message(output: Output, level: Level, text: &str) {
    match level {
        Level::Debug => output.detail(text),
        Level::Info => output.note(Tone::Plain, text),
        Level::Warning => output.line(Tone::Warning, text),
        Level::Error => output.line(Tone::Error, text),
    }
}
