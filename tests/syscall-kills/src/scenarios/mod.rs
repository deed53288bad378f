//! What is killed, and what has to hold afterwards.

mod backlog;
mod batch;
mod features;
mod repairs;

use crate::oracle::Round;
use crate::place::Place;

/// A repository, a command in it, and what has to hold however early it is killed.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) set_up: fn(&Place) -> Result<(), String>,
    pub(crate) command: fn(&Place) -> Vec<String>,
    /// The exit code of the undisturbed command.
    pub(crate) code: i32,
    pub(crate) check: fn(&Round<'_>),
}

/// All of them.
pub(crate) fn all() -> impl Iterator<Item = &'static Scenario> {
    let groups = [batch::SCENARIOS, backlog::SCENARIOS, repairs::SCENARIOS, features::SCENARIOS];
    groups.into_iter().flatten()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
