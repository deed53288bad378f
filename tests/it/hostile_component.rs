//! Components that mean harm, or are broken: exit 70, a clear message, agents ended, the progress
//! on disk intact.

use std::fmt::Write;

use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve};

use crate::environment::{Ran, Repository, finish, kill, runs, workspace};

/// A component with the imports and exports of ours, in which the body of every export is `body`,
/// but for those that `special` names.
fn component(body: &str, special: &[(&str, &str)], extra: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(workspace().join("wit")).expect("the WIT package");
    let world = resolve.select_world(&[package], Some("component")).expect("its world");
    let names = ManglingAndAbi::Legacy(LiftLowerAbi::Sync);
    let dummy = dummy_module(&resolve, world, names);
    let text = wasmprinter::print_bytes(&dummy).expect("text");
    let mut module = wat::parse_str(rewrite(&text, body, special, extra)).expect("a module");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("metadata");
    let mut encoder = ComponentEncoder::default();
    encoder.validate(true).module(&module).expect("a module");
    encoder.encode().expect("a component")
}

/// Replaces the bodies of the exported functions in the text of a module, each of which is a lone
/// `unreachable`.
fn rewrite(text: &str, body: &str, special: &[(&str, &str)], extra: &str) -> String {
    let exported = |index: &str| {
        text.lines().find_map(|line| {
            let line = line.trim();
            let name = line.strip_prefix("(export \"")?.split('"').next()?;
            line.ends_with(&format!("(func {index}))")).then_some(name)
        })
    };
    let mut module = String::new();
    let mut current = String::new();
    let mut has_result = false;
    // `$log` in a body is the import `log.write`.
    let log = text
        .lines()
        .find_map(|line| {
            line.split_once("wreckit:batch/log@0.1.0\" \"write\" (func (;")?.1.split_once(";)")
        })
        .map(|(index, _)| index)
        .expect("the import of log.write");
    for line in text.replace("(memory (;0;) 0)", "(memory (;0;) 1)").lines() {
        if let Some((_, rest)) = line.split_once("(func (;") {
            current = rest.split(";)").next().unwrap_or_default().to_owned();
            has_result = rest.contains("(result");
        }
        if line.trim() == "unreachable" {
            let name = exported(&current).unwrap_or_default();
            let chosen =
                special.iter().find(|(end, _)| name.ends_with(end)).map_or(body, |(_, body)| body);
            // Arguments are few: they always go to the same place.
            let fixed = match name {
                "cabi_realloc" => Some("i32.const 16384"),
                // `session.output`: a body for the others would return something.
                _ if !has_result => Some("unreachable"),
                _ => None,
            };
            let chosen = fixed.unwrap_or(chosen).replace("$log", log);
            writeln!(module, "{chosen}").expect("a string takes it");
        } else {
            module.push_str(line);
            module.push('\n');
        }
    }
    let end = module.rfind(')').expect("the end of the module");
    module.insert_str(end, extra);
    module
}

/// A repository with an agent that runs until it is ended.
fn with_agent() -> Repository {
    let script =
        "echo $$ > agent; trap 'echo ended > ended; exit 1' TERM; while :; do sleep 0.05; done";
    let repository = Repository::new(script, &["001-a"]);
    repository.write("agent.sh", script);
    repository
}

fn run(component: &[u8], arguments: &[&str]) -> (Repository, Ran) {
    let repository = with_agent();
    std::fs::write(repository.path("c.wasm"), component).expect("a file");
    let ran = repository.run(&[&["--component", "c.wasm"], arguments].concat());
    (repository, ran)
}

fn fails(component: &[u8], arguments: &[&str], words: &str) {
    let (_, ran) = run(component, arguments);
    assert_eq!(ran.code, Some(70), "{arguments:?}: {}", ran.stderr);
    assert!(ran.stderr.contains(words), "{words:?} is not in {}", ran.stderr);
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
}

#[test]
fn one_that_traps() {
    let component = component("unreachable", &[], "");
    for arguments in
        [&["run"][..], &["status"], &["doctor"], &["doctor", "--fix"], &["next"], &["add", "x"]]
    {
        fails(&component, arguments, "the component failed: ");
    }
}

