//! Processes: agents and their groups, what they leave behind, and what is known of a recorded process.

mod descendants;
pub(crate) mod descriptors;
mod directory;
mod group;
mod leftovers;
mod log_file;
mod marker;
mod output;
mod spawn;
mod stat;
mod status;
mod token;
#[cfg(feature = "compile")]
pub(crate) mod wasm_agent;

pub(crate) use descendants::{Attempt, Descendants, Remains};
pub(crate) use directory::Directory;
pub(crate) use group::{Exit, Group};
pub(crate) use leftovers::Leftovers;
pub(crate) use log_file::LogFile;
pub(crate) use marker::ROOT as MARKER;
pub(crate) use output::{Output, OutputRules};
pub(crate) use spawn::Program;
pub(crate) use stat::is_orphaned;
pub(crate) use status::status;
pub(crate) use token::Identity;
