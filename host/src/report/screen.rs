//! Where progress is shown: below the other lines on a terminal, otherwise as a line from time to time.

use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::ended;
use super::output::{Output, Stream, Terminal, Tone, safe};
use super::words::{time_left, whole};
use crate::ambient;
use crate::wit::session::Counts;

/// How to show progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Progress {
    /// `bar` on a terminal outside of CI, otherwise `plain`
    #[default]
    Auto,
    /// A line per running item and a bar (on a terminal)
    Bar,
    /// A line when something happens, and from time to time
    Plain,
    /// Only failures, warnings and the result
    None,
}

/// How often the bar is redrawn: elapsed times change.
const FRAME: Duration = Duration::from_millis(250);
/// Maximum number of redraws per second.
const FRAMES: u8 = 20;
/// After this much time without a line, one shows that the batch is alive.
const HEARTBEAT: Duration = Duration::from_secs(60);
/// Maximum number of running items with a line of their own, if the terminal is high enough.
const MOST_LINES: usize = 12;
/// Minimum number of columns for a bar.
const NARROW: u16 = 50;

/// An item whose agent is running.
#[derive(Debug, Clone)]
pub(super) struct Live {
    pub item: String,
    pub phase: Option<String>,
    /// `None` if that is not known.
    pub since: Option<Instant>,
}

/// The state to show.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    pub live: &'a [Live],
    pub counts: Counts,
    /// Number of items that have ended since the start.
    pub ended: u32,
    /// How long the session has been running.
    pub elapsed: Duration,
    /// Until when the session is paused.
    pub paused: Option<&'a str>,
}

/// Where progress is shown.
pub(crate) enum Screen {
    /// Nowhere.
    None,
    /// Between the other lines.
    Plain {
        /// When a line was last printed.
        last: Instant,
    },
    /// Below the other lines.
    Bar(Box<Bar>),
}

/// The lines below the others.
pub(crate) struct Bar {
    stream: Stream,
    all: MultiProgress,
    lines: Vec<ProgressBar>,
    total: ProgressBar,
}

impl Screen {
    /// Creates the screen that was asked for, as far as standard error permits.
    pub(crate) fn new(progress: Progress, output: Output) -> Self {
        let is_set = |name: &str| ambient::variable(name).is_some();
        let can_draw = Stream::Err.terminal().is_some();
        let bar = match progress {
            _ if output.quiet => return Screen::None,
            Progress::None => return Screen::None,
            Progress::Plain => false,
            Progress::Bar => can_draw,
            Progress::Auto => can_draw && !is_set("CI"),
        };
        match bar {
            true => Screen::Bar(Box::new(Bar::new(Stream::Err))),
            false => Screen::Plain { last: Instant::now() },
        }
    }

    /// Whether events are reported in lines.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self, Screen::Plain { .. })
    }

    /// Prints something among the other lines.
    pub(super) fn print(&mut self, print: impl FnOnce()) {
        match self {
            Screen::None => print(),
            Screen::Plain { last } => {
                *last = Instant::now();
                print();
            }
            Screen::Bar(bar) => bar.all.suspend(print),
        }
    }

    /// Returns how long until there is something to show.
    pub(super) fn next_tick(&self) -> Option<Duration> {
        match self {
            Screen::None => None,
            Screen::Plain { last } => Some(HEARTBEAT.saturating_sub(last.elapsed())),
            Screen::Bar(_) => Some(FRAME),
        }
    }

    /// Shows the state.
    pub(super) fn show(&mut self, view: View<'_>, output: Output) {
        match self {
            Screen::None => {}
            Screen::Plain { last } => {
                if last.elapsed() >= HEARTBEAT {
                    *last = Instant::now();
                    output.note(Tone::Plain, &heartbeat(view));
                }
            }
            Screen::Bar(bar) => bar.show(view),
        }
    }

    /// Removes the bar.
    pub(super) fn clear(&mut self) {
        if let Screen::Bar(bar) = self {
            bar.clear();
        }
    }

    /// Leaves out the time that this process was stopped for.
    pub(super) fn resumed(&mut self, stopped_for: Duration) {
        if let Screen::Plain { last } = self {
            *last += stopped_for;
        }
    }
}

impl Bar {
    pub(super) fn new(stream: Stream) -> Self {
        let terminal = Box::new(Terminal::new(stream));
        let target = ProgressDrawTarget::term_like_with_hz(terminal, FRAMES);
        let all = MultiProgress::with_draw_target(target);
        let total = all.add(ProgressBar::new(1));
        Bar { stream, all, lines: Vec::new(), total }
    }

