//! Compiles WebAssembly from a file, within bounds.
//!
//! A compiler can take time and memory out of proportion to its input: 1.4 MB can cost 6 GiB. So it runs on a
//! thread of its own, and the thread that waits for it watches what the process consumes. The compiler's
//! thread cannot be ended, so the caller ends the process: exceeding a bound is an error of the whole
//! command.

use std::io;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use rustix::param::page_size;
use rustix::time::{ClockId, clock_gettime};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::ambient;

/// Maximum size of a component's file in bytes. Interpreters compiled to components have 10 to 40 MB.
const LARGEST_FILE: u64 = 64 << 20;
/// Maximum number of bytes that compiling may add to the memory of the process.
const MEMORY: usize = 1 << 30;
/// Maximum CPU time of compiling.
const TIME: Duration = Duration::from_secs(120);
/// How often the bounds are checked.
const INTERVAL: Duration = Duration::from_millis(20);
/// The stack size of the thread: validation and compilation are recursive.
const STACK: usize = 8 << 20;
/// The first bytes of a component: the magic number, the version, and the layer.
const HEADER: [u8; 8] = *b"\0asm\x0d\0\x01\0";

/// Why a file cannot be used as a component.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompileError {
    #[error("{0}")]
    Unreadable(#[from] io::Error),
    #[error("{0}")]
    Unusable(String),
}

/// Reads a component from a regular file of bounded size. Machine code is refused, because it would be
/// trusted.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, CompileError> {
    let bytes = ambient::read_regular(path, LARGEST_FILE)?;
    match bytes.starts_with(&HEADER) {
        true => Ok(bytes),
        false if bytes.starts_with(b"\0asm\x01\0\0\0") => {
            Err(CompileError::Unusable("it is a core module, not a component".to_owned()))
        }
        false => Err(CompileError::Unusable("it is not a WebAssembly component".to_owned())),
    }
}

/// Compiles a component.
pub(crate) fn compile(engine: &Engine, bytes: Vec<u8>) -> Result<Component, CompileError> {
    let engine = engine.clone();
    let before = (cpu_time(), resident());
    let exceeded = move || {
        let (cpu, memory) =
            (cpu_time().saturating_sub(before.0), resident().saturating_sub(before.1));
        if cpu > TIME {
            Some(format!("compiling it takes more than {} s", TIME.as_secs()))
        } else if memory > MEMORY {
            Some(format!("compiling it takes more than {} MiB of memory", MEMORY >> 20))
        } else {
            None
        }
    };
    watched(move || Component::from_binary(&engine, &bytes), exceeded)
        .map_err(CompileError::Unusable)?
        .map_err(|error| CompileError::Unusable(super::one_line(&error)))
}

/// Runs `work` on another thread. Gives up as soon as `exceeded` returns a reason; the thread then continues
/// until the process ends.
pub(crate) fn watched<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
    exceeded: impl Fn() -> Option<String>,
) -> Result<T, String> {
    let (sender, done) = channel();
    let work = move || {
        // Not received if the caller has given up.
        let _ = sender.send(work());
    };
    let started = thread::Builder::new().stack_size(STACK).spawn(work);
    started.map_err(|error| format!("cannot start a thread: {error}"))?;
    loop {
        match done.recv_timeout(INTERVAL) {
            Ok(result) => return Ok(result),
            Err(RecvTimeoutError::Timeout) => {
                if let Some(reason) = exceeded() {
                    return Err(reason);
                }
            }
            Err(RecvTimeoutError::Disconnected) => return Err("it panicked".to_owned()),
        }
    }
}

fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}

/// Returns the resident memory of this process; 0 where it is not known.
fn resident() -> usize {
    let statm = ambient::read_to_string("/proc/self/statm".as_ref()).unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or(0) * page_size()
}
