//! Kills `wreckit-host` with SIGKILL at every system call that changes something, once before and once
//! after the call, and checks what the next commands make of it.
//!
//! Each scenario prepares a repository, learns by one undisturbed run which calls its command makes,
//! and then repeats it from a fresh copy for every point. Copies are in memory (`/dev/shm`) where
//! that is there: a kill leaves the page cache as it is, so the file system makes no difference.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test program: it stands outside of the host and makes its world"
)]

mod calls;
mod campaign;
mod oracle;
mod place;
mod scenarios;
mod trace;
mod tree;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::trace::{Point, Side};

/// Kill wreckit-host at its system calls
#[derive(Debug, Parser)]
struct Args {
    /// Only scenarios whose names contain one of these
    scenarios: Vec<String>,
    /// The program under test [default: wreckit-host beside this program]
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Kill at N points of each scenario instead of all
    #[arg(long, value_name = "N")]
    sample: Option<usize>,
    /// Choose the points of a sample by this number
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    seed: u64,
    /// Repeat a single point
    #[arg(long, value_name = "CALL:entry|exit", value_parser = point, conflicts_with = "sample")]
    at: Option<Point>,
    /// Run N rounds at a time
    #[arg(long, value_name = "N", default_value_t = 2)]
    jobs: usize,
    /// Leave the repositories of violations in DIR
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Print the points of each scenario and kill nothing
    #[arg(long)]
    list: bool,
}

/// Exit code where processes may not be traced: automake's for a skipped test.
const SKIPPED: u8 = 77;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [first, program, arguments @ ..] = &words[..]
        && first == trace::LAUNCH
    {
        eprintln!("{}", trace::launch(program, arguments));
        return ExitCode::FAILURE;
    }
    match campaign::run(&Args::parse()) {
        Ok(campaign::Outcome::Passed) => ExitCode::SUCCESS,
        Ok(campaign::Outcome::Violated) => ExitCode::FAILURE,
        Ok(campaign::Outcome::NotPermitted(reason)) => {
            eprintln!("processes may not be traced here: {reason}");
            SKIPPED.into()
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn point(text: &str) -> Result<Point, String> {
    let (call, side) = text.split_once(':').ok_or("CALL:entry or CALL:exit")?;
    let side = match side {
        "entry" => Side::Entry,
        "exit" => Side::Exit,
        _ => return Err("entry or exit".to_owned()),
    };
    Ok(Point { call: call.parse().map_err(|_| "a number of a call")?, side })
}
