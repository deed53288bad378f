//! `log`: messages of the component, kept for the one who called it.

use super::Imports;
use crate::engine::log as wit;

pub(crate) use crate::engine::log::Level;

/// More than this is not kept of one call: a component that floods the log cannot use up memory.
const MOST_MESSAGES: usize = 10_000;

impl wit::Host for Imports {
    fn write(&mut self, level: Level, message: String) {
        if self.messages.len() < MOST_MESSAGES {
            self.messages.push((level, message));
        }
    }
}
