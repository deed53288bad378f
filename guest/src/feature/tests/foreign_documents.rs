//! Documents that other tools and people wrote.

use std::rc::Rc;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::io::memory::Machine;

/// Any JSON, with numbers in any notation.
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

/// Unknown fields.
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
    let host = host(&process);
    let details = Details {
        set: vec![field("task_count", "8")],
        artifacts: vec![field("design", "design.md")],
        decisions: vec!["so".to_owned()],
        reason: Some("why".to_owned()),
    };
    let pass = iteration(Verdict::Pass, Verdict::Fail);
    let measured = Measurements {
        agents: 1,
        validations: vec![Validation::CodeQuality],
        escalations: vec!["e".to_owned()],
        conflicts_detected: 1,
        tokens: vec![Tokens { phase: "planning".to_owned(), input: 10, output: 20 }],
        model: Some("claude-opus-4".to_owned()),
        checkpoints: 1,
        ..Measurements::default()
    };
    match which {
        0 => move_phase(host, ID, phase, PhaseMove::Start, &details).is_ok(),
        1 => move_phase(host, ID, phase, PhaseMove::Complete, &details).is_ok(),
        2 => move_phase(host, ID, phase, PhaseMove::Block, &details).is_ok(),
        3 => move_phase(host, ID, phase, PhaseMove::Fail, &details).is_ok(),
        4 => iterate(host, ID, &pass).is_ok(),
        5 => record(host, ID, &measured).is_ok(),
        _ => abort(host, ID, AbortReason::UserRequest, Cleanup::KeepEverything, None).is_ok(),
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

/// The keys of an object, in order.
fn keys(value: &Value) -> Vec<&str> {
    value.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever a document contains, any sequence of commands leaves it valid, and preserves everything that the
    /// commands are not about verbatim, in its order.
    #[test]
    fn unknown_fields_survive_any_commands(
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

    /// Whatever a file contains, nothing panics, and anything but a document is reported as damaged.
    #[test]
    fn any_file_is_read_or_refused(document in any_json(), which in 0u8..7) {
        let machine = with(&document);
        command(&machine, which, "planning");
        let process = machine.process(1);
        let _ = (resume(host(&process), ID), summarize(host(&process), ID), features::diagnose(host(&process)));
        let is_corrupt = matches!(read(host(&process), ID), Err(FeatureError::Corrupt(_)));
        prop_assert_eq!(is_corrupt, Document::from_json(document).is_err());
    }
}
