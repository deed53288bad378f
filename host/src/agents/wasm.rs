//! Agents that are WebAssembly components: `wasi:cli/command`, in a sandbox.
//!
//! Such an agent runs in a process of its own, this program with a hidden command, so that it is
//! timed, ended, logged and found again like every other agent. It sees the item's directory as `/`
//! and nothing else of the file system, no network, and only the environment that agents get.

use std::ffi::OsString;
use std::path::Path;

use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Config, Engine, ResourceLimiter, Store};
use wasmtime_wasi::p2::bindings::sync::Command;
use wasmtime_wasi::{FsPerms, I32Exit, WasiCtx, WasiCtxView, WasiView};

use crate::ambient;

/// The hidden command of this program that runs a component.
pub(crate) const COMMAND: &str = "run-wasm-agent";

/// Bytes of memory that a component may have, in all of its instances together.
const MEMORY: usize = 256 << 20;
/// Entries of tables that it may have.
const TABLE: usize = 1 << 20;

/// The variables that a component gets to see, if they are set.
const ENVIRONMENT: [&str; 7] = [
    crate::marker::ITEM,
    crate::marker::ATTEMPT,
    "WRECKIT_SESSION_ID",
    "WRECKIT_TITLE",
    "WRECKIT_OVERVIEW",
    "WRECKIT_PHASE",
    "WRECKIT_STORY",
];

/// Looks whether a file is a component that can be run; otherwise why not.
pub(super) fn check(component: &Path) -> Result<(), String> {
    let engine = engine().map_err(|error| error.to_string())?;
    load(&engine, component).map(|_| ())
}

/// The arguments with which this program runs a component over an item's directory.
pub(super) fn arguments(component: &Path, directory: &Path, args: Vec<OsString>) -> Vec<OsString> {
    let mut arguments = vec![COMMAND.into(), component.into(), directory.into(), "--".into()];
    arguments.extend(args);
    arguments
}

/// Runs a component to its end over a directory; its exit code, or why it has none.
pub(crate) fn run(component: &Path, directory: &Path, args: &[String]) -> Result<i32, String> {
    let engine = engine().map_err(|error| error.to_string())?;
    let code = load(&engine, component)?;
    match call(&engine, &code, component, directory, args) {
        Ok(succeeded) => Ok(i32::from(!succeeded)),
        Err(error) => match error.downcast_ref::<I32Exit>() {
            Some(exit) => Ok(exit.0),
            None => Err(format!("the component failed: {error:#}")),
        },
    }
}

fn engine() -> wasmtime::Result<Engine> {
    Engine::new(Config::new().wasm_component_model(true))
}

fn load(engine: &Engine, component: &Path) -> Result<Component, String> {
    let bytes = ambient::read(component).map_err(|error| error.to_string())?;
    // WebAssembly only, never machine code: that would be trusted.
    Component::from_binary(engine, &bytes).map_err(|error| format!("{error:#}"))
}

fn call(
    engine: &Engine,
    code: &Component,
    component: &Path,
    directory: &Path,
    args: &[String],
) -> wasmtime::Result<bool> {
    let mut wasi = WasiCtx::builder();
    wasi.inherit_stdout()
        .inherit_stderr()
        .arg(component.file_stem().unwrap_or_default().to_string_lossy())
        .args(args)
        .env("WRECKIT_ITEM_DIR", "/")
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .preopened_dir(directory, "/", FsPerms::ReadWrite)?;
    for name in ENVIRONMENT {
        if let Some(value) = ambient::variable(name) {
            wasi.env(name, value.to_string_lossy());
        }
    }
    let state =
        State { wasi: wasi.build(), resources: ResourceTable::new(), limits: Limits::default() };
    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.limits);
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_sync(&mut linker)?;
    let command = Command::instantiate(&mut store, code, &linker)?;
    Ok(command.wasi_cli_run().call_run(&mut store)?.is_ok())
}

struct State {
    wasi: WasiCtx,
    resources: ResourceTable,
    limits: Limits,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.resources }
    }
}

/// What was given out.
#[derive(Debug, Default)]
struct Limits {
    memory: usize,
    table: usize,
}

impl ResourceLimiter for Limits {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.memory += desired - current;
        if self.memory > MEMORY {
            return Err(wasmtime::Error::msg(format!(
                "it asked for more than {} MiB of memory",
                MEMORY >> 20
            )));
        }
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.table += desired - current;
        Ok(self.table <= TABLE)
    }
}
