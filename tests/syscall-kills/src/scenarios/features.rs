//! Commands of `feature`.

use std::fs;

use serde_json::Value;

use super::{Scenario, words};
use crate::oracle::Round;
use crate::place::Place;

const FEATURES: &str = ".claude/.output/features";
/// Beside the features: what no command promises to leave alike.
const UNLIKE: [&str; 6] = [
    ".claude/.output/features/.backups",
    ".claude/.output/features/.lock",
    ".claude/.output/features/.repository-id",
    ".claude/.output/features/.run.lock",
    ".git",
    ".wreckit",
];

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "feature-new",
        set_up: bare,
        command: |_| words(&["feature", "new", "Asset Export", "--phase", "drafting"]),
        code: 0,
        check: is_made,
    },
    Scenario {
        name: "feature-start",
        set_up: made,
        command: |place| step(place, &["start", "drafting"]),
        code: 0,
        check: moves,
    },
    Scenario {
        name: "feature-complete",
        set_up: started,
        command: |place| step(place, &["complete", "drafting", "--decision", "Stream rows"]),
        code: 0,
        check: moves,
    },
    Scenario {
        name: "feature-block",
        set_up: started,
        command: |place| step(place, &["block", "drafting", "--reason", "no access"]),
        code: 0,
        check: moves,
    },
    Scenario {
        name: "feature-fail",
        set_up: started,
        command: |place| step(place, &["fail", "drafting", "--reason", "no access"]),
        code: 0,
        check: moves,
    },
    Scenario {
        name: "feature-record",
        set_up: started,
        command: |place| step(place, &["record", "--agents", "2", "--tokens", "drafting=9,3"]),
        code: 0,
        check: counts,
    },
    Scenario {
        name: "feature-iterate",
        set_up: started,
        command: |place| {
            let round =
                ["iterate", "--implementation", "Fields", "--review", "PASS", "--test", "FAIL"];
            step(place, &round)
        },
        code: 0,
        check: counts,
    },
    Scenario {
        name: "feature-abort-keep-everything",
        set_up: in_a_worktree,
        command: |place| abort(place, "keep_everything"),
        code: 0,
        check: gives_up,
    },
    Scenario {
        name: "feature-abort-keep-artifacts",
        set_up: in_a_worktree,
        command: |place| abort(place, "keep_artifacts"),
        code: 0,
        check: gives_up,
    },
    Scenario {
        name: "feature-abort-rollback",
        set_up: in_a_worktree,
        command: |place| abort(place, "rollback"),
        code: 0,
        check: gives_up,
    },
    Scenario {
        name: "feature-abort-full-cleanup",
        set_up: in_a_worktree,
        command: |place| abort(place, "full_cleanup"),
        code: 0,
        check: gives_up,
    },
    Scenario {
        name: "feature-run",
        set_up: made,
        command: |place| step(place, &["run"]),
        code: 0,
        check: runs,
    },
    Scenario {
        name: "feature-run-again",
        set_up: half_run,
        command: |place| step(place, &["run"]),
        code: 0,
        check: runs,
    },
    Scenario {
        name: "feature-restore",
        set_up: started,
        command: |place| {
            let backups = place.backups(&format!("{FEATURES}/.backups"));
            let newest = backups.into_iter().next_back().unwrap_or_default();
            words(&["backups", "restore", &newest])
        },
        code: 0,
        check: counts,
    },
    Scenario {
        name: "feature-fix",
        set_up: |place| {
            started(place)?;
            place.write_text(&document(place), "{")
        },
        command: |_| words(&["doctor", "--fix"]),
        code: 0,
        check: checks_fix,
    },
];

/// No feature yet, and an item that is to be done beside them.
fn bare(place: &Place) -> Result<(), String> {
    place.repository(&[("001-a", &[])])?;
    fs::create_dir(place.path(".claude")).map_err(|error| error.to_string())
}

fn well(place: &Place, arguments: &[&str]) -> Result<(), String> {
    let ran = place.run(arguments);
    match ran.code {
        Some(0) => Ok(()),
        _ => Err(ran.told()),
    }
}

fn made(place: &Place) -> Result<(), String> {
    bare(place)?;
    // None of them waits for approval.
    let phases = ["--phase", "drafting", "--phase", "building", "--phase", "checking"];
    well(place, &[&["feature", "new", "Asset Export"], &phases[..]].concat())
}

fn started(place: &Place) -> Result<(), String> {
    made(place)?;
    well(place, &["feature", "start", &id(place), "drafting"])
}

/// A run whose second phase failed.
fn half_run(place: &Place) -> Result<(), String> {
    made(place)?;
    well(place, &["feature", "start", &id(place), "drafting"])?;
    well(place, &["feature", "complete", &id(place), "drafting"])?;
    place.tell_agents("fail", &format!("{}\n", id(place)))?;
    place.run(&["feature", "run", &id(place)]);
    place.tell_agents("fail", "")
}

/// A feature with a linked worktree that has a commit, a change and a new file.
fn in_a_worktree(place: &Place) -> Result<(), String> {
    bare(place)?;
    place.git(&["init", "-q", "."])?;
    place.write_text("code", "before")?;
    place.git(&["add", "code"])?;
    place.git(&["commit", "-q", "-m", "before"])?;
    place.git(&["worktree", "add", "-q", "trees/export"])?;
    well(place, &["feature", "new", "Asset Export", "--worktree", "trees/export"])?;
    well(place, &["feature", "start", &id(place), "brainstorming"])?;
    place.write_text("trees/export/code", "after")?;
    place.git(&["-C", "trees/export", "commit", "-q", "-a", "-m", "the work"])?;
    place.write_text("trees/export/code", "more")?;
    place.write_text("trees/export/new", "new")?;
    place.write_text("code", "mine, not committed")
}

