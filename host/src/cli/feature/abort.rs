//! `wreckit-host feature abort`

use std::io::{self, BufRead, IsTerminal};
use std::path::Path;

use serde_json::Value;

use super::{open, parse, patiently, tell};
use crate::ambient;
use crate::cli::Context;
use crate::cli::error::Error;
use crate::cli::exit_code::ExitCode;
use crate::engine::Instance;
use crate::engine::feature::{AbortReason, Cleanup};
use crate::features::FEATURES;
use crate::git::{self, Found, GitError, Record, Worktree};
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
    if let Some(path) = work.path() {
        let others = shared_with(&read.id, path, &features.root, &mut instance, context)?;
        work.plan.extend(others);
    }
    if args.cleanup != Choice::KeepEverything && !agreed(args, &work, context)? {
        context.output.line(Tone::Plain, "nothing was changed");
        return Ok(ExitCode::Failure);
    }
    let commit = git::head(&features.root, document["worktree"]["path"].as_str().map(Path::new));
    let (reason, cleanup) = (args.reason.into(), args.cleanup.into());
    let changed = patiently(&mut instance, context, |instance| {
        instance.feature_abort(&read.id, reason, cleanup, commit.as_deref())
    })?;
    tell(&changed, args.json && args.cleanup == Choice::KeepEverything, context)?;
    if args.cleanup == Choice::KeepEverything {
        return Ok(ExitCode::Success);
    }
    work.carry_out().map_err(|error| {
        Error::Failed(format!(
            "the feature is aborted, but its worktree could not be cleaned up: {error}; the same command tries again"
        ))
    })?;
    let cleaned = patiently(&mut instance, context, |instance| instance.feature_cleaned(&read.id))?;
    tell(&cleaned, args.json, context)?;
    Ok(ExitCode::Success)
}

/// Other features that are built in the same worktree, in lines for a person.
fn shared_with(
    id: &str,
    path: &Path,
    root: &Path,
    instance: &mut Instance,
    context: &Context,
) -> Result<Vec<String>, Error> {
    let listed = context.call(instance, Instance::feature_list)?;
    let mut lines = Vec::new();
    for entry in listed.map_err(|failure| Error::Storage(FEATURES, failure))? {
        let Some(other) = entry.document.as_deref().filter(|_| entry.id != id) else { continue };
        let other = parse(other)?["worktree"]["path"].as_str().map(|other| root.join(other));
        if other.and_then(|other| ambient::canonicalize(&other).ok()).as_deref() == Some(path) {
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
    context.output.prompt("Go on? [y/N]");
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    Ok(read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// What a cleanup does beside the feature's directory.
struct Work {
    task: Task,
    /// In lines for a person.
    plan: Vec<String>,
}

enum Task {
    Nothing,
    /// To this commit.
    Reset(Worktree, String),
    Remove(Worktree),
    RemoveRecord(Record),
}

impl Work {
    fn new(choice: Choice, root: &Path, id: &str, document: &Value) -> Result<Self, Error> {
        if choice == Choice::KeepEverything {
            return Ok(Work { task: Task::Nothing, plan: Vec::new() });
        }
        let usable = |error: GitError| Error::Failed(error.to_string());
        let found = match document["worktree"]["path"].as_str() {
            Some(path) => git::find(root, path.as_ref()).map_err(usable)?,
            None => Found::Nothing,
        };
        if matches!(found, Found::Root) {
            let why = "it is the root of the repository itself".to_owned();
            return Err(usable(GitError::NotLinked { path: root.to_owned(), why }));
        }
        let commit = document["worktree"]["pre_feature_commit"].as_str();
        let mut work = match (choice, commit) {
            (Choice::Rollback, Some(commit)) => Work::rollback(found, commit).map_err(usable)?,
            (Choice::Rollback, None) => {
                return Err(Error::Illegal {
                    message: "there is nothing to roll back to: the feature has no worktree with a `pre_feature_commit`".to_owned(),
                    legal: Vec::new(),
                });
            }
            _ => Work::removal(found).map_err(usable)?,
        };
        work.plan.push("the feature cannot be reopened after this".to_owned());
        if choice == Choice::FullCleanup {
            work.plan.push(format!("{FEATURES}/{id} is removed, with every document in it"));
        }
        Ok(work)
    }

    fn rollback(found: Found, commit: &str) -> Result<Self, GitError> {
        let Found::Linked(worktree) = found else {
            let plan = vec!["there is no worktree to roll back".to_owned()];
            return Ok(Work { task: Task::Nothing, plan });
        };
        worktree.check_resettable()?;
        let place = worktree.path.display().to_string();
        let commits = worktree.commits_since(commit)?;
        let title = format!("{place} goes back to {commit}; it loses these commits:");
        let mut plan = list(title, commits);
        plan.extend(list(format!("{place} loses what is not committed:"), worktree.uncommitted()?));
        plan.push(format!("{place} goes back to {commit}"));
        Ok(Work { task: Task::Reset(worktree, commit.to_owned()), plan })
    }

    fn removal(found: Found) -> Result<Self, GitError> {
        match found {
            Found::Linked(worktree) => {
                worktree.check_removable()?;
                let place = worktree.path.display().to_string();
                let changes = worktree.uncommitted()?;
                let mut plan = list(format!("{place} loses what is not committed:"), changes);
                plan.push(format!("the worktree {place} is removed; its branch stays"));
                Ok(Work { task: Task::Remove(worktree), plan })
            }
            Found::Record(record) => {
                let place = record.path.display();
                let plan = vec![format!(
                    "the worktree {place} has no files any more; git's record of it is removed"
                )];
                Ok(Work { task: Task::RemoveRecord(record), plan })
            }
            Found::Nothing | Found::Root => {
                let plan = vec!["there is no worktree to remove".to_owned()];
                Ok(Work { task: Task::Nothing, plan })
            }
        }
    }

    /// The worktree that is changed.
    fn path(&self) -> Option<&Path> {
        match &self.task {
            Task::Reset(worktree, _) | Task::Remove(worktree) => Some(&worktree.path),
            Task::Nothing | Task::RemoveRecord(_) => None,
        }
    }

    fn carry_out(&self) -> Result<(), GitError> {
        match &self.task {
            Task::Nothing => Ok(()),
            Task::Reset(worktree, commit) => worktree.reset_to(commit),
            Task::Remove(worktree) => worktree.remove(),
            Task::RemoveRecord(record) => record.remove(),
        }
    }
}

/// A title and indented lines; nothing without lines.
fn list(title: String, lines: Vec<String>) -> Vec<String> {
    if lines.is_empty() {
        return lines;
    }
    let lines = lines.into_iter().map(|line| format!("  {line}"));
    [title].into_iter().chain(lines).collect()
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
