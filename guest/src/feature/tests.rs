//! Features against a disk in memory.

use std::rc::Rc;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::batch::{CloseReason, Ended, Outcome, Report};
use crate::layout::FEATURES;
use crate::memory::{Machine, Process};
use crate::tree::Tree;

const ID: &str = "asset-export_20260301_081500";
const FILE: &str = "asset-export_20260301_081500/progress.json";

fn tree(process: &Process) -> Tree<'_> {
    Tree::of(process, &FEATURES)
}

/// A machine whose disk has this document.
fn with(document: &Value) -> Rc<Machine> {
    let machine = Machine::new();
    machine.clock.set(1_900_000_000_000);
    machine.put(FILE, document.to_string());
    machine
}

fn document(machine: &Machine) -> Value {
    serde_json::from_str(&machine.text(FILE).expect("a file")).expect("JSON")
}

/// The least that a document needs.
fn least(phases: &[(&str, &str)]) -> Value {
    let phases: Map<String, Value> = phases
        .iter()
        .map(|(name, status)| ((*name).to_owned(), json!({"status": status})))
        .collect();
    json!({
        "feature_id": ID, "feature_name": "Asset Export", "created": "2026-03-01T08:15:00Z",
        "updated": "2026-03-01T08:15:00Z", "current_phase": "planning", "status": "in_progress",
        "phases": phases,
    })
}

fn step(machine: &Rc<Machine>, step: Move, phase: &str) -> Result<Changed, FeatureError> {
    make_move(tree(&machine.process(1)), ID, phase, step, &Details::default())
}

