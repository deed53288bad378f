//! Files of a running batch that are removed, and processes that add items at the same moment.

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;

use crate::environment::{Repository, finish};

const THREE: [&str; 3] = ["001-a", "002-b", "003-c"];
/// Each item waits for its own file.
const WAITS: &str = r#"echo "$1" >> ran; until [ -e "go-$1" ]; do sleep 0.02; done"#;

/// Starts a batch and lets its first item complete; the second one is at work.
fn at_the_second_item(repository: &Repository) -> std::process::Child {
    let batch = repository.start(&["run"]);
    repository.write("go-001-a", "");
    repository.until("the second item", |it| it.ran().last().is_some_and(|id| id == "002-b"));
    batch
}

fn remove(repository: &Repository, names: &[&str]) {
    for name in names {
        let path = repository.path(".wreckit").join(name);
        let remove = || match path.is_dir() {
            true => fs::remove_dir_all(&path),
            false => fs::remove_file(&path),
        };
        // The batch may be writing into it.
        while let Err(error) = remove() {
            assert_eq!(error.kind(), ErrorKind::DirectoryNotEmpty, "{}", path.display());
        }
    }
}

fn ran_once(repository: &Repository) {
    assert_eq!(repository.ran(), THREE, "each item ran once");
    for id in THREE {
        assert_eq!(repository.state(id), "done", "{id}");
    }
}

#[test]
fn a_batch_whose_files_are_removed_writes_them_again_and_goes_on() {
    for removed in [&["runs"][..], &["runs", "batch-progress.json", "batch.lock"], &["batch.lock"]]
    {
        let repository = Repository::new(WAITS, &THREE);
        let batch = at_the_second_item(&repository);
        remove(&repository, removed);
        // While the batch runs, it excludes other processes, whatever was removed.
        for command in [&["run"][..], &["run", "--take-over"], &["doctor", "--fix"]] {
            let other = repository.run(command);
            assert_eq!(other.code, Some(3), "{removed:?} {command:?}: {}", other.stderr);
        }
        for id in &THREE[1..] {
            repository.write(&format!("go-{id}"), "");
        }
        let ran = finish(batch);
        assert_eq!(ran.code, Some(0), "{removed:?}: {}", ran.stderr);
        let says_so = ran.stderr.contains("written again from memory");
        assert_eq!(says_so, removed.contains(&"runs"), "{removed:?}: {}", ran.stderr);
        ran_once(&repository);
    }
}

#[test]
fn a_batch_that_is_killed_after_its_files_were_removed_resumes() {
    let repository = Repository::new(WAITS, &THREE);
    let batch = at_the_second_item(&repository);
    remove(&repository, &["runs", "batch-progress.json"]);
    repository.write("go-002-b", "");
    repository.until("the third item", |it| it.ran().last().is_some_and(|id| id == "003-c"));
    repository.until("its record", |it| {
        it.events()
            .iter()
            .any(|event| event["event"] == "phase-started" && event["item"] == "003-c")
    });
    crate::environment::crash(batch);
    repository.write("go-003-c", "");
    let ran = repository.run(&["run"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(repository.ran(), ["001-a", "002-b", "003-c", "003-c"], "only what was at work");
}

#[test]
fn adding_at_the_same_moment_gives_no_number_twice() {
    let repository = Repository::new("true", &[]);
    let adders: Vec<_> = (0..8)
        .map(|number| {
            let titles: Vec<String> = (0..4).map(|title| format!("t {number} {title}")).collect();
            let arguments: Vec<&str> =
                std::iter::once("add").chain(titles.iter().map(String::as_str)).collect();
            repository.start(&arguments)
        })
        .collect();
    for adder in adders {
        let ran = finish(adder);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    }
    let items = fs::read_dir(repository.path(".wreckit/items")).expect("items");
    let names: Vec<String> = items
        .map(|item| item.expect("an item").file_name().into_string().expect("a name"))
        .collect();
    let numbers: HashSet<&str> = names.iter().map(|name| &name[..3]).collect();
    assert_eq!((names.len(), numbers.len()), (32, 32), "{names:?}");
}
