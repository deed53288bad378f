//! `wreckit-host next`

use super::Context;
use super::agent_args::AgentArgs;
use super::error::Error;
use super::run::run_session;
use crate::engine::Instance;
use crate::exit_code::ExitCode;
use crate::report::{FollowUp, Human};
use crate::repository::STATE;
use crate::wit::batch::Options;

/// Run the next item that is ready, and no other
///
/// An interrupted run stays resumable.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    agent: AgentArgs,
}

pub(super) fn main(args: &Args, context: &Context) -> Result<ExitCode, Error> {
    let repository = context.repository()?;
    let mut instance = context.instance(&repository)?;
    let (agent, _) = args.agent.choose(&repository, &mut instance, context, false)?;
    let screen = args.agent.screen(context)?;
    let defaults = context.call(&mut instance, Instance::default_options)?;
    let options = args.agent.options(defaults, &repository.root);
    let options = Options { single: true, agent, ..options };
    let resume = format!("{} next{}", context.program(), args.agent.repeated(false));
    let follow_up = FollowUp { resume, retry: None, review: None };
    let mut reporter = Human::new(context.output, screen, follow_up, STATE);
    run_session(&mut instance, &repository, &options, &mut reporter, context)
}
