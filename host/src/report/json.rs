//! The journal's events, one per line.

use std::time::Duration;

use serde_json::Value;

use super::output::{Output, Tone};
use super::{FollowUp, Reporter, print_message};
use crate::wit::log::Level;
use crate::wit::session::{Counts, Event, Opening, Summary};

/// Reports events on standard output and messages on standard error. Whatever component is used, each line of
/// the stream is one JSON object.
pub(crate) struct Json {
    output: Output,
    follow_up: FollowUp,
}

impl Json {
    /// Creates a reporter.
    pub(crate) fn new(output: Output, follow_up: FollowUp) -> Self {
        Json { output, follow_up }
    }
}

impl Reporter for Json {
    fn opened(&mut self, opening: &Opening) {
        for event in &opening.events {
            self.event(event);
        }
    }

    fn event(&mut self, event: &Event) {
        match one_line(&event.line) {
            Some(line) => self.output.json(&line),
            None => {
                let text = "dropped an event of the component that is not a JSON object";
                self.output.line(Tone::Warning, text);
            }
        }
    }

    fn counts(&mut self, _: &Counts) {}

    fn output(&mut self, item: &str, line: &str) {
        self.output.detail(&format!("[{item}] {line}"));
    }

    fn stopping(&mut self, _: usize, _: Duration) {}

    fn message(&mut self, level: Level, text: &str) {
        print_message(self.output, level, text);
    }

    fn closed(&mut self, summary: &Summary) {
        if let Some(failures) = failures(summary) {
            self.output.line(Tone::Error, &failures);
        }
        if summary.resumable {
            let text = self.follow_up.continue_with(summary);
            self.output.line(Tone::Hint, &text);
        }
    }

    fn next_tick(&self) -> Option<Duration> {
        None
    }

    fn tick(&mut self) {}

    fn leave_terminal(&mut self) {}

    fn resumed(&mut self, _: Duration) {}
}

/// Returns a JSON object on one line, unchanged except for line breaks between its tokens; `None` for any
/// other text.
fn one_line(event: &str) -> Option<String> {
    // Parsed completely, with every escape: a search for braces would not be enough for strict readers.
    matches!(serde_json::from_str(event), Ok(Value::Object(_)))
        .then(|| event.trim().replace(['\n', '\r'], " "))
}

/// Returns why the exit code is not 0, for a reader of standard error only.
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
