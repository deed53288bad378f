//! `wreckit-host add`

use std::io::{self, BufRead};

use super::Context;
use super::error::Error;
use crate::exit_code::ExitCode;

/// Add new items
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A title for each item; `-` reads one per line from standard input
    #[arg(value_name = "TITLE", required = true)]
    titles: Vec<String>,
}

pub(super) fn main(args: &Args, context: &Context) -> Result<ExitCode, Error> {
    let repository = context.repository()?;
    let titles = match args.titles[..] {
        [ref only] if only == "-" => read_titles()?,
        _ => args.titles.iter().map(|title| title.trim().to_owned()).collect(),
    };
    if titles.is_empty() || titles.iter().any(String::is_empty) {
        return Err(Error::usage("an item needs a title"));
    }
    let mut instance = context.instance(&repository)?;
    let added = context.call_retrying(&mut instance, None, |instance| instance.add(&titles))?;
    for id in added? {
        context.output.result(&id);
    }
    Ok(ExitCode::Success)
}

fn read_titles() -> Result<Vec<String>, Error> {
    let mut titles = Vec::new();
    for line in io::stdin().lock().lines() {
        let line =
            line.map_err(|error| Error::usage(format!("cannot read the titles: {error}")))?;
        if !line.trim().is_empty() {
            titles.push(line.trim().to_owned());
        }
    }
    Ok(titles)
}
