//! The rules of the source: how long files and functions are, which words are not used, and that modules have no
//! cycles.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Maximum number of lines of a source file.
const FILE_LINES: usize = 500;
/// Maximum number of lines of a function.
const FUNCTION_LINES: usize = 60;

/// Directories that contain nothing that a person wrote for this project.
const SKIPPED: [&str; 5] = ["target", ".git", "node_modules", "deps", "dist"];
/// The page that lists the banned words.
const GLOSSARY: &str = "docs/glossary.md";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the root of the workspace").to_owned()
}

/// The files below a directory whose names have one of these extensions, relative to the root.
fn files(directory: &str, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    collect(&root().join(directory), extensions, &mut found);
    found.sort();
    assert!(!found.is_empty(), "{directory} has no files");
    found
}

fn collect(directory: &Path, extensions: &[&str], found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let entry = entry.expect("an entry");
        let (path, kind) = (entry.path(), entry.file_type().expect("a type"));
        let name = entry.file_name().to_string_lossy().into_owned();
        if kind.is_dir() && !SKIPPED.contains(&name.as_str()) {
            collect(&path, extensions, found);
        }
        let has_extension = |extension: &&str| path.extension().is_some_and(|it| it == *extension);
        if kind.is_file() && extensions.iter().any(has_extension) {
            found.push(path.strip_prefix(root()).expect("a path below the root").to_owned());
        }
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(root().join(path)).expect("a text file")
}

/// Every function in a formatted source file: its name, its first line and the number of its lines.
fn functions(source: &str) -> Vec<(String, usize, usize)> {
    let lines: Vec<&str> = source.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let indent = &line[..line.len() - line.trim_start().len()];
        let end = format!("{indent}}}");
        // A declaration ends with `;`, and a function on one line with `}`.
        let header = lines[index..].iter().position(|line| line.ends_with(['{', ';', '}']));
        let Some(header) = header.filter(|header| lines[index + header].ends_with('{')) else {
            continue;
        };
        let body = lines[index + header..].iter().position(|line| *line == end);
        if let Some(body) = body {
            found.push((name.to_owned(), index + 1, header + body + 1));
        }
    }
    found
}

/// The name of the function that a line declares.
fn function_name(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let (before, after) = line.split_once("fn ")?;
    let is_qualifier = |word: &str| {
        word.starts_with("pub")
            || matches!(
                word,
                "const" | "async" | "unsafe" | "extern" | "\"C\"" | "crate)" | "super)"
            )
    };
    let end = after.find(['(', '<'])?;
    let name = &after[..end];
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    (before.split_whitespace().all(is_qualifier) && is_name).then_some(name)
}

#[test]
fn the_length_of_a_function_includes_its_header_and_its_end() {
    let source = "impl A {\n    pub(crate) fn a(\n        b: u8,\n    ) -> u8 {\n        if b > 0 {\n            1\n        }\n    }\n    fn c(&self);\n}\n";
    assert_eq!(functions(source), [("a".to_owned(), 2, 7)]);
}

