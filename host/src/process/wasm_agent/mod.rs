//! Agents that are WebAssembly components: `wasi:cli/command`, in a sandbox.
//!
//! Such an agent runs in a process of its own, this program with a hidden command, so that it is timed,
//! ended, logged and found again like every other agent, and so that the runner does not pay for compiling
//! it. It sees the item's directory as `/` and nothing else of the file system, no network, and only the
//! variables that the component set.

#![expect(clippy::disallowed_types, reason = "a component is checked in a process of its own")]

mod filesystem;
mod limits;

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command as Process, Stdio};

use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Config, Engine, Store};
use wasmtime_wasi::p2::bindings::sync::{Command, CommandPre};
use wasmtime_wasi::{FsPerms, I32Exit, WasiCtx, WasiCtxView, WasiView};

use self::filesystem::NewFiles;
use crate::ambient;
use crate::wasm::{self, MemoryLimiter};

/// The hidden command of this program that runs a component.
pub(crate) const COMMAND: &str = "run-wasm-agent";

/// The variables that a component can see, if they are set. `WRECKIT_ITEM_DIR` is always `/`.
const ENVIRONMENT: [&str; 9] = [
    super::marker::ITEM,
    super::marker::ATTEMPT,
    "WRECKIT_SESSION_ID",
    "WRECKIT_FEATURE_ID",
    "WRECKIT_REPOSITORY",
    "WRECKIT_TITLE",
    "WRECKIT_OVERVIEW",
    "WRECKIT_PHASE",
    "WRECKIT_STORY",
];

/// Checks that a file is a component that can run as an agent; returns why not. Only size and header are
/// checked here: the rest happens in a process of its own.
pub(crate) fn check(program: &Path, component: &Path) -> Result<(), String> {
    wasm::read(component).map_err(|error| error.to_string())?;
    let checked = Process::new(program)
        .arg(COMMAND)
        .arg("--check")
        .arg(component)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .map_err(|error| format!("it cannot be checked: {error}"))?;
    if checked.status.success() {
        return Ok(());
    }
    match String::from_utf8_lossy(&checked.stdout).trim() {
        "" => Err(format!("it cannot be compiled: the compiler ended with {}", checked.status)),
        reason => Err(reason.to_owned()),
    }
}

/// Returns the arguments with which this program runs a component over its current directory.
pub(crate) fn arguments(component: &Path, arguments: &[String]) -> Vec<OsString> {
    let command = [COMMAND.into(), component.into(), "--".into()];
    command.into_iter().chain(arguments.iter().map(OsString::from)).collect()
}

/// Compiles a component and checks its imports and exports, without running it.
pub(crate) fn dry_run(component: &Path) -> Result<(), String> {
    prepare(component).map(|_| ())
}

/// Runs a component over the current directory, which the runner chose by a descriptor. Returns its exit
/// code, or why it has none.
pub(crate) fn run(component: &Path, args: &[String]) -> Result<i32, String> {
    let (engine, command) = prepare(component)?;
    let name = component.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let args = args.to_vec();
    let call = move || call(&engine, &command, &name, &args);
    match wasm::watched(call, limits::exceeded())? {
        Ok(succeeded) => Ok(i32::from(!succeeded)),
        Err(error) => match error.downcast_ref::<I32Exit>() {
            Some(exit) => Ok(exit.0),
            None => Err(format!("the component failed: {error:#}")),
        },
    }
}

/// Compiles and links a component, under the limits of the process.
fn prepare(component: &Path) -> Result<(Engine, CommandPre<State>), String> {
    limits::apply().map_err(|error| format!("cannot limit this process: {error}"))?;
    let engine = Engine::new(Config::new().wasm_component_model(true));
    let engine = engine.map_err(|error| error.to_string())?;
    let bytes = wasm::read(component).map_err(|error| error.to_string())?;
    let code = wasm::compile(&engine, bytes).map_err(|error| error.to_string())?;
    let linked = link(&engine, &code).map_err(|error| format!("{error:#}"))?;
    Ok((engine, linked))
}

fn link(engine: &Engine, code: &Component) -> wasmtime::Result<CommandPre<State>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_sync(&mut linker)?;
    filesystem::add_guards(&mut linker)?;
    CommandPre::new(linker.instantiate_pre(code)?)
}

fn call(
    engine: &Engine,
    command: &CommandPre<State>,
    name: &str,
    args: &[String],
) -> wasmtime::Result<bool> {
    let mut wasi = WasiCtx::builder();
    wasi.inherit_stdout()
        .inherit_stderr()
        .arg(name)
        .args(args)
        .env("WRECKIT_ITEM_DIR", "/")
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .preopened_dir(".", "/", FsPerms::ReadWrite)?;
    for name in ENVIRONMENT {
        if let Some(value) = ambient::variable(name) {
            wasi.env(name, value.to_string_lossy());
        }
    }
    let mut resources = ResourceTable::new();
    resources.set_max_capacity(limits::RESOURCES);
    let state = State {
        wasi: wasi.build(),
        resources,
        memory: MemoryLimiter::new(limits::MEMORY).with_instances(limits::INSTANCES),
        new_files: NewFiles::default(),
    };
    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.memory);
    let command: Command = command.instantiate(&mut store)?;
    Ok(command.wasi_cli_run().call_run(&mut store)?.is_ok())
}

/// The state of a component.
struct State {
    wasi: WasiCtx,
    resources: ResourceTable,
    memory: MemoryLimiter,
    new_files: NewFiles,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.resources }
    }
}
