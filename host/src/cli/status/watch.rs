//! `wreckit-host status --watch`: a batch, followed from another terminal.
//!
//! It only reads and takes no lock, so it does not affect the batch.

use std::thread;
use std::time::{Duration, Instant};

use super::{document, overview, print};
use crate::cli::Context;
use crate::cli::error::Error;
use crate::engine::Instance;
use crate::report::output::{Stream, Tone};
use crate::report::{Watched, Watcher};
use crate::wit::batch::{ItemState, Overview};
use crate::wit::processes::ProcessStatus;

/// How often to read the status.
const INTERVAL: Duration = Duration::from_millis(500);
/// Minimum ratio of waiting to reading, however large the repository is.
const SHARE: u32 = 10;

/// Follows the batch until it ends.
pub(super) fn watch(instance: &mut Instance, json: bool, context: &Context) -> Result<(), Error> {
    let mut watcher = Watcher::new();
    let mut last = String::new();
    let mut seen = false;
    loop {
        let started = Instant::now();
        let overview = overview(instance, context)?;
        let runs = overview.owner == Some(ProcessStatus::Running) && !overview.stale;
        if json {
            let line = document(&overview)?.to_string();
            if line != last {
                context.output.json(&line);
                last = line;
            }
        } else if runs {
            let (watched, counts) = (watched(&overview), overview.counts);
            if let Some(line) = watcher.show(&watched, counts, &mut last) {
                context.output.result(&line);
            }
        }
        if !Stream::Out.is_read() {
            return Ok(());
        }
        if !runs {
            watcher.clear();
            if !json {
                print(&overview, context);
                let word = if seen { "the batch has ended" } else { "no batch is running" };
                context.output.note(Tone::Plain, word);
            }
            return Ok(());
        }
        seen = true;
        thread::sleep(INTERVAL.max(started.elapsed() * SHARE));
    }
}

fn watched(overview: &Overview) -> Vec<Watched> {
    let running = overview.items.iter().filter(|item| item.batch_state == ItemState::Running);
    running.map(|item| Watched { item: item.id.clone(), title: item.title.clone() }).collect()
}
