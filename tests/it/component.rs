//! The committed component: what it can reach, and whether it is what its source gives.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use wasmtime::component::Component;
use wasmtime::{Config, Engine};

use crate::environment::{Repository, workspace};

#[path = "../../host/build/digest.rs"]
mod digest;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes it");
        text
    })
}

fn embedded() -> Vec<u8> {
    std::fs::read(workspace().join("host/component/wreckit.wasm")).expect("the component")
}

fn provenance() -> BTreeMap<String, String> {
    let text =
        std::fs::read(workspace().join("host/component/provenance.json")).expect("its provenance");
    serde_json::from_slice(&text).expect("JSON")
}

#[test]
fn its_whole_authority_is_its_six_imports() {
    let engine = Engine::new(&Config::new()).expect("an engine");
    let component = Component::from_binary(&engine, &embedded()).expect("a component");
    let mut imports: Vec<String> =
        component.component_type().imports(&engine).map(|(name, _)| name.to_owned()).collect();
    imports.sort();
    assert_eq!(
        imports,
        [
            "wasi:clocks/wall-clock@0.2.6",
            "wasi:random/random@0.2.6",
            "wreckit:batch/filesystem@0.1.0",
            "wreckit:batch/log@0.1.0",
            "wreckit:batch/processes@0.1.0",
            "wreckit:batch/terminator@0.1.0",
        ]
    );
    let exports: Vec<String> =
        component.component_type().exports(&engine).map(|(name, _)| name.to_owned()).collect();
    assert_eq!(
        exports,
        [
            "wreckit:batch/session@0.1.0",
            "wreckit:batch/batch@0.1.0",
            "wreckit:batch/doctor@0.1.0",
            "wreckit:batch/feature@0.1.0",
        ]
    );
}

#[test]
fn it_is_not_older_than_its_source() {
    let mut files: Vec<PathBuf> = vec![PathBuf::from("rust-toolchain.toml")];
    for directory in [".cargo", "guest", "wit"] {
        collect(Path::new(directory), &mut files);
    }
    files.retain(|file| {
        file.extension().is_some_and(|extension| {
            ["rs", "toml", "wit", "md"].iter().any(|kept| extension == *kept)
        })
    });
    let mut names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    names.sort();
    let list = names.iter().fold(String::new(), |mut list, name| {
        let contents = std::fs::read(workspace().join(name)).expect("a source");
        writeln!(list, "{}  {name}", hex(&Sha256::digest(contents))).expect("a string takes it");
        list
    });
    assert_eq!(
        provenance()["sources_sha256"],
        hex(&Sha256::digest(list)),
        "guest/ or wit/ was changed: run `just guest` (it is `guest/build`) and commit host/component/"
    );
}

#[test]
fn it_is_the_one_that_its_provenance_names() {
    assert_eq!(provenance()["component_sha256"], hex(&Sha256::digest(embedded())));
}

#[test]
fn another_one_is_not_built_into_the_program() {
    let provenance = std::fs::read_to_string(workspace().join("host/component/provenance.json"))
        .expect("its provenance");
    assert_eq!(digest::mismatch(&embedded(), &provenance), None);
    let mut changed = embedded();
    changed.push(0);
    let problem = digest::mismatch(&changed, &provenance).expect("it is noticed");
    assert!(problem.contains("provenance.json") && problem.contains("guest/build"), "{problem}");
    assert!(digest::mismatch(&embedded(), "{}").is_some());
}

#[test]
fn that_it_cannot_be_compared_with_its_source_fails_ci_unless_that_was_asked_for() {
    let place = Repository::empty();
    place.write("rustup", "#!/bin/sh\necho \"$@\" >> \"$0.calls\"\n[ \"$2\" = list ]\n");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(place.path("rustup"), mode).expect("a mode");
    let path = std::env::var("PATH").unwrap_or_default();
    let check = |skip: &str| {
        std::process::Command::new(workspace().join(".ci/component"))
            .env("PATH", format!("{}:{path}", place.root().display()))
            .env("WRECKIT_SKIP_COMPONENT_CHECK", skip)
            .output()
            .expect("the script")
    };
    let ran = check("");
    assert_eq!(ran.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&ran.stderr).contains("WRECKIT_SKIP_COMPONENT_CHECK=1"));
    assert_eq!(place.read("rustup.calls").lines().count(), 2, "it tried to install the target");
    assert_eq!(check("1").status.code(), Some(0));
}

#[test]
fn the_program_gives_it_away_with_its_wit() {
    let place = Repository::empty();
    assert_eq!(place.run(&["component", "--out", "c.wasm"]).code, Some(0));
    assert_eq!(std::fs::read(place.path("c.wasm")).expect("a file"), embedded());
    assert_eq!(place.run(&["component", "--wit", "--out", "c.wit"]).code, Some(0));
    let mut resolve = wit_parser::Resolve::default();
    let package = resolve.push_str("c.wit", &place.read("c.wit")).expect("WIT that parses");
    assert!(resolve.packages[package].worlds.contains_key("component"));
    let ran = place.run(&["component", "--out", "missing/c.wasm"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("missing/c.wasm"), "{}", ran.stderr);
}

#[test]
fn the_program_runs_with_a_component_from_a_file() {
    let repository = Repository::new("echo $1 >> ran", &["001-a"]);
    let file = workspace().join("host/component/wreckit.wasm");
    let file = file.to_str().expect("a path");
    assert_eq!(repository.run(&["--component", file, "run"]).code, Some(0));
    assert_eq!(repository.ran(), ["001-a"]);
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(workspace().join(directory)).expect("a directory").flatten() {
        let path = directory.join(entry.file_name());
        match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            true => collect(&path, files),
            false => files.push(path),
        }
    }
}
