//! `feature` as a user has it: commands, agents, git, crashes.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::environment::{Ran, Repository, crash, finish, kill, runs, workspace};

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
    assert!(resumed.stderr.contains("nothing to go on with"), "{}", resumed.stderr);
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
    well(&repository, &[&["complete", &id, "planning"][..], &artifacts[..]].concat());
    let told = well(&repository, &["resume", &id]).stdout;
    for words in [
        "Current phase: testing. Last completed phase: planning.",
        "- testing (pending)",
        &format!("Go on with: wreckit-host feature start {id} testing"),
        "# The plan\nwith \\u{1b}[31mcolour",
        "gone.md): missing",
        "## code (src/main.rs): outside",
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
    fails(&["show", "x"], 2, "there are no features here");
    assert_eq!(well(&repository, &["list"]).stdout, "no features\n");
    let id = new(&repository, &["planning", "testing"]);
    let other = new(&repository, &[]);
    assert_ne!(id, other, "two in one second");
    fails(&["new", " "], 2, "a feature needs a name");
    fails(&["new", "x", "--phase", "a/b"], 2, "is no name for a phase");
    fails(&["show", "../../etc"], 2, "there is no feature");
    fails(&["show", "asset"], 2, "fits more than one feature");
    fails(&["complete", &id, "planning"], 1, "was never started");
    fails(&["complete", &id, "planning"], 1, "what can be done now: start planning, start testing");
    fails(&["start", &id, "nonsense"], 1, "there are planning, testing");
    fails(&["start", &id, "planning", "--set", "x"], 2, "a name, `=` and a value");
    fails(&["start", &id, "planning", "--set", "x=y"], 2, "is no JSON");
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
    fails(&["run", &id], 2, "there is no .wreckit/config.json");
    fails(&["run", &id, "--mock-agent", "--approve", "nonsense"], 2, "there are planning, testing");
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
    let good = document(&repository, &id);
    well(&repository, &["complete", &id, "planning"]);
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
    let mended = report["fixes"].as_array().expect("a list");
    let feature = mended.iter().find(|fix| fix["diagnostic"]["item_id"] == json!(id)).expect("it");
    assert_eq!((&feature["fixed"], &feature["backup"]["path"]), (&json!(true), &json!(path)));
    assert_eq!(document(&repository, &id), good);
    let backup = feature["backup"]["session_id"].as_str().expect("an id");
    assert!(repository.run(&["backups", "list"]).stdout.contains(backup));
    assert_eq!(repository.run(&["backups", "restore", backup]).code, Some(0));
    assert_eq!(repository.read(&path), "half of a docu");
}

// -- git -------------------------------------------------------------------------------------------

