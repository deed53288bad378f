//! The exit codes of the program. Scripts rely on them.

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExitCode {
    /// All done; `doctor` left no error (with `--strict`: no warning either).
    Success,
    /// An item failed, stayed blocked or could not be read; `doctor` left an error; a file could
    /// not be read or written.
    Failure,
    /// Wrong arguments or configuration. Nothing was changed.
    Usage,
    /// Another batch runs.
    Busy,
    /// The component failed (EX_SOFTWARE of sysexits.h). The progress on disk is valid.
    Component,
    /// A signal stopped the batch: 128 and its number, as a shell reports it.
    Signal(i32),
    /// What a component exited with that was run as an agent.
    Agent(u8),
}

impl ExitCode {
    fn code(self) -> u8 {
        match self {
            ExitCode::Success => 0,
            ExitCode::Failure => 1,
            ExitCode::Usage => 2,
            ExitCode::Busy => 3,
            ExitCode::Component => 70,
            ExitCode::Agent(code) => code,
            ExitCode::Signal(signal) => 128 + u8::try_from(signal).unwrap_or(0),
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        code.code().into()
    }
}
