//! An agent as a WebAssembly component: it reads `item.json` and the files that it is told to
//! include, and writes `outline.md`.
//!
//! The item's directory is its `/`, and there is nothing else. Exit code 0 completes the item; 1
//! fails it. What it prints goes to the item's log.

use wasip2::cli::environment::{get_arguments, get_environment};
use wasip2::cli::stdout::get_stdout;
use wasip2::exports::cli::run::Guest;
use wasip2::filesystem::preopens::get_directories;
use wasip2::filesystem::types::{Descriptor, DescriptorFlags, ErrorCode, OpenFlags, PathFlags};

/// More than this of a file is not read.
const LIMIT: u64 = 1 << 20;

struct Agent;

wasip2::cli::command::export!(Agent);

impl Guest for Agent {
    fn run() -> Result<(), ()> {
        outline().map_err(|problem| print(&format!("failed: {problem}")))
    }
}

fn outline() -> Result<(), String> {
    let directories = get_directories();
    let (item, _) = directories.first().ok_or("no directory was given to work in")?;
    let id = variable("WRECKIT_ITEM_ID");
    print(&format!("outlining {id}"));

    let mut text = format!("# {id}\n\n```json\n{}\n```\n", read(item, "item.json")?.trim());
    for path in get_arguments().iter().skip(1) {
        text.push_str(&format!("\n## {path}\n\n{}\n", read(item, path)?.trim()));
    }
    write(item, "outline.md", &text)?;
    print(&format!("wrote outline.md, {} bytes", text.len()));
    Ok(())
}

fn variable(name: &str) -> String {
    let found = get_environment().into_iter().find(|(other, _)| other == name);
    found.map(|(_, value)| value).unwrap_or_default()
}

fn read(directory: &Descriptor, path: &str) -> Result<String, String> {
    let explain = |error: ErrorCode| format!("cannot read {path}: {}", error.message());
    let file = directory
        .open_at(PathFlags::empty(), path, OpenFlags::empty(), DescriptorFlags::READ)
        .map_err(explain)?;
    let (bytes, _) = file.read(LIMIT, 0).map_err(explain)?;
    String::from_utf8(bytes).map_err(|_| format!("{path} is no text"))
}

fn write(directory: &Descriptor, path: &str, text: &str) -> Result<(), String> {
    let explain = |error: ErrorCode| format!("cannot write {path}: {}", error.message());
    let flags = OpenFlags::CREATE | OpenFlags::TRUNCATE;
    let file = directory
        .open_at(PathFlags::empty(), path, flags, DescriptorFlags::WRITE)
        .map_err(explain)?;
    let mut written = 0;
    while written < text.len() {
        let rest = &text.as_bytes()[written..];
        written += file.write(rest, written as u64).map_err(explain)? as usize;
    }
    file.sync().map_err(explain)
}

fn print(line: &str) {
    // The work counts even if the output is not read.
    let _ = get_stdout().blocking_write_and_flush(format!("{line}\n").as_bytes());
}