fn git(repository: &Repository, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@example.com"])
        .args(arguments)
        .current_dir(repository.root())
        .output()
        .expect("git runs");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A feature with a linked worktree that has a commit, a change and a new file; `None` without git.
fn in_a_worktree() -> Option<(Repository, String, String)> {
    if Command::new("git").arg("--version").output().is_err() {
        eprintln!("git is not here: not tested");
        return None;
    }
    let repository = Repository::empty();
    git(&repository, &["init", "-q", "."]);
    repository.write("code", "before");
    git(&repository, &["add", "code"]);
    git(&repository, &["commit", "-q", "-m", "before"]);
    git(&repository, &["worktree", "add", "-q", "trees/export"]);
    let made = well(&repository, &["new", "Asset Export", "--worktree", "trees/export"]);
    let id = made.stdout.trim().to_owned();
    well(&repository, &["start", &id, "brainstorming"]);
    repository.write("trees/export/code", "after");
    git(&repository, &["-C", "trees/export", "commit", "-q", "-a", "-m", "the work"]);
    repository.write("trees/export/code", "more");
    repository.write("trees/export/new", "new");
    let head = git(&repository, &["-C", "trees/export", "rev-parse", "HEAD"]);
    Some((repository, id, head))
}

fn abort(repository: &Repository, id: &str, cleanup: &str, more: &[&str]) -> Ran {
    let arguments = ["feature", "abort", id, "--reason", "user_request", "--cleanup", cleanup];
    repository.run(&[&arguments[..], more].concat())
}

#[test]
fn keeping_the_artifacts_removes_the_worktree_alone() {
    let Some((repository, id, head)) = in_a_worktree() else { return };
    let before = git(&repository, &["rev-parse", "HEAD"]);
    assert_eq!(document(&repository, &id)["worktree"]["pre_feature_commit"], json!(before));
    let refused = abort(&repository, &id, "keep_artifacts", &[]);
    assert_eq!(refused.code, Some(2));
    assert!(
        refused.stderr.contains("loses what is not committed:")
            && refused.stderr.contains("?? new"),
        "{}",
        refused.stderr
    );
    assert!(repository.exists("trees/export/new"), "nobody was asked");
    assert_eq!(document(&repository, &id)["status"], "in_progress");

    let done = abort(&repository, &id, "keep_artifacts", &["--yes"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(!repository.exists("trees/export"));
    assert_eq!(repository.read("code"), "before");
    let info = &document(&repository, &id)["abort_info"];
    assert_eq!(
        (&info["pre_abort_commit"], &info["cleanup_performed"], &info["can_resume"]),
        (&json!(head), &json!(true), &json!(false))
    );
    assert_eq!(git(&repository, &["rev-parse", "export"]), head, "the branch stays");
    assert_eq!(abort(&repository, &id, "keep_artifacts", &["--yes"]).code, Some(1), "twice");
}

#[test]
fn a_rollback_brings_the_worktree_back_and_touches_nothing_else() {
    let Some((repository, id, head)) = in_a_worktree() else { return };
    repository.write("mine", "not committed");
    let done = abort(&repository, &id, "rollback", &["--yes"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stderr.contains("the work"), "the commits that go are shown: {}", done.stderr);
    assert_eq!(repository.read("trees/export/code"), "before");
    assert!(!repository.exists("trees/export/new") && repository.exists("mine"));
    assert_eq!(document(&repository, &id)["abort_info"]["pre_abort_commit"], json!(head));
}

#[test]
fn a_full_cleanup_removes_the_worktree_and_the_directory() {
    let Some((repository, id, _)) = in_a_worktree() else { return };
    let other = well(&repository, &["new", "Another"]).stdout.trim().to_owned();
    let done = abort(&repository, &id, "full_cleanup", &["--yes"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(!repository.exists("trees/export") && !repository.exists(&format!("{FEATURES}/{id}")));
    assert!(
        repository.exists(&format!("{FEATURES}/{other}/progress.json"))
            && repository.exists("code")
    );
}

/// Whatever a document says is a worktree: only one that git knows as a linked one is touched.
#[test]
fn what_is_no_linked_worktree_is_never_touched() {
    let Some((repository, id, _)) = in_a_worktree() else { return };
    repository.write("elsewhere/precious", "mine");
    let path = format!("{FEATURES}/{id}/progress.json");
    for worktree in [".", "elsewhere", "/", "..", &repository.root().display().to_string()] {
        let mut changed = document(&repository, &id);
        changed["worktree"]["path"] = json!(worktree);
        repository.write(&path, &changed.to_string());
        for cleanup in ["keep_artifacts", "rollback", "full_cleanup"] {
            let refused = abort(&repository, &id, cleanup, &["--yes"]);
            assert_eq!(refused.code, Some(1), "{worktree}: {}", refused.stderr);
            assert!(refused.stderr.contains("no linked worktree"), "{}", refused.stderr);
        }
        assert_eq!(repository.read(&path), changed.to_string());
    }
    let mut changed = document(&repository, &id);
    changed["worktree"] = json!({"path": "trees/export", "pre_feature_commit": "--force"});
    repository.write(&path, &changed.to_string());
    assert_eq!(abort(&repository, &id, "rollback", &["--yes"]).code, Some(1));
    assert_eq!(repository.read("trees/export/code"), "more");
    assert_eq!(repository.read("elsewhere/precious"), "mine");
}

// -- agents ----------------------------------------------------------------------------------------

#[test]
fn a_run_calls_the_agent_for_each_phase_and_waits_for_a_person_where_one_is_wanted() {
    let repository = repository();
    agent(
        &repository,
        r#"echo "$1 $2 $3 $WRECKIT_FEATURE_ID $WRECKIT_PHASE" >> ran; echo working"#,
    );
    let id = new(&repository, &[]);
    let ran = repository.run(&["feature", "run", &id]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stdout.contains("blocked  brainstorming: it waits for approval"), "{}", ran.stdout);
    assert!(
        ran.stderr.trim_end().ends_with(&format!("go on with: wreckit-host feature run {id}")),
        "{}",
        ran.stderr
    );
    let ran = repository.run(&["feature", "run", &id, "--approve", "brainstorming"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stdout.contains("blocked  planning"), "{}", ran.stdout);
    let ran = repository.run(&["feature", "run", &id, "--yes"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stdout.contains("complete (5 of 5 phases complete)"), "{}", ran.stdout);
    let directory = repository.path(FEATURES).join(&id).display().to_string();
    let expected: Vec<String> =
        ["brainstorming", "planning", "architecture", "implementation", "testing"]
            .map(|phase| format!("{id} {phase} {directory} {id} {phase}"))
            .into();
    assert_eq!(repository.ran(), expected, "each once");
    assert_eq!(repository.read(&format!("{FEATURES}/{id}/logs/testing.1.log")), "working\n");
    assert_eq!(document(&repository, &id)["metadata"]["human_checkpoints"], 2);
}

#[test]
fn a_failed_phase_is_named_with_its_log_and_tried_again_by_the_next_run() {
    let repository = repository();
    agent(&repository, "echo on $2; [ $2 != testing ] || [ -e good ] || exit 4");
    let id = new(&repository, &["planning", "testing"]);
    // The name of a usual phase wants no approval unless its field says so.
    well(&repository, &["start", &id, "planning", "--set", "approved=true"]);
    let ran = repository.run(&["feature", "run", &id]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    let log = format!("{FEATURES}/{id}/logs/testing.1.log");
    assert!(
        ran.stderr.contains("the agent exited with code 4") && ran.stderr.contains(&log),
        "{}",
        ran.stderr
    );
    assert_eq!(document(&repository, &id)["phases"]["testing"]["status"], "failed");
    repository.write("good", "");
    let ran = repository.run(&["feature", "run", &id, "--json"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let last: Value =
        serde_json::from_str(ran.stdout.lines().last().expect("a line")).expect("JSON");
    assert_eq!(
        (&last["event"], &last["completed"]),
        (&json!("batch-finished"), &json!(["testing"]))
    );
    assert!(repository.exists(&format!("{FEATURES}/{id}/logs/testing.2.log")));
}

#[test]
fn a_phase_goes_on_after_an_interruption_and_after_a_kill() {
    let repository = repository();
    agent(
        &repository,
        r#"echo "$2" >> ran; echo $$ > pid; [ -e go ] || { [ $2 = planning ] || sleep 1000; }"#,
    );
    let id = new(&repository, &["planning", "testing"]);
    well(&repository, &["start", &id, "planning", "--set", "approved=true"]);
    let run = repository.start(&["feature", "run", &id]);
    repository.until("the second phase", |repository| repository.ran().len() == 2);
    assert_eq!(repository.run(&["feature", "run", &id]).code, Some(3), "one at a time");
    kill(run.id(), "INT");
    let ran = finish(run);
    assert_eq!(ran.code, Some(130), "{}", ran.stderr);
    assert!(
        ran.stderr.contains(&format!("go on with: wreckit-host feature run {id}")),
        "{}",
        ran.stderr
    );
    assert_eq!(document(&repository, &id)["phases"]["testing"]["status"], "in_progress");

    let run = repository.start(&["feature", "run", &id]);
    repository.until("the second phase again", |repository| repository.ran().len() == 3);
    repository.until("its pid", |repository| runs(repository.read("pid").trim()));
    let left = repository.read("pid").trim().to_owned();
    crash(run);
    assert!(runs(&left), "its agent goes on");
    repository.write("go", "");
    let ran = repository.run(&["feature", "run", &id]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stderr.contains("had left agents running"), "{}", ran.stderr);
    assert!(!runs(&left));
    assert_eq!(repository.ran(), ["planning", "testing", "testing", "testing"]);
    assert_eq!(document(&repository, &id)["status"], "complete");
}

#[test]
fn a_process_agent_gets_the_prompt_of_its_phase_and_proves_its_end() {
    let repository = repository();
    let script = "cat > prompt.$WRECKIT_PHASE; echo '<promise>COMPLETE</promise>'";
    repository.agent(json!({"kind": "process", "command": "sh", "args": ["-c", script]}));
    repository.write(".wreckit/prompts/testing.md", "Test {{title}} ({{phase}}) with {{design}}");
    let id = new(&repository, &["planning", "testing"]);
    repository.write(&format!("{FEATURES}/{id}/design.md"), "the design");
    let ran = repository.run(&["feature", "run", &id, "--yes"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let prompt = repository.read("prompt.planning");
    for words in ["**planning**", &id, "Asset Export", "the design", "<promise>COMPLETE</promise>"]
    {
        assert!(prompt.contains(words), "{words}: {prompt}");
    }
    assert!(!prompt.contains("{{"), "{prompt}");
    assert_eq!(repository.read("prompt.testing"), "Test Asset Export (testing) with the design");
    repository.agent(json!({"kind": "process", "command": "sh", "args": ["-c", "true"]}));
    let silent = new(&repository, &["testing"]);
    let ran = repository.run(&["feature", "run", &silent]);
    assert!(ran.stderr.contains("without printing its completion signal"), "{}", ran.stderr);
}

#[test]
fn an_agent_works_in_the_worktree_and_reports_while_it_runs() {
    let Some((repository, id, _)) = in_a_worktree() else { return };
    let program = crate::environment::program().display().to_string();
    fs::create_dir(repository.path(".wreckit")).expect("a directory");
    let script = format!(
        "pwd >> {}/ran; {program} feature record $WRECKIT_FEATURE_ID --agents 1 --tokens $WRECKIT_PHASE=10,20",
        repository.root().display()
    );
    agent(&repository, &script);
    let ran = repository.run(&["feature", "run", &id, "--yes"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let place: PathBuf = repository.path("trees/export").canonicalize().expect("a directory");
    assert_eq!(repository.ran(), vec![place.display().to_string(); 5]);
    let metrics = &document(&repository, &id)["metrics"];
    assert_eq!(metrics["orchestration"]["total_agents_spawned"], 5);
    assert_eq!(metrics["tokens"]["estimated_total_tokens"], 150, "counted, not estimated");
}
