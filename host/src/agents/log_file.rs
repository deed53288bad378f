//! The log of one start of an item.

use std::io::{self, Write};

use cap_std::fs::{Dir, File, OpenOptions};

/// A file that is made at the first byte and never written over.
#[derive(Debug)]
pub(super) struct LogFile {
    state: Dir,
    path: String,
    file: Option<File>,
    /// Why writing was given up; the agent goes on without a log.
    failure: Option<io::Error>,
}

impl LogFile {
    /// The log at a path from `.wreckit`.
    pub(super) fn new(state: Dir, path: &str) -> Self {
        LogFile { state, path: path.to_owned(), file: None, failure: None }
    }

    /// Adds output.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        if self.failure.is_none()
            && let Err(error) = self.try_write(bytes)
        {
            self.failure = Some(error);
        }
    }

    fn try_write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let mut options = OpenOptions::new();
                options.write(true).create_new(true);
                self.file.insert(self.state.open_with(&self.path, &options)?)
            }
        };
        file.write_all(bytes)
    }

    /// Its path, if there is one.
    pub(super) fn path(&self) -> Option<&str> {
        self.file.is_some().then_some(self.path.as_str())
    }

    /// Why it is not whole, if it is not.
    pub(super) fn take_failure(&mut self) -> Option<io::Error> {
        self.failure.take()
    }
}
