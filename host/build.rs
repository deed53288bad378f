//! Compiles the committed component to machine code, so that no command has to at run time.

#![expect(clippy::disallowed_methods, reason = "a build script works on the ambient files")]

use std::path::PathBuf;
use std::{env, fs};

#[path = "src/engine/config.rs"]
mod config;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let component = "component/wreckit.wasm";
    println!("cargo::rerun-if-changed={component}");
    println!("cargo::rerun-if-changed=src/engine/config.rs");
    println!("cargo::rerun-if-changed=wit");
    let target = env::var("TARGET")?;
    println!("cargo::rustc-env=WRECKIT_TARGET={target}");

    let engine = wasmtime::Engine::new(&config::engine_config(&target)?)?;
    let code = engine.precompile_component(&fs::read(component)?)?;
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("wreckit.cwasm"), code)?;
    Ok(())
}
