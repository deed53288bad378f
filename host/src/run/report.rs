//! How a batch tells the user what happens.

use std::time::Duration;

use crate::engine::batch::{
    Attempt, Counts, Ended, Json as JsonText, Opening, Origin, Outcome, Summary,
};
use crate::imports::Level;
use crate::output::{Output, Tone};
use crate::repository::STATE;

/// Is told what happens in a batch.
pub(crate) trait Reporter {
    /// The session was opened.
    fn opened(&mut self, opening: &Opening);
    /// Something was recorded.
    fn event(&mut self, event: &JsonText);
    /// The state has changed.
    fn counts(&mut self, counts: &Counts);
    /// An agent is being started.
    fn started(&mut self, attempt: &Attempt);
    /// An agent ended; its output is in `log`, if there was any.
    fn ended(&mut self, ended: &Ended, log: Option<&str>);
    /// A signal stops the batch, so many agents are being ended.
    fn stopping(&mut self, signal: i32, agents: usize);
    /// The component or the host has something to say.
    fn message(&mut self, level: Level, text: &str);
    /// The session was closed.
    fn closed(&mut self, summary: &Summary);
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

/// Lines for a person.
pub(crate) struct Human {
    output: Output,
    counts: Option<Counts>,
    /// The logs of what failed.
    logs: Vec<(String, String)>,
    /// The command that goes on after an interruption.
    resume: String,
}

impl Human {
    /// `resume` is the command that goes on after an interruption.
    pub(crate) fn new(output: Output, resume: String) -> Self {
        Human { output, counts: None, logs: Vec::new(), resume }
    }

    /// `[3/12]`: how many have ended.
    fn progress(&self) -> String {
        let Some(counts) = self.counts else { return String::new() };
        format!("[{}/{}] ", counts.completed + counts.failed, counts.queued)
    }
}

impl Reporter for Human {
    fn opened(&mut self, opening: &Opening) {
        let counts = opening.counts;
        self.counts = Some(counts);
        let session = &opening.session;
        let text = match opening.origin {
            Origin::Fresh => {
                format!("session {session}: {} to do, {} done before", counts.left, counts.skipped)
            }
            Origin::Resumed | Origin::Rebuilt => format!(
                "resuming session {session}: {} completed, {} failed, {} left",
                counts.completed, counts.failed, counts.left
            ),
        };
        self.output.note(Tone::Plain, &text);
        if counts.queued + counts.skipped == 0 {
            self.output.note(Tone::Hint, "there are no items: `wreckit-host add TITLE` makes one");
        }
    }

    fn event(&mut self, _: &JsonText) {}

    fn counts(&mut self, counts: &Counts) {
        self.counts = Some(*counts);
    }

    fn started(&mut self, attempt: &Attempt) {
        let again =
            if attempt.number > 1 { format!(" (start {})", attempt.number) } else { String::new() };
        self.output
            .note(Tone::Plain, &format!("{}start   {}{again}", self.progress(), attempt.item));
    }

    fn ended(&mut self, ended: &Ended, log: Option<&str>) {
        let took = seconds(ended.duration);
        let item = &ended.item;
        match &ended.outcome {
            Outcome::Completed => self.output.note(Tone::Good, &format!("{item} ({took})")),
            Outcome::Failed(error) => {
                let log = log.map(|log| format!("{STATE}/{log}"));
                let shown =
                    log.as_ref().map(|log| format!("\nits output: {log}")).unwrap_or_default();
                self.output.line(Tone::Bad, &format!("{item} ({took}): {error}{shown}"));
                self.logs.extend(log.map(|log| (item.clone(), log)));
            }
            Outcome::Interrupted => {
                self.output.note(Tone::Plain, &format!("interrupted {item} ({took})"));
            }
            Outcome::Paused(reason) => {
                self.output.line(
                    Tone::Warning,
                    &format!("{item}: {reason}; the batch waits before it goes on"),
                );
            }
        }
    }

    fn stopping(&mut self, signal: i32, agents: usize) {
        let name = signal_hook::low_level::signal_name(signal).unwrap_or("signal");
        self.output.line(
            Tone::Plain,
            &format!("{name}: stopping, {agents} running (once more: end them at once)"),
        );
    }

    fn message(&mut self, level: Level, text: &str) {
        print_message(self.output, level, text);
    }

    fn closed(&mut self, summary: &Summary) {
        for failed in &summary.failed {
            let log = self.logs.iter().rfind(|(item, _)| *item == failed.item);
            let log = log.map(|(_, log)| format!("\n  its output: {log}")).unwrap_or_default();
            self.output.result(&format!("failed   {}: {}{log}", failed.item, failed.error));
        }
        for blocked in &summary.blocked {
            self.output.result(&format!("blocked  {}: {}", blocked.item, blocked.reason));
        }
        for invalid in &summary.invalid {
            self.output.result(&format!("invalid  {}: {}", invalid.item, invalid.error));
        }
        let mut parts = vec![format!("{} completed", summary.completed.len())];
        for (count, word) in [
            (summary.failed.len(), "failed"),
            (summary.skipped.len(), "done before"),
            (summary.invalid.len(), "invalid"),
            (summary.remaining.len(), "left"),
        ] {
            if count > 0 {
                parts.push(format!("{count} {word}"));
            }
        }
        self.output.result(&parts.join(", "));
        if summary.resumable {
            self.output.line(Tone::Hint, &format!("go on with: {}", self.resume));
        }
        if summary.resumable && !summary.failed.is_empty() {
            self.output.line(Tone::Hint, "with --retry-failed, what failed runs again");
        }
    }
}

fn seconds(milliseconds: u64) -> String {
    let duration = Duration::from_millis(milliseconds);
    match duration.as_secs() {
        0..60 => format!("{:.1} s", duration.as_secs_f64()),
        seconds @ 60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// The journal's events, one a line.
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

    fn started(&mut self, _: &Attempt) {}

    fn ended(&mut self, _: &Ended, _: Option<&str>) {}

    fn stopping(&mut self, _: i32, _: usize) {}

    fn message(&mut self, level: Level, text: &str) {
        print_message(self.output, level, text);
    }

    fn closed(&mut self, _: &Summary) {}
}
