//! Journal events as the embedder receives them.

use crate::bindings::exports::wreckit::batch::session::{self as wit, Counts};
use crate::formats::journal::Event;
use crate::session::ledger::Ledger;
use crate::time::Timestamp;

/// Converts recorded events.
pub(super) fn publish(events: &[Event]) -> Vec<wit::Event> {
    events.iter().filter_map(to_wit).collect()
}

fn to_wit(event: &Event) -> Option<wit::Event> {
    let text = |key: &str| event.text(key).map(str::to_owned);
    Some(wit::Event {
        sequence: event.seq,
        time: event.time.as_millis(),
        kind: event.kind?,
        item: event.item.clone(),
        attempt: event.attempt,
        phase: text("phase"),
        reason: text("error").or_else(|| text("reason")),
        until: event.text("until").and_then(Timestamp::parse).map(Timestamp::as_millis),
        duration: event.integer("duration_ms"),
        log: text("log"),
        output: text("output"),
        line: serde_json::to_string(event).ok()?,
    })
}

/// The counts of a session.
pub(super) fn counts(ledger: &Ledger) -> Counts {
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Counts {
        queued: count(ledger.queue().len()),
        completed: count(ledger.completed().len()),
        failed: count(ledger.failed().len()),
        skipped: count(ledger.skipped().len()),
        in_flight: count(ledger.in_flight().len()),
        remaining: count(ledger.remaining_count()),
    }
}
