//! `wreckit-host init`

use std::io::{self, Write};

use cap_std::fs::{Dir, OpenOptions};

use super::Context;
use super::error::Error;
use super::exit_code::ExitCode;
use crate::agents::PROMPTS;
use crate::ambient;
use crate::imports::temporary_name;
use crate::output::Tone;
use crate::repository::STATE;

/// Make a `.wreckit` here: configuration, prompts, .gitignore. What is there already stays
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

const FILES: [(&str, &str); 2] = [
    ("config.json", include_str!("init/config.json")),
    (".gitignore", include_str!("init/gitignore")),
];

pub(super) fn main(_: &Args, context: &Context) -> Result<ExitCode, Error> {
    let place = &context.directory;
    let root = ambient::open_dir(place)
        .map_err(|error| Error::usage(format!("cannot open {}: {error}", place.display())))?;
    let made =
        init(&root).map_err(|error| Error::Failed(format!("cannot make {STATE}: {error}")))?;
    for file in &made {
        context.output.result(&format!("made {STATE}/{file}"));
    }
    match made.is_empty() {
        true => context.output.note(Tone::Plain, &format!("{STATE} is complete; nothing was changed")),
        false => context.output.line(
            Tone::Hint,
            &format!("set your agent in {STATE}/config.json, add items with `wreckit-host add TITLE...`, then run"),
        ),
    }
    Ok(ExitCode::Success)
}

/// Makes what is missing and returns it.
fn init(root: &Dir) -> io::Result<Vec<String>> {
    for directory in ["items", "prompts"] {
        root.create_dir_all(format!("{STATE}/{directory}"))?;
    }
    let state = root.open_dir(STATE)?;
    let prompts = PROMPTS.map(|(phase, text)| (format!("prompts/{phase}.md"), text));
    let files = FILES.map(|(path, text)| (path.to_owned(), text)).into_iter().chain(prompts);
    let mut made = Vec::new();
    for (path, contents) in files {
        match state.symlink_metadata(&path) {
            Ok(_) => {}
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => {
                make(&state, &path, contents.as_bytes())?;
                made.push(path);
            }
            Err(error) => return Err(error),
        }
    }
    if !made.is_empty() {
        for (directory, path) in [(&state, "prompts"), (&state, "."), (root, ".")] {
            directory.open(path)?.sync_all()?;
        }
    }
    Ok(made)
}

/// Makes a file, whole or not at all: a second `init` takes what it finds for the user's.
fn make(state: &Dir, path: &str, contents: &[u8]) -> io::Result<()> {
    let temporary = temporary_name(path);
    let written = state
        .open_with(&temporary, OpenOptions::new().write(true).create_new(true))
        .and_then(|mut file| file.write_all(contents).and_then(|()| file.sync_all()))
        .and_then(|()| state.rename(&temporary, state, path));
    if written.is_err() {
        let _ = state.remove_file(&temporary);
    }
    written
}
