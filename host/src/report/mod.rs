//! How a batch tells the user what happens.

mod human;
mod json;
mod screen;
mod words;

pub(crate) use human::Human;
pub(crate) use json::Json;
pub(crate) use screen::{Progress, Screen, Watched, Watcher};

use std::time::Duration;

use crate::engine::batch::{Counts, Json as JsonText, Opening, Summary};
use crate::imports::Level;
use crate::output::{Output, Tone, safe};

/// Is told what happens in a batch.
pub(crate) trait Reporter {
    /// The session was opened.
    fn opened(&mut self, opening: &Opening);
    /// Something was recorded: an event of the journal.
    fn event(&mut self, event: &JsonText);
    /// The state has changed.
    fn counts(&mut self, counts: &Counts);
    /// An agent put out a line; told only if output is to be shown.
    fn output(&mut self, item: &str, line: &str);
    /// A signal stops the batch, so many agents are being ended.
    fn stopping(&mut self, signal: i32, agents: usize);
    /// The component or the host has something to say.
    fn message(&mut self, level: Level, text: &str);
    /// The session was closed.
    fn closed(&mut self, summary: &Summary);
    /// How long until [`Reporter::tick`] has something to show even if nothing happens.
    fn next_tick(&self) -> Option<Duration>;
    /// Time has passed.
    fn tick(&mut self);
    /// The program is about to be stopped for a while, or to end.
    fn leave_terminal(&mut self);
    /// The program was stopped for so long, which does not count.
    fn resumed(&mut self, after: Duration);
}

/// How many items of a session have ended. The component may report any numbers.
fn ended(counts: Counts) -> u32 {
    counts.completed.saturating_add(counts.failed)
}

/// The command that goes on with a session, and what has to happen before.
fn to_go_on(summary: &Summary, resume: &str) -> String {
    match &summary.awaits {
        None => format!("go on with: {resume}"),
        Some(phase) => format!(
            "when a person has approved what `wreckit-host feature resume {}` shows, go on with: {resume} --approve {}",
            safe::word(&summary.session),
            safe::word(phase)
        ),
    }
}

/// Passes a message of the component on.
pub(crate) fn print_message(output: Output, level: Level, text: &str) {
    match level {
        Level::Debug => output.detail(text),
        Level::Info => output.note(Tone::Plain, text),
        Level::Warning => output.line(Tone::Warning, text),
        Level::Error => output.line(Tone::Error, text),
    }
}
