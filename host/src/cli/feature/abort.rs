//! `wreckit-host feature abort`

use std::io::{self, BufRead, IsTerminal};
use std::path::Path;

use serde_json::Value;

use super::{open, parse, patiently, tell};
use crate::cli::Context;
use crate::cli::error::Error;
use crate::cli::exit_code::ExitCode;
use crate::engine::Instance;
use crate::engine::feature::{AbortReason, Cleanup};
use crate::features::FEATURES;
use crate::git::{self, GitError, Worktree};
use crate::output::{Stream, Tone};

/// Give a feature up, and clean up as wanted
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The feature: its id, or an unambiguous beginning of it
    id: String,
    /// Why
    #[arg(long, value_enum, value_name = "R")]
    reason: Reason,
    /// What becomes of what there is
    #[arg(long, value_enum, value_name = "C", default_value_t)]
    cleanup: Choice,
    /// Remove what is to be removed without asking
    #[arg(long)]
    yes: bool,
    /// Print the document instead of a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
enum Reason {
    UserRequest,
    RepeatedEscalations,
    CriticalSecurity,
    UnrecoverableError,
    CostExceeded,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
enum Choice {
    /// Everything stays; `feature start` reopens it
    #[default]
    KeepEverything,
    /// The worktree is removed, the documents stay
    KeepArtifacts,
    /// The worktree goes back to the commit before the feature
    Rollback,
    /// The worktree and the feature's directory are removed
    FullCleanup,
}

pub(super) fn main(args: &Args, context: &Context) -> Result<ExitCode, Error> {
    let (features, mut instance) = open(context)?;
    let read = context.call(&mut instance, |instance| instance.feature_read(&args.id))??;
    let document = parse(&read.document)?;
    // Everything that can be wrong before anything is recorded.
    let mut work = Work::new(args.cleanup, &features.root, &read.id, &document)?;
    if work.worktree.is_some() {
        work.plan.extend(shared_with(&read.id, &document, &mut instance, context)?);
    }
    if args.cleanup != Choice::KeepEverything && !agreed(args, &work, context)? {
        context.output.line(Tone::Plain, "nothing was changed");
        return Ok(ExitCode::Failure);
    }
    let place = document["worktree"]["path"].as_str().map(|path| features.root.join(path));
    let commit = place.and_then(|place| git::head(&place)).or_else(|| git::head(&features.root));
    let (reason, cleanup) = (args.reason.into(), args.cleanup.into());
    let changed = patiently(&mut instance, context, |instance| {
        instance.feature_abort(&read.id, reason, cleanup, commit.as_deref())
    })?;
    tell(&changed, args.json && args.cleanup == Choice::KeepEverything, context);
    if args.cleanup == Choice::KeepEverything {
        return Ok(ExitCode::Success);
    }
    work.carry_out().map_err(|error| {
        Error::Failed(format!(
            "the feature is aborted, but its worktree could not be cleaned up: {error}; the same command tries again"
        ))
    })?;
    let cleaned = patiently(&mut instance, context, |instance| instance.feature_cleaned(&read.id))?;
    tell(&cleaned, args.json, context);
    Ok(ExitCode::Success)
}

/// Other features that are built in the same worktree, in lines for a person.
fn shared_with(
    id: &str,
    document: &Value,
    instance: &mut Instance,
    context: &Context,
) -> Result<Vec<String>, Error> {
    let listed = context.call(instance, Instance::feature_list)?;
    let mut lines = Vec::new();
    for entry in listed.map_err(|failure| Error::Storage(FEATURES, failure))? {
        let Some(other) = entry.document.as_deref().filter(|_| entry.id != id) else { continue };
        if parse(other)?["worktree"]["path"] == document["worktree"]["path"] {
            lines.push(format!("this is also the worktree of {}", entry.id));
        }
    }
    Ok(lines)
}

/// Shows what will be removed, and asks where somebody can answer.
fn agreed(args: &Args, work: &Work, context: &Context) -> Result<bool, Error> {
    for line in &work.plan {
        context.output.line(Tone::Plain, line);
    }
    if args.yes {
        return Ok(true);
    }
    if !io::stdin().is_terminal() || Stream::Err.terminal().is_none() {
        return Err(Error::Usage {
            message: "this cannot be undone, and nobody can be asked here".to_owned(),
            hint: Some("say `--yes` if that is meant".to_owned()),
        });
    }
    Stream::Err.write(b"Go on? [y/N] ");
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    Ok(read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// What a cleanup does beside the feature's directory.
struct Work {
    choice: Choice,
    worktree: Option<Worktree>,
    /// The commit before the feature.
    commit: Option<String>,
    /// In lines for a person.
    plan: Vec<String>,
}

impl Work {
    fn new(choice: Choice, root: &Path, id: &str, document: &Value) -> Result<Self, Error> {
        let usable = |error: GitError| Error::Failed(error.to_string());
        let path = document["worktree"]["path"].as_str();
        let commit = document["worktree"]["pre_feature_commit"].as_str().map(str::to_owned);
        let worktree = match path.filter(|_| choice != Choice::KeepEverything) {
            Some(path) => Worktree::linked(root, path.as_ref()).map_err(usable)?,
            None => None,
        };
        let mut plan = Vec::new();
        let mut list = |title: String, lines: Vec<String>| {
            if !lines.is_empty() {
                plan.push(title);
                plan.extend(lines.into_iter().map(|line| format!("  {line}")));
            }
        };
        let place = worktree.as_ref().map(|it| it.path.display().to_string()).unwrap_or_default();
        match (choice, &worktree, &commit) {
            (Choice::KeepEverything, ..) => {}
            (Choice::Rollback, Some(worktree), Some(commit)) => {
                let commits = worktree.commits_since(commit).map_err(usable)?;
                list(format!("{place} goes back to {commit}; it loses these commits:"), commits);
                let changes = worktree.uncommitted().map_err(usable)?;
                list(format!("{place} loses what is not committed:"), changes);
                plan.push(format!("{place} goes back to {commit}"));
            }
            (Choice::Rollback, None, Some(_)) => {
                plan.push("there is no worktree to roll back".to_owned());
            }
            (Choice::Rollback, _, None) => {
                return Err(Error::Illegal {
                    message: "there is nothing to roll back to: the feature has no worktree with a `pre_feature_commit`".to_owned(),
                    legal: Vec::new(),
                });
            }
            (Choice::KeepArtifacts | Choice::FullCleanup, Some(worktree), _) => {
                let changes = worktree.uncommitted().map_err(usable)?;
                list(format!("{place} loses what is not committed:"), changes);
                plan.push(format!("the worktree {place} is removed; its branch stays"));
            }
            (Choice::KeepArtifacts | Choice::FullCleanup, None, _) => {
                plan.push("there is no worktree to remove".to_owned());
            }
        }
        if choice != Choice::KeepEverything {
            plan.push("the feature cannot be reopened after this".to_owned());
        }
        if choice == Choice::FullCleanup {
            plan.push(format!("{FEATURES}/{id} is removed, with every document in it"));
        }
        Ok(Work { choice, worktree, commit, plan })
    }

    fn carry_out(&self) -> Result<(), GitError> {
        match (self.choice, &self.worktree, &self.commit) {
            (Choice::Rollback, Some(worktree), Some(commit)) => worktree.reset_to(commit),
            (Choice::KeepArtifacts | Choice::FullCleanup, Some(worktree), _) => worktree.remove(),
            _ => Ok(()),
        }
    }
}

impl From<Reason> for AbortReason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::UserRequest => AbortReason::UserRequest,
            Reason::RepeatedEscalations => AbortReason::RepeatedEscalations,
            Reason::CriticalSecurity => AbortReason::CriticalSecurity,
            Reason::UnrecoverableError => AbortReason::UnrecoverableError,
            Reason::CostExceeded => AbortReason::CostExceeded,
        }
    }
}

impl From<Choice> for Cleanup {
    fn from(choice: Choice) -> Self {
        match choice {
            Choice::KeepEverything => Cleanup::KeepEverything,
            Choice::KeepArtifacts => Cleanup::KeepArtifacts,
            Choice::Rollback => Cleanup::Rollback,
            Choice::FullCleanup => Cleanup::FullCleanup,
        }
    }
}
