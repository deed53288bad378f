//! Directory trees, and how two of them differ.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::place::is_temporary;

/// Everything below a directory: links with their targets, files with their content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tree(BTreeMap<String, Node>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Directory,
    File(Vec<u8>),
    Link(String),
}

impl Tree {
    pub(crate) fn read(root: &Path) -> Self {
        let mut tree = Tree(BTreeMap::new());
        tree.collect(root, root);
        tree
    }

    fn collect(&mut self, root: &Path, directory: &Path) {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            let kind = entry.file_type();
            let node = if kind.as_ref().is_ok_and(fs::FileType::is_dir) {
                self.collect(root, &path);
                Node::Directory
            } else if kind.is_ok_and(|kind| kind.is_symlink()) {
                let target = fs::read_link(&path).unwrap_or_default();
                Node::Link(target.display().to_string())
            } else {
                Node::File(fs::read(&path).unwrap_or_default())
            };
            self.0.insert(name, node);
        }
    }

    /// Without what is at or below these paths, and without owner records: each holder of a lock leaves
    /// one of another number.
    pub(crate) fn without(mut self, paths: &[&str]) -> Self {
        let is_in = |name: &str, path: &&str| {
            name.strip_prefix(*path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let is_owner_record = |name: &str| {
            name.rsplit_once(".owner.").is_some_and(|(_, number)| number.parse::<u64>().is_ok())
        };
        self.0.retain(|name, _| {
            !is_owner_record(name) && !paths.iter().any(|path| is_in(name, path))
        });
        self
    }

    /// Without temporary files that `original` has not: what a killed write leaves, and doctor removes;
    /// and without new directories that are there for nothing else.
    pub(crate) fn without_new_temporaries(mut self, original: &Tree) -> Self {
        let is_new =
            |name: &str| name.split('/').any(is_temporary) && !original.0.contains_key(name);
        let (new, kept): (BTreeMap<_, _>, _) =
            self.0.into_iter().partition(|(name, _)| is_new(name));
        self.0 = kept;
        for name in new.keys() {
            let parent = name.rsplit_once('/').map_or("", |(parent, _)| parent);
            let inside = format!("{parent}/");
            let is_empty = !self.0.keys().any(|name| name.starts_with(&inside));
            if is_empty && !original.0.contains_key(parent) {
                self.0.remove(parent);
            }
        }
        self
    }

    /// The names of everything in either.
    pub(crate) fn and(mut self, other: &Tree) -> Self {
        self.0.extend(other.0.clone());
        self
    }

    /// With times, identities of processes and checksums replaced: what differs between two runs of the same
    /// command.
    pub(crate) fn alike(mut self) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_owned()).ok();
        let alike = self.0.into_iter().map(|(name, node)| match node {
            Node::File(bytes) => {
                let content = text(&bytes).map_or(bytes, |text| alike(text).into_bytes());
                (without_times(&name), Node::File(content))
            }
            other => (without_times(&name), other),
        });
        self.0 = alike.collect();
        self
    }

    /// What is different in `other`, in a line; nothing if they are the same.
    pub(crate) fn difference(&self, other: &Tree) -> Option<String> {
        let missing = self.0.keys().filter(|name| !other.0.contains_key(*name));
        let more = other.0.keys().filter(|name| !self.0.contains_key(*name));
        let changed = self.0.iter().filter_map(|(name, node)| {
            let found = other.0.get(name).filter(|found| *found != node)?;
            Some(format!("{name}: {}", change(node, found)))
        });
        let missing = missing.map(|name| format!("{name} is missing"));
        let more = more.map(|name| format!("{name} is too much"));
        let all: Vec<String> = missing.chain(more).chain(changed).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

/// How two nodes differ; of two texts the first line that does.
fn change(expected: &Node, found: &Node) -> String {
    let (Node::File(one), Node::File(other)) = (expected, found) else {
        return format!("{} instead of {}", short(found), short(expected));
    };
    let (one, other) = (String::from_utf8_lossy(one), String::from_utf8_lossy(other));
    let (mut one, mut other) = (one.lines(), other.lines());
    loop {
        match (one.next(), other.next()) {
            (None, None) => return "another end".to_owned(),
            (Some(line), Some(found)) if line == found => {}
            (line, found) => {
                let (line, found) = (line.unwrap_or_default(), found.unwrap_or_default());
                return format!("{:?} instead of {:?}", cut(found), cut(line));
            }
        }
    }
}

fn short(node: &Node) -> String {
    match node {
        Node::Directory => "a directory".to_owned(),
        Node::Link(target) => format!("a link to {target}"),
        Node::File(bytes) => format!("{:?}", cut(&String::from_utf8_lossy(bytes))),
    }
}

/// As much of a text as a report needs.
fn cut(text: &str) -> String {
    text.chars().take(160).collect()
}

/// A progress file without its mark on the journal, which may have got more events on the way.
fn without_mark(text: String) -> String {
    let Ok(Value::Object(mut progress)) = serde_json::from_str(&text) else { return text };
    match progress.remove("journal") {
        Some(_) => Value::Object(progress).to_string(),
        None => text,
    }
}

/// Replaces the digits of every RFC 3339 time, backup id and number of eight and more digits.
fn without_times(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, digits) = rest.split_at(start);
        let end = digits
            .find(|c: char| !c.is_ascii_digit() && !"-:.TZ_".contains(c))
            .unwrap_or(digits.len());
        let (word, after) = digits.split_at(end);
        result.push_str(before);
        let count = word.bytes().filter(u8::is_ascii_digit).count();
        result.push_str(if count >= 8 { "@" } else { word });
        rest = after;
    }
    result + rest
}

/// Replaces what stands behind a key: the checksums of a journal's lines, which depend on their times.
fn without_values(text: &str, key: &str, is_part: fn(char) -> bool) -> String {
    let mut parts = text.split(key);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + key + "@" + part.trim_start_matches(is_part))
}

/// Replaces everything that depends on when something happened.
fn alike(text: String) -> String {
    let text = without_mark(text);
    let text = without_values(&text, "\"checksum\":\"", |c| c.is_ascii_hexdigit());
    let text = without_values(&text, "_minutes\": ", |c| c.is_ascii_digit() || c == '.');
    without_times(&text)
}
