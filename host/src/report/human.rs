//! Lines for a person.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::output::{Output, Tone, counted};
use super::screen::{Live, Screen, View};
use super::words::{clock, from_now, length, whole};
use super::{FollowUp, Reporter, ended, print_message};
use crate::wit::log::Level;
use crate::wit::session::{Counts, Event, EventKind, Opening, Origin, Summary};

/// Number of an agent's last lines that are shown when it fails. Its log has all of them.
const LAST_LINES: usize = 5;

/// Reports in lines, with progress on a screen.
pub(crate) struct Human {
    output: Output,
    screen: Screen,
    follow_up: FollowUp,
    /// The root of the component's instance, relative to the root of the repository.
    root: &'static str,
    started: Instant,
    counts: Counts,
    /// Number of items that had ended before.
    ended_before: u32,
    /// Items whose agents are running.
    live: BTreeMap<String, Live>,
    /// Until when the session is paused.
    paused: Option<String>,
    /// The logs of failed items.
    logs: BTreeMap<String, String>,
    /// Items whose last attempt was interrupted.
    interrupted: BTreeSet<String>,
}

impl Human {
    /// Creates a reporter. Logs are below `root`.
    pub(crate) fn new(
        output: Output,
        screen: Screen,
        follow_up: FollowUp,
        root: &'static str,
    ) -> Self {
        let counts =
            Counts { queued: 0, completed: 0, failed: 0, skipped: 0, in_flight: 0, remaining: 0 };
        Human {
            output,
            screen,
            follow_up,
            root,
            started: Instant::now(),
            counts,
            ended_before: 0,
            live: BTreeMap::new(),
            paused: None,
            logs: BTreeMap::new(),
            interrupted: BTreeSet::new(),
        }
    }

    /// Returns how many items have ended: `[3/12] `.
    fn progress(&self) -> String {
        let counts = self.counts;
        format!("[{}/{}] ", ended(counts), counts.queued)
    }

    /// Prints a line that `--quiet` and `--progress none` leave out.
    fn note(&mut self, tone: Tone, text: &str) {
        if !matches!(self.screen, Screen::None) {
            let output = self.output;
            self.screen.print(|| output.note(tone, text));
        }
    }

    /// Prints a line that is always shown.
    fn line(&mut self, tone: Tone, text: &str) {
        self.lines(tone, &[text]);
    }

    /// Prints a line that is always shown, and further lines below it.
    fn lines(&mut self, tone: Tone, lines: &[impl AsRef<str>]) {
        let output = self.output;
        self.screen.print(|| output.lines(tone, lines));
    }

    fn item_started(&mut self, event: &Event, item: &str) {
        let attempt = event.attempt.unwrap_or(1);
        let again = if attempt > 1 { format!(" (attempt {attempt})") } else { String::new() };
        if self.screen.is_plain() {
            self.note(Tone::Plain, &format!("{}start   {item}{again}", self.progress()));
        }
        let live = Live { item: item.to_owned(), phase: None, since: Some(Instant::now()) };
        self.live.insert(item.to_owned(), live);
        self.interrupted.remove(item);
    }

    fn phase_started(&mut self, event: &Event, item: &str) {
        // The item of a feature run is the phase itself.
        let phase = phase(event).filter(|phase| *phase != item).map(str::to_owned);
        let Some(phase) = phase else { return };
        if self.screen.is_plain() {
            self.note(Tone::Plain, &format!("        {item}: {phase}"));
        }
        if let Some(live) = self.live.get_mut(item) {
            live.phase = Some(phase);
        }
    }

    fn item_completed(&mut self, event: &Event, item: &str) {
        self.live.remove(item);
        let how = match (event.duration, &event.reason) {
            (_, Some(reason)) => reason.clone(),
            (Some(took), None) => length(Duration::from_millis(took)),
            (None, None) => "done".to_owned(),
        };
        self.note(Tone::Good, &format!("{item} ({how})"));
    }

    fn item_failed(&mut self, event: &Event, item: &str) {
        let mut lines = describe_failure(event, item);
        if let Some(log) = &event.log {
            let log = format!("{}/{log}", self.root);
            lines.push(format!("Log: {log}"));
            self.logs.insert(item.to_owned(), log);
        }
        self.live.remove(item);
        self.lines(Tone::Bad, &lines);
    }

