//! What a feature costs: agents, tokens, money.

use serde_json::{Value, json};

use super::document::{Document, list_in, object_in};
use super::feedback::escalate;
use super::store::change;
use super::{Changed, FeatureError, legal, number};
use crate::io::host::Host;

/// Tokens that a phase takes with one agent, where nobody counted them. Of the design of this format.
const ESTIMATES: [(&str, u64); 9] = [
    ("brainstorming", 8000),
    ("discovery", 5000),
    ("planning", 12_000),
    ("architecture", 8000),
    ("implementation", 10_000),
    ("code_review", 5000),
    ("test_planning", 8000),
    ("testing", 6000),
    ("test_validation", 7000),
];

/// Prices in US dollars for a million tokens, in and out, as of May 2025; `pricing` in the
/// configuration says what they are now. A name stands for the models that begin with it.
const PRICES: [(&str, f64, f64); 3] =
    [("claude-sonnet-4", 3.0, 15.0), ("claude-opus-4", 15.0, 75.0), ("claude-haiku-4", 0.25, 1.25)];

/// What a million tokens of a model cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Price {
    /// The model, or what the names of its versions begin with.
    pub model: String,
    /// US dollars for a million tokens in.
    pub input: f64,
    /// US dollars for a million tokens out.
    pub output: f64,
}

/// A kind of validation that is repeated until it succeeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Validation {
    SpecCompliance,
    CodeQuality,
    TestValidation,
}

impl Validation {
    fn key(self) -> &'static str {
        match self {
            Validation::SpecCompliance => "spec_compliance_iterations",
            Validation::CodeQuality => "code_quality_iterations",
            Validation::TestValidation => "test_validation_iterations",
        }
    }
}

/// What is to be added.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Measurements {
    /// Agents that were started.
    pub agents: u64,
    /// Executions of agents beside others.
    pub parallel: u64,
    /// Executions of agents one after the other.
    pub sequential: u64,
    /// Why the user was asked.
    pub escalations: Vec<String>,
    /// Conflicts that were found.
    pub conflicts_detected: u64,
    /// Conflicts that were resolved.
    pub conflicts_resolved: u64,
    /// Validations that were repeated.
    pub validations: Vec<Validation>,
    /// Checkpoints with a person.
    pub checkpoints: u64,
    /// Tokens of phases: in and out.
    pub tokens: Vec<(String, u64, u64)>,
    /// Whose tokens they are.
    pub model: Option<String>,
    /// Prices that go before those that are known here.
    pub prices: Vec<Price>,
}

/// Metrics of a feature that has not begun.
pub(super) fn nothing() -> Value {
    json!({
        "orchestration": {
            "total_agents_spawned": 0, "parallel_executions": 0, "sequential_executions": 0,
        },
        "validation_loops": {
            "spec_compliance_iterations": 0, "code_quality_iterations": 0,
            "test_validation_iterations": 0,
        },
        "escalations": {"to_user": 0, "reasons": []},
        "conflicts": {"detected": 0, "resolved": 0, "unresolved": 0},
        "tokens": {
            "estimated_input_tokens": 0, "estimated_output_tokens": 0,
            "estimated_total_tokens": 0, "by_phase": {},
        },
        "cost": {"estimated_cost_usd": 0, "model_breakdown": {}},
    })
}

