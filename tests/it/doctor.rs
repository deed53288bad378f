//! What `doctor` does with a repository that no case can be a file of: one without permissions, one
//! that changes, one that leads elsewhere, a large one, one in which a batch starts.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::environment::{Ran, Repository, finish, unprivileged};

/// The findings of `doctor --json`, each as code and item.
fn found(ran: &Ran) -> Vec<(String, Option<String>)> {
    let report: Value = serde_json::from_str(&ran.stdout)
        .unwrap_or_else(|_| panic!("{}{}", ran.stdout, ran.stderr));
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let findings = report["diagnostics"].as_array().expect("a list");
    findings
        .iter()
        .map(|finding| (text(&finding["code"]).expect("a code"), text(&finding["item_id"])))
        .collect()
}

fn names(found: &[(String, Option<String>)]) -> Vec<(&str, Option<&str>)> {
    found.iter().map(|(code, item)| (code.as_str(), item.as_deref())).collect()
}

#[test]
fn findings_are_sorted_by_severity_with_what_fixes_them() {
    let repository = Repository::new("true", &["001-a", "002-b", "003-c"]);
    repository.write(".wreckit/items/001-a/item.json", "{");
    repository.write(".wreckit/items/002-b/item.json.0123456789ab.tmp", "");
    repository.item("003-c", &["003-c"]);
    fs::remove_dir(repository.path(".wreckit/prompts")).expect("it is there");
    let ran = repository.run(&["doctor"]);
    assert_eq!(ran.code, Some(1));
    let expected = "\
error    INVALID_ITEM_JSON 001-a: item.json has invalid JSON: EOF while parsing an object at line 1 column 1 (in .wreckit/items/001-a)
         the item cannot run until this is corrected
error    CIRCULAR_DEPENDENCY 003-c: Circular dependency detected: 003-c -> 003-c
         none of these items can run: remove one of them from `depends_on`
warning  ORPHANED_TEMP_FILE 002-b: .wreckit/items/002-b/item.json.0123456789ab.tmp is a leftover of an interrupted write; item.json was not changed
         `wreckit-host doctor --fix` moves it into a backup
info     MISSING_PROMPTS prompts directory is missing (the defaults are used)
         `wreckit-host doctor --fix` writes the default prompts, for you to change
2 errors, 1 warning, 1 note, 2 of them fixable with `wreckit-host doctor --fix`
";
    assert_eq!(ran.stdout, expected);

    let ran = repository.run(&["doctor", "--fix"]);
    assert_eq!(ran.code, Some(1));
    let fixed: Vec<&str> = ran.stdout.lines().filter(|line| line.starts_with("fixed ")).collect();
    assert_eq!(
        fixed,
        [
            "fixed    MISSING_PROMPTS Created default prompt templates",
            "fixed    ORPHANED_TEMP_FILE 002-b: Moved into the backup",
        ]
    );
    assert!(
        ran.stdout.ends_with("2 errors, 1 warning, 1 note found; 2 fixed, 2 errors remaining\n")
    );
    assert!(ran.stderr.contains("backups restore 20") && ran.stderr.contains("undoes all of this"));

    let quiet = Repository::new("true", &["001-a"]);
    assert_eq!(quiet.run(&["doctor"]).stdout, "nothing found\n");
    assert!(quiet.run(&["doctor", "--fix"]).stdout.ends_with("nothing found\n"));
}

