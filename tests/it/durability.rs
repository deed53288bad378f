//! The order of system calls: written, synced, renamed, directory synced, then acknowledged.

use std::collections::HashMap;
use std::process::Command;

use crate::environment::{Repository, finish, program};

/// A system call that matters here.
#[derive(Debug, PartialEq)]
enum Call {
    Write(String),
    Sync(String),
    Rename(String, String),
    Exec,
}

/// Runs the program under strace; `None` where there is none.
fn trace(repository: &Repository, arguments: &[&str]) -> Option<Vec<Call>> {
    let log = repository.path("trace");
    let mut command = Command::new("strace");
    command
        .args(["-f", "-s", "200", "-e", "trace=openat,openat2,write,fsync,fdatasync,syncfs,rename,renameat,renameat2,execve,close"])
        .arg("-o")
        .arg(&log)
        .arg(program())
        .args(arguments)
        .current_dir(repository.root());
    let traced = finish(command.spawn().ok()?);
    // In some sandboxes strace is there and may not trace.
    if traced.code != Some(0) {
        return None;
    }
    Some(parse(&repository.read("trace")))
}

/// Follows descriptors to the names that they were opened by.
fn parse(trace: &str) -> Vec<Call> {
    let mut names: HashMap<String, String> = HashMap::new();
    let mut calls = Vec::new();
    let main = trace.split_whitespace().next().unwrap_or_default().to_owned();
    let mut unfinished: HashMap<String, String> = HashMap::new();
    for line in trace.lines() {
        let (process, call) = line.split_once(' ').unwrap_or(("", line));
        // A call during which another thread did something stands in two pieces; it counts when it
        // has returned.
        if let Some(beginning) = call.trim().strip_suffix("<unfinished ...>") {
            unfinished.insert(process.to_owned(), beginning.to_owned());
            continue;
        }
        let whole = match call.trim().strip_prefix("<... ").and_then(|it| it.split_once("resumed>"))
        {
            Some((_, end)) => unfinished.remove(process).unwrap_or_default() + end,
            None => call.to_owned(),
        };
        let call = whole.trim();
        let quoted = |n: usize| call.split('"').nth(2 * n + 1).unwrap_or_default().to_owned();
        let descriptor = || {
            let arguments = call.split_once('(').map_or("", |(_, rest)| rest);
            arguments.split([',', ')']).next().unwrap_or_default().trim().to_owned()
        };
        let name =
            |names: &HashMap<String, String>| names.get(&descriptor()).cloned().unwrap_or_default();
        if call.starts_with("execve(") {
            calls.push(Call::Exec);
        } else if process != main {
            // Children write what they like.
        } else if call.starts_with("open") {
            if let Some((_, result)) = call.rsplit_once("= ") {
                names.insert(result.trim().to_owned(), quoted(0));
            }
        } else if call.starts_with("write(") {
            calls.push(Call::Write(format!("{} {}", name(&names), call)));
        } else if call.starts_with("fsync(")
            || call.starts_with("fdatasync(")
            || call.starts_with("syncfs(")
        {
            calls.push(Call::Sync(name(&names)));
        } else if call.starts_with("rename") {
            calls.push(Call::Rename(quoted(0), quoted(1)));
        }
    }
    calls
}

#[test]
fn what_is_acknowledged_is_on_disk_and_intents_are_before_their_agents() {
    let repository = Repository::new("true", &["001-a", "002-b"]);
    let Some(calls) = trace(&repository, &["run"]) else {
        eprintln!("strace cannot be used here: the order of calls is only checked in memory");
        return;
    };
    let position = |what: &str, from: usize, is: &dyn Fn(&Call) -> bool| {
        calls[from..]
            .iter()
            .position(is)
            .map(|found| from + found)
            .unwrap_or_else(|| panic!("{what}: {calls:#?}"))
    };
    let writes = |words: &'static str| move |call: &Call| matches!(call, Call::Write(text) if text.contains(words));
    let syncs = |words: &'static str| move |call: &Call| matches!(call, Call::Sync(name) if name.contains(words));

    // An intent is written and synced before the next process starts.
    let intent = position("the intent", 0, &writes(r#"item-started\",\"item\":\"001-a"#));
    let synced = position("its sync", intent, &syncs("events.1.jsonl"));
    let agent = position("the agent", intent, &|call| *call == Call::Exec);
    assert!(synced < agent, "{calls:#?}");

    // A result is written and synced before the user is told.
    let result = position("the result", agent, &writes(r#"item-completed\",\"item\":\"001-a"#));
    let synced = position("its sync", result, &syncs("events.1.jsonl"));
    let next = position("the next agent", result, &|call| *call == Call::Exec);
    assert!(synced < next);

    // The first snapshot: content, name, directory, all before the first agent.
    let renamed = position(
        "the snapshot",
        0,
        &|call| matches!(call, Call::Rename(_, target) if target.contains("batch-progress.json")),
    );
    let synced_before = calls[..renamed]
        .iter()
        .any(|call| matches!(call, Call::Sync(name) if name.starts_with("batch-progress.json.")));
    assert!(synced_before, "{calls:#?}");
    let directory =
        position("its directory", renamed, &|call| matches!(call, Call::Sync(name) if name == "."));
    assert!(directory < agent, "{calls:#?}");

    // Every item.json: synced under its temporary name, then renamed, then its directory synced.
    for (index, call) in calls.iter().enumerate() {
        let Call::Rename(_, target) = call else { continue };
        if target.ends_with("item.json") {
            let before = calls[..index]
                .iter()
                .any(|call| matches!(call, Call::Sync(name) if name.ends_with(".tmp")));
            let after = calls[index..]
                .iter()
                .any(|call| matches!(call, Call::Sync(name) if name.contains("items/")));
            assert!(before && after, "{calls:#?}");
        }
    }
}
