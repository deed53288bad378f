//! A temporary copy of the quickstart, for `run --demo`.

use std::io::{self, Write};
use std::path::Path;

use cap_std::fs::Dir;
use tempfile::TempDir;

use crate::ambient;
use crate::repository::STATE;

macro_rules! quickstart {
    ($($path:literal),* $(,)?) => {
        [$(($path, include_str!(concat!("../../quickstart/.wreckit/", $path)))),*]
    };
}

const FILES: [(&str, &str); 7] = quickstart![
    "config.json",
    "items/001-write-the-parser/item.json",
    "items/002-write-the-printer/item.json",
    "items/003-round-trip-tests/item.json",
    "items/004-read-from-a-pipe/item.json",
    "items/005-document-the-format/item.json",
    "items/006-first-release/item.json",
];

/// The copy. It is removed when this value is dropped, unless it is kept.
pub(super) struct Demo(TempDir);

impl Demo {
    pub(super) fn new() -> io::Result<Self> {
        let place = tempfile::Builder::new().prefix("wreckit-demo-").tempdir()?;
        write_to(&ambient::open_dir(place.path())?)?;
        Ok(Demo(place))
    }

    pub(super) fn root(&self) -> &Path {
        self.0.path()
    }

    /// Keeps the copy.
    pub(super) fn keep(self) {
        let _ = self.0.keep();
    }
}

fn write_to(root: &Dir) -> io::Result<()> {
    root.create_dir(STATE)?;
    let state = root.open_dir(STATE)?;
    for (path, contents) in FILES {
        if let Some((directory, _)) = path.rsplit_once('/') {
            state.create_dir_all(directory)?;
        }
        state.create(path)?.write_all(contents.as_bytes())?;
    }
    Ok(())
}
