//! The layers of the guest: a module may only use those below it.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "this test reads the source of the crate, and fails if it cannot"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The top-level modules, from the bottom up. Each line is one layer: its modules do not use each other.
const LAYERS: &[&[&str]] = &[
    &["bindings", "time"],
    &["json"],
    &["io"],
    &["select", "formats"],
    &["agents", "backup"],
    &["feature"],
    &["workload"],
    &["session"],
    &["doctor"],
    &["component"],
];

/// The layer of a module.
fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// The source files below a directory.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(sources(&path)),
            false if path.extension().is_some_and(|extension| extension == "rs") => {
                files.push(path);
            }
            false => {}
        }
    }
    files
}

/// Whether a file contains nothing but tests, which may use every layer.
fn is_test(path: &Path) -> bool {
    path.components().any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "tests.rs")))
}

/// The source without comments and without the tests at its end.
fn code(source: &str) -> String {
    let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = source.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.flat_map(|line| [line, "\n"]).collect()
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

#[test]
fn groups_of_imports_are_taken_apart() {
    let code =
        "use crate::{doctor::{self, a}, feature};\nuse crate::io::host::Host;\ncrate::json::hex()";
    let used: Vec<String> = used_modules(code).into_iter().collect();
    assert_eq!(used, ["doctor", "feature", "io", "json"]);
}

#[test]
fn a_module_only_uses_the_layers_below_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for path in sources(&root) {
        let relative = path.strip_prefix(&root).unwrap();
        let module = relative.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        if is_test(relative) || module == "lib" {
            continue;
        }
        let own = layer(module).unwrap_or_else(|| panic!("{module} has no layer"));
        for used in used_modules(&code(&fs::read_to_string(&path).unwrap())) {
            let is_below = layer(&used).is_some_and(|other| other < own);
            if used != module && !is_below {
                wrong.push(format!("{} uses {used}", relative.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
