//! `log`: messages of the component, kept until they are taken.

use super::Imports;
use crate::wit::log::{Host, Level};

/// Maximum number of messages of one call. Number and size are bounded, so that a component that floods the
/// log cannot exhaust the host's memory.
const MOST_MESSAGES: usize = 10_000;
/// Maximum size of one message in bytes; the rest is cut off.
const LONGEST_MESSAGE: usize = 16 << 10;
/// Maximum size of all messages of one call in bytes.
const MOST_BYTES: usize = 4 << 20;

/// Messages that wait to be taken.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    messages: Vec<(Level, String)>,
    bytes: usize,
    dropped: u64,
}

impl Messages {
    fn add(&mut self, level: Level, mut message: String) {
        if message.len() > LONGEST_MESSAGE {
            message.truncate(message.floor_char_boundary(LONGEST_MESSAGE));
            message.push('…');
            message.shrink_to_fit();
        }
        if self.messages.len() >= MOST_MESSAGES || self.bytes + message.len() > MOST_BYTES {
            self.dropped += 1;
            return;
        }
        self.bytes += message.len();
        self.messages.push((level, message));
    }

    /// Takes all messages. The last one says how many were dropped, if any were.
    pub(crate) fn take(&mut self) -> Vec<(Level, String)> {
        let Messages { mut messages, dropped, .. } = std::mem::take(self);
        if dropped > 0 {
            let text = format!("{dropped} more messages of the component were dropped");
            messages.push((Level::Warning, text));
        }
        messages
    }
}

impl Host for Imports {
    fn write(&mut self, level: Level, message: String) {
        self.messages.add(level, message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_bounded() {
        let mut messages = Messages::default();
        messages.add(Level::Info, "ä".repeat(MOST_BYTES));
        messages.add(Level::Info, "short".to_owned());
        let taken = messages.take();
        assert_eq!(taken.len(), 2);
        assert!(taken[0].1.len() <= LONGEST_MESSAGE + '…'.len_utf8());
        assert_eq!(taken[1].1, "short");

        for _ in 0..2 * MOST_BYTES / LONGEST_MESSAGE {
            messages.add(Level::Info, "x".repeat(LONGEST_MESSAGE));
        }
        let taken = messages.take();
        assert_eq!(taken.len(), MOST_BYTES / LONGEST_MESSAGE + 1);
        assert!(taken[taken.len() - 1].1.contains("256 more messages"), "{:?}", taken.last());

        for _ in 0..2 * MOST_MESSAGES {
            messages.add(Level::Debug, String::new());
        }
        assert_eq!(messages.take().len(), MOST_MESSAGES + 1);
        assert!(messages.take().is_empty());
    }
}
