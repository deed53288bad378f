//! A short campaign: every scenario a few times, always the same ones.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test that builds and runs the program"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use wreckit_power_loss::campaign::{SCENARIOS, Stop, play};

/// How often each scenario is played.
const TIMES: u64 = 2;

/// The program under test. It belongs to another package, so cargo does not build it for this test by
/// itself.
fn program() -> PathBuf {
    // target/debug/deps/short-… -> target/debug/wreckit-host
    let test = std::env::current_exe().expect("the path of this test");
    let directory = test.ancestors().nth(2).expect("a directory");
    let profile = if directory.ends_with("release") { "release" } else { "dev" };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        // Together with the tests: then cargo takes the dependencies as they are built already.
        .args(["build", "--quiet", "--workspace", "--bins", "--tests", "--profile", profile])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
        .status();
    assert!(built.expect("cargo runs").success(), "the program builds");
    directory.join("wreckit-host")
}

#[test]
fn nothing_acknowledged_is_lost_or_runs_again_when_the_power_goes() {
    let program = program();
    let mut violations = Vec::new();
    for seed in 0..TIMES {
        for scenario in SCENARIOS {
            match play(&program, scenario, seed) {
                Ok(_) => {}
                Err(Stop::CannotMount(error)) => {
                    eprintln!("no file system can be mounted here ({error}): not tested");
                    return;
                }
                Err(Stop::Violation(violation)) => violations.push(violation.to_string()),
            }
        }
    }
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}
