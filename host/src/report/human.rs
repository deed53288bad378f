//! Lines for a person.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::screen::{Live, Screen, View};
use super::words::{from_now, length};
use super::{Reporter, ended, print_message, to_go_on};
use crate::engine::batch::{Counts, Json as JsonText, Opening, Origin, Summary};
use crate::imports::Level;
use crate::output::{Output, Tone};

/// So many of an agent's last lines are shown when it fails; its log has all of them.
const LAST_LINES: usize = 5;

/// An event of one item is shorter than this, in bytes. One of the whole batch may name every item,
/// and there is nothing in it to be told here.
const LONGEST_EVENT: usize = 256 << 10;

/// Tells a person in lines, with progress on a screen.
pub(crate) struct Human {
    output: Output,
    screen: Screen,
    /// The command that goes on after an interruption.
    resume: String,
    /// The root of the component's instance, from the repository's root.
    place: &'static str,
    started: Instant,
    counts: Counts,
    /// How many items had ended before.
    ended_before: u32,
    /// What is in hand.
    live: BTreeMap<String, Live>,
    /// What the batch waits for.
    waiting: Option<String>,
    /// The logs of what failed.
    logs: BTreeMap<String, String>,
}

impl Human {
    /// `resume` is the command that goes on after an interruption; logs are below `place`.
    pub(crate) fn new(output: Output, screen: Screen, resume: String, place: &'static str) -> Self {
        let counts =
            Counts { queued: 0, completed: 0, failed: 0, skipped: 0, in_flight: 0, left: 0 };
        Human {
            output,
            screen,
            resume,
            place,
            started: Instant::now(),
            counts,
            ended_before: 0,
            live: BTreeMap::new(),
            waiting: None,
            logs: BTreeMap::new(),
        }
    }

    /// `[3/12] `: how many have ended.
    fn progress(&self) -> String {
        let counts = self.counts;
        format!("[{}/{}] ", ended(counts), counts.queued)
    }

    /// A line that `--quiet` and `--progress none` leave out.
    fn note(&mut self, tone: Tone, text: &str) {
        if !matches!(self.screen, Screen::None) {
            let output = self.output;
            self.screen.print(|| output.note(tone, text));
        }
    }

    /// A line that is always shown.
    fn line(&mut self, tone: Tone, text: &str) {
        self.lines(tone, &[text]);
    }

    /// The same with further lines below it.
    fn lines(&mut self, tone: Tone, lines: &[impl AsRef<str>]) {
        let output = self.output;
        self.screen.print(|| output.lines(tone, lines));
    }

    fn began(&mut self, event: &Event<'_>) {
        let attempt = event.integer("attempt").unwrap_or(1);
        let again = if attempt > 1 { format!(" (start {attempt})") } else { String::new() };
        if self.screen.is_plain() {
            self.note(Tone::Plain, &format!("{}start   {}{again}", self.progress(), event.item));
        }
        let live = Live { item: event.item.to_owned(), phase: None, since: Some(Instant::now()) };
        self.live.insert(event.item.to_owned(), live);
    }

    fn entered(&mut self, event: &Event<'_>) {
        let phase = event.text("phase").filter(|phase| *phase != "run");
        let Some(phase) = phase.map(str::to_owned) else { return };
        if self.screen.is_plain() {
            self.note(Tone::Plain, &format!("        {}: {phase}", event.item));
        }
        if let Some(live) = self.live.get_mut(event.item) {
            live.phase = Some(phase);
        }
    }

    fn completed(&mut self, event: &Event<'_>) {
        self.live.remove(event.item);
        let how = match (event.duration(), event.text("reason")) {
            (_, Some(reason)) => reason.to_owned(),
            (Some(took), None) => length(took),
            (None, None) => "done".to_owned(),
        };
        self.note(Tone::Good, &format!("{} ({how})", event.item));
    }

    fn failed(&mut self, event: &Event<'_>) {
        let mut lines = self.describe_failure(event);
        if let Some(log) = event.text("log") {
            let log = format!("{}/{log}", self.place);
            lines.push(format!("its output: {log}"));
            self.logs.insert(event.item.to_owned(), log);
        }
        self.live.remove(event.item);
        self.lines(Tone::Bad, &lines);
    }

    fn retried(&mut self, event: &Event<'_>) {
        let mut lines = self.describe_failure(event);
        self.live.remove(event.item);
        let wait = from_now(event.text("until").unwrap_or_default());
        lines.push(format!("it is tried again in {wait}"));
        self.lines(Tone::Warning, &lines);
    }

    /// `001-a (1.5 s): why`, and a line for each of the last ones that the agent wrote.
    fn describe_failure(&self, event: &Event<'_>) -> Vec<String> {
        let took = event.duration().map(|took| format!(" ({})", length(took)));
        let phase = event.text("phase").map(|phase| format!(", {phase}"));
        let error = event.text("error").unwrap_or_default();
        let failure = format!(
            "{}{}{}: {error}",
            event.item,
            phase.unwrap_or_default(),
            took.unwrap_or_default()
        );
        let output: Vec<&str> = event.text("output").unwrap_or_default().lines().collect();
        let last = &output[output.len().saturating_sub(LAST_LINES)..];
        std::iter::once(failure).chain(last.iter().map(|line| format!("| {line}"))).collect()
    }

