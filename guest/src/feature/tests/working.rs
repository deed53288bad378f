//! Commands, one by one.

use serde_json::{Value, json};

use super::*;
use crate::bindings::exports::wreckit::batch::doctor::RepairError;
use crate::io::layout::FEATURES;
use crate::io::memory::{Machine, leftover};
use crate::session::leftovers::Termination;

#[test]
fn illegal_moves_name_the_legal_ones() {
    let machine = with(&least(&[("planning", "pending"), ("testing", "pending")]));
    assert_eq!(
        illegal(step(&machine, PhaseMove::Complete, "planning")),
        ["start planning", "start testing"]
    );
    for other in [PhaseMove::Block, PhaseMove::Fail] {
        illegal(step(&machine, other, "planning"));
    }
    let nonsense = step(&machine, PhaseMove::Start, "nonsense");
    assert!(matches!(nonsense, Err(FeatureError::Invalid(_))), "{nonsense:?}");
    step(&machine, PhaseMove::Start, "planning").unwrap();
    let working = ["complete planning", "block planning", "fail planning"];
    assert_eq!(illegal(step(&machine, PhaseMove::Start, "testing")), working);
    assert_eq!(illegal(step(&machine, PhaseMove::Start, "planning")), working);
    assert_eq!(illegal(step(&machine, PhaseMove::Complete, "testing")), working);
    step(&machine, PhaseMove::Block, "planning").unwrap();
    assert_eq!(
        illegal(step(&machine, PhaseMove::Complete, "planning")),
        ["start planning", "start testing"]
    );
    step(&machine, PhaseMove::Start, "planning").unwrap();
    step(&machine, PhaseMove::Complete, "planning").unwrap();
    assert_eq!(illegal(step(&machine, PhaseMove::Start, "planning")), ["start testing"]);
    step(&machine, PhaseMove::Start, "testing").unwrap();
    step(&machine, PhaseMove::Complete, "testing").unwrap();
    assert_eq!(illegal(step(&machine, PhaseMove::Start, "testing")), [""; 0]);
    let process = machine.process(1);
    for result in [
        abort(host(&process), ID, AbortReason::UserRequest, Cleanup::KeepEverything, None)
            .map(drop),
        resume(host(&process), ID).map(drop),
    ] {
        assert!(matches!(result, Err(FeatureError::Illegal(_))), "{result:?}");
    }
    let document = document(&machine);
    assert_eq!(
        (&document["current_phase"], &document["status"]),
        (&json!("complete"), &json!("complete"))
    );
}

#[test]
fn a_refusal_says_what_the_phase_is() {
    let refusal = |status: &str, refused: PhaseMove| {
        let machine = with(&least(&[("build", status)]));
        match step(&machine, refused, "build") {
            Err(FeatureError::Illegal(illegal)) => illegal.message,
            other => panic!("{other:?}"),
        }
    };
    for (status, refused, message) in [
        ("blocked", PhaseMove::Block, "build is already blocked"),
        ("complete", PhaseMove::Complete, "build is already complete"),
        ("failed", PhaseMove::Fail, "build has already failed"),
        ("in_progress", PhaseMove::Start, "build is already in progress"),
        ("complete", PhaseMove::Start, "build is complete, and cannot be started again"),
        ("pending", PhaseMove::Complete, "build was never started, and cannot be completed"),
        ("blocked", PhaseMove::Complete, "build is blocked, and cannot be completed"),
        ("failed", PhaseMove::Block, "build has failed, and cannot be blocked"),
    ] {
        assert_eq!(refusal(status, refused), message);
    }
}