/// Files that cannot be read or written are findings, and those that cannot be fixed say why.
#[test]
fn without_permission_everything_is_a_finding() {
    let repository = Repository::new("true", &["001-a", "002-b", "003-c", "004-d", "005-e"]);
    repository.write(".wreckit/items/003-c/plan.md", "");
    repository.write(".wreckit/items/005-e/prd.json", "{\"user_stories\": []}");
    repository.write(".wreckit/index.json", "{}");
    repository.write(".wreckit/runs/s/events.1.jsonl", "");
    repository.write(".wreckit/batch-progress.json", "{");
    let modes = [
        (".wreckit/config.json", 0o000),
        (".wreckit/items/001-a/item.json", 0o000),
        (".wreckit/items/002-b", 0o000),
        (".wreckit/items/003-c/plan.md", 0o000),
        (".wreckit/items/005-e", 0o555),
        (".wreckit/index.json", 0o000),
        (".wreckit/runs/s/events.1.jsonl", 0o000),
        (".wreckit/batch-progress.json", 0o000),
    ];
    let set = |is_taken: bool| {
        for (path, mode) in modes {
            let mode = if is_taken { mode } else { 0o755 };
            let permissions = fs::Permissions::from_mode(mode);
            let set = fs::set_permissions(repository.path(path), permissions);
            // A file that was fixed may have been moved.
            assert!(set.is_ok() || !is_taken, "{path}");
        }
    };
    set(true);
    let Some(look) = unprivileged(&repository, &["doctor", "--json"]) else { return set(false) };
    let looked = finish(look);
    let fixed =
        finish(unprivileged(&repository, &["doctor", "--fix", "--json"]).expect("as before"));
    set(false);
    assert_eq!(looked.code, Some(1), "{}", looked.stderr);
    assert_eq!(
        names(&found(&looked)),
        [
            ("INVALID_CONFIG", None),
            ("INVALID_ITEM_JSON", Some("001-a")),
            ("ARTIFACT_UNREADABLE", Some("002-b")),
            ("INVALID_ITEM_JSON", Some("002-b")),
            ("ARTIFACT_UNREADABLE", Some("003-c")),
            ("PRD_MISSING_ID", Some("005-e")),
            ("INDEX_STALE", None),
            ("BATCH_PROGRESS_CORRUPT", None),
            ("JOURNAL_DAMAGED", None),
        ]
    );
    assert!(looked.stdout.matches("Permission denied").count() >= 8, "{}", looked.stdout);
    assert_eq!(fixed.code, Some(1), "{}", fixed.stderr);
    let report: Value = serde_json::from_str(&fixed.stdout).expect("JSON");
    let fixes: Vec<(&Value, &Value)> = report["fixes"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|fix| (&fix["diagnostic"]["code"], &fix["fixed"]))
        .collect();
    assert_eq!(
        fixes,
        [
            (&json!("BATCH_PROGRESS_CORRUPT"), &json!(true)),
            (&json!("PRD_MISSING_ID"), &json!(false)),
        ],
        "what cannot be read can be moved, and what cannot be written stays: {report:#}"
    );
    assert!(
        report["fixes"][1]["message"].as_str().expect("a message").contains("Permission denied")
    );
    let progress = report["fixes"][0]["backup"]["session_id"].as_str().expect("an id");
    // It may be another user's by now.
    let mut restore = repository.command(&["backups", "restore", progress]);
    let restored = finish(restore.env("WRECKIT_SAFE_DIRECTORY", "*").spawn().expect("it starts"));
    assert_eq!(restored.code, Some(0), "{}", restored.stderr);
    assert_eq!(repository.read(".wreckit/batch-progress.json"), "{");
}

