//! What is shown of a feature, and what an abort would do.

use serde_json::json;

use super::*;
use crate::io::layout::FEATURES;

/// A document with something for every line of a view.
fn rich() -> Value {
    let mut document = least(&[
        ("brainstorming", "complete"),
        ("planning", "blocked"),
        ("implementation", "pending"),
    ]);
    document["status"] = json!("blocked");
    let phases = &mut document["phases"];
    phases["brainstorming"]["duration_minutes"] = json!(2.5);
    phases["brainstorming"]["decisions"] = json!(["Stream rows"]);
    phases["planning"]["reason"] = json!("no access\n# forged");
    document["artifacts"] = json!({
        "design": format!("{}{ID}/design.md", FEATURES.prefix),
        "code": "src/main.rs",
    });
    document["worktree"] = json!({"path": "../wt", "pre_feature_commit": "abc123"});
    document["feedback_loop"] = json!({
        "current_iteration": 1, "max_iterations": 5, "status": "in_progress",
        "iterations": [{"review_result": "PASS", "test_result": "FAIL", "test_failures": ["a:1"]}],
    });
    document["metrics"] = json!({
        "orchestration": {
            "total_agents_spawned": 3, "parallel_executions": 1, "sequential_executions": 2,
        },
        "tokens": {
            "estimated_input_tokens": 10, "estimated_output_tokens": 20,
            "estimated_total_tokens": 40,
            "by_phase": {"brainstorming": 30, "code_review": 10},
            "estimated_phases": ["code_review"],
        },
        "cost": {
            "estimated_cost_usd": 0.5, "note": "as of May",
            "model_breakdown": {"m": {"cost_usd": 0.5}, "n": {"input_tokens": 1}},
        },
    });
    document
}

#[test]
fn a_document_is_shown_in_words() {
    let machine = with(&rich());
    let shown = read(host(&machine.process(1)), "asset").unwrap();
    assert_eq!(
        shown.text,
        format!(
            "\
{ID}  Asset Export
blocked, current phase planning; updated 2026-03-01T08:15:00Z
complete     brainstorming  2.5 min
blocked      planning  no access\\n# forged
pending      implementation
artifact     design: {}{ID}/design.md
artifact     code: src/main.rs
iteration    1 of 5: in_progress; last: review PASS, test FAIL (a:1)
",
            FEATURES.prefix
        )
    );
    assert_eq!((shown.id.as_str(), shown.message.as_str()), (ID, ""));
    assert_eq!(shown.phases, ["brainstorming", "planning", "implementation"]);
    let worktree = shown.worktree.unwrap();
    assert_eq!((worktree.path.as_str(), worktree.commit.as_deref()), ("../wt", Some("abc123")));
    let mut complete = least(&[("planning", "complete")]);
    complete["status"] = json!("complete");
    complete["current_phase"] = json!("complete");
    let machine = with(&complete);
    let shown = read(host(&machine.process(1)), ID).unwrap().text;
    assert!(shown.contains("\ncomplete; updated 2026"), "{shown}");
}

