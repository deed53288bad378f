//! What a session runs.

pub mod item_phases;
