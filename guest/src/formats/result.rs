//! The result of an item, as an event of the journal records it.

use crate::formats::item::Change;
use crate::formats::journal::{Event, EventKind};
use crate::time::Timestamp;

/// A result that may not be in its file yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemResult {
    /// The item.
    pub item: String,
    /// The change of its file.
    pub change: Change,
    /// The number of the event that recorded it.
    pub seq: u64,
}

impl ItemResult {
    /// The result that an event records, if it changes a file. The mock agent does no work, so its results
    /// change nothing.
    pub fn of(event: &Event) -> Option<Self> {
        let change = match event.kind? {
            _ if event.is("mock") => return None,
            EventKind::ItemCompleted if event.is("approved") => Change::Approve,
            EventKind::ItemCompleted => match event.text("state") {
                Some(state) => Change::Complete {
                    from: state.to_owned(),
                    agent: event.text("agent").map(str::to_owned),
                },
                // It was not started, because its file says that it is done.
                None => Change::Found,
            },
            EventKind::PhaseCompleted => Change::Advance {
                from: event.text("from")?.to_owned(),
                to: event.text("state")?.to_owned(),
            },
            EventKind::ItemFailed => {
                Change::Fail { error: event.text("error").unwrap_or_default().to_owned() }
            }
            EventKind::ItemBlocked if event.is("awaits_approval") => Change::AwaitApproval,
            _ => return None,
        };
        Some(ItemResult { item: event.item.clone()?, change, seq: event.seq })
    }

    /// An event that records the result.
    pub fn to_event(&self, now: Timestamp) -> Event {
        let event = |kind| Event::of(kind, now, &self.item);
        match &self.change {
            Change::Complete { from, agent } => event(EventKind::ItemCompleted)
                .with("state", from.clone())
                .with_some("agent", agent.clone()),
            Change::Found => event(EventKind::ItemCompleted),
            Change::Approve => event(EventKind::ItemCompleted).with("approved", true),
            Change::AwaitApproval => event(EventKind::ItemBlocked).with("awaits_approval", true),
            Change::Advance { from, to } => event(EventKind::PhaseCompleted)
                .with("from", from.clone())
                .with("state", to.clone()),
            Change::Fail { error } => event(EventKind::ItemFailed).with("error", error.clone()),
        }
    }

    /// The item, if this is a completion.
    pub fn completed(&self) -> Option<String> {
        matches!(self.change, Change::Complete { .. }).then(|| self.item.clone())
    }
}