/// Adds measurements to a feature.
pub fn record(
    host: Host<'_>,
    feature: &str,
    measurements: &Measurements,
) -> Result<Changed, FeatureError> {
    if *measurements == (Measurements { prices: measurements.prices.clone(), ..Default::default() })
    {
        return Err(FeatureError::Invalid("there is nothing to record".to_owned()));
    }
    if measurements.model.is_some() && measurements.tokens.is_empty() {
        return Err(FeatureError::Invalid("a model needs tokens that it used".to_owned()));
    }
    change(host, feature, |document| {
        legal::refuse_if_aborted(document)?;
        for (phase, ..) in &measurements.tokens {
            check_phase(document, phase)?;
        }
        if measurements.checkpoints > 0 {
            let metadata = document.part_mut("metadata")?;
            number::count(metadata, "human_checkpoints", measurements.checkpoints)?;
        }
        count(document, measurements)?;
        let unpriced = spend(document, measurements)?;
        let has_no_model = !measurements.tokens.is_empty() && measurements.model.is_none();
        Ok(match unpriced {
            None if has_no_model => {
                "recorded; without a model, so what the tokens cost is not".to_owned()
            }
            None => "recorded".to_owned(),
            Some(model) => format!(
                "recorded; the price of {model} is not known, so its cost is not: set it under `pricing` in config.json"
            ),
        })
    })
}

/// One more agent was started, behind those before it.
pub(super) fn count_agent(document: &mut Document) -> Result<(), FeatureError> {
    let orchestration = object_in(document.part_mut("metrics")?, "orchestration")?;
    number::count(orchestration, "total_agents_spawned", 1)?;
    number::count(orchestration, "sequential_executions", 1)
}

/// Tokens may be of a phase of the feature, or of a usual one that it does not name.
fn check_phase(document: &Document, phase: &str) -> Result<(), FeatureError> {
    let is_usual = ESTIMATES.iter().any(|(name, _)| *name == phase);
    match is_usual || document.phase(phase).is_some() {
        true => Ok(()),
        false => Err(document.no_phase(phase)),
    }
}

fn count(document: &mut Document, measurements: &Measurements) -> Result<(), FeatureError> {
    let metrics = document.part_mut("metrics")?;
    let orchestration = [
        ("total_agents_spawned", measurements.agents),
        ("parallel_executions", measurements.parallel),
        ("sequential_executions", measurements.sequential),
    ];
    for (key, amount) in orchestration {
        if amount > 0 {
            number::count(object_in(metrics, "orchestration")?, key, amount)?;
        }
    }
    for validation in &measurements.validations {
        number::count(object_in(metrics, "validation_loops")?, validation.key(), 1)?;
    }
    for reason in &measurements.escalations {
        escalate(metrics, reason)?;
    }
    let (detected, resolved) = (measurements.conflicts_detected, measurements.conflicts_resolved);
    if detected + resolved > 0 {
        let conflicts = object_in(metrics, "conflicts")?;
        number::count(conflicts, "detected", detected)?;
        number::count(conflicts, "resolved", resolved)?;
        let open = conflicts.get("unresolved").and_then(Value::as_f64).unwrap_or(0.0);
        let change = (detected as f64 - resolved as f64).max(-open);
        number::add(conflicts, "unresolved", change, 0)?;
    }
    Ok(())
}

/// Adds tokens and what they cost; the model, if its price is not known.
fn spend(
    document: &mut Document,
    measurements: &Measurements,
) -> Result<Option<String>, FeatureError> {
    let metrics = document.part_mut("metrics")?;
    let mut unpriced = None;
    for (phase, input, output) in &measurements.tokens {
        let total = input.saturating_add(*output);
        let tokens = object_in(metrics, "tokens")?;
        number::count(tokens, "estimated_input_tokens", *input)?;
        number::count(tokens, "estimated_output_tokens", *output)?;
        number::count(tokens, "estimated_total_tokens", total)?;
        // What was counted takes the place of what was guessed.
        let guessed = take_estimate(tokens, phase)?;
        number::add(tokens, "estimated_total_tokens", -guessed, 0)?;
        let by_phase = object_in(tokens, "by_phase")?;
        number::add(by_phase, phase, total as f64 - guessed, 0)?;

        let Some(model) = &measurements.model else { continue };
        let price = price(model, &measurements.prices);
        let cost = object_in(metrics, "cost")?;
        let of_model = object_in(object_in(cost, "model_breakdown")?, model)?;
        number::count(of_model, "input_tokens", *input)?;
        number::count(of_model, "output_tokens", *output)?;
        let Some(Price { input: of_input, output: of_output, .. }) = price else {
            unpriced = Some(model.clone());
            continue;
        };
        let spent = (*input as f64 * of_input + *output as f64 * of_output) / 1e6;
        number::add(of_model, "cost_usd", spent, number::MONEY)?;
        number::add(cost, "estimated_cost_usd", spent, number::MONEY)?;
        if !cost.contains_key("note") {
            let note = format!(
                "Estimates based on ${of_input}/1M input, ${of_output}/1M output for {model}"
            );
            cost.insert("note".to_owned(), json!(note));
        }
    }
    Ok(unpriced)
}

