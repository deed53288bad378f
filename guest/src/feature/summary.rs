//! The time, agents, tokens and cost of a feature.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::document::{Document, PhaseStatus, status_of};
use super::store::open;
use super::{number, text};
use crate::bindings::exports::wreckit::batch::feature::{FeatureError, View};
use crate::io::host::Host;

/// Summarizes a feature. Totals are those of the document; shares are computed from its parts.
pub fn summarize(host: Host<'_>, feature: &str) -> Result<View, FeatureError> {
    let (id, document) = open(host, feature)?;
    let summary = Metrics::of(&document).summary(&id, &document);
    Ok(View { text: text::summary(&summary), json: format!("{summary:#}\n") })
}

/// The parts of a document that a summary needs; an empty object for each missing part.
struct Metrics<'d> {
    metadata: &'d Map<String, Value>,
    metrics: &'d Map<String, Value>,
    by_phase: &'d Map<String, Value>,
    /// The phases whose tokens are estimated.
    estimated: Vec<&'d str>,
}

/// An object without fields.
static EMPTY: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);

/// An object in an object, or an empty one.
fn part<'d>(object: &'d Map<String, Value>, key: &str) -> &'d Map<String, Value> {
    object.get(key).and_then(Value::as_object).unwrap_or(&EMPTY)
}

/// A value in an object, or 0.
fn value(object: &Map<String, Value>, key: &str) -> Value {
    object.get(key).cloned().unwrap_or(json!(0))
}

fn minutes(phase: &Map<String, Value>) -> f64 {
    phase.get("duration_minutes").and_then(Value::as_f64).unwrap_or(0.0)
}

/// An amount as a percentage of a total, rounded to one decimal place.
fn percentage(amount: f64, total: f64) -> Value {
    match total > 0.0 {
        true => number::of(amount / total * 100.0, 1),
        false => json!(0),
    }
}

impl<'d> Metrics<'d> {
    fn of(document: &'d Document) -> Self {
        let metrics = document.part("metrics").unwrap_or(&EMPTY);
        let tokens = part(metrics, "tokens");
        let estimated = tokens.get("estimated_phases").and_then(Value::as_array);
        Metrics {
            metadata: document.part("metadata").unwrap_or(&EMPTY),
            metrics,
            by_phase: part(tokens, "by_phase"),
            estimated: estimated.into_iter().flatten().filter_map(Value::as_str).collect(),
        }
    }

    fn is_estimated(&self, phase: &str) -> bool {
        self.estimated.contains(&phase)
    }

    fn tokens(&self, phase: &str) -> f64 {
        self.by_phase.get(phase).and_then(Value::as_f64).unwrap_or(0.0)
    }

    fn summary(&self, id: &str, document: &Document) -> Value {
        let part = |key: &str| part(self.metrics, key);
        let (orchestration, loops) = (part("orchestration"), part("validation_loops"));
        let (tokens, cost) = (part("tokens"), part("cost"));
        let iterations = document.part("feedback_loop").and_then(|it| it.get("current_iteration"));
        let retries: f64 = loops.values().filter_map(Value::as_f64).sum();
        let estimated = self.by_phase.keys().filter(|phase| self.is_estimated(phase));
        let estimated: f64 = estimated.map(|phase| self.tokens(phase)).sum();
        let complete = document.phases().filter(|(_, it)| status_of(it) == PhaseStatus::Complete);
        json!({
            "feature_id": id,
            "feature_name": document.text("feature_name"),
            "status": document.text("status"),
            "phases_complete": complete.count(),
            "phases": document.phases().count(),
            "total_duration_minutes": value(self.metadata, "total_duration_minutes"),
            "human_checkpoints": value(self.metadata, "human_checkpoints"),
            "agents": {
                "total": value(orchestration, "total_agents_spawned"),
                "of_phases": value(self.metadata, "agents_spawned"),
                "parallel_executions": value(orchestration, "parallel_executions"),
                "sequential_executions": value(orchestration, "sequential_executions"),
            },
            "iterations": iterations.cloned().unwrap_or(json!(0)),
            "validation_retries": number::of(retries, 0),
            "validation_loops": loops,
            "escalations": part("escalations"),
            "conflicts": part("conflicts"),
            "tokens": {
                "input": value(tokens, "estimated_input_tokens"),
                "output": value(tokens, "estimated_output_tokens"),
                "total": value(tokens, "estimated_total_tokens"),
                "estimated_for_phases": number::of(estimated, 0),
            },
            "cost_usd": value(cost, "estimated_cost_usd"),
            "cost_by_model": cost.get("model_breakdown").cloned().unwrap_or(json!({})),
            "cost_note": cost.get("note"),
            "distribution": self.distribution(document),
        })
    }

    /// The share of each phase in the time and the tokens.
    fn distribution(&self, document: &Document) -> Vec<Value> {
        let all_minutes: f64 = document.phases().map(|(_, phase)| minutes(phase)).sum();
        let all_tokens: f64 = self.by_phase.values().filter_map(Value::as_f64).sum();
        let entry = |name: &str, status: Option<&Value>, minutes: f64| {
            let tokens = self.tokens(name);
            json!({
                "phase": name,
                "status": status,
                "duration_minutes": number::of(minutes, number::MINUTES),
                "duration_percent": percentage(minutes, all_minutes),
                "tokens": number::of(tokens, 0),
                "tokens_percent": percentage(tokens, all_tokens),
                "estimated": self.is_estimated(name),
            })
        };
        let phases =
            document.phases().map(|(name, phase)| entry(name, phase.get("status"), minutes(phase)));
        // Tokens of work that is not a phase of this feature, such as code review.
        let others = self.by_phase.keys().filter(|name| document.phase(name).is_none());
        phases.chain(others.map(|name| entry(name, None, 0.0))).collect()
    }
}
