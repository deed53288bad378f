//! Commands that change a feature.

use std::path::PathBuf;

use super::{open, patiently, tell, warn_of_no_worktree};
use crate::cli::Context;
use crate::cli::error::Error;
use crate::cli::exit_code::ExitCode;
use crate::engine::feature::{
    Details, Field, Iteration, Measurements, NewFeature, PhaseMove, Price, Tokens, Validation,
    Verdict, Worktree,
};
use crate::features::{FEATURES, Features};
use crate::git::{self, Found};
use crate::output::Tone;
use crate::{ambient, config};

/// Begin a feature; prints its id
#[derive(Debug, clap::Args)]
pub(super) struct New {
    /// What it is called
    name: String,
    /// One of its phases, in their order; repeat it (default: brainstorming, planning, architecture, implementation, testing)
    #[arg(long = "phase", value_name = "P")]
    phases: Vec<String>,
    /// The git worktree that it is built in; it is noted, not made
    #[arg(long, value_name = "PATH")]
    worktree: Option<PathBuf>,
    /// Print the document instead
    #[arg(long)]
    json: bool,
}

pub(super) fn new(args: &New, context: &Context) -> Result<ExitCode, Error> {
    let features = Features::find_or_make(&context.directory)
        .map_err(|error| Error::of_features("make", error))?;
    let mut instance = context.instance_over(&features.directory)?;
    let worktree = args.worktree.as_ref().map(|path| Worktree {
        path: path.to_string_lossy().into_owned(),
        commit: git::head(&features.root, Some(path)),
    });
    if let Some(path) = &args.worktree {
        match git::find(&features.root, path) {
            Ok(Found::Linked(_) | Found::Root) => {}
            Ok(Found::Nothing | Found::Record(_)) => {
                warn_of_no_worktree(&features.root.join(path), context);
            }
            Err(error) => context.output.line(Tone::Warning, &error.to_string()),
        }
    }
    let new = NewFeature { name: args.name.clone(), phases: args.phases.clone(), worktree };
    let changed = patiently(&mut instance, context, |instance| instance.feature_create(&new))?;
    match args.json {
        true => tell(&changed, true, context)?,
        false => context.output.result(&changed.id),
    }
    Ok(ExitCode::Success)
}

/// A move of a phase.
#[derive(Debug, clap::Args)]
pub(super) struct Move {
    /// The feature: its id, or an unambiguous beginning of it
    id: String,
    /// The phase
    phase: String,
    /// Set a field of the phase to a JSON value: approved=true, task_count=8, 'agent_used="x"'; can be repeated
    #[arg(long, value_name = "KEY=JSON", value_parser = field)]
    set: Vec<Field>,
    /// Name an artifact, by its path from the repository's root; can be repeated
    #[arg(long = "artifact", value_name = "NAME=PATH", value_parser = field)]
    artifacts: Vec<Field>,
    /// Add a decision to those of the phase; can be repeated
    #[arg(long = "decision", value_name = "TEXT")]
    decisions: Vec<String>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Print the document instead of a line
    #[arg(long)]
    json: bool,
}

pub(super) fn start(args: &Move, context: &Context) -> Result<ExitCode, Error> {
    make(args, PhaseMove::Start, context)
}

pub(super) fn complete(args: &Move, context: &Context) -> Result<ExitCode, Error> {
    make(args, PhaseMove::Complete, context)
}

pub(super) fn block(args: &Move, context: &Context) -> Result<ExitCode, Error> {
    make(args, PhaseMove::Block, context)
}

pub(super) fn fail(args: &Move, context: &Context) -> Result<ExitCode, Error> {
    make(args, PhaseMove::Fail, context)
}

fn make(args: &Move, step: PhaseMove, context: &Context) -> Result<ExitCode, Error> {
    let (features, mut instance) = open(context)?;
    let details = Details {
        set: args.set.clone(),
        artifacts: args.artifacts.clone(),
        decisions: args.decisions.clone(),
        reason: args.reason.clone(),
    };
    let changed = patiently(&mut instance, context, |instance| {
        instance.feature_move(&args.id, &args.phase, step, &details)
    })?;
    for Field { name, value: path } in &args.artifacts {
        if !ambient::exists(&features.root.join(path)) {
            let text = format!(
                "there is no {path} in {}: paths of artifacts count from there ({name}={FEATURES}/{}/…)",
                features.root.display(),
                changed.id
            );
            context.output.line(Tone::Warning, &text);
        }
    }
    tell(&changed, args.json, context)?;
    Ok(ExitCode::Success)
}

/// Record a round of implementation, review and test
#[derive(Debug, clap::Args)]
pub(super) struct Iterate {
    /// The feature: its id, or an unambiguous beginning of it
    id: String,
    /// What was implemented
    #[arg(long, value_name = "TEXT")]
    implementation: String,
    /// What the review came to
    #[arg(
        long,
        value_enum,
        value_name = "PASS|FAIL",
        ignore_case = true,
        hide_possible_values = true
    )]
    review: Outcome,
    /// What the tests came to
    #[arg(
        long,
        value_enum,
        value_name = "PASS|FAIL",
        ignore_case = true,
        hide_possible_values = true
    )]
    test: Outcome,
    /// A test that failed; can be repeated
    #[arg(long = "test-failure", value_name = "TEXT")]
    test_failures: Vec<String>,
    /// Print the document instead of a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Outcome {
    #[value(name = "PASS")]
    Pass,
    #[value(name = "FAIL")]
    Fail,
}

