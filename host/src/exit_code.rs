//! The exit codes of the program. Scripts rely on them.

use rustix::process::Signal;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExitCode {
    /// 0: everything succeeded; `doctor` found no remaining error (with `--strict`: no warning either).
    Success,
    /// 1: an item failed, is blocked or cannot be read; `doctor` found a remaining error; a file could not be
    /// read or written.
    Failure,
    /// 2: the arguments or the configuration are invalid. Nothing was changed.
    Usage,
    /// 3: another process is using the repository.
    Busy,
    /// 70: the component failed (EX_SOFTWARE of sysexits.h). The progress on disk is valid.
    Component,
    /// 128 and the number of the signal that stopped the command, as a shell reports it.
    Signal(StopSignal),
    /// The exit code of an agent that is a component, passed on by the process that runs it.
    Agent(u8),
}

impl ExitCode {
    /// The exit code as a number.
    pub fn code(self) -> u8 {
        match self {
            ExitCode::Success => 0,
            ExitCode::Failure => 1,
            ExitCode::Usage => 2,
            ExitCode::Busy => 3,
            ExitCode::Component => 70,
            ExitCode::Signal(signal) => 128 + signal.number(),
            ExitCode::Agent(code) => code,
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        code.code().into()
    }
}

/// A signal that stops a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopSignal {
    /// SIGHUP: the terminal was closed.
    Hangup,
    /// SIGINT: Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

impl StopSignal {
    /// Every signal that stops a batch.
    pub const ALL: [StopSignal; 3] =
        [StopSignal::Hangup, StopSignal::Interrupt, StopSignal::Terminate];

    /// The number of the signal on this system.
    pub fn number(self) -> u8 {
        let signal = match self {
            StopSignal::Hangup => Signal::HUP,
            StopSignal::Interrupt => Signal::INT,
            StopSignal::Terminate => Signal::TERM,
        };
        // These three have the numbers 1, 2 and 15 on every Unix.
        signal.as_raw().unsigned_abs() as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_signal_is_reported_as_a_shell_reports_it() {
        let codes = StopSignal::ALL.map(|signal| ExitCode::Signal(signal).code());
        assert_eq!(codes, [129, 130, 143]);
    }
}
