//! Commands, one by one.

use serde_json::{Value, json};

use super::*;
use crate::formats::layout::FEATURES;
use crate::io::memory::Machine;
use crate::session::leftovers::Termination;

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
    let nonsense = step(&machine, Move::Start, "nonsense");
    assert!(matches!(nonsense, Err(FeatureError::Invalid(_))), "{nonsense:?}");
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
        abort(host(&process), ID, Reason::UserRequest, Cleanup::KeepEverything, None).map(drop),
        resume(host(&process), ID).map(drop),
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
        |cleanup, commit| abort(host(&process), ID, Reason::CostExceeded, cleanup, commit);
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
    illegal(iterate(host(&process), ID, &round(Verdict::Pass, Verdict::Pass)));
    assert_eq!(
        resume(host(&process), ID).unwrap()["next"],
        json!({"phase": "planning", "move": "start"})
    );
    step(&machine, Move::Start, "planning").unwrap();
    assert_eq!(document(&machine)["status"], "in_progress");

    give_up(Cleanup::KeepArtifacts, None).unwrap();
    assert_eq!(illegal(step(&machine, Move::Start, "planning")), [""; 0]);
    illegal(resume(host(&process), ID).map(|_| unreachable!()));
    // Its cleanup did not succeed: the same is tried again, another one is not.
    illegal(give_up(Cleanup::FullCleanup, None));
    give_up(Cleanup::KeepArtifacts, None).unwrap();
    cleaned(host(&process), ID).unwrap();
    illegal(give_up(Cleanup::KeepArtifacts, None));
    assert_eq!(document(&machine)["abort_info"]["cleanup_performed"], true);
}

#[test]
fn a_full_cleanup_removes_the_directory_and_nothing_else() {
    let machine = with(&least(&[("planning", "in_progress")]));
    machine.put("another_20260101_000000/progress.json", "{}");
    machine.put(&format!("{ID}/logs/planning.1.log"), "said");
    let process = machine.process(1);
    illegal(cleaned(host(&process), ID));
    abort(host(&process), ID, Reason::UserRequest, Cleanup::FullCleanup, None).unwrap();
    cleaned(host(&process), ID).unwrap();
    assert!(machine.paths().iter().all(|path| !path.starts_with(ID)));
    assert!(machine.text("another_20260101_000000/progress.json").is_some());
}

/// The power fails at every moment of a full cleanup: the same command carries it out.
#[test]
fn a_full_cleanup_that_is_cut_off_is_finished_by_the_same_command() {
    let with_documents = || {
        let machine = with(&least(&[("planning", "in_progress")]));
        for file in ["design.md", "logs/planning.1.log", "zz.md"] {
            machine.put(&format!("{ID}/{file}"), "text");
        }
        machine
    };
    let give_up = |machine: &Rc<Machine>| {
        let process = machine.process(1);
        abort(host(&process), ID, Reason::UserRequest, Cleanup::FullCleanup, None)?;
        cleaned(host(&process), ID)
    };
    let whole = with_documents();
    give_up(&whole).unwrap();
    let total = whole.operations().len();
    let mut without_document = 0;
    for until in 0..=total {
        for survives in [0, 1] {
            let machine = with_documents();
            machine.power_until.set(until);
            let _ = give_up(&machine);
            let machine = machine.power_loss(|| survives);
            let is_of_it = |path: &String| path == ID || path.starts_with(&format!("{ID}/"));
            let remains = machine.paths().iter().any(is_of_it);
            if remains && machine.text(FILE).is_none() {
                without_document += 1;
                let found = doctor::diagnose(host(&machine.process(1)));
                assert_eq!(found.len(), 1, "{found:?}");
                assert!(found[0].message.contains("the same `abort` tries again"), "{found:?}");
            }
            match give_up(&machine) {
                Ok(_) => assert!(remains),
                Err(FeatureError::Unknown(_)) => assert!(!remains, "{until} of {total}"),
                other => panic!("{other:?} after {until} of {total}"),
            }
            assert!(!machine.paths().iter().any(is_of_it), "{until} of {total}");
        }
    }
    assert!(without_document > 0, "the cut that this is about was made");
}

