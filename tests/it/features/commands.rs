//! Commands, mistakes, crashes, other tools.

use std::fs;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::environment::{crash, finish, workspace};

#[test]
fn a_feature_from_its_beginning_to_its_summary() {
    let repository = repository();
    let id = new(&repository, &[]);
    assert!(id.starts_with("asset-export_20") && id.len() == "asset-export_20260301_081500".len());
    let phases = ["brainstorming", "planning", "architecture", "implementation", "testing"];
    let before = document(&repository, &id);
    let names: Vec<&String> = before["phases"].as_object().expect("an object").keys().collect();
    assert_eq!(names, phases);
    // From anywhere in the repository.
    fs::create_dir_all(repository.path("src/deep")).expect("a directory");
    let deep = repository.path("src/deep").display().to_string();
    assert!(well(&repository, &["--cwd", &deep, "list"]).stdout.contains(&id));

    repository.write(&format!("{FEATURES}/{id}/design.md"), "# The design\n");
    let design = format!("design={FEATURES}/{id}/design.md");
    for phase in phases {
        well(&repository, &["start", &id, phase]);
        well(
            &repository,
            &[
                "complete",
                "asset",
                phase,
                "--set",
                "approved=true",
                "--artifact",
                &design,
                "--decision",
                "one \"thing\"",
            ],
        );
    }
    let tokens = ["--tokens", "planning=9000,3000", "--model", "claude-opus-4"];
    let record = ["record", "asset", "--agents", "3", "--parallel", "2", "--checkpoint"];
    well(&repository, &[&record[..], &tokens[..]].concat());
    let resumed = repository.run(&["feature", "resume", &id]);
    assert_eq!(resumed.code, Some(1));
    assert!(resumed.stderr.contains("there is nothing to continue"), "{}", resumed.stderr);
    let summary: Value =
        serde_json::from_str(&well(&repository, &["summary", &id, "--json"]).stdout).expect("JSON");
    assert_eq!((&summary["status"], &summary["phases_complete"]), (&json!("complete"), &json!(5)));
    assert_eq!((&summary["cost_usd"], &summary["human_checkpoints"]), (&json!(0.36), &json!(6)));
    assert!(well(&repository, &["summary", &id]).stdout.contains("claude-opus-4: $0.36"));
    let shown: Value =
        serde_json::from_str(&well(&repository, &["show", &id, "--json"]).stdout).expect("JSON");
    assert_eq!(shown, document(&repository, &id));
    assert_eq!(shown["phases"]["planning"]["decisions"], json!(["one \"thing\""]));
}

