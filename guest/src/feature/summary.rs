//! What a feature took: time, agents, tokens, money.

use serde_json::{Map, Value, json};

use super::document::{PhaseStatus, status_of};
use super::store::read;
use super::{FeatureError, number};
use crate::io::host::Host;

/// The summary, as JSON. The totals are those of the file; shares are computed from its parts.
pub fn summary(host: Host<'_>, feature: &str) -> Result<Value, FeatureError> {
    let (id, document) = read(host, feature)?;
    let empty = Map::new();
    let metrics = document.part("metrics").unwrap_or(&empty);
    let part = |key: &str| metrics.get(key).and_then(Value::as_object).unwrap_or(&empty);
    let value = |part: &Map<String, Value>, key: &str| part.get(key).cloned().unwrap_or(json!(0));
    let metadata = document.part("metadata").unwrap_or(&empty);
    let (orchestration, loops) = (part("orchestration"), part("validation_loops"));
    let (tokens, cost) = (part("tokens"), part("cost"));
    let by_phase = tokens.get("by_phase").and_then(Value::as_object).unwrap_or(&empty);
    let estimated = tokens.get("estimated_phases").and_then(Value::as_array);
    let is_estimated =
        |name: &str| estimated.is_some_and(|names| names.iter().any(|other| other == name));
    let guessed = by_phase.iter().filter(|(name, _)| is_estimated(name));
    let guessed = guessed.filter_map(|(_, tokens)| tokens.as_f64()).sum::<f64>();
    let rounds = document.part("feedback_loop").and_then(|it| it.get("current_iteration"));
    let retries = loops.values().filter_map(Value::as_f64).sum::<f64>();

    let minutes = |phase: &Map<String, Value>| {
        phase.get("duration_minutes").and_then(Value::as_f64).unwrap_or(0.0)
    };
    let all_minutes: f64 = document.phases().map(|(_, phase)| minutes(phase)).sum();
    let all_tokens: f64 = by_phase.values().filter_map(Value::as_f64).sum();
    let share = |amount: f64, all: f64| match all > 0.0 {
        true => number::of(amount / all * 100.0, 1),
        false => json!(0),
    };
    let mut distribution: Vec<Value> = document
        .phases()
        .map(|(name, phase)| {
            let tokens = by_phase.get(name).and_then(Value::as_f64).unwrap_or(0.0);
            json!({
                "phase": name,
                "status": phase.get("status"),
                "duration_minutes": number::of(minutes(phase), number::MINUTES),
                "duration_percent": share(minutes(phase), all_minutes),
                "tokens": number::of(tokens, 0),
                "tokens_percent": share(tokens, all_tokens),
                "estimated": is_estimated(name),
            })
        })
        .collect();
    // Tokens of what is no phase of its own here: code review, for instance.
    for (name, tokens) in by_phase.iter().filter(|(name, _)| document.phase(name).is_none()) {
        let tokens = tokens.as_f64().unwrap_or(0.0);
        distribution.push(json!({
            "phase": name,
            "status": null,
            "duration_minutes": 0,
            "duration_percent": 0,
            "tokens": number::of(tokens, 0),
            "tokens_percent": share(tokens, all_tokens),
            "estimated": is_estimated(name),
        }));
    }
    let complete = document.phases().filter(|(_, it)| status_of(it) == PhaseStatus::Complete);
    Ok(json!({
        "feature_id": id,
        "feature_name": document.text("feature_name"),
        "status": document.text("status"),
        "phases_complete": complete.count(),
        "phases": document.phases().count(),
        "total_duration_minutes": value(metadata, "total_duration_minutes"),
        "human_checkpoints": value(metadata, "human_checkpoints"),
        "agents": {
            "total": value(orchestration, "total_agents_spawned"),
            "of_phases": value(metadata, "agents_spawned"),
            "parallel_executions": value(orchestration, "parallel_executions"),
            "sequential_executions": value(orchestration, "sequential_executions"),
        },
        "iterations": rounds.cloned().unwrap_or(json!(0)),
        "validation_retries": number::of(retries, 0),
        "validation_loops": loops,
        "escalations": part("escalations"),
        "conflicts": part("conflicts"),
        "tokens": {
            "input": value(tokens, "estimated_input_tokens"),
            "output": value(tokens, "estimated_output_tokens"),
            "total": value(tokens, "estimated_total_tokens"),
            "estimated_for_phases": number::of(guessed, 0),
        },
        "cost_usd": value(cost, "estimated_cost_usd"),
        "cost_by_model": cost.get("model_breakdown").cloned().unwrap_or(json!({})),
        "cost_note": cost.get("note"),
        "distribution": distribution,
    }))
}