#[test]
fn one_that_loops_for_ever() {
    fails(&component("(loop (br 0)) unreachable", &[], ""), &["run"], "more than 10 seconds");
}

#[test]
fn one_that_eats_memory() {
    let greedy =
        "(loop (br_if 0 (i32.ge_s (memory.grow (i32.const 16)) (i32.const 0)))) unreachable";
    fails(&component(greedy, &[], ""), &["run"], "more than 256 MiB of memory");
}

#[test]
fn one_that_eats_memory_in_pieces() {
    // No memory and no table is large; together they are.
    let grow = "(drop (memory.grow $a (i32.const 3000))) (drop (memory.grow $b (i32.const 3000))) \
        unreachable";
    let memories = component(grow, &[], "(memory $a 1) (memory $b 1)");
    fails(&memories, &["run"], "more than 256 MiB of memory");
    let (mut grow, mut tables) = (String::new(), String::new());
    for table in ["$a", "$b", "$c", "$d", "$e", "$f"] {
        write!(grow, "(drop (table.grow {table} (ref.null func) (i32.const 4000000)))").unwrap();
        write!(tables, "(table {table} 1 funcref)").unwrap();
    }
    let tables = component(&format!("{grow} unreachable"), &[], &tables);
    fails(&tables, &["run"], "more than 256 MiB of memory");
}

#[test]
fn one_of_many_instances() {
    let text = wasmprinter::print_bytes(component("unreachable", &[], "")).expect("text");
    let end = text.rfind(')').expect("the end of the component");
    let instances = "(core instance (instantiate $small))".repeat(200);
    let module = "(core module $small (memory 16))";
    let text = format!("{}{module}{instances})", &text[..end]);
    let component = wat::parse_str(text).expect("a component");
    fails(&component, &["run"], "the component cannot be used: ");
}

#[test]
fn one_that_floods_the_log() {
    // 200 messages of 64 KiB.
    let flood = "(memory.fill (i32.const 0) (i32.const 120) (i32.const 65536)) \
        (loop (call $log (i32.const 2) (i32.const 0) (i32.const 65536)) \
        (global.set $n (i32.add (global.get $n) (i32.const 1))) \
        (br_if 0 (i32.lt_u (global.get $n) (i32.const 200)))) unreachable";
    let component = component(flood, &[], "(global $n (mut i32) (i32.const 0))");
    let (_, ran) = run(&component, &["status"]);
    assert_eq!(ran.code, Some(70), "{}", ran.stderr.len());
    assert!(ran.stderr.len() < 5 << 20, "{} bytes of messages", ran.stderr.len());
}

#[test]
fn one_that_overflows_its_stack() {
    let extra = "(func $deep (call $deep) (call $deep))";
    fails(&component("(call $deep) unreachable", &[], extra), &["run"], "the component failed: ");
}

#[test]
fn one_that_returns_rubbish() {
    // An address outside of its memory, and one full of bytes that are no variant of anything.
    fails(&component("i32.const 0x7ffffff0", &[], ""), &["run"], "the component failed: ");
    let extra = "(data (i32.const 1024) \"\\ff\\ff\\ff\\ff\\ff\\ff\\ff\\ff\\ff\\ff\\ff\\ff\\ff\\ff\\ff\\ff\")";
    fails(&component("i32.const 1024", &[], extra), &["run"], "the component failed: ");
}