#[test]
fn the_feedback_loop_verifies_reopens_and_escalates() {
    use Verdict::{Fail, Pass};
    let machine = with(&least(&[("implementation", "in_progress")]));
    let process = machine.process(1);
    let state = |key: &str| document(&machine)["feedback_loop"][key].clone();
    iterate(host(&process), ID, &round(Pass, Pass)).unwrap();
    assert_eq!(state("status"), "IMPLEMENTATION_VERIFIED");
    iterate(host(&process), ID, &round(Fail, Pass)).unwrap();
    assert_eq!(
        (state("status"), state("consecutive_review_failures")),
        (json!("in_progress"), json!(1))
    );
    iterate(host(&process), ID, &round(Fail, Fail)).unwrap();
    assert_eq!(
        (state("consecutive_review_failures"), state("consecutive_test_failures")),
        (json!(2), json!(1))
    );
    iterate(host(&process), ID, &round(Pass, Fail)).unwrap();
    assert_eq!(
        (state("consecutive_review_failures"), state("consecutive_test_failures")),
        (json!(0), json!(2))
    );
    iterate(host(&process), ID, &round(Pass, Fail)).unwrap();
    assert_eq!((state("status"), state("current_iteration")), (json!("escalated"), json!(5)));
    assert_eq!(
        document(&machine)["metrics"]["escalations"],
        json!({"to_user": 1, "reasons": ["max_iterations_reached"]})
    );
    illegal(iterate(host(&process), ID, &round(Pass, Pass)));
    // A person may allow more; what other hands wrote as a status counts as in progress.
    let mut more = document(&machine);
    more["feedback_loop"]["max_iterations"] = json!(7);
    more["feedback_loop"]["status"] = json!("thinking");
    machine.put(FILE, more.to_string());
    iterate(host(&process), ID, &round(Pass, Pass)).unwrap();
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
    make_move(host(&process), ID, "planning", Move::Start, &details(&[])).unwrap();
    machine.clock.set(machine.clock.get() + 90_000);
    let set =
        details(&[("approved", "true"), ("agents_used", r#"["a", "b"]"#), ("task_count", "8")]);
    make_move(host(&process), ID, "planning", Move::Complete, &set).unwrap();
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
    record(host(&process), ID, &counted).unwrap();
    let tokens = &document(&machine)["metrics"]["tokens"];
    assert_eq!(
        (&tokens["by_phase"]["planning"], &tokens["estimated_total_tokens"]),
        (&json!(10_000), &json!(10_000))
    );
    assert_eq!(document(&machine)["metrics"]["cost"]["estimated_cost_usd"], json!(0.042));
    assert_eq!(tokens["estimated_phases"], json!([]));
    // A phase that nobody has an estimate for gets none; one without a start took no time.
    make_move(host(&process), ID, "review", Move::Start, &details(&[])).unwrap();
    let mut torn = document(&machine);
    torn["phases"]["review"].as_object_mut().unwrap().shift_remove("started_at");
    machine.put(FILE, torn.to_string());
    make_move(host(&process), ID, "review", Move::Complete, &details(&[])).unwrap();
    assert_eq!(document(&machine)["phases"]["review"]["duration_minutes"], json!(0));
    for (key, value) in [("status", "\"complete\""), ("started_at", "1"), ("x", "no JSON")] {
        let result =
            make_move(host(&process), ID, "review", Move::Start, &details(&[(key, value)]));
        assert!(result.is_err(), "{key}");
    }
    let told = summary(host(&process), ID).unwrap();
    assert_eq!(
        (&told["total_duration_minutes"], &told["tokens"]["total"]),
        (&json!(1.5), &json!(10_000))
    );
}

#[test]
fn ids_names_and_two_in_one_second() {
    let machine = Machine::new();
    let process = machine.process(1);
    let new = |name: &str| create(host(&process), &New { name: name.to_owned(), ..New::default() });
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
        let result = create(host(&process), &New { name: "x".to_owned(), phases, worktree: None });
        assert!(matches!(result, Err(FeatureError::Invalid(_))));
    }
    for id in ["../../etc", "", "/", "asset-export", "nobody", ".lock", "."] {
        assert!(matches!(read(host(&process), id), Err(FeatureError::Unknown(_))), "{id}");
    }
    assert_eq!(read(host(&process), "etc").unwrap().1.text("feature_name"), "../../etc");
    assert_eq!(list(host(&process)).unwrap().len(), 4);
}

#[test]
fn a_resume_tells_everything_and_reads_nothing_outside() {
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
    // Nobody has named these.
    machine.put(&format!("{ID}/architecture-v2.md"), "# Architecture");
    machine.put(&format!("{ID}/notes.md"), "none of the usual names");
    let told = resume(host(&machine.process(1)), ID).unwrap();
    let state = |name: &str| {
        let artifacts = told["artifacts"].as_array().unwrap();
        artifacts.iter().find(|it| it["name"] == name).unwrap()["state"].clone()
    };
    assert_eq!(
        ["design", "gone", "outside", "sly", "progress", "nonsense"].map(state),
        ["present", "missing", "outside", "outside", "present", "invalid"].map(Value::from)
    );
    assert_eq!(told["artifacts"][0]["content"], "# Design");
    let last = told["artifacts"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&last["name"], &last["content"]),
        (&json!("architecture-v2"), &json!("# Architecture"))
    );
    assert_eq!(told["artifacts"].as_array().unwrap().len(), 7);
    assert_eq!(told["done"][0]["decisions"], json!(["Stream rows"]));
    assert_eq!(told["last_completed_phase"], "brainstorming");
    assert_eq!(told["next"], json!({"phase": "planning", "move": "start"}));
    assert_eq!(
        told["todo"],
        json!([
            {"phase": "planning", "status": "blocked", "reason": "no access", "decisions": null},
            {"phase": "testing", "status": "pending", "reason": null, "decisions": null},
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
    store::lock(host(&first), crate::formats::layout::FEATURE_LOCK, true).unwrap();
    let result = make_move(host(&second), ID, "planning", Move::Start, &Details::default());
    let Err(FeatureError::Busy(holder)) = result else { panic!("{result:?}") };
    assert!(holder.transient && holder.pid == Some(1));
    machine.kill(1);
    make_move(host(&second), ID, "planning", Move::Start, &Details::default()).unwrap();
}

#[test]
fn a_damaged_document_is_brought_back_from_its_newest_good_backup() {
    let machine = with(&least(&[("planning", "pending")]));
    let process = machine.process(1);
    step(&machine, Move::Start, "planning").unwrap();
    step(&machine, Move::Complete, "planning").unwrap();
    let good = document(&machine);
    for damage in ["", "{", "[]", "{\"phases\": {}}"] {
        machine.put(FILE, damage);
        let found = doctor::diagnose(host(&process));
        assert_eq!((found.len(), found[0].code), (1, crate::doctor::Code::FeatureProgressCorrupt));
        assert!(matches!(read(host(&process), ID), Err(FeatureError::Corrupt(_))));
        let treatment = doctor::fix(host(&process), &mut Termination::default()).unwrap();
        assert!(treatment.fixes[0].fixed && treatment.left.is_empty(), "{treatment:?}");
        assert_eq!(document(&machine), good, "what was acknowledged is there");
        assert_eq!(doctor::fix(host(&process), &mut Termination::default()).unwrap().fixes, []);
        doctor::restore(host(&process), &treatment.backup.unwrap()).unwrap();
        assert_eq!(machine.text(FILE).as_deref(), Some(damage));
    }
    let alone = with(&json!([]));
    let found = doctor::diagnose(host(&alone.process(1)));
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
        let found = doctor::diagnose(host(&machine.process(1)));
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