    pub(super) fn show(&mut self, view: View<'_>) {
        let (columns, rows) = self.stream.terminal().unwrap_or((80, 24));
        let room = usize::from(rows).saturating_sub(3).clamp(1, MOST_LINES);
        let mut texts: Vec<String> = view.live.iter().take(room).map(running).collect();
        if view.live.len() > room {
            // The last line counts the rest.
            let more = view.live.len() - room + 1;
            texts.truncate(room - 1);
            texts.push(format!("… and {more} more"));
        }
        while self.lines.len() > texts.len() {
            if let Some(line) = self.lines.pop() {
                line.finish_and_clear();
                self.all.remove(&line);
            }
        }
        while self.lines.len() < texts.len() {
            let line = ProgressBar::new_spinner().with_style(style("  {wide_msg}"));
            self.lines.push(self.all.insert_before(&self.total, line));
        }
        for (line, text) in self.lines.iter().zip(texts) {
            // Names come from files, and may contain control characters.
            line.set_message(safe::line(&text).into_owned());
        }
        let template = if columns < NARROW { "{wide_msg}" } else { "[{bar:20}] {wide_msg}" };
        let counts = view.counts;
        self.total.set_style(style(template));
        self.total.set_length(u64::from(counts.queued.max(1)));
        self.total.set_position(u64::from(ended(counts)));
        self.total.set_message(safe::line(&summary(view)).into_owned());
        self.total.tick();
    }

    pub(super) fn clear(&mut self) {
        for line in self.lines.drain(..) {
            self.all.remove(&line);
        }
        // If it cannot be cleared, the terminal is gone.
        let _ = self.all.clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

/// Returns `001-a  research  12 s`.
fn running(live: &Live) -> String {
    let phase = live.phase.as_ref().map(|phase| format!("  {phase}")).unwrap_or_default();
    let since = live.since.map(|since| format!("  {}", whole(since.elapsed())));
    format!("{}{phase}{}", live.item, since.unwrap_or_default())
}

/// Returns `3/12, 1 failed, 2 running, about 5 min left`.
fn summary(view: View<'_>) -> String {
    let counts = view.counts;
    let mut parts = vec![format!("{}/{}", ended(counts), counts.queued)];
    if counts.failed > 0 {
        parts.push(format!("{} failed", counts.failed));
    }
    match view.paused {
        Some(paused) => parts.push(paused.to_owned()),
        None => {
            parts.push(format!("{} running", view.live.len()));
            if let Some(left) = time_left(view.elapsed, view.ended, counts.remaining) {
                parts.push(format!("about {} left", whole(left)));
            }
        }
    }
    parts.join(", ")
}

/// Returns the state in one line.
pub(super) fn heartbeat(view: View<'_>) -> String {
    let named: Vec<String> = view.live.iter().take(3).map(running).collect();
    let more = view.live.len().saturating_sub(named.len());
    let mut line = summary(view);
    if !named.is_empty() {
        line = format!("{line}: {}", named.join("; "));
    }
    if more > 0 {
        line = format!("{line}; and {more} more");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts() -> Counts {
        Counts { queued: 12, completed: 3, failed: 1, skipped: 0, in_flight: 4, remaining: 8 }
    }

    #[test]
    fn a_heartbeat_shows_everything_in_one_line() {
        let since = Some(Instant::now() - Duration::from_secs(65));
        let live = |item: &str| Live { item: item.to_owned(), phase: None, since };
        let mut live = vec![live("001-a"), live("002-b"), live("003-c"), live("004-d")];
        live[0].phase = Some("plan".to_owned());
        let view = View {
            live: &live,
            counts: counts(),
            ended: 4,
            elapsed: Duration::from_secs(60),
            paused: None,
        };
        assert_eq!(
            heartbeat(view),
            "4/12, 1 failed, 4 running, about 2 min left: 001-a  plan  1 min 5 s; \
             002-b  1 min 5 s; 003-c  1 min 5 s; and 1 more"
        );
        let paused = View { live: &[], paused: Some("paused until 03:00"), ..view };
        assert_eq!(heartbeat(paused), "4/12, 1 failed, paused until 03:00");
    }

    #[test]
    fn any_counts_can_be_shown() {
        let counts = Counts {
            queued: u32::MAX,
            completed: u32::MAX,
            failed: u32::MAX,
            skipped: u32::MAX,
            in_flight: u32::MAX,
            remaining: u32::MAX,
        };
        let elapsed = Duration::from_secs(60);
        let view = View { live: &[], counts, ended: ended(counts), elapsed, paused: None };
        assert!(heartbeat(view).starts_with("4294967295/4294967295, 4294967295 failed"));
    }

    #[test]
    fn a_plain_screen_prints_only_after_a_silence() {
        let mut screen = Screen::Plain { last: Instant::now() - Duration::from_secs(59) };
        assert!(screen.next_tick().unwrap() <= Duration::from_secs(1));
        screen.print(|| {});
        assert!(screen.next_tick().unwrap() > Duration::from_secs(59));
    }
}
