//! The journal's events, one a line.

use std::time::Duration;

use super::{Reporter, print_message, to_go_on};
use crate::engine::batch::{Counts, Json as JsonText, Opening, Summary};
use crate::imports::Level;
use crate::output::{Output, Tone};

/// Events on standard output, messages on standard error.
pub(crate) struct Json {
    output: Output,
    /// The command that goes on after an interruption.
    resume: String,
}

impl Json {
    /// `resume` is the command that goes on after an interruption.
    pub(crate) fn new(output: Output, resume: String) -> Self {
        Json { output, resume }
    }
}

impl Reporter for Json {
    fn opened(&mut self, opening: &Opening) {
        for event in &opening.events {
            self.event(event);
        }
    }

    fn event(&mut self, event: &JsonText) {
        self.output.json(event);
    }

    fn counts(&mut self, _: &Counts) {}

    fn output(&mut self, item: &str, line: &str) {
        self.output.detail(&format!("[{item}] {line}"));
    }

    fn stopping(&mut self, _: i32, _: usize) {}

    fn message(&mut self, level: Level, text: &str) {
        print_message(self.output, level, text);
    }

    fn closed(&mut self, summary: &Summary) {
        if summary.resumable {
            self.output.line(Tone::Hint, &to_go_on(summary, &self.resume));
        }
    }

    fn next_tick(&self) -> Option<Duration> {
        None
    }

    fn tick(&mut self) {}

    fn leave_terminal(&mut self) {}

    fn resumed(&mut self, _: Duration) {}
}
