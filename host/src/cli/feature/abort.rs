//! `wreckit-host feature abort`

use std::io::{self, BufRead, IsTerminal};
use std::path::Path;

use super::show::entries;
use super::{change, open, print};
use crate::ambient;
use crate::cli::Context;
use crate::cli::error::Error;
use crate::engine::Instance;
use crate::exit_code::ExitCode;
use crate::git::{self, Found, GitError, Record, Worktree};
use crate::report::output::{Stream, Tone};
use crate::repository::FEATURES;
use crate::wit::feature::{AbortPlan, AbortReason, Cleanup, WorktreeAction};

/// Abort a feature, and clean up
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The feature: its id, or an unambiguous prefix
    id: String,
    /// Why it is aborted
    #[arg(long, value_enum, value_name = "R")]
    reason: Reason,
    /// What to keep
    #[arg(long, value_enum, value_name = "C", default_value_t)]
    cleanup: Choice,
    /// Do not ask before anything is removed
    #[arg(long)]
    yes: bool,
    /// Print the document instead of one line
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
    /// Keep everything; `feature start` reopens the feature
    #[default]
    KeepEverything,
    /// Remove the worktree and keep the documents
    KeepArtifacts,
    /// Reset the worktree to the commit before the feature
    Rollback,
    /// Remove the worktree and the feature's directory
    FullCleanup,
}

pub(super) fn main(args: &Args, context: &Context) -> Result<ExitCode, Error> {
    let (features, mut instance) = open(context)?;
    let cleanup = Cleanup::from(args.cleanup);
    let plan = context.call(&mut instance, |it| it.feature_plan_abort(&args.id, cleanup))??;
    let keeps_everything = args.cleanup == Choice::KeepEverything;
    // Every mistake is found before anything is recorded.
    let mut work = Work::new(&plan, &features.root)?;
    if let Some(path) = work.path() {
        let others = shared_with(&plan.id, path, &features.root, &mut instance, context)?;
        work.lines.extend(others);
    }
    if !keeps_everything && !confirmed(args, &work, context)? {
        context.output.line(Tone::Plain, "nothing was changed");
        return Ok(ExitCode::Failure);
    }
    let worktree = plan.worktree.as_ref().map(|worktree| Path::new(&worktree.path));
    let commit = git::head(&features.root, worktree);
    let aborted = change(&mut instance, context, |instance| {
        instance.feature_abort(&plan.id, args.reason.into(), cleanup, commit.as_deref())
    })?;
    print(&aborted, args.json && keeps_everything, context)?;
    if keeps_everything {
        return Ok(ExitCode::Success);
    }
    work.carry_out().map_err(Error::unexpected(
        "the feature is aborted, but its worktree could not be cleaned up; run the same command to try again",
    ))?;
    let confirmed =
        change(&mut instance, context, |instance| instance.feature_confirm_cleanup(&plan.id))?;
    print(&confirmed, args.json, context)?;
    Ok(ExitCode::Success)
}

/// Returns the other features that are built in the same worktree, in lines for a person.
fn shared_with(
    id: &str,
    path: &Path,
    root: &Path,
    instance: &mut Instance,
    context: &Context,
) -> Result<Vec<String>, Error> {
    let others = entries(instance, context)?.into_iter().filter(|entry| entry.id != id);
    let shares =
        |worktree: &Path| ambient::canonicalize(&root.join(worktree)).ok().as_deref() == Some(path);
    let sharing = others.filter(|entry| {
        entry.worktree.as_ref().is_some_and(|worktree| shares(worktree.path.as_ref()))
    });
    Ok(sharing.map(|entry| format!("this is also the worktree of {}", entry.id)).collect())
}

/// Shows what will be changed, and asks for confirmation.
fn confirmed(args: &Args, work: &Work, context: &Context) -> Result<bool, Error> {
    for line in &work.lines {
        context.output.line(Tone::Plain, line);
    }
    if args.yes {
        return Ok(true);
    }
    if !io::stdin().is_terminal() || Stream::Err.terminal().is_none() {
        return Err(Error::Usage {
            message: "this cannot be undone, and needs a confirmation".to_owned(),
            hint: Some("confirm it with `--yes`".to_owned()),
        });
    }
    context.output.prompt("Continue? [y/N]");
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    Ok(read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// What a cleanup changes outside of the feature's directory.
struct Work {
    task: Task,
    /// Everything that will be changed, in lines for a person.
    lines: Vec<String>,
}

enum Task {
    Nothing,
    /// Reset the worktree to this commit.
    Reset(Worktree, String),
    Remove(Worktree),
    RemoveRecord(Record),
}

impl Work {
    /// Finds the worktree of a plan, and checks that it can be changed.
    fn new(plan: &AbortPlan, root: &Path) -> Result<Self, Error> {
        let unusable = |error: GitError| Error::failed(error.to_string());
        let find = || match &plan.worktree {
            Some(worktree) => match git::find(root, worktree.path.as_ref()) {
                Ok(Found::Root) => {
                    let why = "it is the root of the repository itself".to_owned();
                    Err(GitError::NotLinked { path: root.to_owned(), why })
                }
                found => found,
            },
            None => Ok(Found::Nothing),
        };
        let work = match &plan.action {
            WorktreeAction::None => Work::removal(Found::Nothing),
            WorktreeAction::Remove => find().and_then(Work::removal),
            WorktreeAction::Reset(commit) => find().and_then(|found| Work::reset(found, commit)),
        };
        let mut work = work.map_err(unusable)?;
        if !plan.can_reopen {
            work.lines.push("the feature cannot be reopened after this".to_owned());
        }
        if plan.removes_directory {
            let line = format!("{FEATURES}/{} is removed, with every document in it", plan.id);
            work.lines.push(line);
        }
        Ok(work)
    }

    fn reset(found: Found, commit: &str) -> Result<Self, GitError> {
        let Found::Linked(worktree) = found else {
            let lines = vec!["there is no worktree to reset".to_owned()];
            return Ok(Work { task: Task::Nothing, lines });
        };
        worktree.check_resettable()?;
        let place = worktree.path.display().to_string();
        let commits = worktree.commits_since(commit)?;
        let title = format!("{place} is reset to {commit} and loses these commits:");
        let mut lines = list(title, commits);
        let title = format!("{place} loses its uncommitted changes:");
        lines.extend(list(title, worktree.uncommitted()?));
        lines.push(format!("{place} is reset to {commit}"));
        Ok(Work { task: Task::Reset(worktree, commit.to_owned()), lines })
    }

    fn removal(found: Found) -> Result<Self, GitError> {
        match found {
            Found::Linked(worktree) => {
                worktree.check_removable()?;
                let place = worktree.path.display().to_string();
                let changes = worktree.uncommitted()?;
                let title = format!("{place} loses its uncommitted changes:");
                let mut lines = list(title, changes);
                lines.push(format!("the worktree {place} is removed; its branch is kept"));
                Ok(Work { task: Task::Remove(worktree), lines })
            }
            Found::Record(record) => {
                let place = record.path.display();
                let lines = vec![format!(
                    "the worktree {place} has no files any more; git's record of it is removed"
                )];
                Ok(Work { task: Task::RemoveRecord(record), lines })
            }
            Found::Nothing | Found::Root => {
                let lines = vec!["there is no worktree to remove".to_owned()];
                Ok(Work { task: Task::Nothing, lines })
            }
        }
    }

    /// Returns the worktree that is changed.
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

/// Returns a title and indented lines; nothing without lines.
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