    fn item_retrying(&mut self, event: &Event, item: &str) {
        let mut lines = describe_failure(event, item);
        self.live.remove(item);
        lines.push(format!("Retrying in {}", from_now(event.until.unwrap_or_default())));
        self.lines(Tone::Warning, &lines);
    }

    fn item_interrupted(&mut self, item: &str) {
        self.live.remove(item);
        self.interrupted.insert(item.to_owned());
        self.note(Tone::Plain, &format!("interrupted {item}"));
    }

    fn batch_paused(&mut self, event: &Event) {
        let until = event.until.unwrap_or_default();
        let (time, wait) = (clock(until), from_now(until));
        let paused = format!("Paused until {time} ({wait})");
        let reason = event.reason.as_deref().unwrap_or_default();
        match &event.item {
            Some(item) => {
                self.live.remove(item);
                self.lines(Tone::Warning, &[format!("{item}: {reason}"), paused]);
            }
            None if reason.is_empty() => self.line(Tone::Warning, &paused),
            None => self.lines(Tone::Warning, &[reason.to_owned(), paused]),
        }
        self.paused = Some(format!("paused until {time}"));
    }

    fn view(&mut self) {
        let live: Vec<Live> = self.live.values().cloned().collect();
        let view = View {
            live: &live,
            counts: self.counts,
            ended: ended(self.counts).saturating_sub(self.ended_before),
            elapsed: self.started.elapsed(),
            paused: self.paused.as_deref(),
        };
        self.screen.show(view, self.output);
    }

    /// Prints the last lines: the command to continue with comes last.
    fn hint(&self, summary: &Summary) {
        let hint = |text: &str| self.output.line(Tone::Hint, text);
        let FollowUp { resume, retry, .. } = &self.follow_up;
        if !summary.failed.is_empty() {
            match retry {
                Some(retry) if summary.resumable => hint(&format!("Retry failed items: {retry}")),
                _ if summary.resumable => {}
                _ => hint(&format!("Retry failed items: {resume}")),
            }
        }
        if summary.resumable {
            hint(&self.follow_up.continue_with(summary));
        }
    }
}

impl Reporter for Human {
    fn opened(&mut self, opening: &Opening) {
        let counts = opening.counts;
        self.counts = counts;
        self.ended_before = ended(counts);
        let session = &opening.session;
        let text = match opening.origin {
            Origin::Fresh if counts.queued == 0 => None,
            Origin::Fresh => Some(format!(
                "session {session}: {} to do, {} already done",
                counts.remaining, counts.skipped
            )),
            Origin::Resumed | Origin::Rebuilt => Some(format!(
                "resuming session {session}: {} completed, {} failed, {} remaining",
                counts.completed, counts.failed, counts.remaining
            )),
        };
        if let Some(text) = text {
            self.note(Tone::Plain, &text);
        }
        if counts.queued == 0 && counts.skipped == 0 {
            self.note(Tone::Hint, "There are no items. `wreckit-host add TITLE` creates one");
        }
        self.view();
    }