#[test]
fn only_an_abort_that_keeps_everything_can_be_reopened() {
    let machine = with(&least(&[("planning", "in_progress"), ("testing", "pending")]));
    let process = machine.process(1);
    let abort_with =
        |cleanup, commit| abort(host(&process), ID, AbortReason::CostExceeded, cleanup, commit);
    illegal(abort_with(Cleanup::Rollback, None));
    abort_with(Cleanup::KeepEverything, Some("abc123")).unwrap();
    illegal(abort_with(Cleanup::KeepEverything, None));
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
    assert_eq!(illegal(step(&machine, PhaseMove::Start, "testing")), ["start planning"]);
    illegal(iterate(host(&process), ID, &iteration(Verdict::Pass, Verdict::Pass)));
    assert_eq!(
        json(resume(host(&process), ID).unwrap())["next"],
        json!({"phase": "planning", "move": "start"})
    );
    step(&machine, PhaseMove::Start, "planning").unwrap();
    assert_eq!(document(&machine)["status"], "in_progress");

    abort_with(Cleanup::KeepArtifacts, None).unwrap();
    assert_eq!(illegal(step(&machine, PhaseMove::Start, "planning")), [""; 0]);
    illegal(resume(host(&process), ID).map(|_| unreachable!()));
    // Its cleanup is not finished: the same one can be repeated, another one cannot.
    illegal(abort_with(Cleanup::FullCleanup, None));
    abort_with(Cleanup::KeepArtifacts, None).unwrap();
    confirm_cleanup(host(&process), ID).unwrap();
    illegal(abort_with(Cleanup::KeepArtifacts, None));
    assert_eq!(document(&machine)["abort_info"]["cleanup_performed"], true);
}

#[test]
fn a_full_cleanup_removes_the_directory_and_nothing_else() {
    let machine = with(&least(&[("planning", "in_progress")]));
    machine.put("another_20260101_000000/progress.json", "{}");
    machine.put(&format!("{ID}/logs/planning.1.log"), "said");
    let process = machine.process(1);
    illegal(confirm_cleanup(host(&process), ID));
    abort(host(&process), ID, AbortReason::UserRequest, Cleanup::FullCleanup, None).unwrap();
    confirm_cleanup(host(&process), ID).unwrap();
    assert!(machine.paths().iter().all(|path| !path.starts_with(ID)));
    assert!(machine.text("another_20260101_000000/progress.json").is_some());
}

/// The power fails at every moment of a full cleanup: the same command finishes it.
#[test]
fn an_interrupted_full_cleanup_is_finished_by_the_same_command() {
    let with_documents = || {
        let machine = with(&least(&[("planning", "in_progress")]));
        for file in ["design.md", "logs/planning.1.log", "zz.md"] {
            machine.put(&format!("{ID}/{file}"), "text");
        }
        machine
    };
    let abort_with = |machine: &Rc<Machine>| {
        let process = machine.process(1);
        abort(host(&process), ID, AbortReason::UserRequest, Cleanup::FullCleanup, None)?;
        confirm_cleanup(host(&process), ID)
    };
    let whole = with_documents();
    abort_with(&whole).unwrap();
    let total = whole.operations().len();
    let mut without_document = 0;
    for until in 0..=total {
        for survives in [0, 1] {
            let machine = with_documents();
            machine.power_until.set(until);
            let _ = abort_with(&machine);
            let machine = machine.power_loss(|| survives);
            let is_inside = |path: &String| path == ID || path.starts_with(&format!("{ID}/"));
            let remains = machine.paths().iter().any(is_inside);
            if remains && machine.text(FILE).is_none() {
                without_document += 1;
                let found = features::diagnose(host(&machine.process(1)));
                assert_eq!(found.len(), 1, "{found:?}");
                assert!(found[0].message.contains("the same `abort` tries again"), "{found:?}");
            }
            match abort_with(&machine) {
                Ok(_) => assert!(remains),
                Err(FeatureError::UnknownFeature(_)) => assert!(!remains, "{until} of {total}"),
                other => panic!("{other:?} after {until} of {total}"),
            }
            assert!(!machine.paths().iter().any(is_inside), "{until} of {total}");
        }
    }
    assert!(without_document > 0, "no interruption left a directory without its document");
}

