//! `wreckit-host run-wasm-agent`, hidden: how a batch starts an agent that is a component.

use std::path::PathBuf;

use super::Context;
use crate::process::wasm_agent as wasm;
use crate::report::output::Tone;

/// Run a component as the agent of one item, whose directory is the current one
#[derive(Debug, clap::Args)]
#[command(name = wasm::COMMAND, hide = true)]
pub(super) struct Args {
    /// Check whether it can run, and print why not
    #[arg(long)]
    check: bool,
    /// A `wasi:cli/command` component
    component: PathBuf,
    /// Its arguments
    #[arg(last = true)]
    args: Vec<String>,
}

/// Returns the exit code of the component, which says how the item went.
pub(super) fn main(args: &Args, context: &Context) -> u8 {
    if args.check {
        return match wasm::dry_run(&args.component) {
            Ok(()) => 0,
            Err(reason) => {
                context.output.result(&reason);
                1
            }
        };
    }
    match wasm::run(&args.component, &args.args) {
        Ok(code) => u8::try_from(code).unwrap_or(1),
        Err(error) => {
            context.output.line(Tone::Error, &error);
            1
        }
    }
}