fn illegal(result: Result<Changed, FeatureError>) -> Vec<String> {
    match result {
        Err(FeatureError::Illegal { legal, .. }) => legal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn illegal_moves_name_the_legal_ones() {
    let machine = with(&least(&[("planning", "pending"), ("testing", "pending")]));
    assert_eq!(
        illegal(step(&machine, Move::Complete, "planning")),
        ["start planning", "start testing"]
    );
    for other in [Move::Block, Move::Fail] {
        illegal(step(&machine, other, "planning"));
    }
    illegal(step(&machine, Move::Start, "nonsense"));
    step(&machine, Move::Start, "planning").unwrap();
    let working = ["complete planning", "block planning", "fail planning"];
    assert_eq!(illegal(step(&machine, Move::Start, "testing")), working);
    assert_eq!(illegal(step(&machine, Move::Start, "planning")), working);
    assert_eq!(illegal(step(&machine, Move::Complete, "testing")), working);
    step(&machine, Move::Block, "planning").unwrap();
    assert_eq!(
        illegal(step(&machine, Move::Complete, "planning")),
        ["start planning", "start testing"]
    );
    step(&machine, Move::Start, "planning").unwrap();
    step(&machine, Move::Complete, "planning").unwrap();
    assert_eq!(illegal(step(&machine, Move::Start, "planning")), ["start testing"]);
    step(&machine, Move::Start, "testing").unwrap();
    step(&machine, Move::Complete, "testing").unwrap();
    assert_eq!(illegal(step(&machine, Move::Start, "testing")), [""; 0]);
    let process = machine.process(1);
    for result in [
        abort(tree(&process), ID, Reason::UserRequest, Cleanup::KeepEverything, None).map(drop),
        resume(tree(&process), ID).map(drop),
        open_run(tree(&process), ID, RunOptions::default()).map(drop),
    ] {
        assert!(matches!(result, Err(FeatureError::Illegal { .. })), "{result:?}");
    }
    let document = document(&machine);
    assert_eq!(
        (&document["current_phase"], &document["status"]),
        (&json!("complete"), &json!("complete"))
    );
}

#[test]
fn an_abort_that_keeps_everything_is_reopened_where_it_was_and_no_other_is() {
    let machine = with(&least(&[("planning", "in_progress"), ("testing", "pending")]));
    let process = machine.process(1);
    let give_up =
        |cleanup, commit| abort(tree(&process), ID, Reason::CostExceeded, cleanup, commit);
    illegal(give_up(Cleanup::Rollback, None));
    give_up(Cleanup::KeepEverything, Some("abc123")).unwrap();
    illegal(give_up(Cleanup::KeepEverything, None));
    let aborted = document(&machine);
    assert_eq!(aborted["phases"]["planning"]["status"], "aborted");
    assert_eq!(
        aborted["abort_info"],
        json!({
            "aborted": true, "abort_reason": "cost_exceeded", "abort_phase": "planning",
            "abort_timestamp": aborted["abort_info"]["abort_timestamp"],
            "pre_abort_commit": "abc123", "cleanup_choice": "keep_everything",
            "cleanup_performed": true, "can_resume": true,
        })
    );
    assert_eq!(illegal(step(&machine, Move::Start, "testing")), ["start planning"]);
    illegal(iterate(tree(&process), ID, &round(Verdict::Pass, Verdict::Pass)));
    assert_eq!(
        resume(tree(&process), ID).unwrap()["next"],
        json!({"phase": "planning", "move": "start"})
    );
    step(&machine, Move::Start, "planning").unwrap();
    assert_eq!(document(&machine)["status"], "in_progress");

    give_up(Cleanup::KeepArtifacts, None).unwrap();
    assert_eq!(illegal(step(&machine, Move::Start, "planning")), [""; 0]);
    illegal(resume(tree(&process), ID).map(|_| unreachable!()));
    // Its cleanup did not succeed: the same is tried again, another one is not.
    illegal(give_up(Cleanup::FullCleanup, None));
    give_up(Cleanup::KeepArtifacts, None).unwrap();
    cleaned(tree(&process), ID).unwrap();
    illegal(give_up(Cleanup::KeepArtifacts, None));
    assert_eq!(document(&machine)["abort_info"]["cleanup_performed"], true);
}

#[test]
fn a_full_cleanup_removes_the_directory_and_nothing_else() {
    let machine = with(&least(&[("planning", "in_progress")]));
    machine.put("another_20260101_000000/progress.json", "{}");
    machine.put(&format!("{ID}/logs/planning.1.log"), "said");
    let process = machine.process(1);
    illegal(cleaned(tree(&process), ID));
    abort(tree(&process), ID, Reason::UserRequest, Cleanup::FullCleanup, None).unwrap();
    cleaned(tree(&process), ID).unwrap();
    assert!(machine.paths().iter().all(|path| !path.starts_with(ID)));
    assert!(machine.text("another_20260101_000000/progress.json").is_some());
}

fn round(review: Verdict, test: Verdict) -> Iteration {
    Iteration { implementation: "it".to_owned(), review, test, test_failures: Vec::new() }
}

#[test]
fn the_feedback_loop_verifies_reopens_and_escalates() {
    use Verdict::{Fail, Pass};
    let machine = with(&least(&[("implementation", "in_progress")]));
    let process = machine.process(1);
    let state = |key: &str| document(&machine)["feedback_loop"][key].clone();
    iterate(tree(&process), ID, &round(Pass, Pass)).unwrap();
    assert_eq!(state("status"), "IMPLEMENTATION_VERIFIED");
    iterate(tree(&process), ID, &round(Fail, Pass)).unwrap();
    assert_eq!(
        (state("status"), state("consecutive_review_failures")),
        (json!("in_progress"), json!(1))
    );
    iterate(tree(&process), ID, &round(Fail, Fail)).unwrap();
    assert_eq!(
        (state("consecutive_review_failures"), state("consecutive_test_failures")),
        (json!(2), json!(1))
    );
    iterate(tree(&process), ID, &round(Pass, Fail)).unwrap();
    assert_eq!(
        (state("consecutive_review_failures"), state("consecutive_test_failures")),
        (json!(0), json!(2))
    );
    iterate(tree(&process), ID, &round(Pass, Fail)).unwrap();
    assert_eq!((state("status"), state("current_iteration")), (json!("escalated"), json!(5)));
    assert_eq!(
        document(&machine)["metrics"]["escalations"],
        json!({"to_user": 1, "reasons": ["max_iterations_reached"]})
    );
    illegal(iterate(tree(&process), ID, &round(Pass, Pass)));
    // A person may allow more; what other hands wrote as a status counts as in progress.
    let mut more = document(&machine);
    more["feedback_loop"]["max_iterations"] = json!(7);
    more["feedback_loop"]["status"] = json!("thinking");
    machine.put(FILE, more.to_string());
    iterate(tree(&process), ID, &round(Pass, Pass)).unwrap();
    assert_eq!(state("status"), "IMPLEMENTATION_VERIFIED");
    assert_eq!(state("iterations").as_array().unwrap().len(), 6);
}

#[test]
fn completing_counts_minutes_agents_approvals_and_estimates() {
    let machine = with(&least(&[("planning", "pending"), ("review", "pending")]));
    let process = machine.process(1);
    let details = |set: &[(&str, &str)]| Details {
        set: set.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        ..Details::default()
    };
    make_move(tree(&process), ID, "planning", Move::Start, &details(&[])).unwrap();
    machine.clock.set(machine.clock.get() + 90_000);
    let set =
        details(&[("approved", "true"), ("agents_used", r#"["a", "b"]"#), ("task_count", "8")]);
    make_move(tree(&process), ID, "planning", Move::Complete, &set).unwrap();
    let after = document(&machine);
    assert_eq!(after["phases"]["planning"]["duration_minutes"], json!(1.5));
    assert_eq!(
        after["metadata"],
        json!({"total_duration_minutes": 1.5, "agents_spawned": 2, "human_checkpoints": 1})
    );
    let tokens = &after["metrics"]["tokens"];
    assert_eq!(tokens["by_phase"]["planning"], 24_000);
    assert_eq!(
        (&tokens["estimated_total_tokens"], &tokens["estimated_phases"]),
        (&json!(24_000), &json!(["planning"]))
    );
    // What is counted later takes the place of the estimate.
    let counted = Measurements {
        tokens: vec![("planning".to_owned(), 9000, 1000)],
        model: Some("claude-sonnet-4".to_owned()),
        ..Measurements::default()
    };
    record(tree(&process), ID, &counted).unwrap();
    let tokens = &document(&machine)["metrics"]["tokens"];
    assert_eq!(
        (&tokens["by_phase"]["planning"], &tokens["estimated_total_tokens"]),
        (&json!(10_000), &json!(10_000))
    );
    assert_eq!(document(&machine)["metrics"]["cost"]["estimated_cost_usd"], json!(0.042));
    assert_eq!(tokens["estimated_phases"], json!([]));
    // A phase that nobody has an estimate for gets none; one without a start took no time.
    make_move(tree(&process), ID, "review", Move::Start, &details(&[])).unwrap();
    let mut torn = document(&machine);
    torn["phases"]["review"].as_object_mut().unwrap().shift_remove("started_at");
    machine.put(FILE, torn.to_string());
    make_move(tree(&process), ID, "review", Move::Complete, &details(&[])).unwrap();
    assert_eq!(document(&machine)["phases"]["review"]["duration_minutes"], json!(0));
    for (key, value) in [("status", "\"complete\""), ("started_at", "1"), ("x", "no JSON")] {
        let result =
            make_move(tree(&process), ID, "review", Move::Start, &details(&[(key, value)]));
        assert!(result.is_err(), "{key}");
    }
    let told = summary(tree(&process), ID).unwrap();
    assert_eq!(
        (&told["total_duration_minutes"], &told["tokens"]["total"]),
        (&json!(1.5), &json!(10_000))
    );
}

#[test]
fn ids_names_and_two_in_one_second() {
    let machine = Machine::new();
    let process = machine.process(1);
    let new = |name: &str| create(tree(&process), &New { name: name.to_owned(), ..New::default() });
    let (first, second) = (new("Asset Export").unwrap(), new("Asset Export").unwrap());
    assert_ne!(first.id, second.id);
    assert!(first.id.starts_with("asset-export_2023111"), "{}", first.id);
    assert!(new("../../etc").unwrap().id.starts_with("etc_"));
    assert!(new("!!!").unwrap().id.starts_with("feature_"));
    for name in ["", "  "] {
        assert!(matches!(new(name), Err(FeatureError::Invalid(_))));
    }
    for phases in [vec!["a/b"], vec![""], vec!["a", "a"], vec!["complete"], vec!["--x"]] {
        let phases = phases.into_iter().map(str::to_owned).collect();
        let result = create(tree(&process), &New { name: "x".to_owned(), phases, worktree: None });
        assert!(matches!(result, Err(FeatureError::Invalid(_))));
    }
    for id in ["../../etc", "", "/", "asset-export", "nobody", ".lock", "."] {
        assert!(matches!(read(tree(&process), id), Err(FeatureError::Unknown(_))), "{id}");
    }
    assert_eq!(read(tree(&process), "etc").unwrap().1.text("feature_name"), "../../etc");
    assert_eq!(list(tree(&process)).unwrap().len(), 4);
}

#[test]
fn a_resume_tells_everything_and_reads_nothing_outside() {
    let mut document =
        least(&[("brainstorming", "complete"), ("planning", "blocked"), ("testing", "pending")]);
    document["phases"]["planning"]["reason"] = json!("no access");
    document["artifacts"] = json!({
        "design": format!("{}{ID}/design.md", FEATURES.prefix),
        "gone": format!("{}{ID}/gone.md", FEATURES.prefix),
        "outside": "src/main.rs",
        "sly": format!("{}../../../etc/passwd", FEATURES.prefix),
        "progress": format!("{}{FILE}", FEATURES.prefix),
        "nonsense": 7,
    });
    let machine = with(&document);
    machine.put(&format!("{ID}/design.md"), "# Design");
    let told = resume(tree(&machine.process(1)), ID).unwrap();
    let state = |name: &str| {
        let artifacts = told["artifacts"].as_array().unwrap();
        artifacts.iter().find(|it| it["name"] == name).unwrap()["state"].clone()
    };
    assert_eq!(
        ["design", "gone", "outside", "sly", "progress", "nonsense"].map(state),
        ["present", "missing", "outside", "outside", "present", "invalid"].map(Value::from)
    );
    assert_eq!(told["artifacts"][0]["content"], "# Design");
    assert_eq!(told["last_completed_phase"], "brainstorming");
    assert_eq!(told["next"], json!({"phase": "planning", "move": "start"}));
    assert_eq!(
        told["todo"],
        json!([
            {"phase": "planning", "status": "blocked", "reason": "no access"},
            {"phase": "testing", "status": "pending", "reason": null},
        ])
    );
}

/// The power fails at every moment of a change: the file is the one before or the one after.
#[test]
fn a_change_that_is_cut_off_leaves_the_document_of_before_or_after() {
    let before = least(&[("planning", "in_progress"), ("testing", "pending")]);
    let whole = with(&before);
    step(&whole, Move::Complete, "planning").unwrap();
    let after = document(&whole)["phases"]["planning"]["status"].clone();
    let total = whole.operations().len();
    for until in 0..=total {
        let machine = with(&before);
        machine.power_until.set(until);
        let done = step(&machine, Move::Complete, "planning").is_ok();
        let machine = machine.power_loss(|| until);
        let found = document(&machine)["phases"]["planning"]["status"].clone();
        assert!(found == "in_progress" || found == after, "{found} after {until} of {total}");
        assert!(!done || found == after, "what was acknowledged is there");
    }
}

#[test]
fn who_comes_second_is_told() {
    let machine = with(&least(&[("planning", "pending")]));
    let (first, second) = (machine.process(1), machine.process(2));
    store::lock(tree(&first), crate::layout::FEATURE_LOCK, true).unwrap();
    let result = make_move(tree(&second), ID, "planning", Move::Start, &Details::default());
    let Err(FeatureError::Busy(holder)) = result else { panic!("{result:?}") };
    assert!(holder.momentary && holder.pid == Some(1));
    machine.kill(1);
    make_move(tree(&second), ID, "planning", Move::Start, &Details::default()).unwrap();
}

#[test]
fn a_damaged_document_is_brought_back_from_its_newest_good_backup() {
    let machine = with(&least(&[("planning", "pending")]));
    let process = machine.process(1);
    step(&machine, Move::Start, "planning").unwrap();
    let good = document(&machine);
    step(&machine, Move::Complete, "planning").unwrap();
    for damage in ["", "{", "[]", "{\"phases\": {}}"] {
        machine.put(FILE, damage);
        let found = doctor::diagnose(tree(&process));
        assert_eq!((found.len(), found[0].code), (1, crate::doctor::Code::FeatureProgressCorrupt));
        assert!(matches!(read(tree(&process), ID), Err(FeatureError::Corrupt(_))));
        let treatment = doctor::fix(tree(&process)).unwrap();
        assert!(treatment.fixes[0].fixed && treatment.left.is_empty(), "{treatment:?}");
        assert_eq!(document(&machine), good, "the one before the last change");
        assert_eq!(doctor::fix(tree(&process)).unwrap().fixes, []);
        doctor::restore(tree(&process), &treatment.backup.unwrap()).unwrap();
        assert_eq!(machine.text(FILE).as_deref(), Some(damage));
    }
    let alone = with(&json!([]));
    let found = doctor::diagnose(tree(&alone.process(1)));
    assert!(!found[0].fixable, "there is no backup of it");
}

#[test]
fn contradictions_and_missing_artifacts_are_found_and_sound_documents_are_not() {
    let sound = [
        least(&[("planning", "in_progress"), ("testing", "pending")]),
        json!({"status": "complete", "current_phase": "complete"}),
    ];
    let codes = |document: &Value| {
        let machine = with(document);
        let found = doctor::diagnose(tree(&machine.process(1)));
        found.into_iter().map(|it| it.code.name()).collect::<Vec<_>>()
    };
    assert_eq!(codes(&sound[0]), [""; 0]);
    let change = |changes: &[(&str, Value)]| {
        let mut document = least(&[("planning", "in_progress"), ("testing", "pending")]);
        for (pointer, value) in changes {
            match document.pointer_mut(pointer) {
                Some(there) => *there = value.clone(),
                None => {
                    let (parent, key) = pointer.rsplit_once('/').unwrap();
                    document.pointer_mut(parent).unwrap()[key] = value.clone();
                }
            }
        }
        codes(&document)
    };
    let inconsistent = ["FEATURE_INCONSISTENT"];
    assert_eq!(change(&[("/phases/testing/status", json!("in_progress"))]), inconsistent);
    assert_eq!(change(&[("/current_phase", json!("nonsense"))]), inconsistent);
    assert_eq!(change(&[("/current_phase", json!("testing"))]), inconsistent);
    assert_eq!(change(&[("/status", json!("complete"))]), inconsistent);
    assert_eq!(change(&[("/abort_info", json!({"aborted": true}))]), inconsistent);
    assert_eq!(
        change(&[
            ("/phases/planning/started_at", json!("2026-03-02T00:00:00Z")),
            ("/phases/planning/completed_at", json!("2026-03-01T00:00:00Z"))
        ]),
        inconsistent
    );
    let artifact = |path: String| change(&[("/artifacts", json!({"a": path}))]);
    assert_eq!(artifact(format!("{}{ID}/gone.md", FEATURES.prefix)), ["FEATURE_ARTIFACT_MISSING"]);
    assert_eq!(artifact("src/main.rs".to_owned()), [""; 0], "nobody can tell from here");
}

// -- a run -----------------------------------------------------------------------------------------

fn ended(phase: &str, number: u32, outcome: Outcome) -> Report {
    Report::Ended(Ended {
        item: phase.to_owned(),
        attempt: number,
        outcome,
        exit_code: None,
        signal: None,
        duration: 1,
        output: Some("words".to_owned()),
    })
}

/// Runs a feature; `work` is the agent.
fn run(
    machine: &Rc<Machine>,
    options: RunOptions,
    mut work: impl FnMut(&str, u32) -> Outcome,
) -> crate::batch::Summary {
    let process = machine.process(1);
    let (mut run, _) = open_run(tree(&process), ID, options).unwrap();
    let mut reports = Vec::new();
    loop {
        let step = run.advance(tree(&process), &reports, 1).unwrap();
        if step.finished {
            return run.close(tree(&process), CloseReason::Ended).unwrap();
        }
        reports = step
            .start
            .iter()
            .map(|attempt| {
                ended(&attempt.item, attempt.number, work(&attempt.item, attempt.number))
            })
            .collect();
        if reports.is_empty() {
            machine.clock.set(machine.clock.get() + step.wake_after);
        }
        for attempt in &step.start {
            machine.put(&attempt.log, "said");
        }
    }
}

#[test]
fn a_run_takes_every_phase_in_its_order_and_a_failed_one_again() {
    let machine = with(&least(&[("planning", "pending"), ("testing", "pending")]));
    let mut called = Vec::new();
    let summary = run(&machine, RunOptions::default(), |phase, number| {
        called.push((phase.to_owned(), number));
        let status = document(&machine)["phases"][phase]["status"].clone();
        assert_eq!(status, "in_progress", "that is on disk before its agent starts");
        if phase == "testing" { Outcome::Failed("no".to_owned()) } else { Outcome::Completed }
    });
    assert_eq!(summary.failed, [("testing".to_owned(), "no".to_owned())]);
    assert_eq!(document(&machine)["phases"]["testing"]["reason"], "no");
    let summary =
        run(&machine, RunOptions { retries: 1, ..RunOptions::default() }, |phase, number| {
            called.push((phase.to_owned(), number));
            if number == 2 { Outcome::TimedOut(5) } else { Outcome::Completed }
        });
    assert_eq!(
        (summary.completed, summary.skipped),
        (vec!["testing".to_owned()], vec!["planning".to_owned()])
    );
    let call = |phase: &str, number| (phase.to_owned(), number);
    assert_eq!(
        called,
        [call("planning", 1), call("testing", 1), call("testing", 2), call("testing", 3)]
    );
    assert_eq!(document(&machine)["status"], "complete");
}

#[test]
fn a_phase_that_wants_approval_waits_for_a_person_and_is_not_called_again() {
    let mut waiting = least(&[("planning", "pending"), ("testing", "pending")]);
    waiting["phases"]["planning"]["approved"] = json!(false);
    let machine = with(&waiting);
    let mut called = Vec::new();
    let mut go = |options: RunOptions| {
        run(&machine, options, |phase, _| {
            called.push(phase.to_owned());
            Outcome::Completed
        })
    };
    for _ in 0..2 {
        let summary = go(RunOptions::default());
        assert_eq!(summary.blocked.len(), 1);
        assert!(summary.blocked[0].1.contains("--approve planning"), "{:?}", summary.blocked);
        assert!(summary.resumable);
    }
    let approved = RunOptions { approve: vec!["planning".to_owned()], ..RunOptions::default() };
    assert_eq!(go(approved).completed, ["planning", "testing"]);
    assert_eq!(called, ["planning", "testing"]);
    let after = document(&machine);
    assert_eq!(after["phases"]["planning"]["approved"], true);
    assert_eq!(after["phases"]["planning"].get("awaiting_approval"), None);
    assert_eq!(after["metadata"]["human_checkpoints"], 1);

    let machine = with(&waiting);
    let all = RunOptions { approve_all: true, ..RunOptions::default() };
    assert_eq!(run(&machine, all, |_, _| Outcome::Completed).completed.len(), 2);
    let unknown = RunOptions { approve: vec!["nonsense".to_owned()], ..RunOptions::default() };
    let result = open_run(tree(&with(&waiting).process(1)), ID, unknown);
    assert!(matches!(result, Err(FeatureError::Invalid(_))));
}

#[test]
fn a_run_that_is_interrupted_or_killed_goes_on_at_its_phase() {
    let machine = with(&least(&[("planning", "pending"), ("testing", "pending")]));
    let summary = run(&machine, RunOptions::default(), |phase, _| match phase {
        "testing" => Outcome::Interrupted,
        _ => Outcome::Completed,
    });
    assert_eq!((summary.remaining, summary.resumable), (vec!["testing".to_owned()], true));
    // Killed with its agent at work.
    let process = machine.process(7);
    let (mut killed, _) = open_run(tree(&process), ID, RunOptions::default()).unwrap();
    assert_eq!(killed.advance(tree(&process), &[], 1).unwrap().start[0].item, "testing");
    let other = open_run(tree(&machine.process(8)), ID, RunOptions::default());
    assert!(matches!(other, Err(FeatureError::Busy(holder)) if !holder.momentary));
    machine.kill(7);
    let summary = run(&machine, RunOptions::default(), |_, _| Outcome::Completed);
    assert_eq!(summary.completed, ["testing"]);
}

#[test]
fn a_limit_pauses_the_run_and_fails_nothing() {
    let machine = with(&least(&[("planning", "pending")]));
    let started = machine.clock.get();
    let mut calls = 0;
    let options = RunOptions { limit_wait: 60_000, ..RunOptions::default() };
    let summary = run(&machine, options, |_, _| {
        calls += 1;
        if calls < 3 { Outcome::Paused("limit".to_owned()) } else { Outcome::Completed }
    });
    assert_eq!((summary.completed.len(), calls), (1, 3));
    assert!(machine.clock.get() - started >= 180_000, "a minute, then two");
}

#[test]
fn what_agents_and_others_do_to_the_document_counts() {
    let machine =
        with(&least(&[("planning", "pending"), ("testing", "pending"), ("review", "pending")]));
    let process = machine.process(2);
    // The agent completes its own phase, and blocks the next one.
    let summary = run(&machine, RunOptions::default(), |phase, _| {
        let step = if phase == "planning" { Move::Complete } else { Move::Block };
        let details = Details { reason: Some("no key".to_owned()), ..Details::default() };
        make_move(tree(&process), ID, phase, step, &details).unwrap();
        Outcome::Completed
    });
    assert_eq!(summary.completed, ["planning"]);
    assert_eq!(summary.blocked, [("testing".to_owned(), "no key".to_owned())]);
    // One damages the document: the run ends and says so.
    let summary = run(&machine, RunOptions::default(), |_, _| {
        machine.put(FILE, "{");
        Outcome::Completed
    });
    assert!(summary.failed[0].1.contains("invalid JSON"), "{:?}", summary.failed);
}

// -- documents of other hands ----------------------------------------------------------------------

/// JSON of any kind, numbers as somebody may write them.
fn any_json() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        Just("2.50"),
        Just("1e3"),
        Just("-0"),
        Just("0.10"),
        Just("12345678901234567890123")
    ];
    let number = number.prop_map(|text| serde_json::from_str::<Value>(text).unwrap());
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number,
        "[a-zA-Zäß\"\\\\ ]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::vec(("[a-z]{1,4}", inner), 0..3)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

/// Fields that nobody here knows.
fn unknown() -> impl Strategy<Value = Vec<(String, Value)>> {
    proptest::collection::vec(("x_[a-z]{1,3}", any_json()), 0..3)
}

const NAMES: [&str; 5] = ["discovery", "planning", "code_review", "test_validation", "shipping"];

/// A valid document with unknown fields everywhere, and optional parts missing.
fn any_document() -> impl Strategy<Value = Value> {
    let status = prop_oneof![
        Just("pending"),
        Just("in_progress"),
        Just("complete"),
        Just("blocked"),
        Just("failed"),
        Just("skipped"),
    ];
    let phase = (status, unknown(), any::<bool>());
    let parts = proptest::collection::vec(proptest::option::of(unknown()), 6);
    (proptest::collection::vec(phase, 1..5), unknown(), parts, any::<bool>()).prop_map(
        |(phases, fields, parts, first)| {
            let phases: Map<String, Value> = phases
                .into_iter()
                .zip(NAMES)
                .map(|((status, fields, is_timed), name)| {
                    let mut phase: Map<String, Value> = fields.into_iter().collect();
                    phase.insert("status".to_owned(), json!(status));
                    if is_timed {
                        phase.insert("started_at".to_owned(), json!("2026-03-01T08:30:00+00:00"));
                    }
                    (name.to_owned(), Value::Object(phase))
                })
                .collect();
            let mut document: Map<String, Value> = Map::new();
            if first {
                document.extend(fields.clone());
            }
            document.insert("phases".to_owned(), Value::Object(phases));
            for (key, value) in [
                ("status", "in_progress"),
                ("feature_name", "n"),
                ("current_phase", "planning"),
                ("updated", "2026-03-01T10:30:00Z"),
                ("created", "x"),
                ("feature_id", ID),
            ] {
                document.insert(key.to_owned(), json!(value));
            }
            let keys =
                ["artifacts", "worktree", "metadata", "abort_info", "feedback_loop", "metrics"];
            for (key, part) in keys.into_iter().zip(parts) {
                if let Some(part) = part {
                    document.insert(key.to_owned(), Value::Object(part.into_iter().collect()));
                }
            }
            document.extend(fields);
            Value::Object(document)
        },
    )
}

/// A command: which one, and on which phase.
fn command(machine: &Rc<Machine>, which: u8, phase: &str) -> bool {
    let process = machine.process(1);
    let tree = tree(&process);
    let details = Details {
        set: vec![("task_count".to_owned(), "8".to_owned())],
        artifacts: vec![("design".to_owned(), "design.md".to_owned())],
        decisions: vec!["so".to_owned()],
        reason: Some("why".to_owned()),
    };
    let pass = round(Verdict::Pass, Verdict::Fail);
    let measured = Measurements {
        agents: 1,
        validations: vec![Validation::CodeQuality],
        escalations: vec!["e".to_owned()],
        conflicts_detected: 1,
        tokens: vec![("planning".to_owned(), 10, 20)],
        model: Some("claude-opus-4".to_owned()),
        checkpoints: 1,
        ..Measurements::default()
    };
    match which {
        0 => make_move(tree, ID, phase, Move::Start, &details).is_ok(),
        1 => make_move(tree, ID, phase, Move::Complete, &details).is_ok(),
        2 => make_move(tree, ID, phase, Move::Block, &details).is_ok(),
        3 => make_move(tree, ID, phase, Move::Fail, &details).is_ok(),
        4 => iterate(tree, ID, &pass).is_ok(),
        5 => record(tree, ID, &measured).is_ok(),
        _ => abort(tree, ID, Reason::UserRequest, Cleanup::KeepEverything, None).is_ok(),
    }
}

/// Every unknown field of a document with its place and its text, in the order of the document.
fn unknown_fields(value: &Value, place: &str, found: &mut Vec<(String, String)>) {
    for (key, value) in value.as_object().into_iter().flatten() {
        let place = format!("{place}/{key}");
        match key.starts_with("x_") {
            true => found.push((place, value.to_string())),
            false => unknown_fields(value, &place, found),
        }
    }
}

/// The keys of every object, as far as they were there before, in their order.
fn keys(value: &Value) -> Vec<&str> {
    value.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whoever wrote the document and whatever is in it: any sequence of commands leaves it valid, and
    /// everything that the commands are not about is there as it was, in its order.
    #[test]
    fn what_nobody_here_knows_survives_any_commands(
        before in any_document(),
        commands in proptest::collection::vec((0u8..7, 0usize..5), 0..12),
    ) {
        let machine = with(&before);
        let mut done = 0;
        for (which, phase) in commands {
            done += usize::from(command(&machine, which, NAMES[phase]));
        }
        let text = machine.text(FILE).unwrap();
        let after: Value = serde_json::from_str(&text).unwrap();
        if done == 0 {
            prop_assert_eq!(text, before.to_string(), "a refused command changes no byte");
        }
        prop_assert!(Document::from_json(after.clone()).is_ok());
        let (mut expected, mut found) = (Vec::new(), Vec::new());
        unknown_fields(&before, "", &mut expected);
        unknown_fields(&after, "", &mut found);
        prop_assert_eq!(expected, found);
        for pointer in ["", "/phases", "/metrics", "/metadata"] {
            let (Some(before), Some(after)) = (before.pointer(pointer), after.pointer(pointer)) else {
                continue;
            };
            let kept: Vec<&str> =
                keys(after).into_iter().filter(|key| before.get(*key).is_some()).collect();
            prop_assert_eq!(keys(before), kept, "in the same order: {}", pointer);
        }
    }

    /// Whatever stands in the file, nothing panics, and what is no document is called damaged.
    #[test]
    fn any_file_is_read_or_refused(document in any_json(), which in 0u8..7) {
        let machine = with(&document);
        command(&machine, which, "planning");
        let process = machine.process(1);
        let _ = (resume(tree(&process), ID), summary(tree(&process), ID), doctor::diagnose(tree(&process)));
        let is_corrupt = matches!(read(tree(&process), ID), Err(FeatureError::Corrupt(_)));
        prop_assert_eq!(is_corrupt, Document::from_json(document).is_err());
    }
}
