//! A session that another process runs, on standard output.

use std::time::Duration;

use super::output::Stream;
use super::screen::{Bar, Live, View, heartbeat};
use crate::wit::session::Counts;

/// Shows a session that another process runs.
pub(crate) struct Watcher {
    /// `None` where only lines can be shown.
    bar: Option<Bar>,
}

/// An item whose agent is running.
pub(crate) struct Watched {
    pub(crate) item: String,
    pub(crate) title: String,
}

impl Watcher {
    /// Creates a watcher on standard output.
    pub(crate) fn new() -> Self {
        Watcher { bar: Stream::Out.terminal().map(|_| Bar::new(Stream::Out)) }
    }

    /// Shows the state. Without a terminal, returns a line if it differs from `last`.
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
        let view = View { live: &live, counts, ended: 0, elapsed: Duration::ZERO, paused: None };
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

    /// Removes the bar.
    pub(crate) fn clear(&mut self) {
        if let Some(bar) = &mut self.bar {
            bar.clear();
        }
    }
}