fn id(place: &Place) -> String {
    let entries = place.backups(FEATURES);
    entries.into_iter().find(|name| name.starts_with("asset-export_")).unwrap_or_default()
}

fn document(place: &Place) -> String {
    format!("{FEATURES}/{}/progress.json", id(place))
}

/// A command of `feature` with the feature's id as its first argument.
fn step(place: &Place, arguments: &[&str]) -> Vec<String> {
    let (command, rest) = arguments.split_first().unwrap_or((&"", &[]));
    [words(&["feature", command, &id(place)]), words(rest)].concat()
}

fn abort(place: &Place, cleanup: &str) -> Vec<String> {
    step(place, &["abort", "--reason", "user_request", "--cleanup", cleanup, "--yes"])
}

/// The document is whole, and doctor finds no error.
fn is_sound(round: &Round<'_>) {
    round.is_sound();
    round.run(&["feature", "list"], &[0]);
    round.run(&["run"], &[0]);
    round.all_is_done();
}

fn is_made(round: &Round<'_>) {
    let plain = |round: &Round<'_>| {
        let printed = round.printed.trim();
        let path = format!("{FEATURES}/{printed}/progress.json");
        let is_there = round.place.json(&path)["feature_name"] == "Asset Export";
        round.require(printed.is_empty() || is_there, || format!("{printed} is lost"));
        is_sound(round);
    };
    let repeated = |round: &Round<'_>| {
        round.repeat(&[0]);
        is_sound(round);
    };
    round.each(&[&plain, &repeated]);
}

/// The change was made or not, and is there once the command was repeated.
fn moves(round: &Round<'_>) {
    let repeated = |round: &Round<'_>| {
        // It is not legal again once it was made.
        round.repeat(&[0, 1]);
        round.is_like("the change, repeated", &round.reference.after, &UNLIKE);
        is_sound(round);
    };
    round.each(&[&is_whole, &repeated, &is_undone]);
}

/// The same for a change that counts again when it is repeated.
fn counts(round: &Round<'_>) {
    let repeated = |round: &Round<'_>| {
        round.repeat(&[0]);
        is_sound(round);
    };
    round.each(&[&is_whole, &repeated, &is_undone]);
}

/// The document is the one before or the one after.
fn is_whole(round: &Round<'_>) {
    let state = |document: &Value| {
        let phases = document["phases"].to_string();
        let digits = |text: String| text.replace(|c: char| c.is_ascii_digit(), "");
        (document["status"].clone(), digits(phases), document["feedback_loop"].clone())
    };
    let document = round.place.json(&document(round.place));
    round.require(document.is_object(), || "the document is damaged".to_owned());
    let is_empty = state(&document).0.is_null();
    round.require(!is_empty, || format!("the document has no state: {document}"));
    is_sound(round);
}

/// The newest backup can be gone back to, and what comes of it is sound.
fn is_undone(round: &Round<'_>) {
    goes_back(round);
    is_sound(round);
}

/// The newest backup can be gone back to.
fn goes_back(round: &Round<'_>) {
    let place = format!("{FEATURES}/.backups");
    let has_manifest =
        |id: &String| round.place.path(&format!("{place}/{id}/manifest.json")).exists();
    let newest = round.place.backups(&place).into_iter().rfind(has_manifest);
    if let Some(id) = newest {
        round.run(&["backups", "restore", &id], &[0]);
    }
}

/// Giving up again comes to the same end, and nothing else is touched.
fn gives_up(round: &Round<'_>) {
    let repeated = |round: &Round<'_>| {
        let id = id(round.place);
        let is_gone = id.is_empty();
        round.repeat(if is_gone { &[0, 2] } else { &[0, 1] });
        round.is_like("given up again", &round.reference.after, &UNLIKE);
        let listed = round.place.git(&["worktree", "list", "--porcelain"]).unwrap_or_default();
        let is_listed = listed.contains("/trees/export");
        let is_there = round.place.path("trees/export").exists();
        round.require(is_listed == is_there, || format!("git lists {listed}"));
        is_sound(round);
    };
    let plain = |round: &Round<'_>| {
        round.run(&["run"], &[0]);
        round.all_is_done();
        let code = round.place.read("code");
        round.require(code == "mine, not committed", || format!("code is {code}"));
    };
    round.each(&[&repeated, &plain]);
}

/// A phase that is complete in the document is not begun again, and the next run completes the rest.
fn runs(round: &Round<'_>) {
    let id = id(round.place);
    let started = |phase: &str| {
        let line = format!("{id} {phase}");
        round.place.ledger("ledger").iter().filter(|started| **started == line).count()
    };
    let document = |round: &Round<'_>| round.place.json(&document(round.place));
    let phases = document(round)["phases"].as_object().cloned().unwrap_or_default();
    let complete: Vec<(String, usize)> = phases
        .iter()
        .filter(|(_, phase)| phase["status"] == "completed" || phase["status"] == "complete")
        .map(|(name, _)| (name.clone(), started(name)))
        .collect();
    // There is nothing to resume once all of it is done.
    round.run(&["feature", "resume", &id], &[0, 1]);
    round.repeat(&[0]);
    for (phase, count) in complete {
        let now = started(&phase);
        round.require(now == count, || format!("phase {phase} was complete and ran again"));
    }
    let status = document(round)["status"].clone();
    round.require(status == "complete", || format!("the feature is {status}"));
    is_sound(round);
}

/// The document comes back, also after a second fix.
fn checks_fix(round: &Round<'_>) {
    let repeated = |round: &Round<'_>| {
        round.repeat(&[0]);
        round.is_like("a second fix", &round.reference.after, &UNLIKE);
        is_sound(round);
    };
    round.each(&[&repeated, &goes_back]);
}
