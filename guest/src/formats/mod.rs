//! The files on disk: reading, checking and writing each format.

pub mod config;
pub mod item;
pub mod journal;
pub mod prd;
pub mod progress;
pub mod result;
pub mod slug;
