//! The journal's events, one a line.

use std::borrow::Cow;
use std::time::Duration;

use super::{Reporter, print_message};
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

/// The same JSON, with nothing in it that a terminal would obey.
fn escaped(json: &str) -> Cow<'_, str> {
    if !json.contains(|c: char| c.is_control()) {
        return json.into();
    }
    let escape = |c: char| match c.is_control() {
        true => format!("\\u{:04x}", u32::from(c)),
        false => c.to_string(),
    };
    json.chars().map(escape).collect::<String>().into()
}

impl Reporter for Json {
    fn opened(&mut self, opening: &Opening) {
        for event in &opening.events {
            self.event(event);
        }
    }

    fn event(&mut self, event: &JsonText) {
        self.output.raw(format!("{}\n", escaped(event)).as_bytes());
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
            self.output.line(Tone::Hint, &format!("go on with: {}", self.resume));
        }
    }

    fn next_tick(&self) -> Option<Duration> {
        None
    }

    fn tick(&mut self) {}

    fn leave_terminal(&mut self) {}

    fn resumed(&mut self, _: Duration) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_the_json_stays_the_same() {
        let json = "{\"a\":\"\u{9b}31m\u{7f}\"}";
        assert_eq!(escaped(json), "{\"a\":\"\\u009b31m\\u007f\"}");
        let parsed: serde_json::Value = serde_json::from_str(&escaped(json)).unwrap();
        assert_eq!(parsed, serde_json::from_str::<serde_json::Value>(json).unwrap());
        assert_eq!(escaped("{\"a\":\"ü\"}"), "{\"a\":\"ü\"}");
    }
}
