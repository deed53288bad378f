//! The conformance cases of the file system, against the disk in memory.

use std::rc::Rc;

use serde_json::{Map, Value, json};

use super::{Machine, Node, Process};
use crate::io::capabilities::{FileSystem, FsError, Kind, LockState, Replacement};

#[path = "../../../../tests/conformance/harness.rs"]
mod harness;

use harness::{Disk, Outcome, number, text};

struct Memory {
    machine: Rc<Machine>,
    instances: [Process; 2],
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "file",
        Kind::Directory => "directory",
        Kind::Link => "link",
        Kind::Other => "other",
    }
}

fn name(error: FsError) -> String {
    match error {
        FsError::NotFound => "not-found".to_owned(),
        FsError::Exists => "exists".to_owned(),
        FsError::Outside => "outside".to_owned(),
        FsError::WrongKind(kind) => format!("wrong-kind {}", word(kind)),
        FsError::TooLarge(_) => "too-large".to_owned(),
        FsError::Full(_) => "full".to_owned(),
        FsError::CrossesDevices => "crosses-devices".to_owned(),
        FsError::Failed(_) => "failed".to_owned(),
    }
}

fn done<T>(result: Result<T, FsError>) -> Outcome {
    result.map(|_| json!("ok")).map_err(name)
}

fn content(result: Result<Vec<u8>, FsError>) -> Outcome {
    result.map(|bytes| json!(String::from_utf8_lossy(&bytes))).map_err(name)
}

fn lock_state(result: Result<LockState, FsError>, free: &str) -> Outcome {
    let describe = |state: LockState| match state.held {
        true => json!(format!("held {}", String::from_utf8_lossy(&state.note))),
        false => json!(free),
    };
    result.map(describe).map_err(name)
}

fn replacements(arguments: &Value) -> Vec<Replacement> {
    let files = arguments["files"].as_array().unwrap();
    files
        .iter()
        .map(|file| Replacement::new(text(file, "path"), text(file, "contents").into_bytes()))
        .collect()
}

impl Disk for Memory {
    fn put(&mut self, path: &str, entry: &Value) {
        if let Some(contents) = entry["file"].as_str() {
            self.machine.put(path, contents);
        } else if let Some(target) = entry["link"].as_str() {
            self.machine.put(path, "");
            self.machine.put_node(path, Node::Link(target.to_owned()));
        } else {
            self.machine.put(path, "");
            let is_directory = entry["directory"] == true;
            self.machine.put_node(path, if is_directory { Node::Directory } else { Node::Other });
        }
    }

    fn call(&mut self, instance: u64, call: &str, arguments: &Value) -> Outcome {
        let disk = &self.instances[usize::try_from(instance).unwrap() - 1];
        let path = || text(arguments, "path");
        match call {
            "read" => content(disk.read(&path(), number(arguments, "limit"))),
            "read-at" => {
                let (offset, length) = (number(arguments, "offset"), number(arguments, "length"));
                content(disk.read_at(&path(), offset, length))
            }
            "replace" => done(disk.replace(replacements(arguments), true)),
            "append" => done(disk.append(&path(), text(arguments, "contents").as_bytes(), true)),
            "sync" => {
                let paths = arguments["paths"].as_array().unwrap().iter();
                let paths: Vec<String> = paths.map(|it| it.as_str().unwrap().to_owned()).collect();
                done(disk.sync(&paths))
            }
            "remove" => done(disk.remove(&path())),
            "rename" => done(disk.rename(&text(arguments, "source"), &text(arguments, "target"))),
            "create-directory" => done(disk.create_directory(&path())),
            "list" => {
                let entries = disk.list(&path()).map_err(name)?;
                let mut entries: Vec<String> =
                    entries.iter().map(|it| format!("{} {}", it.name, word(it.kind))).collect();
                entries.sort();
                Ok(json!(entries))
            }
            "stat" => {
                let metadata = disk.stat(&path()).map_err(name)?;
                Ok(json!(format!("{} {}", word(metadata.kind), metadata.size)))
            }
            "lock" => {
                lock_state(disk.lock(&path(), text(arguments, "note").as_bytes()), "acquired")
            }
            "unlock" => done(disk.unlock(&path())),
            "lock-holder" => lock_state(disk.lock_holder(&path()), "free"),
            other => panic!("unknown call {other}"),
        }
    }

    fn tree(&self) -> Map<String, Value> {
        let files = self.machine.files.borrow();
        let entry = |(path, (node, _)): (&String, &(Node, u64))| {
            let content = match node {
                Node::File(contents) => String::from_utf8_lossy(contents).into_owned(),
                Node::Directory => "(directory)".to_owned(),
                Node::Link(target) => format!("-> {target}"),
                Node::Other => "(other)".to_owned(),
            };
            (path.clone(), json!(content))
        };
        files.0.iter().map(entry).collect()
    }
}

#[test]
fn the_disk_in_memory_conforms() {
    harness::run(|| {
        let machine = Machine::new();
        let instances = [machine.process(1), machine.process(2)];
        Memory { machine, instances }
    });
}
