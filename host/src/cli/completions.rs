//! `wreckit-host completions`

use clap::CommandFactory;
use clap_complete::Shell;

use super::error::Error;
use super::{Cli, Context};
use crate::exit_code::ExitCode;

/// Print completions for a shell
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn main(args: &Args, context: &Context) -> Result<ExitCode, Error> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "wreckit-host", &mut script);
    context.output.raw(&script);
    Ok(ExitCode::Success)
}
