//! The conformance cases of the file system, against a directory.

#![expect(clippy::disallowed_methods, reason = "a test makes its own files and reads them back")]

use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::{Error, Host, Imports, Kind, LockState, Replacement};
use crate::ambient;

#[path = "../../../../../tests/conformance/harness.rs"]
mod harness;

use harness::{Disk, Outcome, number, text};

struct Directory {
    /// Inside another directory, so that `..` leads to one of ours.
    outer: TempDir,
    instances: [Imports; 2],
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "file",
        Kind::Directory => "directory",
        Kind::Link => "link",
        Kind::Other => "other",
    }
}

fn name(error: Error) -> String {
    match error {
        Error::NotFound => "not-found".to_owned(),
        Error::Exists => "exists".to_owned(),
        Error::Outside => "outside".to_owned(),
        Error::WrongKind(kind) => format!("wrong-kind {}", word(kind)),
        Error::TooLarge(_) => "too-large".to_owned(),
        Error::Full(_) => "full".to_owned(),
        Error::CrossesDevices => "crosses-devices".to_owned(),
        Error::Failed(_) => "failed".to_owned(),
    }
}

fn done<T>(result: Result<T, Error>) -> Outcome {
    result.map(|_| json!("ok")).map_err(name)
}

fn content(result: Result<Vec<u8>, Error>) -> Outcome {
    result.map(|bytes| json!(String::from_utf8_lossy(&bytes))).map_err(name)
}

fn lock_state(result: Result<LockState, Error>, free: &str) -> Outcome {
    let describe = |state: LockState| match state.held {
        true => json!(format!("held {}", String::from_utf8_lossy(&state.note))),
        false => json!(free),
    };
    result.map(describe).map_err(name)
}

fn replacements(arguments: &Value) -> Vec<Replacement> {
    let files = arguments["files"].as_array().unwrap();
    let replacement = |file: &Value| Replacement {
        path: text(file, "path"),
        contents: text(file, "contents").into_bytes(),
        modified: None,
        like: None,
    };
    files.iter().map(replacement).collect()
}

impl Directory {
    fn root(&self) -> std::path::PathBuf {
        self.outer.path().join("root")
    }
}

impl Disk for Directory {
    fn put(&mut self, path: &str, entry: &Value) {
        let path = self.root().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        if let Some(contents) = entry["file"].as_str() {
            std::fs::write(path, contents).unwrap();
        } else if let Some(target) = entry["link"].as_str() {
            symlink(target, path).unwrap();
        } else if entry["directory"] == true {
            std::fs::create_dir_all(path).unwrap();
        } else {
            let mode = rustix::fs::Mode::from_raw_mode(0o600);
            rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0)
                .unwrap();
        }
    }

    fn call(&mut self, instance: u64, call: &str, arguments: &Value) -> Outcome {
        let disk = &mut self.instances[usize::try_from(instance).unwrap() - 1];
        let path = || text(arguments, "path");
        match call {
            "read" => content(disk.read(path(), number(arguments, "limit"))),
            "read-at" => {
                let (offset, length) = (number(arguments, "offset"), number(arguments, "length"));
                content(disk.read_at(path(), offset, length))
            }
            "replace" => done(disk.replace(replacements(arguments), true)),
            "append" => done(disk.append(path(), text(arguments, "contents").into_bytes(), true)),
            "sync" => {
                let paths = arguments["paths"].as_array().unwrap().iter();
                done(disk.sync(paths.map(|it| it.as_str().unwrap().to_owned()).collect()))
            }
            "remove" => done(disk.remove(path())),
            "rename" => done(disk.rename(text(arguments, "source"), text(arguments, "target"))),
            "create-directory" => done(disk.create_directory(path())),
            "list" => {
                let entries = disk.list(path()).map_err(name)?;
                let mut entries: Vec<String> =
                    entries.iter().map(|it| format!("{} {}", it.name, word(it.kind))).collect();
                entries.sort();
                Ok(json!(entries))
            }
            "stat" => {
                let metadata = disk.stat(path()).map_err(name)?;
                Ok(json!(format!("{} {}", word(metadata.kind), metadata.size)))
            }
            "lock" => {
                let note = text(arguments, "note").into_bytes();
                lock_state(disk.lock(path(), note), "acquired")
            }
            "unlock" => done(disk.unlock(path())),
            "lock-holder" => lock_state(disk.lock_holder(path()), "free"),
            other => panic!("unknown call {other}"),
        }
    }

    fn tree(&self) -> Map<String, Value> {
        let mut tree = Map::new();
        walk(&self.root(), "", &mut tree);
        tree
    }
}

fn walk(directory: &Path, prefix: &str, tree: &mut Map<String, Value>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        let file_type = entry.file_type().unwrap();
        let content = if file_type.is_symlink() {
            format!("-> {}", std::fs::read_link(entry.path()).unwrap().display())
        } else if file_type.is_dir() {
            walk(&entry.path(), &format!("{path}/"), tree);
            "(directory)".to_owned()
        } else if file_type.is_file() {
            std::fs::read_to_string(entry.path()).unwrap()
        } else {
            "(other)".to_owned()
        };
        tree.insert(path, json!(content));
    }
}

#[test]
fn a_directory_conforms() {
    harness::run(|| {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("root");
        std::fs::create_dir(&root).unwrap();
        std::fs::write(outer.path().join("secret"), "secret").unwrap();
        let open = || Imports::new(ambient::open_dir(&root).unwrap());
        let instances = [open(), open()];
        Directory { outer, instances }
    });
}
