//! Where progress is shown: below the other lines on a terminal, else as a line now and then.

use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::ended;
use super::words::{time_left, whole};
use crate::ambient;
use crate::engine::batch::Counts;
use crate::output::{Output, Stream, Terminal, Tone, safe};

/// How progress is to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Progress {
    /// `bar` on a terminal that is not CI's, else `plain`
    #[default]
    Auto,
    /// A line per running item and a bar (on a terminal)
    Bar,
    /// A line when something happens, and now and then
    Plain,
    /// Only failures, warnings and the result
    None,
}

/// The bar is drawn anew this often: elapsed times go on.
const FRAME: Duration = Duration::from_millis(250);
/// It is drawn at most so often in a second.
const FRAMES: u8 = 20;
/// After so long without a word a plain line says that the batch is alive.
const HEARTBEAT: Duration = Duration::from_secs(60);
/// So many running items have a line of their own, if the terminal is high enough.
const MOST_LINES: usize = 12;
/// Below so many columns there is no room for a bar.
const NARROW: u16 = 50;

/// An item in hand.
#[derive(Debug, Clone)]
pub(super) struct Live {
    pub item: String,
    pub phase: Option<String>,
    /// `None` if that is not known here.
    pub since: Option<Instant>,
}

/// What there is to show.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    pub live: &'a [Live],
    pub counts: Counts,
    /// How many items have ended since the start.
    pub ended: u32,
    /// How long the batch has run.
    pub elapsed: Duration,
    /// What the batch waits for, if it does.
    pub waiting: Option<&'a str>,
}

/// Where progress is shown.
pub(crate) enum Screen {
    /// Nowhere.
    None,
    /// Between the other lines.
    Plain {
        /// When there was last something to read.
        last: Instant,
    },
    /// Below the other lines.
    Bar(Box<Bar>),
}

/// A batch that is followed from outside, on standard output.
pub(crate) struct Watcher {
    /// `None` where only lines can be shown.
    bar: Option<Bar>,
}

/// An item that an agent works on.
pub(crate) struct Watched {
    pub(crate) item: String,
    pub(crate) title: String,
}

impl Watcher {
    /// For this program's standard output.
    pub(crate) fn new() -> Self {
        Watcher { bar: Stream::Out.terminal().map(|_| Bar::new(Stream::Out)) }
    }

    /// Shows how things are; without a terminal it gives back a line if it differs from `last`.
    pub(crate) fn show(
        &mut self,
        watched: &[Watched],
        counts: Counts,
        last: &mut String,
    ) -> Option<String> {
        let live: Vec<Live> = watched
            .iter()
            .map(|watched| Live {
                item: format!("{}  {}", watched.item, watched.title),
                phase: None,
                since: None,
            })
            .collect();
        let view = View { live: &live, counts, ended: 0, elapsed: Duration::ZERO, waiting: None };
        match &mut self.bar {
            Some(bar) => {
                bar.show(view);
                None
            }
            None => {
                let line = heartbeat(view);
                (line != *last).then(|| last.clone_from(&line)).map(|()| line)
            }
        }
    }

    /// Takes the bar away.
    pub(crate) fn clear(&mut self) {
        if let Some(bar) = &mut self.bar {
            bar.clear();
        }
    }
}

/// The lines below.
pub(crate) struct Bar {
    stream: Stream,
    all: MultiProgress,
    lines: Vec<ProgressBar>,
    total: ProgressBar,
}

impl Screen {
    /// The screen that is asked for, or what this standard error can do of it.
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

    /// True if what happens is told in lines.
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

    /// How long until there is something to show.
    pub(super) fn next_tick(&self) -> Option<Duration> {
        match self {
            Screen::None => None,
            Screen::Plain { last } => Some(HEARTBEAT.saturating_sub(last.elapsed())),
            Screen::Bar(_) => Some(FRAME),
        }
    }

    /// Shows how things are.
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

    /// Takes the bar away.
    pub(super) fn clear(&mut self) {
        if let Screen::Bar(bar) = self {
            bar.clear();
        }
    }

