//! Runs: fresh, resumed, begun anew, of a single item.

use super::{Scenario, words};
use crate::oracle::Round;
use crate::place::Place;

/// Five items of which one waits for another.
const ITEMS: &[(&str, &[&str])] =
    &[("001-a", &[]), ("002-b", &[]), ("003-c", &["001-a"]), ("004-d", &[]), ("005-e", &[])];

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "run",
        set_up: fresh,
        command: |_| words(&["run", "--format", "json"]),
        code: 0,
        check: goes_on,
    },
    Scenario {
        name: "run-for-people",
        set_up: fresh,
        command: |_| words(&["run", "--parallel", "1"]),
        code: 0,
        check: goes_on,
    },
    Scenario {
        name: "run-parallel",
        set_up: |place| fresh(place).and_then(|()| place.tell_agents("slow", "")),
        command: |_| words(&["run", "--parallel", "2", "--format", "json"]),
        code: 0,
        check: goes_on,
    },
    Scenario {
        name: "run-with-a-failure",
        set_up: |place| fresh(place).and_then(|()| place.tell_agents("fail", "001-a\n")),
        command: |_| words(&["run", "--format", "json"]),
        code: 1,
        check: goes_on_after_a_failure,
    },
    Scenario {
        name: "retry-failed",
        set_up: |place| {
            fresh(place)?;
            place.tell_agents("fail", "001-a\n")?;
            place.run(&["run"]);
            place.tell_agents("fail", "")
        },
        command: |_| words(&["run", "--retry-failed", "--format", "json"]),
        code: 0,
        check: retries,
    },
    Scenario {
        name: "resume",
        set_up: interrupted,
        command: |_| words(&["run", "--format", "json"]),
        code: 0,
        check: goes_on,
    },
    Scenario {
        name: "resume-parallel",
        set_up: interrupted,
        command: |_| words(&["run", "--parallel", "2"]),
        code: 0,
        check: goes_on,
    },
    Scenario {
        name: "no-resume",
        set_up: interrupted,
        command: |_| words(&["run", "--no-resume", "--format", "json"]),
        code: 0,
        check: either_way,
    },
    Scenario {
        name: "next",
        set_up: fresh,
        command: |_| words(&["next"]),
        code: 0,
        check: either_way,
    },
    Scenario {
        name: "next-beside-a-session",
        set_up: interrupted,
        command: |_| words(&["next"]),
        code: 0,
        check: either_way,
    },
    Scenario {
        name: "run-an-item",
        set_up: interrupted,
        command: |_| words(&["run", "004-d"]),
        code: 0,
        check: either_way,
    },
];

pub(super) fn fresh(place: &Place) -> Result<(), String> {
    place.repository(ITEMS)
}

/// A batch that was killed with two items done and the third in flight.
pub(super) fn interrupted(place: &Place) -> Result<(), String> {
    fresh(place)?;
    place.kill_run_at("003-c", &["run", "--parallel", "1"])
}

fn goes_on(round: &Round<'_>) {
    round.status_knows();
    round.finish_session();
    round.is_sound();
}

/// Repeating the command and a plain `run` both lead to the end.
fn either_way(round: &Round<'_>) {
    let repeated = |round: &Round<'_>| {
        round.repeat(&[0, 2]);
        round.finish_session();
    };
    round.each(&[&goes_on, &repeated]);
}

/// What fails stays failed, with what waits for it, until it is asked for again.
fn goes_on_after_a_failure(round: &Round<'_>) {
    round.status_knows();
    round.run(&["run"], &[1]);
    round.nothing_ran_again();
    if let Err(error) = round.place.tell_agents("fail", "") {
        round.problem(error);
    }
    round.run(&["run", "--retry-failed"], &[0]);
    round.all_is_done();
}

/// Whether the kill came before what was asked for is on record or not: asking again brings it about.
fn retries(round: &Round<'_>) {
    let plain = |round: &Round<'_>| {
        round.status_knows();
        round.run(&["run"], &[0, 1]);
        round.nothing_ran_again();
    };
    let repeated = |round: &Round<'_>| {
        round.repeat(&[0]);
        round.all_is_done();
    };
    round.each(&[&plain, &repeated]);
}
