//! `wreckit-host init`

use std::io;

use cap_std::fs::Dir;

use super::Context;
use super::error::Error;
use crate::ambient;
use crate::exit_code::ExitCode;
use crate::report::output::Tone;
use crate::repository::{STATE, durable};

/// Create a `.wreckit` here: configuration, prompts, .gitignore
///
/// Keeps files that exist already.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

const FILES: [(&str, &str); 5] = [
    ("config.json", include_str!("init/config.json")),
    (".gitignore", include_str!("init/gitignore")),
    ("prompts/research.md", include_str!("../../prompts/research.md")),
    ("prompts/plan.md", include_str!("../../prompts/plan.md")),
    ("prompts/implement.md", include_str!("../../prompts/implement.md")),
];

pub(super) fn main(_: &Args, context: &Context) -> Result<ExitCode, Error> {
    let place = &context.directory;
    let root = ambient::open_dir(place)
        .map_err(|error| Error::usage(format!("cannot open {}: {error}", place.display())))?;
    let created = init(&root).map_err(Error::unexpected(format!("cannot create {STATE}")))?;
    for file in &created {
        context.output.result(&format!("created {STATE}/{file}"));
    }
    match created.is_empty() {
        true => context.output.note(Tone::Plain, &format!("{STATE} is complete; nothing was changed")),
        false => context.output.line(
            Tone::Hint,
            &format!("set your agent in {STATE}/config.json, add items with `wreckit-host add TITLE...`, then run"),
        ),
    }
    Ok(ExitCode::Success)
}

/// Creates the files that are missing, and returns them.
fn init(root: &Dir) -> io::Result<Vec<&'static str>> {
    for directory in ["items", "prompts"] {
        durable::create_directory(root, &format!("{STATE}/{directory}"))?;
    }
    let state = root.open_dir(STATE)?;
    let mut created = Vec::new();
    for (path, contents) in FILES {
        if durable::create_file(&state, path, contents.as_bytes())? {
            created.push(path);
        }
    }
    Ok(created)
}
