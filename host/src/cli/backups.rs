//! `wreckit-host backups`

use clap::Subcommand;

use super::Context;
use super::error::Error;
use super::exit_code::ExitCode;
use crate::engine::Instance;
use crate::output::Tone;
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

pub(super) fn main(args: &Args, context: &Context) -> Result<ExitCode, Error> {
    let repository = context.repository()?;
    let mut instance = context.instance(&repository)?;
    match &args.command {
        Command::List => {
            let backups = context.call(&mut instance, Instance::list_backups)??;
            for backup in &backups {
                let files = backup.files.join(", ");
                context.output.result(&format!("{}  {:<10}  {files}", backup.id, backup.reason));
            }
            if backups.is_empty() {
                context.output.result("no backups");
            }
        }
        Command::Restore { id } => {
            let restored = context.call(&mut instance, |instance| {
                run::patiently(|| instance.restore(id), run::holder_of_repair)
            })??;
            for file in restored.files {
                context.output.result(&format!("restored {file}"));
            }
            if let Some(backup) = restored.backup {
                context.output.note(
                    Tone::Hint,
                    &format!("what stood there is in backup {backup}: `wreckit-host backups restore {backup}` goes back"),
                );
            }
        }
    }
    Ok(ExitCode::Success)
}
