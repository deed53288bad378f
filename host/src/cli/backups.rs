//! `wreckit-host backups`

use clap::Subcommand;

use super::Context;
use super::error::Error;
use super::exit_code::ExitCode;
use crate::engine::doctor::{RepairError, Restoration};
use crate::engine::{ComponentError, Instance};
use crate::features::FEATURES;
use crate::output::{Tone, safe};
use crate::repository::{RepositoryError, STATE};
use crate::run;

/// List what was changed, removed or set aside, and bring it back
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the backups, newest first
    List,
    /// Put every file of a backup back; what stands there now is backed up first
    Restore {
        /// The backup, as `list` names it
        id: String,
    },
}

type Restore = fn(&mut Instance, &str) -> Result<Result<Restoration, RepairError>, ComponentError>;

pub(super) fn main(args: &Args, context: &Context) -> Result<ExitCode, Error> {
    let places = places(context)?;
    match &args.command {
        Command::List => list(places, context),
        Command::Restore { id } => restore(id, places, context),
    }
}

/// An instance over each directory that has backups, and how it restores one.
fn places(context: &Context) -> Result<Vec<(Instance, Restore, &'static str)>, Error> {
    let mut places: Vec<(Instance, Restore, &'static str)> = Vec::new();
    let features = context.features_if_usable();
    match context.repository() {
        Ok(repository) => places.push((context.instance(&repository)?, Instance::restore, STATE)),
        Err(Error::Repository(RepositoryError::NotFound(_))) if features.is_some() => {}
        Err(error) => return Err(error),
    }
    if let Some(features) = features {
        let instance = context.instance_over(&features.directory)?;
        let restore: Restore = |instance, id| instance.feature_restore(id);
        places.push((instance, restore, FEATURES));
    }
    Ok(places)
}

fn list(
    places: Vec<(Instance, Restore, &'static str)>,
    context: &Context,
) -> Result<ExitCode, Error> {
    let mut backups = Vec::new();
    for (mut instance, _, place) in places {
        let listed = match place {
            FEATURES => context.call(&mut instance, Instance::feature_list_backups)?,
            _ => context.call(&mut instance, Instance::list_backups)?,
        };
        backups.extend(listed.map_err(|failure| Error::Storage(place, failure))?);
    }
    // They are named after their times.
    backups.sort_by(|a, b| b.id.cmp(&a.id));
    for backup in &backups {
        let created = backup.created.iter().map(|path| format!("(made) {path}"));
        let files = backup.files.iter().cloned().chain(created).collect::<Vec<_>>().join(", ");
        context.output.result(&format!("{}  {:<10}  {files}", backup.id, backup.reason));
    }
    if backups.is_empty() {
        context.output.result("no backups");
    }
    Ok(ExitCode::Success)
}

/// Restores it where it is.
fn restore(
    id: &str,
    places: Vec<(Instance, Restore, &'static str)>,
    context: &Context,
) -> Result<ExitCode, Error> {
    for (mut instance, restore, place) in places {
        let restored = context.call(&mut instance, |instance| {
            run::patiently(|| restore(instance, id), run::holder_of_repair)
        })?;
        match restored {
            Err(RepairError::UnknownBackup) => {}
            Err(error) => return Err(Error::of_repair(error, place)),
            Ok(restored) => {
                for file in &restored.files {
                    context.output.result(&format!("restored {file}"));
                }
                for file in &restored.removed {
                    context.output.result(&format!("removed {file}"));
                }
                if restored.files.is_empty() && restored.removed.is_empty() {
                    context.output.result("nothing to restore: everything is as in the backup");
                }
                if let Some(backup) = restored.backup {
                    let text = format!(
                        "what was there before is in backup {backup}: `wreckit-host backups restore {}` goes back",
                        safe::word(&backup)
                    );
                    context.output.note(Tone::Hint, &text);
                }
                return Ok(ExitCode::Success);
            }
        }
    }
    Err(Error::of_repair(RepairError::UnknownBackup, STATE))
}
