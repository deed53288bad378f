//! Where configuration and prompts are read from.

use crate::bindings::exports::wreckit::batch::feature::Field;
use crate::io::capabilities::{FsError, Kind};
use crate::io::host::Host;

/// The files of a `.wreckit` that configure agents.
#[derive(Clone, Copy)]
pub enum Source<'s> {
    /// The root of the instance is the `.wreckit`.
    Root(Host<'s>),
    /// The embedder passed in the contents, by file name relative to `.wreckit`.
    Contents(&'s [Field]),
}

impl Source<'_> {
    /// Reads a file of at most `limit` bytes; `None` if it does not exist. On failure, why.
    pub fn read(self, file: &str, limit: u64) -> Result<Option<Vec<u8>>, String> {
        let too_large = || format!("it is larger than {} MiB", limit >> 20);
        match self {
            Source::Root(host) => match host.read(file, limit) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(FsError::NotFound) => Ok(None),
                Err(FsError::TooLarge(_)) => Err(too_large()),
                Err(FsError::WrongKind(Kind::Directory)) => Err("it is a directory".to_owned()),
                Err(FsError::WrongKind(_)) => Err("it is not a regular file".to_owned()),
                Err(error) => Err(error.describe()),
            },
            Source::Contents(fields) => {
                let bytes = fields.iter().find(|field| field.name == file);
                match bytes.map(|field| field.value.as_bytes()) {
                    Some(bytes) if bytes.len() as u64 > limit => Err(too_large()),
                    bytes => Ok(bytes.map(<[u8]>::to_vec)),
                }
            }
        }
    }
}
