//! Commands that create a feature, move its phases, or record an iteration.

use std::path::PathBuf;

use super::{change, open, print, warn_about_missing_worktree};
use crate::ambient;
use crate::cli::Context;
use crate::cli::error::Error;
use crate::exit_code::ExitCode;
use crate::git::{self, Found};
use crate::report::output::Tone;
use crate::repository::{FEATURES, Features};
use crate::wit::feature::{Details, Field, Iteration, NewFeature, PhaseMove, Verdict, Worktree};

/// Create a feature and print its id
#[derive(Debug, clap::Args)]
pub(super) struct New {
    /// The name of the feature
    name: String,
    /// A phase; repeat in order (default: brainstorming, planning, architecture, implementation, testing)
    #[arg(long = "phase", value_name = "P")]
    phases: Vec<String>,
    /// The git worktree to build it in; it is recorded, not created
    #[arg(long, value_name = "PATH")]
    worktree: Option<PathBuf>,
    /// Print the document instead of the id
    #[arg(long)]
    json: bool,
}

pub(super) fn new(args: &New, context: &Context) -> Result<ExitCode, Error> {
    let features = Features::find_or_create(&context.directory)
        .map_err(|error| Error::of_features("create", error))?;
    let mut instance = context.instance_over(&features.directory)?;
    let worktree = args.worktree.as_ref().map(|path| Worktree {
        path: path.to_string_lossy().into_owned(),
        commit: git::head(&features.root, Some(path)),
    });
    if let Some(path) = &args.worktree {
        match git::find(&features.root, path) {
            Ok(Found::Linked(_) | Found::Root) => {}
            Ok(Found::Nothing | Found::Record(_)) => {
                warn_about_missing_worktree(&features.root.join(path), context);
            }
            Err(error) => context.output.line(Tone::Warning, &error.to_string()),
        }
    }
    let new = NewFeature { name: args.name.clone(), phases: args.phases.clone(), worktree };
    let created = change(&mut instance, context, |instance| instance.feature_create(&new))?;
    match args.json {
        true => print(&created, true, context)?,
        false => context.output.result(&created.id),
    }
    Ok(ExitCode::Success)
}

/// A move of a phase.
#[derive(Debug, clap::Args)]
pub(super) struct Move {
    /// The feature: its id, or an unambiguous prefix
    id: String,
    /// The phase
    phase: String,
    /// Set a field of the phase to a JSON value: approved=true, 'agent_used="x"'; can be repeated
    #[arg(long, value_name = "KEY=JSON", value_parser = field)]
    set: Vec<Field>,
    /// Record an artifact, with its path relative to the root of the repository; can be repeated
    #[arg(long = "artifact", value_name = "NAME=PATH", value_parser = field)]
    artifacts: Vec<Field>,
    /// Record a decision of the phase; can be repeated
    #[arg(long = "decision", value_name = "TEXT")]
    decisions: Vec<String>,
    /// Record the reason
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Print the document instead of one line
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
    let moved = change(&mut instance, context, |instance| {
        instance.feature_move(&args.id, &args.phase, step, &details)
    })?;
    for Field { name, value: path } in &args.artifacts {
        if !ambient::exists(&features.root.join(path)) {
            let text = format!(
                "{path} does not exist in {}: paths of artifacts are relative to it ({name}={FEATURES}/{}/…)",
                features.root.display(),
                moved.id
            );
            context.output.line(Tone::Warning, &text);
        }
    }
    print(&moved, args.json, context)?;
    Ok(ExitCode::Success)
}

/// Record an iteration of implementation, review and test
#[derive(Debug, clap::Args)]
pub(super) struct Iterate {
    /// The feature: its id, or an unambiguous prefix
    id: String,
    /// What was implemented
    #[arg(long, value_name = "TEXT")]
    implementation: String,
    /// The result of the review
    #[arg(
        long,
        value_enum,
        value_name = "PASS|FAIL",
        ignore_case = true,
        hide_possible_values = true
    )]
    review: Outcome,
    /// The result of the tests
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
    /// Print the document instead of one line
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
    let recorded =
        change(&mut instance, context, |instance| instance.feature_iterate(&args.id, &iteration))?;
    print(&recorded, args.json, context)?;
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
