//! `init` and `add`.

use std::fs;

use serde_json::Value;

use super::{Scenario, batch, words};
use crate::oracle::{Reference, Round};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "init",
        set_up: |place| fs::create_dir(place.path(".git")).map_err(|error| error.to_string()),
        command: |_| words(&["init"]),
        code: 0,
        check: is_complete,
    },
    Scenario {
        name: "add",
        set_up: batch::fresh,
        command: |_| words(&["add", "One more", "And another"]),
        code: 0,
        check: are_whole,
    },
    Scenario {
        name: "add-beside-a-session",
        set_up: batch::interrupted,
        command: |_| words(&["add", "One more", "And another"]),
        code: 0,
        check: are_whole,
    },
];

/// `init` again makes what is missing, and nothing is half.
fn is_complete(round: &Round<'_>) {
    let Reference { after, .. } = round.reference;
    round.repeat(&[0]);
    round.is_like("a second init", after, &[]);
    round.is_sound();
    round.run(&["add", "One more"], &[0]);
    round.run(&["run", "--mock-agent"], &[0]);
}

/// What was printed is there; what is there is whole and runs.
fn are_whole(round: &Round<'_>) {
    let plain = |round: &Round<'_>| {
        for id in round.printed.lines() {
            round.require(round.place.items().contains_key(id), || format!("{id} is lost"));
        }
        every_item_runs(round);
    };
    let repeated = |round: &Round<'_>| {
        round.repeat(&[0]);
        every_item_runs(round);
        for title in ["One more", "And another"] {
            let items = round.place.items();
            round.require(items.values().any(|item| item["title"] == title), || {
                format!("{title} is lost")
            });
        }
    };
    round.each(&[&plain, &repeated]);
}

fn every_item_runs(round: &Round<'_>) {
    round.finish_session();
    round.is_sound();
    let items: Vec<(String, Value)> = round.place.items().into_iter().collect();
    for (id, item) in &items {
        round.require(item["state"] == "done", || format!("{id} ends as {}", item["state"]));
    }
    let number = |id: &str| id.split('-').next().map(str::to_owned);
    for pair in items.windows(2) {
        let (one, other) = (&pair[0].0, &pair[1].0);
        round.require(number(one) != number(other), || format!("{one} and {other} share a number"));
    }
}
