//! Agents that are WebAssembly components.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use serde_json::json;

use crate::environment::{Ran, Repository, finish, kill, workspace};

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
fn an_item_whose_directory_is_a_link_is_not_worked_on() {
    // The link makes `.wreckit` itself the directory of the item, with all of its configuration.
    let linked = |repository: &Repository| {
        fs::remove_dir_all(repository.path(".wreckit/items/001-a")).expect("it is removed");
        std::os::unix::fs::symlink("..", repository.path(".wreckit/items/001-a")).expect("a link");
        let item = repository.read(".wreckit/items/002-b/item.json").replace("002-b", "001-a");
        repository.write(".wreckit/item.json", &item);
    };
    let component = repository(&command("i32.const 0"), &[]);
    linked(&component);
    fails(&component, &["run", "001"], "leads through a symbolic link");
    assert_ne!(component.state("001-a"), "done");

    // The same for a process that would work there.
    let process = Repository::new("", &["001-a", "002-b"]);
    process.agent(json!({"kind": "process", "command": "touch", "args": ["here"]}));
    linked(&process);
    fails(&process, &["run", "001"], "leads through a symbolic link");
    assert!(!process.exists(".wreckit/here"));
    fails(&process, &["run", "002"], "without printing its completion marker");
    assert!(process.exists(".wreckit/items/002-b/here"), "a real directory is worked in");
}

#[test]
fn a_fifo_in_its_directory_does_not_block_it() {
    let Some(component) = example() else { return };
    let component = fs::read(component).expect("a component");
    let repository = repository(&component, &["fifo"]);
    let made = Command::new("mkfifo").arg(repository.path(".wreckit/items/001-a/fifo")).status();
    assert!(made.expect("mkfifo runs").success());
    fails(&repository, &["run", "001", "--timeout", "30"], "cannot read fifo: ");
}

/// A component that asks, through this function of `wasi:cli/exit`, for an exit code.
fn exits_with(code: u8) -> Vec<u8> {
    let text = format!(
        r#"(component
            (import "wasi:cli/exit@0.2.6" (instance $exit
                (export "exit-with-code" (func (param "status-code" u8)))))
            (core func $exit (canon lower (func $exit "exit-with-code")))
            (core module $m
                (import "" "exit" (func $exit (param i32)))
                (func (export "run") (result i32) (call $exit (i32.const {code})) unreachable))
            (core instance $i (instantiate $m
                (with "" (instance (export "exit" (func $exit))))))
            (func $run (result (result)) (canon lift (core func $i "run")))
            (instance $run-interface (export "run" (func $run)))
            (export "wasi:cli/run@0.2.6" (instance $run-interface)))"#
    );
    wat::parse_str(text).expect("a component")
}

#[test]
fn its_exit_code_arrives() {
    fails(&repository(&exits_with(3), &[]), &["run"], "the agent exited with code 3");
    let busy = repository(&exits_with(75), &[]);
    let child = busy.start(&["run", "001"]);
    busy.until("the batch pauses", |repository| {
        repository.events().iter().any(|event| event["event"] == "batch-paused")
    });
    kill(child.id(), "INT");
    assert_eq!(finish(child).code, Some(130));
}

