// How components are compiled and run. The build script includes this file: what it compiles has to
// fit the engine that runs it.

use wasmtime::{Config, Result};

/// The configuration for machine code of this target (`x86_64-unknown-linux-gnu`).
///
/// The target is named even where it is the machine's own: otherwise the compiler would use every
/// feature of the CPU that it happens to run on.
pub(crate) fn engine_config(target: &str) -> Result<Config> {
    let mut config = Config::new();
    config.target(target)?;
    config.epoch_interruption(true);
    Ok(config)
}
