//! Beginning a run.

use serde_json::{Value, json};

use super::{Run, RunOptions};
use crate::feature::document::{Document, PhaseStatus};
use crate::feature::store::{lock_run, locked, read, unlock_run};
use crate::feature::{FeatureError, legal};
use crate::formats::journal::{Event, EventKind};
use crate::formats::layout;
use crate::io::tree::Tree;
use crate::session::leftovers;
use crate::session::{Opening, Origin};

/// Begins a run. What an earlier one left running is ended first. The id is that of the feature.
pub fn open_run(
    tree: Tree<'_>,
    feature: &str,
    options: RunOptions,
) -> Result<(Run, Opening), FeatureError> {
    // A repair that a crash cut off is ended before anything is read.
    locked(tree, || Ok::<(), FeatureError>(()))?;
    let (id, document) = read(tree, feature)?;
    for phase in &options.approve {
        if document.phase(phase).is_none() {
            return Err(document.no_phase(phase));
        }
    }
    if document.is_aborted() {
        let message = "the feature was aborted: it has to be started again first";
        return Err(legal::illegal(&document, message));
    }
    lock_run(tree, options.take_over)?;
    match begin(tree, id, options, &document) {
        Ok(opened) => Ok(opened),
        Err(error) => {
            unlock_run(tree)?;
            Err(error)
        }
    }
}

fn begin(
    tree: Tree<'_>,
    id: String,
    options: RunOptions,
    document: &Document,
) -> Result<(Run, Opening), FeatureError> {
    end_orphans(tree)?;
    tree.create_directory(&format!("{id}/logs"))?;
    let complete = document.in_status(&PhaseStatus::Complete);
    let is_resumed = !complete.is_empty() || document.status() != PhaseStatus::Pending;
    let mut run = Run {
        skipped: complete.into_iter().map(str::to_owned).collect(),
        next_pause: options.limit_wait,
        id,
        options,
        hand: None,
        reports: Vec::new(),
        wait: None,
        is_paused: false,
        tries: 0,
        completed: Vec::new(),
        failed: None,
        blocked: None,
        interrupted: false,
        is_over: false,
        seq: 0,
        events: Vec::new(),
    };
    let queue: Value = document.phases().map(|(name, _)| name).collect();
    let started = Event::new(EventKind::BatchStarted, tree.now())
        .with("session_id", run.id.clone())
        .with("queue", queue)
        .with("skipped", json!(run.skipped));
    run.happened(started);
    let opening = Opening {
        session: run.id.clone(),
        origin: if is_resumed { Origin::Resumed } else { Origin::Fresh },
        counts: run.counts(document),
        events: std::mem::take(&mut run.events),
    };
    Ok((run, opening))
}

/// Nothing may run beside what a run that was killed left.
fn end_orphans(tree: Tree<'_>) -> Result<(), FeatureError> {
    leftovers::mark_root(tree);
    let orphans = leftovers::end(tree, layout::RUN_LOCK, &[]);
    let words = |workers| leftovers::describe(workers);
    let message = if !orphans.left.is_empty() {
        let left = words(&orphans.left);
        format!("agents of an interrupted run still run and could not be ended: {left}")
    } else if !orphans.unproven.is_empty() {
        let unproven = words(&orphans.unproven);
        format!(
            "processes still run that may be agents of an interrupted run, and nothing proves it: {unproven}; end them (`kill PID`) if they are"
        )
    } else {
        orphans.report(tree, "run");
        return Ok(());
    };
    Err(FeatureError::Illegal { message, legal: Vec::new() })
}
