//! The cases of `tests/doctor`: each a repository, what is found in it, what a repair makes of it,
//! and back again, byte for byte. `tests/doctor/README.md` says how a case is written.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::environment::{Repository, workspace};

/// A case, laid out in a repository of its own.
struct Case {
    name: String,
    document: Value,
    repository: Repository,
    /// Processes that it needs; ended with it.
    children: Vec<Child>,
}

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Directory,
    File(String),
    Link(PathBuf),
    Other,
}

#[test]
fn every_case_is_found_fixed_and_restored() {
    let mut names: Vec<String> = fs::read_dir(cases())
        .expect("the cases")
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert!(names.len() > 40, "{names:?}");
    let mut codes: Vec<String> = Vec::new();
    let mut failed: Vec<String> = Vec::new();
    for name in names {
        let case = Case::lay_out(&name);
        codes.extend(case.findings().iter().map(|it| it["code"].as_str().expect("a code").into()));
        // One that fails says why, and the others are looked at all the same.
        if catch_unwind(AssertUnwindSafe(|| case.check())).is_err() {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "these cases failed: {failed:?}");
    // Every code of the table has a case; those of features, and that of what a crash cut off, are in
    // tests of their own.
    for code in include_str!("../../guest/src/doctor/finding.rs").split('"').filter(|word| {
        word.len() > 8
            && !word.starts_with("FEATURE_")
            && *word != "REPAIR_INTERRUPTED"
            && word.chars().all(|c| c.is_ascii_uppercase() || c == '_')
    }) {
        assert!(codes.iter().any(|found| found == code), "{code} has no case");
    }
}

fn cases() -> PathBuf {
    workspace().join("tests/doctor")
}

impl Case {
    /// `sound/before`, with the case's own `before` over it, and what its `setup` asks for.
    fn lay_out(name: &str) -> Self {
        let place = cases().join(name);
        let text = fs::read_to_string(place.join("case.json")).expect("a case.json");
        let document: Value =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let repository = Repository::empty();
        let mut case = Case { name: name.to_owned(), document, repository, children: Vec::new() };
        for layer in ["sound/before".to_owned(), format!("{name}/before")] {
            lay(&cases().join(layer), &case.repository.path(".wreckit"));
        }
        for step in case.list("setup") {
            case.set_up(&step);
        }
        case
    }

    fn list(&self, key: &str) -> Vec<Value> {
        self.document.get(key).and_then(Value::as_array).cloned().unwrap_or_default()
    }

    fn findings(&self) -> Vec<Value> {
        self.list("findings")
    }

    fn path(&self, path: &str) -> PathBuf {
        self.repository.path(".wreckit").join(path)
    }

    fn set_up(&mut self, step: &Value) {
        let words: Vec<&str> =
            step.as_array().expect("a step").iter().map(|it| it.as_str().expect("text")).collect();
        match words[..] {
            ["remove", path] => {
                let path = self.path(path);
                match path.is_dir() {
                    true => fs::remove_dir_all(path).expect("a directory"),
                    false => fs::remove_file(path).expect("a file"),
                }
            }
            ["directory", path] => fs::create_dir_all(self.path(path)).expect("a directory"),
            ["fifo", path] => {
                assert!(Command::new("mkfifo").arg(self.path(path)).status().is_ok());
            }
            ["link", path, target] => symlink(target, self.path(path)).expect("a link"),
            ["old", path] => {
                let old = SystemTime::now() - Duration::from_hours(1);
                let file = fs::File::open(self.path(path)).expect("something");
                file.set_modified(old).expect("a time");
            }
            ["agent", item] => {
                let metadata = fs::metadata(self.path(".")).expect("a directory");
                let marker = format!("{}:{}", metadata.dev(), metadata.ino());
                let mut agent = Command::new("sleep");
                agent.arg("1000").env("WRECKIT_ROOT", marker).env("WRECKIT_ITEM_ID", item);
                self.children.push(agent.spawn().expect("a process"));
            }
            _ => panic!("{}: {step}", self.name),
        }
    }

    fn check(&self) {
        let name = &self.name;
        let before = self.everything();
        let times = self.times();

        let looked = self.doctor(&[]);
        self.compare(&looked.0["diagnostics"], &self.findings());
        assert_eq!(looked.1, self.code("code"), "{name}");
        assert_eq!(looked.0["fixes"], Value::Array(Vec::new()), "{name}");
        assert_eq!(self.everything(), before, "{name}: looking changes nothing");
        assert_eq!(self.doctor(&["--strict"]).1, self.strict_code(), "{name}");

        let (report, code) = self.doctor(&["--fix"]);
        assert_eq!(code, self.code("code_after"), "{name}: {report:#}");
        for fix in report["fixes"].as_array().expect("a list") {
            assert_eq!(fix["fixed"], true, "{name}: {report:#}");
        }
        let after = self.after(&before);
        compare_trees(name, &self.everything(), &after);

        let (again, _) = self.doctor(&["--fix"]);
        assert_eq!(again["fixes"], Value::Array(Vec::new()), "{name}: {again:#}");
        compare_trees(name, &self.everything(), &after);

        match report["backup_session_id"].as_str() {
            Some(id) => {
                let ran = self.repository.run(&["backups", "restore", id]);
                assert_eq!(ran.code, Some(0), "{name}: {}", ran.stderr);
                assert_eq!(self.everything(), before, "{name}");
                assert_eq!(self.times(), times, "{name}");
            }
            None => assert_eq!(before, self.everything(), "{name}: a change without a backup"),
        }
    }

    fn doctor(&self, arguments: &[&str]) -> (Value, Option<i32>) {
        let arguments: Vec<&str> = ["doctor", "--json"].iter().chain(arguments).copied().collect();
        let ran = self.repository.run(&arguments);
        let report = serde_json::from_str(&ran.stdout)
            .unwrap_or_else(|_| panic!("{}: {}{}", self.name, ran.stdout, ran.stderr));
        (report, ran.code)
    }

    fn code(&self, key: &str) -> Option<i32> {
        let has_error = self.findings().iter().any(|finding| finding["severity"] == "error");
        let left = self
            .findings()
            .iter()
            .any(|finding| finding["severity"] == "error" && finding["fixable"] == false);
        let by_rule = if key == "code" { has_error } else { left };
        let given = self.document.get(key).and_then(Value::as_i64);
        Some(given.map_or(i32::from(by_rule), |code| code as i32))
    }

    fn strict_code(&self) -> Option<i32> {
        let fails = self.findings().iter().any(|finding| finding["severity"] != "info");
        Some(i32::from(fails))
    }

    /// Every finding is expected, and every expected one is found.
    fn compare(&self, found: &Value, expected: &[Value]) {
        let mut left: Vec<&Value> = found.as_array().expect("a list").iter().collect();
        for wanted in expected {
            let fits = |finding: &&Value| {
                ["code", "severity", "item_id", "fixable"]
                    .iter()
                    .all(|key| finding[*key] == *wanted.get(*key).unwrap_or(&Value::Null))
                    && fits(
                        finding["message"].as_str().expect("a message"),
                        wanted["message"].as_str().expect("a message"),
                    )
            };
            match left.iter().position(fits) {
                Some(place) => drop(left.remove(place)),
                None => panic!("{}: not found: {wanted:#}\namong {found:#}", self.name),
            }
        }
        assert!(left.is_empty(), "{}: found without need: {left:#?}", self.name);
    }

    /// What a repair is to leave: what was there, with `after` over it, without what is `gone`.
    fn after(&self, before: &BTreeMap<PathBuf, Node>) -> BTreeMap<PathBuf, Node> {
        let mut after = before.clone();
        for gone in self.list("gone") {
            let gone = Path::new(gone.as_str().expect("a path")).to_owned();
            after.retain(|path, _| !path.starts_with(&gone));
        }
        let place = cases().join(&self.name).join("after");
        let mut changed = BTreeMap::new();
        collect(&place, &place, &mut changed);
        after.extend(changed);
        after
    }

    /// All but the backups and the lock.
    fn everything(&self) -> BTreeMap<PathBuf, Node> {
        let mut found = BTreeMap::new();
        let root = self.path(".");
        collect(&root, &root, &mut found);
        let is_lock = |path: &Path| {
            let name = path.to_string_lossy();
            name == "batch.lock" || name.starts_with("batch.owner.")
        };
        found.retain(|path, _| !path.starts_with("backups") && !is_lock(path));
        found
    }

    /// When each file was last modified.
    fn times(&self) -> BTreeMap<PathBuf, u128> {
        let files = self.everything().into_iter().filter(|(_, it)| matches!(it, Node::File(_)));
        let time = |path: &Path| {
            let modified = fs::metadata(self.path(".").join(path)).and_then(|it| it.modified());
            let since = modified.expect("a time").duration_since(SystemTime::UNIX_EPOCH);
            since.expect("a time").as_millis()
        };
        files.map(|(path, _)| (path.clone(), time(&path))).collect()
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Lays files over what is there. In their text, `@…@` is filled in.
fn lay(source: &Path, target: &Path) {
    fs::create_dir_all(target).expect("a directory");
    for entry in fs::read_dir(source).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        match entry.path().is_dir() {
            true => lay(&entry.path(), &target.join(name)),
            false => {
                let text = filled(&fs::read_to_string(entry.path()).expect("a file"));
                match name.strip_suffix(".in") {
                    Some(name) => fs::write(target.join(name), journal(&text)),
                    None => fs::write(target.join(name), text),
                }
                .expect("a file");
            }
        }
    }
}

/// `@now@`, `@now-25h@`, `@now+1h@`: times around now; `@dead@`: the pid of no process.
fn filled(text: &str) -> String {
    let mut parts = text.split('@');
    let mut filled = parts.next().unwrap_or_default().to_owned();
    while let (Some(word), Some(rest)) = (parts.next(), parts.next()) {
        let hours = word.strip_prefix("now").map(|hours| hours.trim_end_matches('h'));
        match hours {
            Some("") => filled.push_str(&time(0)),
            Some(hours) => filled.push_str(&time(hours.parse().expect("hours"))),
            None if word == "dead" => filled.push_str("4194305"),
            None => panic!("@{word}@"),
        }
        filled.push_str(rest);
    }
    filled
}

fn time(hours: i64) -> String {
    let span = Duration::from_hours(hours.unsigned_abs());
    let now = SystemTime::now();
    let time = if hours < 0 { now - span } else { now + span };
    humantime::format_rfc3339_millis(time).to_string()
}

/// The lines of a journal with the checksums that they need; one behind a `!` gets a wrong one.
fn journal(text: &str) -> String {
    let line = |line: &str| {
        let (body, is_damaged) = line.strip_prefix('!').map_or((line, false), |it| (it, true));
        let body = body.strip_suffix('}').expect("an object");
        let checksum = crc32fast::hash(body.as_bytes()) ^ u32::from(is_damaged);
        format!("{body},\"checksum\":\"{checksum:08x}\"}}\n")
    };
    text.lines().map(line).collect()
}

fn collect(root: &Path, directory: &Path, found: &mut BTreeMap<PathBuf, Node>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_case = root.starts_with(cases());
        let kind = match is_case {
            // A case may share a file with the sources.
            true => fs::metadata(&path).expect("a file").file_type(),
            false => entry.file_type().expect("a kind"),
        };
        let name = path.strip_prefix(root).expect("a part").to_owned();
        let node = if kind.is_dir() {
            collect(root, &path, found);
            Node::Directory
        } else if kind.is_symlink() {
            Node::Link(fs::read_link(&path).expect("a link"))
        } else if kind.is_file() {
            Node::File(String::from_utf8_lossy(&fs::read(&path).expect("a file")).into_owned())
        } else {
            Node::Other
        };
        match name.to_str().and_then(|name| name.strip_suffix(".in")) {
            Some(name) if is_case => {
                let Node::File(text) = node else { continue };
                found.insert(name.into(), Node::File(journal(&text)));
            }
            _ => drop(found.insert(name, node)),
        }
    }
}

fn compare_trees(name: &str, found: &BTreeMap<PathBuf, Node>, expected: &BTreeMap<PathBuf, Node>) {
    let paths = |tree: &BTreeMap<PathBuf, Node>| tree.keys().cloned().collect::<Vec<_>>();
    assert_eq!(paths(found), paths(expected), "{name}");
    for (path, node) in found {
        match (node, &expected[path]) {
            (Node::File(text), Node::File(pattern)) => {
                assert!(fits(text, pattern), "{name}: {}: {text}", path.display());
            }
            (node, expected) => assert_eq!(node, expected, "{name}: {}", path.display()),
        }
    }
}

/// Whether a text is like a pattern, in which `@…@` stands for anything on a line.
fn fits(text: &str, pattern: &str) -> bool {
    let mut parts = pattern.split("@…@");
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let parts: Vec<&str> = parts.collect();
    for (index, part) in parts.iter().enumerate() {
        let place = match index + 1 == parts.len() {
            true => rest.len().checked_sub(part.len()).filter(|_| rest.ends_with(part)),
            false => rest.find(part),
        };
        match place {
            Some(place) if !rest[..place].contains('\n') => rest = &rest[place + part.len()..],
            _ => return false,
        }
    }
    rest.is_empty()
}
