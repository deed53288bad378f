//! `wreckit-host component`

use std::path::PathBuf;

use super::Context;
use super::error::Error;
use crate::ambient;
use crate::engine::{EMBEDDED, WIT};
use crate::exit_code::ExitCode;

/// Write the embedded component to a file, to embed it elsewhere
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Write its WIT package instead, as one file
    #[arg(long)]
    wit: bool,
    /// The file to write; `-` is standard output
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(super) fn main(args: &Args, context: &Context) -> Result<ExitCode, Error> {
    let contents = match args.wit {
        true => wit().into_bytes(),
        false => EMBEDDED.to_vec(),
    };
    if args.out.as_os_str() == "-" {
        context.output.raw(&contents);
        return Ok(ExitCode::Success);
    }
    let out = context.directory.join(&args.out);
    ambient::write(&out, &contents)
        .map_err(Error::unexpected(format!("cannot write {}", out.display())))?;
    Ok(ExitCode::Success)
}

/// Returns the package as one text: its own files under one package line, then each package that it uses as a
/// nested one.
fn wit() -> String {
    let mut text = String::new();
    for (name, file) in WIT {
        let (head, package, body) = split(file);
        if name.starts_with("deps/") {
            text.push_str(&format!("\n{head}package {package} {{\n{body}}}\n"));
        } else {
            if text.is_empty() {
                text.push_str(&format!("package {package};\n"));
            }
            text.push_str(&format!("\n{}\n", body.trim()));
        }
    }
    text
}

/// Splits a file into the text before its package line, the package, and the text after it.
fn split(file: &str) -> (&str, &str, &str) {
    let start = file.find("package ").unwrap_or(0);
    let (head, rest) = file.split_at(start);
    let (package, body) = rest.split_once(';').unwrap_or((rest, ""));
    (head, package.trim_start_matches("package "), body.trim_start_matches('\n'))
}
