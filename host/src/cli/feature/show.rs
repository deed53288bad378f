//! Commands that tell of a feature.

use serde_json::{Value, json};

use super::{open, parse};
use crate::cli::Context;
use crate::cli::error::Error;
use crate::cli::exit_code::ExitCode;
use crate::engine::Instance;
use crate::features::FEATURES;
use crate::output::{Tone, safe};

/// List every feature
#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

/// Show the document of a feature
#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// The feature: its id, or an unambiguous beginning of it
    id: String,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

/// Tell a fresh session everything that it needs to go on
#[derive(Debug, clap::Args)]
pub(super) struct Resume {
    /// The feature: its id, or an unambiguous beginning of it
    id: String,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

/// Show what a feature took: time, agents, tokens, cost
#[derive(Debug, clap::Args)]
pub(super) struct Summary {
    /// The feature: its id, or an unambiguous beginning of it
    id: String,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn list(args: &List, context: &Context) -> Result<ExitCode, Error> {
    let entries = match context.features()? {
        None => Vec::new(),
        Some(features) => {
            let mut instance = context.instance_over(&features.directory)?;
            let listed = context.call(&mut instance, Instance::feature_list)?;
            listed.map_err(|failure| Error::Storage(FEATURES, failure))?
        }
    };
    let mut rows = Vec::new();
    for entry in &entries {
        let document = entry.document.as_deref().map(parse).transpose()?;
        rows.push((entry, document));
    }
    if args.json {
        let rows: Vec<Value> = rows
            .iter()
            .map(|(entry, document)| {
                let field = |key: &str| document.as_ref().and_then(|it| it.get(key).cloned());
                json!({
                    "feature_id": entry.id,
                    "feature_name": field("feature_name"),
                    "status": field("status"),
                    "current_phase": field("current_phase"),
                    "updated": field("updated"),
                    "damage": entry.damage,
                })
            })
            .collect();
        context.output.json(&format!("{:#}", Value::from(rows)));
        return Ok(ExitCode::Success);
    }
    for (entry, document) in &rows {
        let field = |key: &str| text(document.as_ref().unwrap_or(&Value::Null), key).to_owned();
        match &entry.damage {
            Some(damage) => {
                context.output.result(&format!("{:<12} {}  {damage}", "damaged", entry.id));
            }
            None => context.output.result(&format!(
                "{:<12} {}  {} ({})",
                field("status"),
                entry.id,
                field("feature_name"),
                field("current_phase")
            )),
        }
    }
    if rows.is_empty() {
        context.output.result("no features");
    }
    Ok(ExitCode::Success)
}

pub(super) fn show(args: &Show, context: &Context) -> Result<ExitCode, Error> {
    let (_, mut instance) = open(context)?;
    let read = context.call(&mut instance, |instance| instance.feature_read(&args.id))??;
    if args.json {
        context.json(&read.document)?;
        return Ok(ExitCode::Success);
    }
    let document = parse(&read.document)?;
    let output = context.output;
    output.result(&format!("{}  {}", read.id, text(&document, "feature_name")));
    output.result(&format!(
        "{}, at {}; updated {}",
        text(&document, "status"),
        text(&document, "current_phase"),
        text(&document, "updated")
    ));
    for (name, phase) in document["phases"].as_object().into_iter().flatten() {
        let minutes = match &phase["duration_minutes"] {
            Value::Number(minutes) => format!("  {minutes} min"),
            _ => String::new(),
        };
        let reason = match phase["reason"].as_str() {
            Some(reason) => format!("  {reason}"),
            None => String::new(),
        };
        output.result(&format!("{:<12} {name}{minutes}{reason}", text(phase, "status")));
    }
    for (name, path) in document["artifacts"].as_object().into_iter().flatten() {
        output.result(&format!("{:<12} {name}: {}", "artifact", path.as_str().unwrap_or_default()));
    }
    if let Some(rounds) = rounds(&document["feedback_loop"]) {
        output.result(&format!("{:<12} {rounds}", "iteration"));
    }
    Ok(ExitCode::Success)
}

/// `2 of 5: in_progress; last: review PASS, test FAIL (csv.test.ts:45)`; `None` before the first one.
fn rounds(feedback: &Value) -> Option<String> {
    let number = feedback["current_iteration"].as_u64().filter(|number| *number > 0)?;
    let most = feedback["max_iterations"].as_u64().unwrap_or_default();
    let mut rounds = format!("{number} of {most}: {}", text(feedback, "status"));
    if let Some(last) = feedback["iterations"].as_array().and_then(|all| all.last()) {
        let (review, test) = (text(last, "review_result"), text(last, "test_result"));
        rounds.push_str(&format!("; last: review {review}, test {test}"));
        let failures: Vec<&str> = last["test_failures"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        if !failures.is_empty() {
            rounds.push_str(&format!(" ({})", failures.join(", ")));
        }
    }
    Some(rounds)
}

pub(super) fn resume(args: &Resume, context: &Context) -> Result<ExitCode, Error> {
    let (_, mut instance) = open(context)?;
    let told = context.call(&mut instance, |instance| instance.feature_resume(&args.id))??;
    if args.json {
        context.json(&told)?;
        return Ok(ExitCode::Success);
    }
    let told = parse(&told)?;
    let output = context.output;
    let id = text(&told, "feature_id");
    output.result(&format!("# {} ({id})", text(&told, "feature_name")));
    output.result("");
    output.result(&format!(
        "Status: {}. Current phase: {}. Last completed phase: {}.",
        text(&told, "status"),
        text(&told, "current_phase"),
        told["last_completed_phase"].as_str().unwrap_or("none")
    ));
    if let Some(path) = told["worktree"]["path"].as_str() {
        output.result(&format!("Worktree: {path}"));
    }
    let heading = |words: &str| {
        output.result("");
        output.result(&format!("## {words}"));
    };
    let decisions = |phase: &Value| {
        for decision in phase["decisions"].as_array().into_iter().flatten() {
            output.result(&format!("  - decided: {}", decision.as_str().unwrap_or_default()));
        }
    };
    let done = told["done"].as_array().filter(|done| !done.is_empty());
    if let Some(done) = done {
        heading("Done");
        for phase in done {
            output.result(&format!("- {}", text(phase, "phase")));
            decisions(phase);
        }
    }
    heading("To do");
    for todo in told["todo"].as_array().into_iter().flatten() {
        let reason = match todo["reason"].as_str() {
            Some(reason) => format!(": {reason}"),
            None => String::new(),
        };
        output.result(&format!("- {} ({}{reason})", text(todo, "phase"), text(todo, "status")));
        decisions(todo);
    }
    if let Some(rounds) = rounds(&told["feedback_loop"]) {
        heading("Feedback loop");
        output.result(&rounds);
    }
    output.result("");
    output.result(&next_command(&told["next"], id));
    for artifact in told["artifacts"].as_array().into_iter().flatten() {
        let (name, path) = (text(artifact, "name"), text(artifact, "path"));
        match (text(artifact, "state"), artifact["content"].as_str()) {
            ("present", Some(content)) => {
                heading(&format!("{name} ({path})"));
                output.result("");
                output.document(content.trim_end());
            }
            ("present", None) if name == "progress" => {}
            ("present", None) => heading(&format!("{name} ({path}): too long to show")),
            ("outside", _) => {
                let why = "not in the directory of the features, so not shown";
                heading(&format!("{name} ({path}): {why}"));
            }
            (state, _) => heading(&format!("{name} ({path}): {state}")),
        }
    }
    Ok(ExitCode::Success)
}

/// The command that takes a feature on.
fn next_command(next: &Value, id: &str) -> String {
    let phase = text(next, "phase");
    let (id, word) = (safe::word(id), safe::word(phase));
    match text(next, "move") {
        "approve" => format!(
            "Go on with, when a person has approved what {phase} left: wreckit-host feature run {id} --approve {word}"
        ),
        step => format!("Go on with: wreckit-host feature {step} {id} {word}"),
    }
}

pub(super) fn summary(args: &Summary, context: &Context) -> Result<ExitCode, Error> {
    let (_, mut instance) = open(context)?;
    let told = context.call(&mut instance, |instance| instance.feature_summarize(&args.id))??;
    if args.json {
        context.json(&told)?;
        return Ok(ExitCode::Success);
    }
    print_summary(&parse(&told)?, context);
    Ok(ExitCode::Success)
}

/// A summary for a person.
pub(super) fn print_summary(told: &Value, context: &Context) {
    let output = context.output;
    output.result(&format!(
        "{}  {}: {} ({} of {} phases complete)",
        text(told, "feature_id"),
        text(told, "feature_name"),
        text(told, "status"),
        told["phases_complete"],
        told["phases"]
    ));
    let line = |name: &str, words: String| output.result(&format!("{name:<20} {words}"));
    line("duration", format!("{} min", told["total_duration_minutes"]));
    let agents = &told["agents"];
    line(
        "agents",
        format!(
            "{} ({} parallel, {} sequential executions)",
            agents["total"], agents["parallel_executions"], agents["sequential_executions"]
        ),
    );
    line("iterations", told["iterations"].to_string());
    line("validation retries", told["validation_retries"].to_string());
    let escalations = told["escalations"]["to_user"].as_u64().unwrap_or(0);
    line("escalations", escalations.to_string());
    line("human checkpoints", told["human_checkpoints"].to_string());
    let tokens = &told["tokens"];
    line(
        "tokens",
        format!(
            "{} ({} in, {} out, {} estimated)",
            tokens["total"], tokens["input"], tokens["output"], tokens["estimated_for_phases"]
        ),
    );
    let is_counted = told["cost_by_model"].as_object().is_some_and(|models| !models.is_empty());
    line(
        "cost",
        match is_counted || told["cost_usd"].as_f64().is_some_and(|cost| cost > 0.0) {
            true => format!("${}", told["cost_usd"]),
            false => "not counted (`feature record --tokens … --model NAME` counts it)".to_owned(),
        },
    );
    for (model, cost) in told["cost_by_model"].as_object().into_iter().flatten() {
        let dollars = match &cost["cost_usd"] {
            Value::Number(dollars) => format!("${dollars}"),
            _ => "no price".to_owned(),
        };
        line("", format!("{model}: {dollars}"));
    }
    for part in told["distribution"].as_array().into_iter().flatten() {
        let estimated = if part["estimated"] == true { " (estimated)" } else { "" };
        line(
            text(part, "phase"),
            format!(
                "{} min ({} %), {} tokens ({} %){estimated}",
                part["duration_minutes"],
                part["duration_percent"],
                part["tokens"],
                part["tokens_percent"]
            ),
        );
    }
    if let Some(note) = told["cost_note"].as_str() {
        output.note(Tone::Plain, note);
    }
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}
