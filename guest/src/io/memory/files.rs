//! The files of a machine, and what changes them.

use std::collections::BTreeMap;

use crate::io::capabilities::Replacement;
use crate::time::Timestamp;

/// An entry of the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    File(Vec<u8>),
    Directory,
    /// A symbolic link, with its target.
    Link(String),
    Other,
}

/// A change of the disk, as the logic asked for it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change {
    Replace(Vec<Replacement>),
    Append(String, Vec<u8>),
    Remove(String),
    Rename(String, String),
    CreateDirectory(String),
    /// What is at these paths becomes durable as it is.
    Sync(Vec<String>),
}

/// A change, when it was made, and whether it was on disk when the call returned.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Operation {
    pub(crate) change: Change,
    pub(crate) durable: bool,
    pub(super) time: Timestamp,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Files(pub(super) BTreeMap<String, (Node, u64)>);

impl Files {
    pub(super) fn apply(&mut self, change: &Change, time: Timestamp) {
        match change {
            Change::Replace(files) => {
                for file in files {
                    let modified = file.modified.map_or(time, Timestamp::from_millis);
                    self.put(&file.path, Node::File(file.contents.clone()), modified);
                }
            }
            Change::Append(path, more) => {
                let mut contents = match self.0.get(path) {
                    Some((Node::File(contents), _)) => contents.clone(),
                    _ => Vec::new(),
                };
                contents.extend_from_slice(more);
                self.put(path, Node::File(contents), time);
            }
            Change::Remove(path) => {
                self.0.remove(path);
            }
            Change::Rename(source, target) => {
                let inside = format!("{source}/");
                let moved: Vec<String> = self
                    .0
                    .keys()
                    .filter(|path| *path == source || path.starts_with(&inside))
                    .cloned()
                    .collect();
                for path in moved {
                    if let Some(node) = self.0.remove(&path) {
                        self.0.insert(path.replacen(source, target, 1), node);
                    }
                }
            }
            Change::Sync(_) => {}
            Change::CreateDirectory(path) => {
                for (end, _) in path.match_indices('/').chain([(path.len(), "")]) {
                    if !self.0.contains_key(&path[..end]) {
                        self.put(&path[..end], Node::Directory, time);
                    }
                }
            }
        }
    }

    pub(super) fn put(&mut self, path: &str, node: Node, time: Timestamp) {
        self.0.insert(path.to_owned(), (node, time.as_millis()));
    }
}

pub(super) fn touched(change: &Change) -> Vec<&str> {
    match change {
        Change::Replace(files) => files.iter().map(|file| file.path.as_str()).collect(),
        Change::Sync(paths) => paths.iter().map(String::as_str).collect(),
        Change::Append(path, _) | Change::Remove(path) | Change::CreateDirectory(path) => {
            vec![path]
        }
        Change::Rename(source, target) => vec![source, target],
    }
}

/// The part of a change that is applied if it is interrupted.
pub(super) fn cut_off(change: Change, after: usize) -> Change {
    match change {
        Change::Replace(mut files) => {
            files.truncate(after % (files.len() + 1));
            Change::Replace(files)
        }
        Change::Append(path, mut contents) => {
            contents.truncate(after % (contents.len() + 1));
            Change::Append(path, contents)
        }
        change => change,
    }
}