    fn event(&mut self, event: &Event) {
        let item = event.item.as_deref().unwrap_or_default();
        match event.kind {
            EventKind::ItemStarted => self.item_started(event, item),
            EventKind::PhaseStarted => self.phase_started(event, item),
            EventKind::ItemCompleted => self.item_completed(event, item),
            EventKind::ItemFailed => self.item_failed(event, item),
            EventKind::ItemRetrying => self.item_retrying(event, item),
            EventKind::ItemInterrupted => self.item_interrupted(item),
            // Reported with the summary.
            EventKind::ItemBlocked => drop(self.live.remove(item)),
            EventKind::ItemInvalid => {
                let reason = event.reason.as_deref().unwrap_or_default();
                self.line(Tone::Bad, &format!("{item}: {reason}"));
            }
            EventKind::BatchPaused => self.batch_paused(event),
            EventKind::BatchResumed => {
                self.paused = None;
                self.note(Tone::Plain, "Resuming");
            }
            EventKind::BatchStarted
            | EventKind::JournalRecreated
            | EventKind::PhaseCompleted
            | EventKind::Synced
            | EventKind::BatchFinished => {}
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

    fn stopping(&mut self, agents: usize, grace: Duration) {
        let text = match agents {
            0 => "Stopping".to_owned(),
            agents => {
                let them = if agents == 1 { "it" } else { "them" };
                format!(
                    "Stopping {} (up to {}). Press Ctrl-C again to kill {them} now.",
                    counted(agents, "agent"),
                    whole(grace)
                )
            }
        };
        self.line(Tone::Plain, &text);
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
                self.output.result(&format!("  Log: {log}"));
            }
        }
        for blocked in &summary.blocked {
            self.output.result(&format!("blocked  {}: {}", blocked.item, blocked.reason));
        }
        for invalid in &summary.invalid {
            self.output.result(&format!("invalid  {}: {}", invalid.item, invalid.error));
        }
        // Phases are what a person approves.
        let noun = if self.follow_up.review.is_some() { "phase" } else { "item" };
        self.output.result(&totals(summary, noun, self.interrupted.len()));
        self.hint(summary);
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

    fn resumed(&mut self, stopped_for: Duration) {
        self.started += stopped_for;
        for live in self.live.values_mut() {
            live.since = live.since.map(|since| since + stopped_for);
        }
        self.screen.resumed(stopped_for);
    }
}

/// Returns the phase of an event, unless its item has only one.
fn phase(event: &Event) -> Option<&str> {
    event.phase.as_deref().filter(|phase| *phase != "run")
}

/// Returns `001-a (1.5 s): why`, and a line for each of the last ones that the agent printed.
fn describe_failure(event: &Event, item: &str) -> Vec<String> {
    let took = event.duration.map(|took| format!(" ({})", length(Duration::from_millis(took))));
    let phase = phase(event).map(|phase| format!(", {phase}"));
    let reason = event.reason.as_deref().unwrap_or_default();
    let failure =
        format!("{item}{}{}: {reason}", phase.unwrap_or_default(), took.unwrap_or_default());
    let output: Vec<&str> = event.output.as_deref().unwrap_or_default().lines().collect();
    let last = &output[output.len().saturating_sub(LAST_LINES)..];
    std::iter::once(failure).chain(last.iter().map(|line| format!("| {line}"))).collect()
}

/// Returns `2 completed, 1 failed, 3 remaining (1 was interrupted)`.
fn totals(summary: &Summary, noun: &str, interrupted: usize) -> String {
    let remaining = summary.remaining.len();
    let ran = summary.completed.len() + summary.failed.len() + summary.invalid.len() + remaining;
    match (ran, summary.skipped.len()) {
        (0, 1) => return format!("Nothing to do: the {noun} is done"),
        (0, done @ 2..) => return format!("Nothing to do: all {done} {noun}s are done"),
        _ => {}
    }
    let mut parts = vec![format!("{} completed", summary.completed.len())];
    for (count, word) in [
        (summary.failed.len(), "failed"),
        (summary.skipped.len(), "already done"),
        (summary.invalid.len(), "invalid"),
        (remaining, "remaining"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {word}"));
        }
    }
    let mut totals = parts.join(", ");
    // An item that was interrupted remains.
    if interrupted > 0 && remaining > 0 {
        let were = if interrupted == 1 { "was" } else { "were" };
        totals.push_str(&format!(" ({interrupted} {were} interrupted)"));
    }
    totals
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wit::session::FailedItem;

    fn summary(completed: usize, skipped: usize, remaining: usize) -> Summary {
        let items = |count: usize| (0..count).map(|number| format!("00{number}-a")).collect();
        Summary {
            session: String::new(),
            completed: items(completed),
            failed: Vec::new(),
            skipped: items(skipped),
            remaining: items(remaining),
            blocked: Vec::new(),
            invalid: Vec::new(),
            resumable: false,
            awaiting_approval: None,
            events: Vec::new(),
        }
    }

    #[test]
    fn the_totals_leave_out_what_is_zero() {
        assert_eq!(totals(&summary(0, 6, 0), "item", 0), "Nothing to do: all 6 items are done");
        assert_eq!(totals(&summary(0, 1, 0), "phase", 0), "Nothing to do: the phase is done");
        assert_eq!(totals(&summary(0, 0, 0), "item", 0), "0 completed");
        assert_eq!(totals(&summary(6, 0, 0), "item", 0), "6 completed");
        let failed = vec![FailedItem { item: "009-b".to_owned(), error: String::new() }];
        let stopped = Summary { failed, ..summary(2, 1, 3) };
        let expected = "2 completed, 1 failed, 1 already done, 3 remaining (1 was interrupted)";
        assert_eq!(totals(&stopped, "item", 1), expected);
        assert!(totals(&stopped, "item", 2).ends_with("3 remaining (2 were interrupted)"));
    }
}
