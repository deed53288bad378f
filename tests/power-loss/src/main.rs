//! `power-loss [ROUNDS [SEED [SCENARIO]]]`: prints what did not hold, and fails if something did not.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is for a person to read")]

use std::process::ExitCode;
use std::time::SystemTime;

use wreckit_power_loss::campaign::{SCENARIOS, Scenario, Stop, play};

/// What is asked for: how many power losses, from which seed, and one scenario or all of them.
fn arguments() -> Option<(u64, Option<u64>, Vec<Scenario>)> {
    let mut arguments = std::env::args().skip(1);
    let rounds = arguments.next().map_or(Some(600), |text| text.parse().ok())?;
    let seed = arguments.next().map(|text| text.parse().ok());
    let scenarios = match arguments.next() {
        None => SCENARIOS.to_vec(),
        Some(name) => vec![*SCENARIOS.iter().find(|it| format!("{it:?}") == name)?],
    };
    let seed = seed.map_or(Some(None), |seed| seed.map(Some))?;
    arguments.next().is_none().then_some((rounds, seed, scenarios))
}

fn main() -> ExitCode {
    let Some((rounds, seed, scenarios)) = arguments() else {
        eprintln!("usage: power-loss [ROUNDS [SEED [SCENARIO]]], with one of {SCENARIOS:?}");
        return ExitCode::from(2);
    };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let first = seed.unwrap_or(now.as_secs() * 1000);
    let program = match std::env::current_exe() {
        Ok(path) => path.with_file_name("wreckit-host"),
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("{rounds} power losses, from seed {first}");
    let (mut losses, mut violations) = (0, 0);
    let cases = (first..).flat_map(|seed| scenarios.iter().map(move |scenario| (*scenario, seed)));
    for (index, (scenario, seed)) in cases.enumerate() {
        if losses >= rounds {
            break;
        }
        match play(&program, scenario, seed) {
            Ok(lost) => losses += lost as u64,
            Err(Stop::CannotMount(error)) => {
                eprintln!("error: no file system can be mounted here: {error}");
                return ExitCode::FAILURE;
            }
            Err(Stop::Violation(violation)) => {
                println!("{violation}");
                losses += 1;
                violations += 1;
            }
        }
        if index % 40 == 39 {
            println!("{losses} power losses, {violations} violations");
        }
    }
    println!("{losses} power losses, {violations} violations");
    if violations == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
