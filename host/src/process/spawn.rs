//! Starts agents.

#![expect(clippy::disallowed_types, reason = "this is the module that starts processes")]

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::Pid;

use super::descriptors;
use super::directory::Directory;
use super::group::Group;
use super::output::Output;

/// A program to start.
#[derive(Debug)]
pub(crate) struct Program {
    /// The program, absolute.
    pub(crate) path: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    /// Variables to add to the environment of this process.
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) directory: Directory,
    /// Standard input; `None` for an empty one.
    pub(crate) input: Option<Vec<u8>>,
}

impl Program {
    /// Starts the program as the leader of a process group of its own.
    pub(crate) fn start(self, output: Output) -> io::Result<Group> {
        let reserve = descriptors::reserve()?;
        // Standard output and standard error share a pipe, so that their order is kept.
        let (pipe, writer) = io::pipe()?;
        rustix::io::ioctl_fionbio(&pipe, true)?;
        let (stdin, input) = match self.input {
            None => (Stdio::null(), None),
            Some(text) => {
                let (reader, pipe) = io::pipe()?;
                rustix::io::ioctl_fionbio(&pipe, true)?;
                (Stdio::from(reader), Some(Input { pipe, text, written: 0 }))
            }
        };
        let child = Command::new(self.path)
            .args(self.arguments)
            .envs(self.environment)
            .current_dir(self.directory.path())
            .stdin(stdin)
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .process_group(0)
            .spawn()?;
        drop(reserve);
        let leader = Leader { child };
        descriptors::restore_limit(leader.pid());
        Ok(Group::new(leader, input, pipe, output))
    }
}

/// The process that leads a group.
#[derive(Debug)]
pub(super) struct Leader {
    child: Child,
}

impl Leader {
    pub(super) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Waits until it has exited, and reaps it.
    pub(super) fn wait(&mut self) -> io::Result<std::process::ExitStatus> {
        self.child.wait()
    }

    /// Whether it is running, or has not been reaped.
    pub(super) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

/// Standard input that is being written.
#[derive(Debug)]
pub(super) struct Input {
    pipe: io::PipeWriter,
    text: Vec<u8>,
    written: usize,
}

impl Input {
    /// Returns the descriptor to wait on for room.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// Writes as much as the pipe takes; returns whether more remains.
    pub(super) fn write(&mut self) -> bool {
        loop {
            let rest = &self.text[self.written..];
            match self.pipe.write(rest) {
                Ok(written) if written < rest.len() => self.written += written,
                // Everything is written: closing the pipe makes the agent read the end.
                Ok(_) => return false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                // The agent does not read the rest, and may not need it.
                Err(_) => return false,
            }
        }
    }
}
