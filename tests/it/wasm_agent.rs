//! Agents that are WebAssembly components.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use serde_json::json;

use crate::environment::{Ran, Repository, workspace};

/// `examples/wasm-agent`, built here; `None`, and said so, where its target is not installed.
fn example() -> Option<&'static PathBuf> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let target = workspace().join("target/wasm-agent");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args([
                "build",
                "--quiet",
                "--release",
                "--locked",
                "--target",
                "wasm32-unknown-unknown",
            ])
            .arg("--target-dir")
            .arg(&target)
            .current_dir(workspace().join("examples/wasm-agent"))
            .output()
            .expect("cargo runs");
        let words = String::from_utf8_lossy(&built.stderr).into_owned();
        if words.contains("target may not be installed") {
            return None;
        }
        assert!(built.status.success(), "{words}");
        Some(target.join("wasm32-unknown-unknown/release/outline_agent.wasm"))
    });
    if built.is_none() {
        eprintln!("the target wasm32-unknown-unknown is not installed: not tested");
    }
    built.as_ref()
}

fn repository(component: &[u8], args: &[&str]) -> Repository {
    let repository = Repository::new("", &["001-a", "002-b"]);
    fs::write(repository.path("agent.wasm"), component).expect("a file");
    repository.agent(json!({"kind": "wasm", "component": "agent.wasm", "args": args}));
    repository
}

/// A `wasi:cli/command` component without imports that does this.
fn command(body: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
            (core module $m
                (memory (export "memory") 1)
                (func (export "run") (result i32) {body}))
            (core instance $i (instantiate $m))
            (func $run (result (result)) (canon lift (core func $i "run")))
            (instance $run-interface (export "run" (func $run)))
            (export "wasi:cli/run@0.2.6" (instance $run-interface)))"#
    );
    wat::parse_str(text).expect("a component")
}

fn fails(repository: &Repository, arguments: &[&str], words: &str) -> Ran {
    let ran = repository.run(arguments);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains(words), "{words}: {}", ran.stderr);
    ran
}

#[test]
fn it_works_in_the_directory_of_its_item() {
    let Some(component) = example() else { return };
    let component = fs::read(component).expect("a component");
    let repository = repository(&component, &["{id}.txt"]);
    for id in ["001-a", "002-b"] {
        repository.write(&format!(".wreckit/items/{id}/{id}.txt"), &format!("words of {id}"));
    }
    let ran = repository.run(&["run", "-v"]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stderr.contains("[001-a] outlining 001-a"), "{}", ran.stderr);
    for id in ["001-a", "002-b"] {
        let outline = repository.read(&format!(".wreckit/items/{id}/outline.md"));
        assert!(outline.starts_with(&format!("# {id}\n")), "{outline}");
        assert!(outline.contains(&format!("words of {id}")), "{outline}");
        assert_eq!(repository.state(id), "done");
    }
}

#[test]
fn it_sees_nothing_else() {
    let Some(component) = example() else { return };
    let component = fs::read(component).expect("a component");
    for outside in ["../002-b/item.json", "/etc/passwd", "link", "../../config.json"] {
        let repository = repository(&component, &[outside]);
        let link = repository.path(".wreckit/items/001-a/link");
        std::os::unix::fs::symlink("../002-b/item.json", link).expect("a link");
        fails(&repository, &["run", "001"], &format!("failed: cannot read {outside}: "));
    }
}

#[test]
fn its_time_and_memory_are_bounded() {
    let repository = repository(&command("(loop $l (br $l)) i32.const 0"), &[]);
    fails(&repository, &["run", "001", "--timeout", "1"], "timed out after 1 s");
    let greedy = "(loop $l (drop (memory.grow (i32.const 64))) (br $l)) i32.const 0";
    fs::write(repository.path("agent.wasm"), command(greedy)).expect("a file");
    fails(&repository, &["run", "002"], "it asked for more than 256 MiB of memory");
}

#[test]
fn its_own_word_counts() {
    let succeeds = repository(&command("i32.const 0"), &[]);
    assert_eq!(succeeds.run(&["run"]).code, Some(0));
    let gives_up = repository(&command("i32.const 1"), &[]);
    fails(&gives_up, &["run"], "the agent exited with code 1");
    let traps = repository(&command("unreachable"), &[]);
    fails(&traps, &["run"], "error: the component failed: ");
}

#[test]
fn what_is_no_such_component_is_said_before_anything_starts() {
    for (component, words) in
        [(&b"nonsense"[..], "the agent's component"), (b"\0asm\x01\0\0\0", "the agent's component")]
    {
        let repository = repository(component, &[]);
        let ran = repository.run(&["run"]);
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
        assert!(ran.stderr.contains(words) && ran.stderr.contains("hint: "), "{}", ran.stderr);
    }
    let missing = Repository::new("", &["001-a"]);
    missing.agent(json!({"kind": "wasm", "component": "missing.wasm"}));
    let ran = missing.run(&["run"]);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(ran.stderr.contains("missing.wasm"), "{}", ran.stderr);
}