#[test]
fn a_resume_is_a_document_with_the_command_to_continue() {
    let machine = with(&rich());
    machine.put(&format!("{ID}/design.md"), "# Design\n\n- a\n\n");
    let resumed = resume(host(&machine.process(1)), ID).unwrap();
    assert_eq!(
        resumed.text,
        format!(
            "\
# Asset Export ({ID})

Status: blocked. Current phase: planning. Last completed phase: brainstorming.
Worktree: ../wt

## Done
- brainstorming
  - decided: Stream rows

## To do
- planning (blocked: no access\\n# forged)
- implementation (pending)

## Feedback loop
1 of 5: in_progress; last: review PASS, test FAIL (a:1)

Continue with: wreckit-host feature start {ID} planning

## design ({}{ID}/design.md)

# Design

- a

## code (src/main.rs): not shown, because it is outside the directory of features
",
            FEATURES.prefix
        )
    );
    let mut awaiting = rich();
    awaiting["phases"]["planning"]["awaiting_approval"] = json!(true);
    let machine = with(&awaiting);
    let resumed = resume(host(&machine.process(1)), ID).unwrap().text;
    let command = format!("wreckit-host feature run {ID} --approve planning");
    assert!(
        resumed.contains(&format!("approved the results of planning: {command}\n")),
        "{resumed}"
    );
}

#[test]
fn a_summary_adds_up_and_marks_estimates() {
    let machine = with(&rich());
    let summary = summarize(host(&machine.process(1)), ID).unwrap();
    assert_eq!(
        summary.text,
        format!(
            "\
{ID}  Asset Export: blocked (1 of 3 phases complete)
duration             0 min
agents               3 (1 parallel, 2 sequential executions)
iterations           1
validation retries   0
escalations          0
human checkpoints    0
tokens               40 (10 input, 20 output, 10 estimated)
cost                 $0.5
                     m: $0.5
                     n: no price
brainstorming        2.5 min (100 %), 30 tokens (75 %)
planning             0 min (0 %), 0 tokens (0 %)
implementation       0 min (0 %), 0 tokens (0 %)
code_review          0 min (0 %), 10 tokens (25 %) (estimated)
as of May
"
        )
    );
    let machine = with(&least(&[("planning", "pending")]));
    let summary = summarize(host(&machine.process(1)), ID).unwrap().text;
    assert!(summary.contains("\ncost                 not recorded (record it with "), "{summary}");
}

#[test]
fn a_list_has_every_feature_and_says_which_are_damaged() {
    let machine = with(&rich());
    machine.put("broken_20260101_000000/progress.json", "{");
    let entries = list(host(&machine.process(1))).unwrap();
    assert_eq!(entries.len(), 2);
    let feature = &entries[0];
    assert_eq!((feature.id.as_str(), feature.name.as_deref()), (ID, Some("Asset Export")));
    assert_eq!(
        (feature.status.as_deref(), feature.current_phase.as_deref()),
        (Some("blocked"), Some("planning"))
    );
    assert_eq!(feature.updated.as_deref(), Some("2026-03-01T08:15:00Z"));
    assert_eq!(feature.worktree.as_ref().unwrap().path, "../wt");
    assert_eq!(feature.damage, None);
    let broken = &entries[1];
    assert!(broken.name.is_none() && broken.status.is_none() && broken.worktree.is_none());
    assert!(broken.damage.as_ref().unwrap().contains("has invalid JSON"), "{broken:?}");
}

#[test]
fn a_planned_abort_says_what_must_be_done_and_changes_nothing() {
    let plan = |document: &Value, cleanup: Cleanup| {
        let machine = with(document);
        let plan = plan_abort(host(&machine.process(1)), "asset", cleanup);
        assert!(machine.operations().is_empty());
        plan
    };
    let (with_worktree, without) = (rich(), least(&[("planning", "in_progress")]));
    for (document, cleanup, action) in [
        (&with_worktree, Cleanup::KeepEverything, WorktreeAction::None),
        (&with_worktree, Cleanup::KeepArtifacts, WorktreeAction::Remove),
        (&with_worktree, Cleanup::Rollback, WorktreeAction::Reset("abc123".to_owned())),
        (&with_worktree, Cleanup::FullCleanup, WorktreeAction::Remove),
        (&without, Cleanup::KeepArtifacts, WorktreeAction::None),
        (&without, Cleanup::FullCleanup, WorktreeAction::None),
    ] {
        let planned = plan(document, cleanup).unwrap();
        assert_eq!((planned.id.as_str(), planned.action), (ID, action), "{cleanup:?}");
        assert_eq!(planned.removes_directory, cleanup == Cleanup::FullCleanup);
        assert_eq!(planned.can_reopen, cleanup == Cleanup::KeepEverything);
        assert_eq!(planned.worktree.is_some(), document.get("worktree").is_some());
    }
    // The same refusals as those of an abort.
    let refused = plan(&without, Cleanup::Rollback);
    let machine = with(&without);
    let process = machine.process(1);
    let reason = AbortReason::UserRequest;
    let aborted = abort(host(&process), ID, reason, Cleanup::Rollback, None);
    assert_eq!(refused.unwrap_err(), aborted.unwrap_err());
}