    fn paused(&mut self, event: &Event<'_>) {
        self.live.remove(event.item);
        let reason = event.text("reason").unwrap_or_default();
        let until = event.text("until").unwrap_or_default();
        self.line(
            Tone::Warning,
            &format!(
                "{}: {reason}; nothing more starts until {until}, in {}",
                event.item,
                from_now(until)
            ),
        );
        self.waiting = Some(format!("paused until {until}"));
    }

    fn view(&mut self) {
        let live: Vec<Live> = self.live.values().cloned().collect();
        let view = View {
            live: &live,
            counts: self.counts,
            ended: ended(self.counts).saturating_sub(self.ended_before),
            elapsed: self.started.elapsed(),
            waiting: self.waiting.as_deref(),
        };
        self.screen.show(view, self.output);
    }
}

/// An event of one item, as the journal has it.
struct Event<'e> {
    item: &'e str,
    event: &'e Value,
}

impl Event<'_> {
    fn text(&self, key: &str) -> Option<&str> {
        self.event.get(key)?.as_str()
    }

    fn integer(&self, key: &str) -> Option<u64> {
        self.event.get(key)?.as_u64()
    }

    fn duration(&self) -> Option<Duration> {
        self.integer("duration_ms").map(Duration::from_millis)
    }
}

impl Reporter for Human {
    fn opened(&mut self, opening: &Opening) {
        let counts = opening.counts;
        self.counts = counts;
        self.ended_before = ended(counts);
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
        self.note(Tone::Plain, &text);
        if counts.queued == 0 && counts.skipped == 0 {
            self.note(Tone::Hint, "there are no items: `wreckit-host add TITLE` makes one");
        }
        self.view();
    }

    fn event(&mut self, event: &JsonText) {
        if event.len() > LONGEST_EVENT {
            return;
        }
        let Ok(event) = serde_json::from_str::<Value>(event) else { return };
        let text = |key: &str| event.get(key).and_then(Value::as_str).unwrap_or_default();
        let of_item = Event { item: text("item"), event: &event };
        match text("event") {
            "item-started" => self.began(&of_item),
            "phase-started" => self.entered(&of_item),
            "item-completed" => self.completed(&of_item),
            "item-failed" => self.failed(&of_item),
            "item-retrying" => self.retried(&of_item),
            // Told with the summary.
            "item-blocked" => drop(self.live.remove(of_item.item)),
            "item-interrupted" => {
                self.live.remove(of_item.item);
                self.note(Tone::Plain, &format!("interrupted {}", of_item.item));
            }
            "item-invalid" => {
                self.line(Tone::Bad, &format!("{}: {}", of_item.item, text("error")));
            }
            "batch-paused" => self.paused(&of_item),
            "batch-resumed" => {
                self.waiting = None;
                self.note(Tone::Plain, "the batch goes on");
            }
            _ => {}
        }
    }

    fn counts(&mut self, counts: &Counts) {
        self.counts = *counts;
        if !self.screen.is_plain() {
            self.view();
        }
    }

    fn output(&mut self, item: &str, line: &str) {
        self.line(Tone::Plain, &format!("[{item}] {line}"));
    }

    fn stopping(&mut self, signal: i32, agents: usize) {
        let name = signal_hook::low_level::signal_name(signal).unwrap_or("signal");
        self.line(
            Tone::Plain,
            &format!("{name}: stopping, {agents} running (once more: end them at once)"),
        );
    }

    fn message(&mut self, level: Level, text: &str) {
        let output = self.output;
        self.screen.print(|| print_message(output, level, text));
    }

    fn closed(&mut self, summary: &Summary) {
        self.screen.clear();
        for failed in &summary.failed {
            self.output.result(&format!("failed   {}: {}", failed.item, failed.error));
            if let Some(log) = self.logs.get(&failed.item) {
                self.output.result(&format!("  its output: {log}"));
            }
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
        // The last line says how to go on.
        if summary.resumable {
            if !summary.failed.is_empty() {
                self.output.line(Tone::Hint, "with --retry-failed, what failed runs again");
            }
            self.output.line(Tone::Hint, &to_go_on(summary, &self.resume));
        } else if !summary.failed.is_empty() {
            let text = format!("try what failed again with: {}", self.resume);
            self.output.line(Tone::Hint, &text);
        }
    }

    fn next_tick(&self) -> Option<Duration> {
        self.screen.next_tick()
    }

    fn tick(&mut self) {
        self.view();
    }

    fn leave_terminal(&mut self) {
        self.screen.clear();
    }

    fn resumed(&mut self, after: Duration) {
        self.started += after;
        for live in self.live.values_mut() {
            live.since = live.since.map(|since| since + after);
        }
        self.screen.resumed(after);
    }
}
