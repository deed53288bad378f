//! `wreckit-host feature record`

use super::{change, open, print};
use crate::cli::Context;
use crate::cli::agent_args::whole_number;
use crate::cli::error::Error;
use crate::engine::Instance;
use crate::exit_code::ExitCode;
use crate::report::output::Tone;
use crate::repository::{Features, check_configuration};
use crate::wit::feature::{Measurements, Price, Tokens, Validation};

/// Add to the metrics: agents, tokens, escalations, …
#[derive(Debug, clap::Args)]
pub(super) struct Record {
    /// The feature: its id, or an unambiguous prefix
    id: String,
    /// Add N agents that were started
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = whole_number::<u32>)]
    agents: u32,
    /// Add N agents that ran in parallel
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = whole_number::<u32>)]
    parallel: u32,
    /// Add N agents that ran one after another
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = whole_number::<u32>)]
    sequential: u32,
    /// Add an escalation to the user, with its reason; can be repeated
    #[arg(long = "escalation", value_name = "REASON")]
    escalations: Vec<String>,
    /// Add a conflict that was detected or resolved; can be repeated
    #[arg(long = "conflict", value_enum, value_name = "WHICH")]
    conflicts: Vec<Conflict>,
    /// Add a validation that was repeated; can be repeated
    #[arg(long = "validation", value_enum, value_name = "KIND")]
    validations: Vec<Kind>,
    /// Add a human checkpoint
    #[arg(long)]
    checkpoint: bool,
    /// Add input and output tokens of a phase; can be repeated
    #[arg(long, value_name = "PHASE=IN,OUT", value_parser = tokens)]
    tokens: Vec<Tokens>,
    /// The model that used the tokens: claude-sonnet-4, …
    #[arg(long, value_name = "NAME", requires = "tokens")]
    model: Option<String>,
    /// Print the document instead of one line
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
    let recorded = change(&mut instance, context, |instance| {
        instance.feature_record(&args.id, &measurements)
    })?;
    print(&recorded, args.json, context)?;
    Ok(ExitCode::Success)
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

/// Returns the configured prices. Measurements are not lost because the configuration cannot be used.
fn prices(features: &Features, context: &Context) -> Vec<Price> {
    configured_prices(features, context).unwrap_or_else(|error| {
        let text = format!("{}; the known prices are used", error.message());
        context.output.line(Tone::Warning, &text);
        Vec::new()
    })
}

fn configured_prices(features: &Features, context: &Context) -> Result<Vec<Price>, Error> {
    let Some(repository) = features.repository()? else { return Ok(Vec::new()) };
    check_configuration(&repository)?;
    let mut instance = context.instance(&repository)?;
    context.call(&mut instance, Instance::prices)?.map_err(Error::Configuration)
}
