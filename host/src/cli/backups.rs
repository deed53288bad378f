//! `wreckit-host backups`

use clap::Subcommand;

use super::Context;
use super::error::{Error, Root};
use crate::engine::Instance;
use crate::exit_code::ExitCode;
use crate::report::output::{Tone, safe};
use crate::repository::RepositoryError;
use crate::wit::doctor::{RepairError, Restoration, Scope};

/// List and restore backups of files that were changed, removed or set aside
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the backups, newest first
    List,
    /// Restore every file of a backup, after a backup of the current ones
    Restore {
        /// The backup, as `list` names it
        id: String,
    },
}

pub(super) fn main(args: &Args, context: &Context) -> Result<ExitCode, Error> {
    let instances = instances(context)?;
    match &args.command {
        Command::List => list(instances, context),
        Command::Restore { id } => restore(id, instances, context),
    }
}

impl Root {
    /// Returns what the component calls this root.
    pub(super) fn scope(self) -> Scope {
        match self {
            Root::Batch => Scope::Batch,
            Root::Features => Scope::Features,
        }
    }
}

/// Returns an instance over each directory that has state to repair.
pub(super) fn instances(context: &Context) -> Result<Vec<(Instance, Root)>, Error> {
    let mut instances = Vec::new();
    // There may be nothing but features.
    let features = context.features_if_usable();
    match context.repository() {
        Ok(repository) => instances.push((context.instance(&repository)?, Root::Batch)),
        Err(Error::Repository(RepositoryError::NotFound(_))) if features.is_some() => {}
        Err(error) => return Err(error),
    }
    if let Some(features) = features {
        instances.push((context.instance_over(&features.directory)?, Root::Features));
    }
    Ok(instances)
}

fn list(instances: Vec<(Instance, Root)>, context: &Context) -> Result<ExitCode, Error> {
    let mut backups = Vec::new();
    for (mut instance, root) in instances {
        let listed = context.call(&mut instance, |instance| instance.list_backups(root.scope()))?;
        backups.extend(listed.map_err(|failure| Error::Storage(root, failure))?);
    }
    // Their ids are times.
    backups.sort_by(|a, b| b.id.cmp(&a.id));
    for backup in &backups {
        let created = backup.created.iter().map(|path| format!("(created) {path}"));
        let files = backup.files.iter().cloned().chain(created).collect::<Vec<_>>().join(", ");
        context.output.result(&format!("{}  {:<10}  {files}", backup.id, backup.reason));
    }
    if backups.is_empty() {
        context.output.result("no backups");
    }
    Ok(ExitCode::Success)
}

/// Restores a backup from the directory that has it.
fn restore(
    id: &str,
    instances: Vec<(Instance, Root)>,
    context: &Context,
) -> Result<ExitCode, Error> {
    for (mut instance, root) in instances {
        let restored = context
            .call_retrying(&mut instance, None, |instance| instance.restore(root.scope(), id))?;
        match restored {
            Err(RepairError::UnknownBackup) => {}
            Err(error) => return Err(Error::of_repair(error, root, id)),
            Ok(restored) => {
                print(&restored, context);
                return Ok(ExitCode::Success);
            }
        }
    }
    Err(Error::of_repair(RepairError::UnknownBackup, Root::Batch, id))
}

fn print(restored: &Restoration, context: &Context) {
    for file in &restored.files {
        context.output.result(&format!("restored {file}"));
    }
    for file in &restored.removed {
        context.output.result(&format!("removed {file}"));
    }
    if restored.files.is_empty() && restored.removed.is_empty() {
        context.output.result("nothing to restore: every file is as in the backup");
    }
    if let Some(backup) = &restored.backup {
        let text = format!(
            "the previous files are in backup {backup}: `wreckit-host backups restore {}` restores them",
            safe::word(backup)
        );
        context.output.note(Tone::Hint, &text);
    }
}
