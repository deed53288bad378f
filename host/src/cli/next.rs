//! `wreckit-host next`

use super::Context;
use super::error::Error;
use super::exit_code::ExitCode;
use super::run::{AgentArgs, run_session};
use crate::engine::batch::Options;
use crate::run::Human;

/// Run the next item that is ready, and no more; saved progress is left alone
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    agent: AgentArgs,
}

pub(super) fn main(args: &Args, context: &Context) -> Result<ExitCode, Error> {
    let repository = context.repository()?;
    let (agent, limit_wait) = args.agent.agent(&repository, context, false)?;
    let options = Options {
        items: Vec::new(),
        no_resume: false,
        retry_failed: false,
        take_over: false,
        parallel: 1,
        mock: agent.is_mock(),
        single: true,
        limit_wait,
    };
    let mut instance = context.instance(&repository)?;
    let mut reporter = Human::new(context.output, "wreckit-host next".to_owned());
    run_session(&mut instance, &repository, &agent, &options, &mut reporter, context)
}
