//! The files on disk: reading, checking and writing each format.

pub mod config;
pub mod item;
pub mod journal;
pub mod json;
pub mod layout;
pub mod prd;
pub mod progress;
