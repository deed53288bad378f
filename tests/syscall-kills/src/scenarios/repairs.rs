//! `doctor --fix` and `backups restore`.

use std::fs;

use serde_json::json;

use super::{Scenario, batch, words};
use crate::oracle::{NOT_BACKED_UP, Round};
use crate::place::{Place, item_file};

const PROGRESS: &str = ".wreckit/batch-progress.json";
const BACKUPS: &str = ".wreckit/backups";

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "fix", set_up: damaged, command: |_| fix(), code: 0, check: checks_fix },
    Scenario {
        name: "fix-a-session",
        set_up: damaged_session,
        command: |_| fix(),
        code: 0,
        check: checks_fix,
    },
    Scenario {
        name: "fix-a-journal",
        set_up: damaged_journal,
        command: |_| fix(),
        code: 0,
        check: checks_fix,
    },
    Scenario {
        name: "fix-a-dead-session",
        set_up: batch::interrupted,
        command: |_| fix(),
        code: 0,
        check: checks_fix,
    },
    Scenario {
        name: "restore",
        set_up: |place| damaged(place).and_then(|()| fixed(place)),
        command: restore,
        code: 0,
        check: restores,
    },
    Scenario {
        name: "restore-a-session",
        set_up: |place| damaged_session(place).and_then(|()| fixed(place)),
        command: restore,
        code: 0,
        check: restores,
    },
    Scenario {
        name: "restore-a-dead-session",
        set_up: |place| batch::interrupted(place).and_then(|()| fixed(place)),
        command: restore,
        code: 0,
        check: restores,
    },
    Scenario {
        name: "restore-what-a-run-set-aside",
        set_up: set_aside,
        command: restore,
        code: 0,
        check: restores,
    },
    Scenario {
        name: "restore-a-restoration",
        set_up: restored,
        command: restore,
        code: 0,
        check: restores,
    },
];

fn fix() -> Vec<String> {
    words(&["doctor", "--fix"])
}

/// The newest backup.
fn restore(place: &Place) -> Vec<String> {
    let newest = place.backups(BACKUPS).into_iter().next_back().unwrap_or_default();
    words(&["backups", "restore", &newest])
}

/// Prompts, states, stories, index, temporary files and a progress file without a journal.
fn damaged(place: &Place) -> Result<(), String> {
    batch::fresh(place)?;
    fs::remove_dir(place.path(".wreckit/prompts")).map_err(|error| error.to_string())?;
    place.write_text(PROGRESS, "{\"schema_version\": 1,")?;
    place.set(&item_file("001-a"), &[("state", json!("researched"))])?;
    place.set(&item_file("002-b"), &[("state", json!("planned"))])?;
    place.write_text(".wreckit/items/002-b/research.md", "# Research\n")?;
    let story = json!({
        "id": "US-1", "title": "Story", "acceptance_criteria": ["it works", "it is tested"],
        "priority": 9, "status": "pending", "notes": "",
    });
    let stories = json!({"schema_version": 1, "id": "", "user_stories": [story]});
    place.write(".wreckit/items/004-d/prd.json", &stories)?;
    let index =
        json!({"schema_version": 1, "items": [], "generated_at": "2026-01-01T00:00:00.000Z"});
    place.write(".wreckit/index.json", &index)?;
    place.write_text(".wreckit/items/005-e/item.json.9f68aee0695f.tmp", "half")?;
    place.write_text(".wreckit/batch-progress.json.0123456789ab.tmp", "half")
}

/// A killed batch whose progress file is damaged: it is rebuilt from the journal.
fn damaged_session(place: &Place) -> Result<(), String> {
    batch::interrupted(place)?;
    fs::remove_dir(place.path(".wreckit/prompts")).map_err(|error| error.to_string())?;
    place.set(&item_file("005-e"), &[("state", json!("researched"))])?;
    place.write_text(PROGRESS, "{")
}

/// The same with a damaged line before the completions.
fn damaged_journal(place: &Place) -> Result<(), String> {
    batch::interrupted(place)?;
    let runs = fs::read_dir(place.path(".wreckit/runs")).into_iter().flatten().flatten();
    for run in runs {
        let journal = run.path().join("events.1.jsonl");
        let text = fs::read_to_string(&journal).map_err(|error| error.to_string())?;
        let text = text.replacen("\"event\":\"item-started\"", "\"event\";\"item-started\"", 1);
        fs::write(&journal, text).map_err(|error| error.to_string())?;
    }
    place.write_text(PROGRESS, "{")
}

fn fixed(place: &Place) -> Result<(), String> {
    let ran = place.run(&["doctor", "--fix"]);
    match place.backups(BACKUPS).is_empty() {
        true => Err(ran.told()),
        false => Ok(()),
    }
}

/// A run that set a session aside, and did two items of its own.
fn set_aside(place: &Place) -> Result<(), String> {
    batch::interrupted(place)?;
    place.kill_run_at("004-d", &["run", "--no-resume", "--parallel", "1"])
}

fn restored(place: &Place) -> Result<(), String> {
    damaged(place)?;
    fixed(place)?;
    let arguments = restore(place);
    let ran = place.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    match ran.code {
        Some(0) => Ok(()),
        _ => Err(ran.told()),
    }
}

/// A fix that was cut off can be repeated, undone, and left as it is.
fn checks_fix(round: &Round<'_>) {
    let repeated = |round: &Round<'_>| {
        round.repeat(&[0]);
        // A journal may have one segment more.
        let but_for = [&NOT_BACKED_UP[..], &[".wreckit/runs"]].concat();
        round.is_like("a second fix", &round.reference.after, &but_for);
        round.has_the_same_findings("a second fix");
        round.save("fixed");
        round.finish_session();
        round.back("fixed");
        undo(round, "both fixes undone");
    };
    let undone = |round: &Round<'_>| {
        undo(round, "the fix undone");
        round.finish_session();
    };
    let left = |round: &Round<'_>| {
        round.finish_session();
    };
    round.each(&[&repeated, &undone, &left]);
}

/// Restores every backup that the fix made, the newest first: then everything is as it was. One that changed
/// nothing has nothing to undo, and may be refused.
fn undo(round: &Round<'_>, what: &str) {
    let restored: Vec<String> = round
        .new_backups()
        .iter()
        .map(|id| round.run(&["backups", "restore", id], &[0, 2]))
        .filter(|ran| ran.code != Some(0))
        .map(|ran| ran.told())
        .collect();
    round.is_as_before(&format!("{what}{}", restored.concat()));
}

/// A restoration that was cut off can be repeated, and left as it is.
fn restores(round: &Round<'_>) {
    let repeated = |round: &Round<'_>| {
        let ran = round.repeat(&[0, 2]);
        let what = match ran.code {
            Some(0) => "a second restoration",
            _ => "the restoration, though a second one is refused",
        };
        round.is_like(what, &round.reference.after, &NOT_BACKED_UP);
        round.finish_session();
    };
    let left = |round: &Round<'_>| {
        round.finish_session();
    };
    let fixed = |round: &Round<'_>| {
        round.run(&["doctor", "--fix"], &[0]);
        round.finish_session();
    };
    round.each(&[&repeated, &left, &fixed]);
}