impl From<Outcome> for Verdict {
    fn from(result: Outcome) -> Self {
        match result {
            Outcome::Pass => Verdict::Pass,
            Outcome::Fail => Verdict::Fail,
        }
    }
}

pub(super) fn iterate(args: &Iterate, context: &Context) -> Result<ExitCode, Error> {
    let (_, mut instance) = open(context)?;
    let iteration = Iteration {
        implementation: args.implementation.clone(),
        review: args.review.into(),
        test: args.test.into(),
        test_failures: args.test_failures.clone(),
    };
    let changed = patiently(&mut instance, context, |instance| {
        instance.feature_iterate(&args.id, &iteration)
    })?;
    tell(&changed, args.json, context)?;
    Ok(ExitCode::Success)
}

/// Add to the metrics: agents, tokens, escalations, …
#[derive(Debug, clap::Args)]
pub(super) struct Record {
    /// The feature: its id, or an unambiguous beginning of it
    id: String,
    /// Add agents that were started
    #[arg(long, value_name = "N", default_value_t = 0)]
    agents: u32,
    /// Add executions of agents beside others
    #[arg(long, value_name = "N", default_value_t = 0)]
    parallel: u32,
    /// Add executions of agents one after the other
    #[arg(long, value_name = "N", default_value_t = 0)]
    sequential: u32,
    /// The user was asked; why; can be repeated
    #[arg(long = "escalation", value_name = "REASON")]
    escalations: Vec<String>,
    /// One more conflict was detected or resolved
    #[arg(long = "conflict", value_enum, value_name = "WHICH")]
    conflicts: Vec<Conflict>,
    /// One more validation was made
    #[arg(long = "validation", value_enum, value_name = "KIND")]
    validations: Vec<Kind>,
    /// One more time a person has looked at the feature
    #[arg(long)]
    checkpoint: bool,
    /// Add tokens of a phase, in and out; can be repeated
    #[arg(long, value_name = "PHASE=IN,OUT", value_parser = tokens)]
    tokens: Vec<Tokens>,
    /// Whose tokens these are: claude-sonnet-4, …
    #[arg(long, value_name = "NAME", requires = "tokens")]
    model: Option<String>,
    /// Print the document instead of a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Conflict {
    Detected,
    Resolved,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
enum Kind {
    #[value(alias = "spec-compliance")]
    SpecCompliance,
    #[value(alias = "code-quality")]
    CodeQuality,
    #[value(alias = "test-validation")]
    TestValidation,
}

pub(super) fn record(args: &Record, context: &Context) -> Result<ExitCode, Error> {
    let (features, mut instance) = open(context)?;
    let conflicts = |which| args.conflicts.iter().filter(|it| **it == which).count() as u64;
    let prices = match args.model.is_some() {
        true => prices(&features, context),
        false => Vec::new(),
    };
    let measurements = Measurements {
        agents: args.agents.into(),
        parallel: args.parallel.into(),
        sequential: args.sequential.into(),
        escalations: args.escalations.clone(),
        conflicts_detected: conflicts(Conflict::Detected),
        conflicts_resolved: conflicts(Conflict::Resolved),
        validations: args
            .validations
            .iter()
            .map(|kind| match kind {
                Kind::SpecCompliance => Validation::SpecCompliance,
                Kind::CodeQuality => Validation::CodeQuality,
                Kind::TestValidation => Validation::TestValidation,
            })
            .collect(),
        checkpoints: args.checkpoint.into(),
        tokens: args.tokens.clone(),
        model: args.model.clone(),
        prices,
    };
    let changed = patiently(&mut instance, context, |instance| {
        instance.feature_record(&args.id, &measurements)
    })?;
    tell(&changed, args.json, context)?;
    Ok(ExitCode::Success)
}

fn field(text: &str) -> Result<Field, &'static str> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            Ok(Field { name: name.to_owned(), value: value.to_owned() })
        }
        _ => Err("write NAME=VALUE, as in approved=true"),
    }
}

fn tokens(text: &str) -> Result<Tokens, &'static str> {
    let parse = || {
        let (phase, counts) = text.split_once('=')?;
        let (input, output) = counts.split_once(',')?;
        let count = |text: &str| text.trim().parse::<u64>().ok().filter(|n| *n <= 1 << 50);
        let phase = (!phase.is_empty()).then(|| phase.to_owned())?;
        Some(Tokens { phase, input: count(input)?, output: count(output)? })
    };
    parse().ok_or("write PHASE=IN,OUT, as in planning=9000,3000")
}

/// The prices of the configuration. What was measured is not lost over prices.
fn prices(features: &Features, context: &Context) -> Vec<Price> {
    let prices = match features.state() {
        Ok(Some(state)) => config::prices(&state, &features.root).map_err(|it| it.to_string()),
        Ok(None) => Ok(Vec::new()),
        Err(error) => Err(error.to_string()),
    };
    prices.unwrap_or_else(|error| {
        context.output.line(Tone::Warning, &format!("{error}; known prices are used"));
        Vec::new()
    })
}