/// A component that calls a method of the directory that it sees with these core arguments after the
/// descriptor, `times` times, and exits with how often that failed (at most 99).
fn calls(method: &str, signature: &str, lowered: &str, arguments: &str, times: u32) -> Vec<u8> {
    let text = format!(
        r#"(component
            (import "wasi:filesystem/types@0.2.6" (instance $types
                (export "descriptor" (type $d (sub resource)))
                (type $errors (enum "access" "would-block" "already" "bad-descriptor" "busy"
                    "deadlock" "quota" "exist" "file-too-large" "illegal-byte-sequence"
                    "in-progress" "interrupted" "invalid" "io" "is-directory" "loop"
                    "too-many-links" "message-size" "name-too-long" "no-device" "no-entry" "no-lock"
                    "insufficient-memory" "insufficient-space" "not-directory" "not-empty"
                    "not-recoverable" "unsupported" "no-tty" "no-such-device" "overflow"
                    "not-permitted" "pipe" "read-only" "invalid-seek" "text-file-busy"
                    "cross-device"))
                (export "error-code" (type $error-code (eq $errors)))
                (export "[method]descriptor.{method}" (func (param "self" (borrow $d)) {signature}
                    (result (result (error $error-code)))))))
            (alias export $types "descriptor" (type $descriptor))
            (import "wasi:filesystem/preopens@0.2.6" (instance $preopens
                (export "descriptor" (type $d (eq $descriptor)))
                (export "get-directories" (func (result (list (tuple (own $d) string)))))))
            (import "wasi:cli/exit@0.2.6" (instance $exit
                (export "exit-with-code" (func (param "status-code" u8)))))
            (core module $libc
                (memory (export "memory") 2)
                (global $next (mut i32) (i32.const 65536))
                (func (export "realloc") (param i32 i32 i32 i32) (result i32)
                    (global.get $next)
                    (global.set $next (i32.add (global.get $next)
                        (i32.and (i32.add (local.get 3) (i32.const 15)) (i32.const -16))))))
            (core instance $libc (instantiate $libc))
            (alias core export $libc "memory" (core memory $memory))
            (alias core export $libc "realloc" (core func $realloc))
            (core func $directories (canon lower (func $preopens "get-directories")
                (memory $memory) (realloc $realloc)))
            (core func $call (canon lower (func $types "[method]descriptor.{method}")
                (memory $memory)))
            (core func $exit (canon lower (func $exit "exit-with-code")))
            (core module $m
                (import "" "memory" (memory 1))
                (import "" "directories" (func $directories (param i32)))
                (import "" "call" (func $call (param i32 {lowered} i32)))
                (import "" "exit" (func $exit (param i32)))
                (global $n (mut i32) (i32.const 0))
                (global $failed (mut i32) (i32.const 0))
                (func $digit (param $at i32) (param $unit i32)
                    (i32.store8 (local.get $at) (i32.add (i32.const 48) (i32.rem_u
                        (i32.div_u (global.get $n) (local.get $unit)) (i32.const 10)))))
                (func (export "run") (result i32)
                    (local $directory i32)
                    (call $directories (i32.const 16))
                    (local.set $directory (i32.load (i32.load (i32.const 16))))
                    (loop $again
                        ;; A name of five digits at 32, the result at 64.
                        (call $digit (i32.const 32) (i32.const 10000))
                        (call $digit (i32.const 33) (i32.const 1000))
                        (call $digit (i32.const 34) (i32.const 100))
                        (call $digit (i32.const 35) (i32.const 10))
                        (call $digit (i32.const 36) (i32.const 1))
                        (call $call (local.get $directory) {arguments} (i32.const 64))
                        (global.set $failed (i32.add (global.get $failed)
                            (i32.load8_u (i32.const 64))))
                        (global.set $n (i32.add (global.get $n) (i32.const 1)))
                        (br_if $again (i32.lt_u (global.get $n) (i32.const {times}))))
                    (call $exit (select (global.get $failed) (i32.const 99)
                        (i32.lt_u (global.get $failed) (i32.const 99))))
                    unreachable))
            (core instance $i (instantiate $m (with "" (instance
                (export "memory" (memory $memory))
                (export "directories" (func $directories))
                (export "call" (func $call))
                (export "exit" (func $exit))))))
            (func $run (result (result)) (canon lift (core func $i "run")))
            (instance $run-interface (export "run" (func $run)))
            (export "wasi:cli/run@0.2.6" (instance $run-interface)))"#
    );
    wat::parse_str(text).expect("a component")
}

#[test]
fn it_creates_a_limited_number_of_files() {
    let name = "(i32.const 32) (i32.const 5)";
    let makes =
        |times| calls("create-directory-at", r#"(param "path" string)"#, "i32 i32", name, times);
    fails(&repository(&makes(10_007), &[]), &["run", "001"], "the agent exited with code 7");
    assert_eq!(repository(&makes(10), &[]).run(&["run", "001"]).code, Some(0));
}

/// A component that takes far more to compile than its size suggests: every variable of its function
/// may have another value in every one of its nested loops.
fn bomb() -> Vec<u8> {
    const VARIABLES: usize = 40_000;
    const LOOPS: usize = 6_000;
    let set = |to: usize| format!("(local.set {to} (i32.add (local.get {to}) (local.get 0)))");
    let sets: String = (1..=VARIABLES).map(set).collect();
    let text = format!(
        "(component (core module (func (param i32) (local{}) {}{sets}{})))",
        " i32".repeat(VARIABLES),
        "loop ".repeat(LOOPS),
        "(br_if 0 (local.get 1)) end ".repeat(LOOPS),
    );
    wat::parse_str(text).expect("a component")
}

#[test]
fn what_compiling_it_takes_is_bounded() {
    let repository = repository(&bomb(), &[]);
    let ran = repository.run(&["run"]);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(ran.stderr.contains("compiling it takes more than"), "{}", ran.stderr);
    let ran = repository.run(&["--component", "agent.wasm", "status"]);
    assert_eq!(ran.code, Some(70), "{}", ran.stderr);
    assert!(ran.stderr.contains("compiling it takes more than"), "{}", ran.stderr);
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
fn an_unusable_component_is_reported_before_anything_starts() {
    let words = "the agent cannot be started: the component ";
    for component in [&b"not WebAssembly"[..], b"\0asm\x01\0\0\0"] {
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