#[test]
fn what_is_no_component_of_ours() {
    fails(b"not WebAssembly", &["run"], "the component cannot be used: ");
    fails(
        &wat::parse_str("(component)").expect("a component"),
        &["run"],
        "the component cannot be used: ",
    );
    let greedy = "(component (import \"wasi:sockets/tcp@0.2.0\" (instance)))";
    fails(
        &wat::parse_str(greedy).expect("a component"),
        &["run"],
        "the component cannot be used: ",
    );
    let repository = Repository::new("true", &[]);
    let ran = repository.run(&["--component", "missing.wasm", "run"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("missing.wasm"), "{}", ran.stderr);
}

#[test]
fn what_is_not_a_regular_file_is_not_read() {
    let repository = Repository::new("true", &[]);
    let made = std::process::Command::new("mkfifo").arg(repository.path("fifo")).status();
    assert!(made.expect("mkfifo runs").success());
    std::fs::create_dir(repository.path("directory")).expect("a directory");
    std::fs::File::create(repository.path("sparse")).expect("a file").set_len(1 << 40).unwrap();
    for (file, words) in [
        ("fifo", "not a regular file"),
        ("/dev/zero", "not a regular file"),
        ("directory", "not a regular file"),
        ("sparse", "bytes"),
    ] {
        let ran = repository.run(&["--component", file, "status"]);
        assert_eq!(ran.code, Some(2), "{file}: {}", ran.stderr);
        assert!(ran.stderr.contains(words) && ran.stderr.contains(file), "{}", ran.stderr);
    }
}

/// A component that starts an item with this id, and fails a while later.
fn starts(item: &str, log: &str) -> Vec<u8> {
    // It returns zeros for long enough that the agent is running, then it traps.
    let fails = "(if (i32.gt_u (global.get $called) (i32.const 1000)) (then unreachable))";
    starts_and(item, log, fails)
}

/// The little-endian bytes of a number, as in a text of WebAssembly.
fn word(value: usize) -> String {
    (value as u32).to_le_bytes().iter().fold(String::new(), |mut text, byte| {
        write!(text, "\\{byte:02x}").expect("a string takes it");
        text
    })
}

/// A component that starts `sh agent.sh` for an item with this id, and then does something in each call.
fn starts_and(item: &str, log: &str, then: &str) -> Vec<u8> {
    // result<step>: tag at 0; step at 8: start (8, 12), events (16, 20), wake-after (24), finished (32), paused-until
    // (36), counts (48…).
    //
    // A call has 152 bytes: item, attempt, number, phase, story, title, overview and directory (52); from 64 the launch:
    // worker (tag at 64; program at 72, arguments at 80, directory at 88, input at 92), environment (104), watch-output
    // (112), timeout (120), log (136) and append-log (144).
    let text = |at: usize, text: &str| format!("{}{}", word(at), word(text.len()));
    let zeros = |bytes: usize| "\\00".repeat(bytes);
    let call = [
        text(2304, item),
        word(1),
        word(1),
        zeros(20),
        text(2304, item),
        zeros(8),
        text(2400, "items/001-a"),
        zeros(4 + 8),
        text(2600, "sh"),
        format!("{}{}", word(2700), word(1)),
        zeros(136 - 88),
        text(2500, log),
        zeros(8),
    ];
    let extra = format!(
        r#"(global $called (mut i32) (i32.const 0))
        (data (i32.const 1024) "{}{}{}{}\10\27")
        (data (i32.const 2048) "{}")
        (data (i32.const 2304) "{item}")
        (data (i32.const 2400) "items/001-a")
        (data (i32.const 2500) "{log}")
        (data (i32.const 2600) "sh")
        (data (i32.const 2700) "{}")
        (data (i32.const 2800) "agent.sh")"#,
        zeros(8),
        word(2048),
        word(1),
        zeros(8),
        call.concat(),
        text(2800, "agent.sh"),
    );
    let answers = format!(
        "(global.set $called (i32.add (global.get $called) (i32.const 1))) {then} \
        (select (i32.const 1024) (i32.const 4096) (i32.eq (global.get $called) (i32.const 1)))"
    );
    session(&answers, &extra)
}

/// A component with an open session: `open` returns zeros, a new session without a name, and `settings` the mock agent.
fn session(advance: &str, extra: &str) -> Vec<u8> {
    // result<configuration>: tag at 0; the tag of the agent at 8.
    let extra = format!(r#"{extra} (data (i32.const 8200) "\03")"#);
    let special = [("#advance", advance), ("#settings", "i32.const 8192")];
    component("i32.const 4096", &special, &extra)
}

const RUN: [&str; 3] = ["run", "--parallel", "1"];

#[test]
fn one_that_fails_in_the_middle_has_its_agents_ended() {
    let (repository, ran) = run(&starts("001-a", "log"), &RUN);
    assert_eq!(ran.code, Some(70), "{}", ran.stderr);
    assert!(ran.stderr.contains("the component failed: "), "{}", ran.stderr);
    let agent = repository.read("agent");
    assert_ne!(agent, "", "the agent ran");
    assert!(!runs(agent.trim()), "it was ended");
    assert_eq!(repository.state("001-a"), "idea");
    let ran = repository.run(&["run", "--mock-agent", "--mock-delay", "0"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
}

#[test]
fn one_that_loops_over_imports_does_not_keep_signals_away() {
    let loops = "(if (i32.gt_u (global.get $called) (i32.const 1)) (then \
        (loop (call $log (i32.const 0) (i32.const 0) (i32.const 0)) (br 0))))";
    let repository = with_agent();
    std::fs::write(repository.path("c.wasm"), starts_and("001-a", "log", loops)).expect("a file");
    let child = repository.start(&[&["--component", "c.wasm"], &RUN[..]].concat());
    repository.until("the agent is at work", |repository| !repository.read("agent").is_empty());
    // Once the agent works, the call that reports so loops. The first signal is for when it returns
    // (it has 30 s), the second one ends it.
    for _ in 0..2 {
        std::thread::sleep(std::time::Duration::from_secs(1));
        kill(child.id(), "INT");
    }
    let ran = finish(child);
    assert_eq!(ran.code, Some(130), "{}", ran.stderr);
    assert!(ran.stderr.contains("in the middle of a call"), "{}", ran.stderr);
    assert!(!runs(repository.read("agent").trim()), "the agent was ended");
    assert_eq!(repository.read("ended"), "ended\n", "and was asked first");
}

#[test]
fn one_that_names_paths_outside_reaches_nothing() {
    let (repository, ran) = run(&starts("../x", "log"), &RUN);
    assert_eq!(ran.code, Some(70), "{}", ran.stderr);
    let words = "violated the protocol: invalid item name";
    assert!(ran.stderr.contains(words), "{}", ran.stderr);
    assert_eq!(repository.read("agent"), "", "nothing was started");
    let (repository, ran) = run(&starts("001-a", "../../escaped"), &RUN);
    assert_eq!(ran.code, Some(70), "{}", ran.stderr);
    assert!(ran.stderr.contains("violated the protocol: invalid path"), "{}", ran.stderr);
    assert_eq!(repository.read("agent"), "", "nothing was started");
}

/// A component that reports an event with this line, and has finished.
fn reports(line: &str) -> Vec<u8> {
    // See `starts_and`: there is one event, and nothing to start. An event has 128 bytes, and its line is at 120.
    let bytes: String = line.bytes().map(|byte| format!("\\{byte:02x}")).collect();
    let extra = format!(
        r#"(data (i32.const 1040) "{}{}")
        (data (i32.const 1056) "\01")
        (data (i32.const 2168) "{}{}")
        (data (i32.const 2304) "{bytes}")"#,
        word(2048),
        word(1),
        word(2304),
        word(line.len()),
    );
    session("i32.const 1024", &extra)
}

#[test]
fn one_that_reports_events_that_are_not_json() {
    let run = |line| run(&reports(line), &[&RUN[..], &["--format", "json"]].concat()).1;
    let sound = run("{\n\"event\":\"x\",\n\"a\": 1.0}");
    assert_eq!(sound.code, Some(0), "{}", sound.stderr);
    assert_eq!(sound.stdout, "{ \"event\":\"x\", \"a\": 1.0}\n", "one object on one line");
    for event in ["x", "[1]", "{\"a\": 1}\n::error::forged", "{\"a\": \"\n::error::forged\"}"] {
        let ran = run(event);
        assert_eq!(ran.stdout, "", "{event}");
        assert!(ran.stderr.contains("is not a JSON object"), "{}", ran.stderr);
    }
}
