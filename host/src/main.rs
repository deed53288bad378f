//! The program: everything is in the library.

fn main() -> std::process::ExitCode {
    wreckit_host::cli::main()
}
