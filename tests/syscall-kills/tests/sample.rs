//! A short campaign: one random point of every scenario.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test of a test program"
)]

use std::path::Path;
use std::process::Command;

/// How many points of each scenario.
const SAMPLE: &str = "1";

#[test]
fn whatever_is_killed_loses_nothing_and_can_be_repeated() {
    let kills = env!("CARGO_BIN_EXE_syscall-kills");
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let profile = if kills.contains("/release/") { "release" } else { "dev" };
    // The program belongs to another package. Built as for the other tests: then nothing is built twice.
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--workspace", "--bins", "--tests", "--profile", profile])
        .current_dir(workspace)
        .status();
    assert!(built.expect("cargo runs").success(), "the program builds");
    let seed = std::process::id().to_string();
    let ran = Command::new(kills).args(["--sample", SAMPLE, "--seed", &seed]).output();
    let ran = ran.expect("it runs");
    let told = String::from_utf8_lossy(&ran.stdout);
    match ran.status.code() {
        Some(0) => println!("{told}"),
        Some(77) => eprintln!("not tested: {}", String::from_utf8_lossy(&ran.stderr)),
        _ => panic!("--seed {seed}\n{told}{}", String::from_utf8_lossy(&ran.stderr)),
    }
}
