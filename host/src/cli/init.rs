//! `wreckit-host init`

use std::io;

use cap_std::fs::Dir;

use super::Context;
use super::error::Error;
use super::exit_code::ExitCode;
use crate::agents::PROMPTS;
use crate::ambient;
use crate::durable;
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
        durable::create_directory(root, &format!("{STATE}/{directory}"))?;
    }
    let state = root.open_dir(STATE)?;
    let prompts = PROMPTS.map(|(phase, text)| (format!("prompts/{phase}.md"), text));
    let files = FILES.map(|(path, text)| (path.to_owned(), text)).into_iter().chain(prompts);
    let mut made = Vec::new();
    for (path, contents) in files {
        if durable::create_file(&state, &path, contents.as_bytes())? {
            made.push(path);
        }
    }
    Ok(made)
}
