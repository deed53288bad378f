//! `wreckit-host next`

use super::Context;
use super::agent_args::AgentArgs;
use super::error::Error;
use super::exit_code::ExitCode;
use super::run::run_session;
use crate::engine::batch::Options;
use crate::repository::STATE;
use crate::run::Human;

/// Run the next item that is ready, and no more; an interrupted run stays resumable
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    agent: AgentArgs,
}

pub(super) fn main(args: &Args, context: &Context) -> Result<ExitCode, Error> {
    let repository = context.repository()?;
    let configured = args.agent.of_items(&repository, context, false)?;
    let screen = args.agent.screen(context)?;
    let options = Options { single: true, ..configured.options(&args.agent) };
    let mut instance = context.instance(&repository)?;
    let resume = format!("{} next{}", context.program(), args.agent.repeated(false));
    let mut reporter = Human::new(context.output, screen, resume, STATE);
    run_session(&mut instance, &repository, &configured, &options, &mut reporter, context)
}