#[test]
fn the_feedback_loop_verifies_reopens_and_escalates() {
    use Verdict::{Fail, Pass};
    let machine = with(&least(&[("implementation", "in_progress")]));
    let process = machine.process(1);
    let state = |key: &str| document(&machine)["feedback_loop"][key].clone();
    iterate(host(&process), ID, &iteration(Pass, Pass)).unwrap();
    assert_eq!(state("status"), "IMPLEMENTATION_VERIFIED");
    iterate(host(&process), ID, &iteration(Fail, Pass)).unwrap();
    assert_eq!(
        (state("status"), state("consecutive_review_failures")),
        (json!("in_progress"), json!(1))
    );
    iterate(host(&process), ID, &iteration(Fail, Fail)).unwrap();
    assert_eq!(
        (state("consecutive_review_failures"), state("consecutive_test_failures")),
        (json!(2), json!(1))
    );
    iterate(host(&process), ID, &iteration(Pass, Fail)).unwrap();
    assert_eq!(
        (state("consecutive_review_failures"), state("consecutive_test_failures")),
        (json!(0), json!(2))
    );
    iterate(host(&process), ID, &iteration(Pass, Fail)).unwrap();
    assert_eq!((state("status"), state("current_iteration")), (json!("escalated"), json!(5)));
    assert_eq!(
        document(&machine)["metrics"]["escalations"],
        json!({"to_user": 1, "reasons": ["max_iterations_reached"]})
    );
    illegal(iterate(host(&process), ID, &iteration(Pass, Pass)));
    // A person may permit more; an unknown status counts as in progress.
    let mut more = document(&machine);
    more["feedback_loop"]["max_iterations"] = json!(7);
    more["feedback_loop"]["status"] = json!("thinking");
    machine.put(FILE, more.to_string());
    iterate(host(&process), ID, &iteration(Pass, Pass)).unwrap();
    assert_eq!(state("status"), "IMPLEMENTATION_VERIFIED");
    assert_eq!(state("iterations").as_array().unwrap().len(), 6);
}

