//! Compiles the committed component to machine code, so that no command has to at run time.

#![expect(clippy::disallowed_methods, reason = "a build script works on the ambient files")]

use std::path::PathBuf;
use std::{env, fs};

use anyhow::Context;

#[path = "src/engine/config.rs"]
mod config;
#[path = "build/digest.rs"]
mod digest;

const COMPONENT: &str = "component/wreckit.wasm";
const PROVENANCE: &str = "component/provenance.json";

fn main() -> anyhow::Result<()> {
    for input in [COMPONENT, PROVENANCE, "build", "src/engine/config.rs", "wit"] {
        println!("cargo::rerun-if-changed={input}");
    }
    let target = env::var("TARGET")?;
    println!("cargo::rustc-env=WRECKIT_TARGET={target}");

    let component = fs::read(COMPONENT).context(COMPONENT)?;
    let provenance = fs::read_to_string(PROVENANCE).context(PROVENANCE)?;
    if let Some(mismatch) = digest::mismatch(&component, &provenance) {
        println!("cargo::error={mismatch}");
        return Ok(());
    }
    let engine = wasmtime::Engine::new(&config::engine_config(&target)?)?;
    let code = engine
        .precompile_component(&component)
        .map_err(anyhow::Error::from)
        .context("cannot compile the component")?;
    let output = PathBuf::from(env::var("OUT_DIR")?).join("wreckit.cwasm");
    fs::write(&output, code).with_context(|| format!("cannot write {}", output.display()))
}