/// The price of a model: of the names that it begins with, the longest one's; what is given goes
/// before what is known here.
fn price(model: &str, given: &[Price]) -> Option<Price> {
    // `Claude Opus 4` is the same model as `claude-opus-4`.
    let plain = model.to_lowercase().replace(' ', "-");
    let model = plain.as_str();
    let longest = |prices: Vec<Price>| {
        let fitting = prices
            .into_iter()
            .filter(|price| model.starts_with(&price.model.to_lowercase().replace(' ', "-")));
        fitting.max_by_key(|price| price.model.len())
    };
    let known =
        PRICES.map(|(model, input, output)| Price { model: model.to_owned(), input, output });
    longest(given.to_vec()).or_else(|| longest(known.to_vec()))
}

/// The phases whose figures nobody counted.
const ESTIMATED: &str = "estimated_phases";

/// A phase completes: without a figure it gets an estimate, marked as one.
pub(super) fn estimate(
    document: &mut Document,
    phase: &str,
    agents: u64,
) -> Result<(), FeatureError> {
    let Some((_, tokens)) = ESTIMATES.iter().find(|(name, _)| *name == phase) else {
        return Ok(());
    };
    let all = object_in(document.part_mut("metrics")?, "tokens")?;
    if object_in(all, "by_phase")?.contains_key(phase) {
        return Ok(());
    }
    let estimate = tokens.saturating_mul(agents.max(1));
    number::count(object_in(all, "by_phase")?, phase, estimate)?;
    number::count(all, "estimated_total_tokens", estimate)?;
    list_in(all, ESTIMATED)?.push(json!(phase));
    Ok(())
}

/// The estimate of a phase, which is none any more; 0 if it has none.
fn take_estimate(
    tokens: &mut serde_json::Map<String, Value>,
    phase: &str,
) -> Result<f64, FeatureError> {
    if !tokens.contains_key(ESTIMATED) {
        return Ok(0.0);
    }
    let estimated = list_in(tokens, ESTIMATED)?;
    let before = estimated.len();
    estimated.retain(|name| name != phase);
    if estimated.len() == before {
        return Ok(0.0);
    }
    Ok(object_in(tokens, "by_phase")?.get(phase).and_then(Value::as_f64).unwrap_or(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_name_that_fits_has_the_price_and_what_is_given_goes_first() {
        let model = |price: Option<Price>| price.map(|price| (price.model, price.input));
        let known = |name: &str| model(price(name, &[]));
        assert_eq!(known("claude-sonnet-4-20250514"), Some(("claude-sonnet-4".to_owned(), 3.0)));
        assert_eq!(known("claude-haiku-4"), Some(("claude-haiku-4".to_owned(), 0.25)));
        assert_eq!(known("gpt-x"), None);
        let given = [Price { model: "claude-opus-4-9".to_owned(), input: 5.0, output: 25.0 }];
        assert_eq!(
            model(price("claude-opus-4-9", &given)),
            Some(("claude-opus-4-9".to_owned(), 5.0))
        );
        assert_eq!(
            model(price("claude-opus-4-1", &given)),
            Some(("claude-opus-4".to_owned(), 15.0))
        );
    }
}
