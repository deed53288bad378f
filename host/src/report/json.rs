//! The journal's events, one a line.

use std::time::Duration;

use serde_json::Value;

use super::{Reporter, print_message, to_go_on};
use crate::engine::batch::{Counts, Json as JsonText, Opening, Summary};
use crate::imports::Level;
use crate::output::{Output, Tone};

/// Events on standard output, messages on standard error. Whoever reads the stream gets one JSON object
/// a line, whatever component is used.
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
        match one_line(event) {
            Some(event) => self.output.json(&event),
            None => {
                let text =
                    "the component handed over an event that is not a JSON object: it is dropped";
                self.output.line(Tone::Warning, text);
            }
        }
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
        if let Some(failures) = failures(summary) {
            self.output.line(Tone::Error, &failures);
        }
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

/// A JSON object on one line, as it was written but for line breaks between its tokens; `None` if the
/// text is anything else.
fn one_line(event: &str) -> Option<String> {
    // Parsed to the end, with every escape: readers may be stricter than a search for braces.
    matches!(serde_json::from_str(event), Ok(Value::Object(_)))
        .then(|| event.trim().replace(['\n', '\r'], " "))
}

/// Why the exit code is not 0, for who reads nothing but standard error.
fn failures(summary: &Summary) -> Option<String> {
    let of = |name: &str, count: usize| (count > 0).then(|| format!("{count} {name}"));
    let counts = [
        of("failed", summary.failed.len()),
        of("blocked", summary.blocked.len()),
        of("invalid", summary.invalid.len()),
    ];
    let counts: Vec<String> = counts.into_iter().flatten().collect();
    let failed = summary.failed.iter().map(|it| (&it.item, &it.error));
    let blocked = summary.blocked.iter().map(|it| (&it.item, &it.reason));
    let invalid = summary.invalid.iter().map(|it| (&it.item, &it.error));
    let (item, why) = failed.chain(blocked).chain(invalid).next()?;
    Some(format!("{}; the first: {item}: {why}", counts.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_object_on_one_line() {
        assert_eq!(
            one_line("{\n\"a\":\r\n 1.50, \"a\\n\": {}}\n").as_deref(),
            Some("{ \"a\":   1.50, \"a\\n\": {}}"),
            "numbers and order are kept"
        );
        for wrong in [
            "",
            "[]",
            "1",
            "{\"a\": 1} {}",
            "{\"a\": 1}\n::error::x",
            "{\"a\": \"\n\"}",
            "{\"a\": \"\\ud800\"}",
            "{",
        ] {
            assert_eq!(one_line(wrong), None, "{wrong:?}");
        }
    }
}