    /// A time that passed while the program was stopped is none without a word.
    pub(super) fn resumed(&mut self, after: Duration) {
        if let Screen::Plain { last } = self {
            *last += after;
        }
    }
}

impl Bar {
    fn new(stream: Stream) -> Self {
        let terminal = Box::new(Terminal::new(stream));
        let target = ProgressDrawTarget::term_like_with_hz(terminal, FRAMES);
        let all = MultiProgress::with_draw_target(target);
        let total = all.add(ProgressBar::new(1));
        Bar { stream, all, lines: Vec::new(), total }
    }

    fn show(&mut self, view: View<'_>) {
        let (columns, rows) = self.stream.terminal().unwrap_or((80, 24));
        let room = usize::from(rows).saturating_sub(3).clamp(1, MOST_LINES);
        let mut texts: Vec<String> = view.live.iter().take(room).map(running).collect();
        if view.live.len() > room {
            // The last line stands for the rest.
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
            // Names come from files: they are shown, not obeyed.
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

    fn clear(&mut self) {
        for line in self.lines.drain(..) {
            self.all.remove(&line);
        }
        // What cannot be cleared any more is not there any more.
        let _ = self.all.clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

/// `001-a  research  12 s`.
fn running(live: &Live) -> String {
    let phase = live.phase.as_ref().map(|phase| format!("  {phase}")).unwrap_or_default();
    let since = live.since.map(|since| format!("  {}", whole(since.elapsed())));
    format!("{}{phase}{}", live.item, since.unwrap_or_default())
}

/// `3/12, 1 failed, 2 running, about 5 min left`.
fn summary(view: View<'_>) -> String {
    let counts = view.counts;
    let mut parts = vec![format!("{}/{}", ended(counts), counts.queued)];
    if counts.failed > 0 {
        parts.push(format!("{} failed", counts.failed));
    }
    match view.waiting {
        Some(waiting) => parts.push(waiting.to_owned()),
        None => {
            parts.push(format!("{} running", view.live.len()));
            if let Some(left) = time_left(view.elapsed, view.ended, counts.left) {
                parts.push(format!("about {} left", whole(left)));
            }
        }
    }
    parts.join(", ")
}

/// One line for everything.
fn heartbeat(view: View<'_>) -> String {
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
        Counts { queued: 12, completed: 3, failed: 1, skipped: 0, in_flight: 4, left: 8 }
    }

    #[test]
    fn a_heartbeat_says_everything_in_one_line() {
        let since = Some(Instant::now() - Duration::from_secs(65));
        let live = |item: &str| Live { item: item.to_owned(), phase: None, since };
        let mut live = vec![live("001-a"), live("002-b"), live("003-c"), live("004-d")];
        live[0].phase = Some("plan".to_owned());
        let view = View {
            live: &live,
            counts: counts(),
            ended: 4,
            elapsed: Duration::from_secs(60),
            waiting: None,
        };
        assert_eq!(
            heartbeat(view),
            "4/12, 1 failed, 4 running, about 2 min 0 s left: 001-a  plan  1 min 5 s; \
             002-b  1 min 5 s; 003-c  1 min 5 s; and 1 more"
        );
        let waiting = View { live: &[], waiting: Some("paused until 03:00"), ..view };
        assert_eq!(heartbeat(waiting), "4/12, 1 failed, paused until 03:00");
    }

    #[test]
    fn any_counts_can_be_shown() {
        let counts = Counts {
            queued: u32::MAX,
            completed: u32::MAX,
            failed: u32::MAX,
            skipped: u32::MAX,
            in_flight: u32::MAX,
            left: u32::MAX,
        };
        let elapsed = Duration::from_secs(60);
        let view = View { live: &[], counts, ended: ended(counts), elapsed, waiting: None };
        assert!(heartbeat(view).starts_with("4294967295/4294967295, 4294967295 failed"));
    }

    #[test]
    fn a_plain_screen_speaks_only_after_a_silence() {
        let mut screen = Screen::Plain { last: Instant::now() - Duration::from_secs(59) };
        assert!(screen.next_tick().unwrap() <= Duration::from_secs(1));
        screen.print(|| {});
        assert!(screen.next_tick().unwrap() > Duration::from_secs(59));
    }
}
