//! Black-box tests of the program and of its component.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "these tests stand outside of the program and make its world"
)]

mod arguments;
mod commands;
mod component;
mod containers;
mod damage;
mod doctor;
mod doctor_cases;
mod durability;
mod endings;
mod environment;
mod features;
mod file_systems;
mod hostile_agents;
mod hostile_component;
mod hostile_text;
mod interruption;
mod kills;
mod limits;
mod orphans;
mod phases;
mod real_repository;
mod removed;
mod storage;
mod style;
mod terminal;
mod trust;
mod undoing;
mod wasm_agent;