#[test]
fn files_and_functions_are_short() {
    let mut wrong = Vec::new();
    for crate_source in ["guest/src", "host/src"] {
        for path in files(crate_source, &["rs"]) {
            let source = read(&path);
            let count = source.lines().count();
            if count > FILE_LINES {
                wrong.push(format!("{} has {count} lines", path.display()));
            }
            for (name, line, length) in functions(&source) {
                if length > FUNCTION_LINES {
                    wrong.push(format!("{}:{line}: {name} has {length} lines", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The banned words and phrases: the lines of the block ```` ```banned ````.
fn banned() -> Vec<String> {
    let glossary = read(Path::new(GLOSSARY));
    let (_, block) = glossary.split_once("```banned\n").expect("a block of banned words");
    let (block, _) = block.split_once("```").expect("the end of the block");
    let words: Vec<String> = block
        .lines()
        .map(|line| line.trim().to_lowercase())
        .filter(|line| !line.is_empty())
        .collect();
    assert!(words.len() > 10, "{words:?}");
    words
}

/// The words of a text in lower case, each with its line. Names of several words (`put_out`, `PutOut`) are split.
fn words(text: &str) -> Vec<(usize, String)> {
    let mut words: Vec<(usize, String)> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let mut word = String::new();
        let mut previous = ' ';
        for c in line.chars().chain([' ']) {
            let starts_word = c.is_uppercase() && previous.is_lowercase();
            if (!c.is_alphanumeric() || starts_word) && !word.is_empty() {
                words.push((index + 1, std::mem::take(&mut word)));
            }
            if c.is_alphanumeric() {
                word.extend(c.to_lowercase());
            }
            previous = c;
        }
    }
    words
}

#[test]
fn names_of_several_words_are_split() {
    let found: Vec<String> =
        words("fn put_out(ThePatient, 'no file')").into_iter().map(|it| it.1).collect();
    assert_eq!(found, ["fn", "put", "out", "the", "patient", "no", "file"]);
}

#[test]
fn no_banned_word_is_used() {
    let banned: Vec<Vec<String>> =
        banned().iter().map(|phrase| phrase.split(' ').map(str::to_owned).collect()).collect();
    let mut wrong = Vec::new();
    for path in files("", &["rs", "wit", "md", "sh", "html"]) {
        // This file names banned words in a test.
        if path == Path::new(GLOSSARY) || path.ends_with("it/style.rs") {
            continue;
        }
        let words = words(&read(&path));
        for phrase in &banned {
            let is_phrase = |window: &[(usize, String)]| {
                window.iter().zip(phrase).all(|((_, word), banned)| word == banned)
            };
            for window in words.windows(phrase.len()).filter(|window| is_phrase(window)) {
                wrong.push(format!("{}:{}: {}", path.display(), window[0].0, phrase.join(" ")));
            }
        }
    }
    assert!(wrong.is_empty(), "banned by {GLOSSARY}:\n{}", wrong.join("\n"));
}

/// The source without comments and without the tests at its end, which may use every module.
fn code(source: &str) -> String {
    let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = source.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// The top-level modules of a crate, each with those that it uses.
fn dependencies(crate_source: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut dependencies: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for path in files(crate_source, &["rs"]) {
        let relative = path.strip_prefix(crate_source).expect("a path in the crate");
        let parts: Vec<&str> = relative.iter().filter_map(|part| part.to_str()).collect();
        let module = parts[0].trim_end_matches(".rs");
        if parts.iter().any(|part| matches!(*part, "tests" | "tests.rs")) || module == "lib" {
            continue;
        }
        let used = dependencies.entry(module.to_owned()).or_default();
        used.extend(used_modules(&code(&read(&path))).into_iter().filter(|used| used != module));
    }
    let known: BTreeSet<String> = dependencies.keys().cloned().collect();
    for used in dependencies.values_mut() {
        used.retain(|used| known.contains(used));
    }
    dependencies
}

/// The modules that follow `crate::`, including those in `crate::{a::b, c}`.
fn used_modules(code: &str) -> BTreeSet<String> {
    let first = |path: &str| -> String {
        path.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let mut used = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        let Some(group) = rest.strip_prefix('{') else {
            used.insert(first(rest));
            continue;
        };
        let (mut depth, mut start) = (1_usize, 0);
        for (index, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if (c == ',' && depth == 1) || depth == 0 {
                used.insert(first(&group[start..index]));
                start = index + 1;
            }
            if depth == 0 {
                break;
            }
        }
    }
    used
}

/// A cycle among modules, as the names along it.
fn cycle(dependencies: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    let mut remaining = dependencies.clone();
    loop {
        let leaves: Vec<String> = remaining
            .iter()
            .filter(|(_, used)| used.iter().all(|used| !remaining.contains_key(used)))
            .map(|(module, _)| module.clone())
            .collect();
        if leaves.is_empty() {
            break;
        }
        remaining.retain(|module, _| !leaves.contains(module));
    }
    // Every module that remains uses another one that remains.
    let mut path: Vec<String> = vec![remaining.keys().next()?.clone()];
    loop {
        let next = remaining[path.last()?].iter().find(|used| remaining.contains_key(*used))?;
        if let Some(start) = path.iter().position(|module| module == next) {
            let mut cycle = path.split_off(start);
            cycle.push(next.clone());
            return Some(cycle);
        }
        path.push(next.clone());
    }
}

#[test]
fn a_cycle_is_found_and_named() {
    let module = |name: &str, used: &[&str]| {
        (name.to_owned(), used.iter().map(|it| (*it).to_owned()).collect::<BTreeSet<String>>())
    };
    let tree = BTreeMap::from([module("a", &["b", "c"]), module("b", &["c"]), module("c", &[])]);
    assert_eq!(cycle(&tree), None);
    let cyclic = BTreeMap::from([module("a", &["b"]), module("b", &["c"]), module("c", &["b"])]);
    assert_eq!(cycle(&cyclic).expect("a cycle"), ["b", "c", "b"]);
    assert_eq!(used_modules("use crate::{a::{self, x}, b};\ncrate::c::d()").len(), 3);
}

#[test]
fn modules_have_no_cycles() {
    for crate_source in ["guest/src", "host/src"] {
        let cycle = cycle(&dependencies(crate_source));
        assert!(cycle.is_none(), "{crate_source}: {}", cycle.unwrap_or_default().join(" -> "));
    }
}
