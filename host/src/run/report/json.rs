//! The journal's events, one a line.

use std::time::Duration;

use super::{Reporter, print_message};
use crate::engine::batch::{Counts, Json as JsonText, Opening, Summary};
use crate::imports::Level;
use crate::output::Output;

/// Events on standard output, messages on standard error.
pub(crate) struct Json {
    output: Output,
}

impl Json {
    pub(crate) fn new(output: Output) -> Self {
        Json { output }
    }
}

impl Reporter for Json {
    fn opened(&mut self, opening: &Opening) {
        for event in &opening.events {
            self.event(event);
        }
    }

    fn event(&mut self, event: &JsonText) {
        self.output.raw(format!("{event}\n").as_bytes());
    }

    fn counts(&mut self, _: &Counts) {}

    fn output(&mut self, item: &str, line: &str) {
        self.output.detail(&format!("[{item}] {line}"));
    }

    fn stopping(&mut self, _: i32, _: usize) {}

    fn message(&mut self, level: Level, text: &str) {
        print_message(self.output, level, text);
    }

    fn closed(&mut self, _: &Summary) {}

    fn next_tick(&self) -> Option<Duration> {
        None
    }

    fn tick(&mut self) {}

    fn leave_terminal(&mut self) {}

    fn resumed(&mut self, _: Duration) {}
}
