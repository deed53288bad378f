//! WebAssembly within bounds: compiling it, and the memory that it may use.

#[cfg(feature = "compile")]
mod compile;
mod memory;

#[cfg(feature = "compile")]
pub(crate) use compile::{CompileError, compile, read, watched};
pub(crate) use memory::MemoryLimiter;

/// Returns the causes of an error in one line, without the backtrace of the WebAssembly code.
pub(crate) fn one_line(error: &wasmtime::Error) -> String {
    let causes: Vec<String> = error
        .chain()
        .map(ToString::to_string)
        .filter(|cause| !cause.starts_with("error while executing at wasm backtrace"))
        .collect();
    causes.join(": ").replace('\n', " ")
}
