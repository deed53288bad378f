//! The component and the engine that runs it, with limits on everything that it can consume.

mod config;
mod error;
mod imports;
mod instance;
mod limits;

pub use error::ComponentError;
pub(crate) use imports::temporary_name;
pub use instance::Instance;
pub use limits::Limits;

use std::path::Path;
use std::thread;

use wasmtime::Engine;
use wasmtime::component::Component as WasmComponent;

#[cfg(feature = "compile")]
use crate::wasm::{self, CompileError};

/// The component that is built into the program, as WebAssembly.
pub const EMBEDDED: &[u8] = include_bytes!("../../component/wreckit.wasm");

/// Its WIT package, one text per file, dependencies last.
pub const WIT: &[(&str, &str)] = &[
    ("world.wit", include_str!("../../wit/world.wit")),
    ("batch.wit", include_str!("../../wit/batch.wit")),
    ("doctor.wit", include_str!("../../wit/doctor.wit")),
    ("feature.wit", include_str!("../../wit/feature.wit")),
    ("filesystem.wit", include_str!("../../wit/filesystem.wit")),
    ("processes.wit", include_str!("../../wit/processes.wit")),
    ("session.wit", include_str!("../../wit/session.wit")),
    ("terminator.wit", include_str!("../../wit/terminator.wit")),
    ("log.wit", include_str!("../../wit/log.wit")),
    ("deps/clocks/wall-clock.wit", include_str!("../../wit/deps/clocks/wall-clock.wit")),
    ("deps/random/random.wit", include_str!("../../wit/deps/random/random.wit")),
];

/// The embedded component as machine code for this target, compiled by the build script.
const PRECOMPILED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/wreckit.cwasm"));

/// A component, ready to be instantiated any number of times.
#[derive(Clone)]
pub struct Component {
    engine: Engine,
    code: WasmComponent,
}

impl Component {
    /// The component that is built into the program. Nothing is compiled.
    pub fn embedded() -> Result<Self, ComponentError> {
        let engine = engine()?;
        #[expect(
            unsafe_code,
            reason = "the bytes are what our own build script made with the same wasmtime"
        )]
        // SAFETY: `deserialize` trusts its input to come from `precompile_component` of the same
        // version and configuration. These bytes do: the build script wrote them, with the same
        // `engine_config`, and they are part of the executable.
        let code = unsafe { WasmComponent::deserialize(&engine, PRECOMPILED) };
        Ok(Component { code: code.map_err(ComponentError::unusable)?, engine })
    }

    /// Compiles another component for the same WIT package, from a regular file.
    ///
    /// Accepts WebAssembly only, never machine code: that would be trusted. Size, time and memory are
    /// bounded. After an error because of time or memory, the compiler continues on its own thread until the
    /// process exits.
    #[cfg(feature = "compile")]
    pub fn from_file(path: &Path) -> Result<Self, ComponentError> {
        let engine = engine()?;
        let code = wasm::read(path).and_then(|bytes| wasm::compile(&engine, bytes));
        match code {
            Ok(code) => Ok(Component { engine, code }),
            Err(CompileError::Unreadable(error)) => {
                Err(ComponentError::Unreadable { path: path.to_owned(), error })
            }
            Err(CompileError::Unusable(reason)) => Err(ComponentError::Unusable(reason)),
        }
    }

    /// Fails: this program was built without a compiler.
    #[cfg(not(feature = "compile"))]
    pub fn from_file(_: &Path) -> Result<Self, ComponentError> {
        Err(ComponentError::NoCompiler)
    }
}

fn engine() -> Result<Engine, ComponentError> {
    let config = config::engine_config(env!("WRECKIT_TARGET")).map_err(ComponentError::unusable)?;
    let engine = Engine::new(&config).map_err(ComponentError::unusable)?;
    // The deadline of a call is counted in these ticks. The thread ends with the engine.
    let ticking = engine.weak();
    let tick = move || {
        while let Some(engine) = ticking.upgrade() {
            engine.increment_epoch();
            drop(engine);
            thread::sleep(limits::TICK);
        }
    };
    thread::Builder::new().spawn(tick).map_err(ComponentError::NoThread)?;
    Ok(engine)
}
