//! `wreckit-host status --watch`: a batch, followed from another terminal.
//!
//! It only reads, and takes no lock: the batch does not notice.

use std::thread;
use std::time::{Duration, Instant};

use super::{document, print};
use crate::cli::Context;
use crate::cli::error::Error;
use crate::engine::Instance;
use crate::engine::batch::{ItemStanding, Overview};
use crate::engine::process::Liveness;
use crate::output::{Stream, Tone};
use crate::run::{Watched, Watcher};

/// How often it is looked.
const INTERVAL: Duration = Duration::from_millis(500);
/// Looking takes at most this part of the time, however large the repository is.
const SHARE: u32 = 10;

/// Follows the batch to its end.
pub(super) fn watch(instance: &mut Instance, json: bool, context: &Context) -> Result<(), Error> {
    let mut watcher = Watcher::new();
    let mut last = String::new();
    let mut seen = false;
    loop {
        let started = Instant::now();
        let overview = context.call(instance, Instance::status)??;
        let runs = overview.owner == Some(Liveness::Running) && !overview.stale;
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
    let running = overview.items.iter().filter(|item| item.standing == ItemStanding::Running);
    running.map(|item| Watched { item: item.id.clone(), title: item.title.clone() }).collect()
}