/// A name that is no text is shown as well as it can be, and never dropped in silence.
#[test]
fn a_name_that_is_not_utf_8_is_a_finding() {
    let repository = Repository::new("true", &["001-a"]);
    let name = OsStr::from_bytes(b"002-caf\xe9");
    fs::create_dir(repository.path(".wreckit/items").join(name)).expect("a directory");
    let looked = repository.run(&["doctor", "--json"]);
    assert_eq!(names(&found(&looked)), [("MISSING_ITEM_JSON", Some("002-caf\u{fffd}"))]);
    assert!(looked.stdout.contains("is not UTF-8: rename it"), "{}", looked.stdout);
    let ran = repository.run(&["run"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("002-caf\u{fffd}"), "{}", ran.stderr);
    assert_eq!(repository.state("001-a"), "done");
}

/// Files that are written in place while they are looked at: each look ends with a finding or
/// without one, and never otherwise.
#[test]
fn files_that_change_while_they_are_read_end_nothing() {
    let repository = Repository::new("true", &["001-a", "002-b"]);
    repository.item("002-b", &["001-a"]);
    let item = repository.read(".wreckit/items/001-a/item.json");
    let files = [
        ".wreckit/items/001-a/item.json",
        ".wreckit/items/001-a/prd.json",
        ".wreckit/index.json",
        ".wreckit/batch-progress.json",
        ".wreckit/runs/s/events.1.jsonl",
    ];
    for path in files {
        repository.write(path, "");
    }
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut size = 0;
            while !is_over.load(Ordering::Relaxed) {
                size = (size + 7919) % 300_000;
                for path in files {
                    // Now there, now gone, now cut off, now long.
                    match size % 4 {
                        0 => drop(fs::remove_file(repository.path(path))),
                        1 => repository.write(path, &item),
                        2 => repository.write(path, &item[..size % item.len()]),
                        _ => repository.write(path, &"[{},\n".repeat(size / 5)),
                    }
                }
            }
        });
        for round in 0..40 {
            let arguments = if round % 4 == 3 { "--fix" } else { "--strict" };
            let ran = repository.run(&["doctor", "--json", arguments]);
            if !matches!(ran.code, Some(0 | 1)) {
                is_over.store(true, Ordering::Relaxed);
                panic!("{:?}: {}{}", ran.code, ran.stdout, ran.stderr);
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

/// Links that lead out of `.wreckit`, wherever a file or a directory may stand.
#[test]
fn nothing_outside_is_read_written_or_removed() {
    let repository = Repository::new("true", &["001-a", "002-b"]);
    let outside = |name: &str| format!("outside/{name}");
    repository.write(
        &outside("items/003-c/item.json"),
        &repository.read(".wreckit/items/001-a/item.json"),
    );
    repository.write(&outside("items/003-c/item.json.0123456789ab.tmp"), "secret");
    for name in ["index.json", "prd.json", "batch-progress.json", "events.1.jsonl"] {
        repository.write(&outside(name), "secret");
    }
    fs::create_dir(repository.path("outside/backups")).expect("a directory");
    repository.write(".wreckit/runs/s/log", "");
    for (link, target) in [
        (".wreckit/items/003-c", "../../outside/items/003-c"),
        (".wreckit/items/001-a/prd.json", "../../../outside/prd.json"),
        (".wreckit/items/002-b/item.json.0123456789ab.tmp", "../../../outside/prd.json"),
        (".wreckit/index.json", "../outside/index.json"),
        (".wreckit/batch-progress.json", "../outside/batch-progress.json"),
        (".wreckit/runs/s/events.1.jsonl", "../../../outside/events.1.jsonl"),
        (".wreckit/runs/t", "../../outside"),
        (".wreckit/config.local.json", "../outside/index.json"),
    ] {
        symlink(target, repository.path(link)).expect("a link");
    }
    let outside = || {
        let everything = repository.everything().into_iter();
        everything
            .filter(|(path, _)| path.starts_with(repository.path("outside")))
            .collect::<Vec<_>>()
    };
    let before = outside();
    let ran = repository.run(&["doctor", "--fix", "--json"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(!ran.stdout.contains("secret"), "{}", ran.stdout);
    assert_eq!(
        names(&found(&ran)),
        [
            ("INVALID_CONFIG", None),
            ("ARTIFACT_UNREADABLE", Some("001-a")),
            ("ARTIFACT_UNREADABLE", Some("003-c")),
            ("INVALID_ITEM_JSON", Some("003-c")),
            ("INDEX_STALE", None),
            ("BATCH_PROGRESS_CORRUPT", None),
            ("JOURNAL_DAMAGED", None),
        ]
    );
    assert_eq!(outside(), before);
    // Nor when the backup itself is to go elsewhere.
    fs::remove_dir_all(repository.path(".wreckit/backups")).expect("it is there");
    symlink("../outside/backups", repository.path(".wreckit/backups")).expect("a link");
    repository.write(".wreckit/batch-progress.json", "{");
    let ran = repository.run(&["doctor", "--fix", "--json"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stdout);
    assert!(ran.stdout.contains("its backup failed"), "{}", ran.stdout);
    assert_eq!(repository.read(".wreckit/batch-progress.json"), "{");
    assert_eq!(outside(), before);
}

/// Repairs and batches that start at the same moment: one of them has to wait or to give way, and
/// each item runs once.
#[test]
fn a_batch_that_starts_in_the_middle_of_a_repair_loses_nothing() {
    let items: Vec<String> = (1..=20).map(|number| format!("{number:03}-x")).collect();
    let names: Vec<&str> = items.iter().map(String::as_str).collect();
    let repository = Repository::new("echo \"$1\" >> ran", &names);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let repairs = scope.spawn(|| {
            let mut fixed = 0;
            while !is_over.load(Ordering::Relaxed) {
                repository.write(".wreckit/index.json", "{");
                let ran = repository.run(&["doctor", "--fix"]);
                assert!(matches!(ran.code, Some(0 | 3)), "{}{}", ran.stdout, ran.stderr);
                fixed += usize::from(ran.code == Some(0));
            }
            fixed
        });
        for _ in 0..40 {
            let ran = repository.run(&["run", "--progress", "none", "001-x"]);
            assert!(matches!(ran.code, Some(0 | 1 | 3)), "{}", ran.stderr);
            let ran = repository.run(&["run", "--progress", "none"]);
            assert!(matches!(ran.code, Some(0 | 3)), "{}", ran.stderr);
        }
        is_over.store(true, Ordering::Relaxed);
        assert!(repairs.join().expect("no panic") > 0);
    });
    let ran = repository.run(&["run", "--progress", "none"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let mut ran = repository.ran();
    ran.sort();
    assert_eq!(ran, items);
}

/// What doctor calls invalid, `run` refuses, and the other way round.
#[test]
fn doctor_and_run_agree_on_configurations() {
    let repository = Repository::new("true", &[]);
    let agent = |more: Value| {
        let mut agent = json!({"kind": "command", "command": "true"});
        agent.as_object_mut().expect("an object").extend(more.as_object().expect("one").clone());
        json!({"agent": agent})
    };
    let with = |key: &str, value: Value| {
        let mut config = agent(json!({}));
        config[key] = value;
        config
    };
    let mut configurations = vec![json!([]), json!({}), json!({"agent": 1}), json!({"agent": {}})];
    for value in
        [json!(null), json!(""), json!(1), json!([]), json!(["a", 1]), json!(["a"]), json!({})]
    {
        for key in ["kind", "mode", "command", "args", "limit_patterns", "limit_wait_seconds"] {
            configurations.push(agent(json!({key: value})));
        }
        for key in ["completion_signal", "args", "command"] {
            configurations.push(agent(json!({"kind": "process", key: value})));
        }
        configurations.push(json!({"agent": {"kind": "wasm", "component": value}}));
        configurations.push(json!({"agent": {"mode": value, "command": "true"}}));
        for key in ["timeout_seconds", "max_iterations", "base_branch", "branch_prefix", "agent"] {
            configurations.push(with(key, value.clone()));
        }
    }
    for value in [0, 1, 5] {
        configurations.push(with("timeout_seconds", json!(value)));
        configurations.push(with("max_iterations", json!(value)));
        configurations.push(agent(json!({"limit_wait_seconds": value})));
    }
    for kind in ["process", "command", "mock", "wasm", "magic"] {
        configurations.push(json!({"agent": {"kind": kind}}));
        configurations.push(json!({"agent": {"kind": kind, "mode": "process", "command": "true"}}));
        configurations.push(json!({"agent": {"mode": kind, "command": "true"}}));
    }
    let mut both = [0, 0];
    for config in configurations {
        repository.write(".wreckit/config.json", &config.to_string());
        let invalid = names(&found(&repository.run(&["doctor", "--json"]))).len();
        let ran = repository.run(&["run"]);
        let refused = ran.stderr.contains("config.json is invalid");
        assert_eq!(invalid == 1, refused, "{config}: {}", ran.stderr);
        both[invalid] += 1;
    }
    assert!(both.iter().all(|count| *count > 10), "{both:?}");
}

#[test]
fn a_run_says_in_a_line_what_stands_in_its_way() {
    let repository = Repository::new("true", &["001-a", "002-b", "003-c", "004-d"]);
    repository.write(".wreckit/items/001-a/item.json", "{");
    repository.item("002-b", &["099-gone"]);
    repository.item("003-c", &["003-c"]);
    let ran = repository.run(&["run"]);
    assert_eq!(ran.code, Some(1));
    let line = "warning: 1 item cannot be used, 2 items can never start because of their \
        dependencies. `wreckit-host doctor` explains it.\n";
    assert!(ran.stderr.contains(line), "{}", ran.stderr);
    let sound = Repository::new("true", &["001-a", "002-b"]);
    sound.item("002-b", &["001-a"]);
    let ran = sound.run(&["run"]);
    assert!(!ran.stderr.contains("doctor"), "{}", ran.stderr);
}

/// Findings that appear during a fix are reported, and so are files that the fix created.
#[test]
fn findings_that_appear_during_a_fix_are_reported() {
    let repository = Repository::new("true", &["001-a"]);
    repository
        .write(".wreckit/items/001-a/prd.json", r#"{"schema_version": 1, "user_stories": [{}]}"#);
    fs::remove_dir(repository.path(".wreckit/prompts")).expect("it is there");
    let ran = repository.run(&["doctor", "--fix"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stdout.contains("\nerror    INVALID_PRD 001-a: "), "{}", ran.stdout);
    let listed = repository.run(&["backups", "list"]).stdout;
    assert!(listed.contains("(created) .wreckit/prompts/plan.md"), "{listed}");
    let id = listed.split(' ').next().expect("an id");
    let restored = repository.run(&["backups", "restore", id]).stdout;
    assert!(restored.contains("\nremoved .wreckit/prompts/plan.md\n"), "{restored}");
}

#[test]
fn findings_that_cannot_be_fixed_are_still_reported() {
    let repository = Repository::new("true", &["001-a"]);
    repository.write(".wreckit/items/001-a/item.json", "{");
    fs::create_dir(repository.path(".wreckit/batch.lock")).expect("a directory");
    let ran = repository.run(&["doctor", "--fix", "--json"]);
    assert_eq!(ran.code, Some(1));
    assert_eq!(
        names(&found(&ran)),
        [("INVALID_ITEM_JSON", Some("001-a")), ("LOCK_UNUSABLE", None)]
    );
    assert!(
        ran.stderr.contains("error: cannot inspect .wreckit/batch.lock: it is a directory"),
        "{}",
        ran.stderr
    );
    assert!(Path::new(&repository.path(".wreckit/batch.lock")).is_dir());
}