#[test]
fn a_fresh_session_is_told_everything() {
    let repository = repository();
    let id = new(&repository, &["planning", "testing"]);
    repository.write(&format!("{FEATURES}/{id}/plan.md"), "# The plan\nwith \u{1b}[31mcolour\n");
    well(&repository, &["start", &id, "planning"]);
    let plan = format!("plan={FEATURES}/{id}/plan.md");
    let gone = format!("design={FEATURES}/{id}/gone.md");
    let artifacts = ["--artifact", &plan, "--artifact", &gone, "--artifact", "code=src/main.rs"];
    let decision = ["--decision", "Stream rows"];
    repository.write("src/main.rs", "");
    let completed = well(
        &repository,
        &[&["complete", &id, "planning"][..], &artifacts[..], &decision[..]].concat(),
    );
    assert_eq!(completed.stderr.matches("does not exist in").count(), 1, "{}", completed.stderr);
    assert!(completed.stderr.contains("gone.md does not exist in "), "{}", completed.stderr);
    repository.write(&format!("{FEATURES}/{id}/architecture.md"), "not named anywhere");
    let round = ["--implementation", "x", "--review", "PASS", "--test", "FAIL"];
    let failure = ["--test-failure", "csv.test.ts:45"];
    well(&repository, &[&["iterate", &id][..], &round[..], &failure[..]].concat());
    let told = well(&repository, &["resume", &id]).stdout;
    for words in [
        "Current phase: testing. Last completed phase: planning.",
        "- testing (pending)",
        &format!("Continue with: wreckit-host feature start {id} testing"),
        "# The plan\nwith \\u{1b}[31mcolour",
        "gone.md): missing",
        "## code (src/main.rs): not shown, because it is outside the directory of features",
        "## Done\n- planning\n  - decided: Stream rows",
        "1 of 5: in_progress; last: review PASS, test FAIL (csv.test.ts:45)",
        "not named anywhere",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
}

#[test]
fn mistakes_are_told_with_what_is_right() {
    let repository = repository();
    let fails = |arguments: &[&str], code: i32, words: &str| {
        let arguments: Vec<&str> = ["feature"].iter().chain(arguments).copied().collect();
        let ran = repository.run(&arguments);
        assert_eq!(ran.code, Some(code), "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(words), "{arguments:?}: {}", ran.stderr);
    };
    fails(&["show", "x"], 2, "this repository has no features");
    assert_eq!(well(&repository, &["list"]).stdout, "no features\n");
    let id = new(&repository, &["planning", "testing"]);
    let other = new(&repository, &[]);
    assert_ne!(id, other, "two in one second");
    fails(&["new", " "], 2, "a feature needs a name");
    fails(&["new", "x", "--phase", "a/b"], 2, "is not a valid name for a phase");
    fails(&["show", "../../etc"], 2, "unknown feature");
    fails(&["show", "asset"], 2, "is ambiguous; it matches");
    fails(&["complete", &id, "planning"], 1, "was never started");
    fails(&["complete", &id, "planning"], 1, "possible now: start planning, start testing");
    fails(&["start", &id, "nonsense"], 2, "the phases are planning, testing");
    fails(&["start", &id, "planning", "--set", "x"], 2, "write NAME=VALUE");
    fails(&["start", &id, "planning", "--set", "x=y"], 2, "is not valid JSON");
    fails(&["start", &id, "planning", "--set", "status=1"], 2, "set by the moves themselves");
    fails(&["record", &id], 2, "nothing to record");
    fails(&["record", &id, "--tokens", "planning=1"], 2, "planning=9000,3000");
    fails(&["record", &id, "--tokens", "nonsense=1,2"], 2, "there is no phase");
    fails(
        &["iterate", &id, "--implementation", "x", "--review", "MAYBE", "--test", "PASS"],
        2,
        "PASS",
    );
    fails(&["abort", &id, "--reason", "boredom"], 2, "user_request");
    fails(&["abort", &id, "--reason", "user_request", "--cleanup", "full_cleanup"], 2, "--yes");
    fails(
        &["abort", &id, "--reason", "user_request", "--cleanup", "rollback", "--yes"],
        1,
        "nothing to roll back to",
    );
    fails(&["run", &id], 2, ".wreckit/config.json does not exist");
    fails(
        &["run", &id, "--mock-agent", "--approve", "nonsense"],
        2,
        "the phases are planning, testing",
    );
    repository.write(&format!("{FEATURES}/{id}/progress.json"), "{");
    fails(&["show", &id], 1, "has invalid JSON");
    assert!(well(&repository, &["list"]).stdout.contains("damaged"));
    // An unknown model loses no tokens.
    let told = well(&repository, &["record", &other, "--tokens", "planning=1,2", "--model", "m"]);
    assert!(told.stdout.contains("the price of m is not known"), "{}", told.stdout);
    repository.write(
        ".wreckit/config.json",
        &json!({"pricing": {"m": {"input": 1e6, "output": 0}}}).to_string(),
    );
    well(&repository, &["record", &other, "--tokens", "planning=2,2", "--model", "m"]);
    assert_eq!(document(&repository, &other)["metrics"]["cost"]["estimated_cost_usd"], 2);
}

/// The file that other tools wrote: one command changes what it is about, and nothing else.
#[test]
fn the_example_of_the_format_is_changed_by_one_command_and_no_more() {
    let example = workspace().join("../shared/fixtures/feature-example.json");
    let Ok(text) = fs::read_to_string(example) else {
        eprintln!("the fixture is not here: nothing is tested");
        return;
    };
    let repository = repository();
    let id = "asset-export_20260301_081500";
    let before =
        text.replace("0.76", "0.760").replace("\"task_count\"", "\"mine\": 2.50, \"task_count\"");
    repository.write(&format!("{FEATURES}/{id}/progress.json"), &before);
    well(&repository, &["complete", id, "testing"]);
    let after = repository.read(&format!("{FEATURES}/{id}/progress.json"));
    let changed: Vec<String> = {
        let pretty = |text: &str| -> Vec<String> {
            text.lines().map(|line| line.trim().trim_end_matches(',').to_owned()).collect()
        };
        let before = pretty(&before.replace("\"mine\": 2.50, ", "\"mine\": 2.50,\n"));
        pretty(&after).into_iter().filter(|line| !before.contains(line)).collect()
    };
    let minutes = &document(&repository, id)["phases"]["testing"]["duration_minutes"];
    let total = 90.0 + minutes.as_f64().expect("a number");
    let total = if total.fract() == 0.0 { format!("{total:.0}") } else { format!("{total:.1}") };
    let updated = document(&repository, id)["updated"].clone();
    let completed = document(&repository, id)["phases"]["testing"]["completed_at"].clone();
    assert_eq!(
        changed,
        [
            format!("\"updated\": {updated}"),
            "\"current_phase\": \"complete\"".to_owned(),
            format!("\"completed_at\": {completed}"),
            format!("\"duration_minutes\": {minutes}"),
            format!("\"total_duration_minutes\": {total}"),
            "\"agents_spawned\": 3".to_owned(),
        ]
    );
    assert!(after.contains("0.760") && after.contains("\"mine\": 2.50,"));
    assert_eq!(after.matches("\"status\": \"complete\"").count(), 6);
}

#[test]
fn of_many_writers_at_once_no_update_is_lost() {
    let repository = repository();
    let id = new(&repository, &["planning"]);
    let writers: Vec<_> = (0..24)
        .map(|_| {
            repository.start(&["feature", "record", &id, "--agents", "1", "--escalation", "e"])
        })
        .collect();
    for writer in writers {
        let ran = finish(writer);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    }
    let metrics = &document(&repository, &id)["metrics"];
    assert_eq!(metrics["orchestration"]["total_agents_spawned"], 24);
    assert_eq!(metrics["escalations"]["reasons"].as_array().expect("a list").len(), 24);
}

#[test]
fn whenever_a_command_is_killed_the_document_is_whole() {
    let repository = repository();
    let id = new(&repository, &["planning"]);
    let mut acknowledged = 0;
    for round in 0..60_u64 {
        let mut writer = repository.start(&["feature", "record", &id, "--agents", "1"]);
        thread::sleep(Duration::from_micros(round * 200));
        if let Ok(Some(_)) = writer.try_wait() {
            acknowledged += 1;
        } else {
            crash(writer);
        }
        let total = document(&repository, &id)["metrics"]["orchestration"]["total_agents_spawned"]
            .as_u64()
            .expect("a number");
        assert!((acknowledged..=round + 1).contains(&total), "{total} in round {round}");
    }
    assert_eq!(repository.run(&["doctor", "--fix"]).code, Some(0));
    let left = fs::read_dir(repository.path(&format!("{FEATURES}/{id}"))).expect("it").flatten();
    let left: Vec<_> =
        left.map(|entry| entry.file_name()).filter(|name| name != "progress.json").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn doctor_and_backups_cover_features() {
    let repository = repository();
    let id = new(&repository, &["planning", "testing"]);
    well(&repository, &["start", &id, "planning"]);
    well(&repository, &["complete", &id, "planning"]);
    let good = document(&repository, &id);
    assert_eq!(repository.run(&["doctor"]).stdout, "nothing found\n", "without a .wreckit");
    let path = format!("{FEATURES}/{id}/progress.json");
    repository.write(&path, "half of a docu");
    let ran = repository.run(&["doctor", "--json"]);
    assert_eq!(ran.code, Some(1));
    let report: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let found = &report["diagnostics"][0];
    assert_eq!(
        (&found["code"], &found["item_id"]),
        (&json!("FEATURE_PROGRESS_CORRUPT"), &json!(id))
    );
    assert_eq!((&found["severity"], &found["fixable"]), (&json!("error"), &json!(true)));
    // Beside the findings of a batch.
    repository.write(".wreckit/items/001-a/item.json", "{");
    let ran = repository.run(&["doctor", "--fix", "--json"]);
    assert_eq!(ran.code, Some(1), "the item is left: {}", ran.stdout);
    let report: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(report["diagnostics"].as_array().expect("a list").len(), 4, "{report:#}");
    let fixes = report["fixes"].as_array().expect("a list");
    let feature = fixes.iter().find(|fix| fix["diagnostic"]["item_id"] == json!(id)).expect("it");
    assert_eq!((&feature["fixed"], &feature["backup"]["path"]), (&json!(true), &json!(path)));
    assert_eq!(document(&repository, &id), good);
    let backup = feature["backup"]["session_id"].as_str().expect("an id");
    assert!(repository.run(&["backups", "list"]).stdout.contains(backup));
    assert_eq!(repository.run(&["backups", "restore", backup]).code, Some(0));
    assert_eq!(repository.read(&path), "half of a docu");
}

/// Every change of a feature is in a backup, and any of them can be gone back to.
#[test]
fn a_feature_goes_back_to_before_any_of_its_changes() {
    let repository = repository();
    let id = new(&repository, &["planning", "testing"]);
    let mut before = Vec::new();
    for step in ["start", "complete"] {
        before.push(document(&repository, &id));
        well(&repository, &[step, &id, "planning"]);
    }
    before.push(document(&repository, &id));
    let listed = repository.run(&["backups", "list"]).stdout;
    let oldest = listed.lines().last().and_then(|line| line.split(' ').next()).expect("a backup");
    let restored = repository.run(&["backups", "restore", oldest]);
    assert_eq!(restored.code, Some(0), "{}", restored.stderr);
    assert_eq!(document(&repository, &id), before[0]);
    let again = repository.run(&["backups", "restore", oldest]);
    assert_eq!(again.stdout, "nothing to restore: every file is as in the backup\n");
    let back = restored.stderr.split('`').nth(1).expect("a command").replace("wreckit-host ", "");
    let back = repository.run(&back.split(' ').collect::<Vec<_>>());
    assert_eq!(back.code, Some(0), "{}", back.stderr);
    assert_eq!(document(&repository, &id), before[2]);
}

/// Something else where the features should be is no reason not to look at the rest.
#[test]
fn doctor_looks_at_a_batch_beside_features_that_cannot_be_opened() {
    let repository = Repository::new("true", &["001-a"]);
    repository.write(FEATURES, "a file");
    let ran = repository.run(&["doctor"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "nothing found\n"), "{}", ran.stderr);
    assert!(ran.stderr.contains(&format!("cannot open {FEATURES}")), "{}", ran.stderr);
    let failed = repository.run(&["feature", "new", "x"]);
    assert_eq!(failed.code, Some(1), "{}", failed.stderr);
    assert!(failed.stderr.contains(&format!("cannot create {FEATURES}")), "{}", failed.stderr);
}
