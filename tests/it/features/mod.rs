//! `feature` as a user has it: commands, agents, git, crashes.

mod agents;
mod commands;
mod cut_off;
mod git;
mod hostile_git;

use std::fs;

use serde_json::{Value, json};

use crate::environment::{Ran, Repository};

const FEATURES: &str = ".claude/.output/features";

fn repository() -> Repository {
    let repository = Repository::empty();
    fs::create_dir(repository.path(".claude")).expect("a directory");
    repository
}

/// A new feature with these phases; its id.
fn new(repository: &Repository, phases: &[&str]) -> String {
    let mut arguments = vec!["feature", "new", "Asset Export"];
    for phase in phases {
        arguments.extend(["--phase", phase]);
    }
    let ran = repository.run(&arguments);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    ran.stdout.trim().to_owned()
}

fn document(repository: &Repository, id: &str) -> Value {
    repository.json(&format!("{FEATURES}/{id}/progress.json"))
}

/// Runs a command of `feature` that succeeds.
fn well(repository: &Repository, arguments: &[&str]) -> Ran {
    let arguments: Vec<&str> = ["feature"].iter().chain(arguments).copied().collect();
    let ran = repository.run(&arguments);
    assert_eq!(ran.code, Some(0), "{arguments:?}: {}{}", ran.stdout, ran.stderr);
    ran
}

fn agent(repository: &Repository, script: &str) {
    repository.agent(json!({
        "kind": "command", "command": "sh",
        "args": ["-c", script, "agent", "{id}", "{phase}", "{dir}"],
    }));
}