#[test]
fn completing_counts_minutes_agents_approvals_and_estimates() {
    let machine = with(&least(&[("planning", "pending"), ("review", "pending")]));
    let process = machine.process(1);
    let details = |set: &[(&str, &str)]| Details {
        set: set.iter().map(|(key, value)| field(key, value)).collect(),
        ..Details::default()
    };
    move_phase(host(&process), ID, "planning", PhaseMove::Start, &details(&[])).unwrap();
    machine.clock.set(machine.clock.get() + 90_000);
    let set =
        details(&[("approved", "true"), ("agents_used", r#"["a", "b"]"#), ("task_count", "8")]);
    move_phase(host(&process), ID, "planning", PhaseMove::Complete, &set).unwrap();
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
    // A number that is recorded later replaces the estimate.
    let counted = Measurements {
        tokens: vec![Tokens { phase: "planning".to_owned(), input: 9000, output: 1000 }],
        model: Some("claude-sonnet-4".to_owned()),
        ..Measurements::default()
    };
    record(host(&process), ID, &counted).unwrap();
    let tokens = &document(&machine)["metrics"]["tokens"];
    assert_eq!(
        (&tokens["by_phase"]["planning"], &tokens["estimated_total_tokens"]),
        (&json!(10_000), &json!(10_000))
    );
    assert_eq!(document(&machine)["metrics"]["cost"]["estimated_cost_usd"], json!(0.042));
    assert_eq!(tokens["estimated_phases"], json!([]));
    // A phase without a known estimate gets none; one without a start took no time.
    move_phase(host(&process), ID, "review", PhaseMove::Start, &details(&[])).unwrap();
    let mut torn = document(&machine);
    torn["phases"]["review"].as_object_mut().unwrap().shift_remove("started_at");
    machine.put(FILE, torn.to_string());
    move_phase(host(&process), ID, "review", PhaseMove::Complete, &details(&[])).unwrap();
    assert_eq!(document(&machine)["phases"]["review"]["duration_minutes"], json!(0));
    for (key, value) in [("status", "\"complete\""), ("started_at", "1"), ("x", "no JSON")] {
        let result =
            move_phase(host(&process), ID, "review", PhaseMove::Start, &details(&[(key, value)]));
        assert!(result.is_err(), "{key}");
    }
    let summary = json(summarize(host(&process), ID).unwrap());
    assert_eq!(
        (&summary["total_duration_minutes"], &summary["tokens"]["total"]),
        (&json!(1.5), &json!(10_000))
    );
}

#[test]
fn features_get_distinct_ids_even_with_the_same_name_in_one_second() {
    let machine = Machine::new();
    let process = machine.process(1);
    let new = |name: &str, phases: &[&str]| {
        let phases = phases.iter().map(|phase| (*phase).to_owned()).collect();
        create(host(&process), &NewFeature { name: name.to_owned(), phases, worktree: None })
    };
    let (first, second) = (new("Asset Export", &[]).unwrap(), new("Asset Export", &[]).unwrap());
    assert_ne!(first.id, second.id);
    assert!(first.id.starts_with("asset-export_2023111"), "{}", first.id);
    assert!(new("../../etc", &[]).unwrap().id.starts_with("etc_"));
    assert!(new("!!!", &[]).unwrap().id.starts_with("feature_"));
    for name in ["", "  "] {
        assert!(matches!(new(name, &[]), Err(FeatureError::Invalid(_))));
    }
    for phases in [vec!["a/b"], vec![""], vec!["a", "a"], vec!["complete"], vec!["--x"]] {
        assert!(matches!(new("x", &phases), Err(FeatureError::Invalid(_))), "{phases:?}");
    }
    let ambiguous = read(host(&process), "asset-export");
    assert!(matches!(ambiguous, Err(FeatureError::AmbiguousFeature(_))), "{ambiguous:?}");
    for id in ["../../etc", "", "/", "unknown", ".lock", "."] {
        assert!(matches!(read(host(&process), id), Err(FeatureError::UnknownFeature(_))), "{id}");
    }
    assert_eq!(store::open(host(&process), "etc").unwrap().1.text("feature_name"), "../../etc");
    assert_eq!(list(host(&process)).unwrap().len(), 4);
}

#[test]
fn a_resume_describes_everything_and_reads_nothing_outside() {
    let mut document =
        least(&[("brainstorming", "complete"), ("planning", "blocked"), ("testing", "pending")]);
    document["phases"]["brainstorming"]["decisions"] = json!(["Stream rows"]);
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
    // Not listed as artifacts.
    machine.put(&format!("{ID}/architecture-v2.md"), "# Architecture");
    machine.put(&format!("{ID}/notes.md"), "not one of the usual names");
    let view = json(resume(host(&machine.process(1)), ID).unwrap());
    let state = |name: &str| {
        let artifacts = view["artifacts"].as_array().unwrap();
        artifacts.iter().find(|it| it["name"] == name).unwrap()["state"].clone()
    };
    assert_eq!(
        ["design", "gone", "outside", "sly", "progress", "nonsense"].map(state),
        ["present", "missing", "outside", "outside", "present", "invalid"].map(Value::from)
    );
    assert_eq!(view["artifacts"][0]["content"], "# Design");
    let last = view["artifacts"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&last["name"], &last["content"]),
        (&json!("architecture-v2"), &json!("# Architecture"))
    );
    assert_eq!(view["artifacts"].as_array().unwrap().len(), 7);
    assert_eq!(view["done"][0]["decisions"], json!(["Stream rows"]));
    assert_eq!(view["last_completed_phase"], "brainstorming");
    assert_eq!(view["next"], json!({"phase": "planning", "move": "start"}));
    assert_eq!(
        view["todo"],
        json!([
            {"phase": "planning", "status": "blocked", "reason": "no access", "decisions": null},
            {"phase": "testing", "status": "pending", "reason": null, "decisions": null},
        ])
    );
}

/// The power fails at every moment of a change.
#[test]
fn an_interrupted_change_leaves_the_old_or_the_new_document() {
    let before = least(&[("planning", "in_progress"), ("testing", "pending")]);
    let whole = with(&before);
    step(&whole, PhaseMove::Complete, "planning").unwrap();
    let after = document(&whole)["phases"]["planning"]["status"].clone();
    let total = whole.operations().len();
    for until in 0..=total {
        let machine = with(&before);
        machine.power_until.set(until);
        let done = step(&machine, PhaseMove::Complete, "planning").is_ok();
        let machine = machine.power_loss(|| until);
        let found = document(&machine)["phases"]["planning"]["status"].clone();
        assert!(found == "in_progress" || found == after, "{found} after {until} of {total}");
        assert!(!done || found == after, "what was acknowledged is there");
    }
}

#[test]
fn a_second_change_at_the_same_time_is_refused() {
    let machine = with(&least(&[("planning", "pending")]));
    let (first, second) = (machine.process(1), machine.process(2));
    store::lock(host(&first)).unwrap();
    let result = move_phase(host(&second), ID, "planning", PhaseMove::Start, &Details::default());
    let Err(FeatureError::Busy(holder)) = result else { panic!("{result:?}") };
    assert!(holder.transient && holder.pid == Some(1));
    machine.kill(1);
    move_phase(host(&second), ID, "planning", PhaseMove::Start, &Details::default()).unwrap();
}

/// A fix that must wait for a process to exit keeps the lock until it is called again.
#[test]
fn a_fix_that_waits_for_a_process_keeps_the_lock() {
    let machine = with(&least(&[("planning", "in_progress")]));
    let (first, second) = (machine.process(1), machine.process(2));
    machine.running.borrow_mut().push(77);
    machine.marked.borrow_mut().push(leftover(77, Some("planning"), true));
    let mut termination = Termination::default();
    let waiting = features::fix(host(&first), &mut termination);
    assert!(matches!(waiting, Err(RepairError::Terminating(_))), "{waiting:?}");
    let refused = features::fix(host(&second), &mut Termination::default());
    assert!(matches!(refused, Err(RepairError::Busy(_))), "{refused:?}");
    step(&machine, PhaseMove::Complete, "planning").unwrap();
    let report = features::fix(host(&first), &mut termination).unwrap();
    assert!(report.fixes[0].fixed && report.remaining.is_empty(), "{report:?}");
    let report = features::fix(host(&second), &mut Termination::default()).unwrap();
    assert_eq!(report.found, [], "the lock is released");
}

/// A valid document but for a duplicate key, as a careless edit leaves it.
fn document_with_duplicate_key(document: &Value) -> String {
    document.to_string().replacen('{', "{\"feature_name\": \"x\", ", 1)
}

#[test]
fn a_damaged_document_is_restored_from_its_newest_valid_backup() {
    let machine = with(&least(&[("planning", "pending")]));
    let process = machine.process(1);
    step(&machine, PhaseMove::Start, "planning").unwrap();
    step(&machine, PhaseMove::Complete, "planning").unwrap();
    let good = document(&machine);
    let duplicate = document_with_duplicate_key(&good);
    for damage in [duplicate.as_str(), "", "{", "[]", "{\"phases\": {}}"] {
        machine.put(FILE, damage);
        let found = features::diagnose(host(&process));
        assert_eq!((found.len(), found[0].code.as_str()), (1, "FEATURE_PROGRESS_CORRUPT"));
        assert!(matches!(read(host(&process), ID), Err(FeatureError::Corrupt(_))));
        let report = features::fix(host(&process), &mut Termination::default()).unwrap();
        assert!(report.fixes[0].fixed && report.remaining.is_empty(), "{report:?}");
        assert_eq!(document(&machine), good, "what was acknowledged is there");
        assert_eq!(features::fix(host(&process), &mut Termination::default()).unwrap().fixes, []);
        features::restore(host(&process), &report.backup.unwrap()).unwrap();
        assert_eq!(machine.text(FILE).as_deref(), Some(damage));
    }
    let alone = with(&json!([]));
    let found = features::diagnose(host(&alone.process(1)));
    assert!(!found[0].fixable, "it has no backup");
}

#[test]
fn contradictions_and_missing_artifacts_are_found() {
    let valid = [
        least(&[("planning", "in_progress"), ("testing", "pending")]),
        json!({"status": "complete", "current_phase": "complete"}),
    ];
    let codes = |document: &Value| {
        let machine = with(document);
        let found = features::diagnose(host(&machine.process(1)));
        found.into_iter().map(|it| it.code).collect::<Vec<_>>()
    };
    assert_eq!(codes(&valid[0]), [""; 0]);
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
    assert_eq!(
        artifact("src/main.rs".to_owned()),
        [""; 0],
        "it is outside the directory of features"
    );
}
