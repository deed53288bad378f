//! The commands, as a user types them.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::environment::{Repository, finish, program};

#[test]
fn the_demo_runs_anywhere_and_leaves_nothing() {
    let place = Repository::empty();
    let temporary = Repository::empty();
    let mut command = place.command(&["run", "--demo", "--mock-delay", "1"]);
    let ran = finish(command.env("TMPDIR", temporary.root()).spawn().expect("it starts"));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(ran.stdout, "5 completed, 1 already done\n");
    assert_eq!(place.everything(), []);
    assert_eq!(temporary.everything(), []);
}

#[test]
fn init_add_and_run_from_nothing() {
    let repository = Repository::empty();
    let made = repository.run(&["init"]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    assert!(repository.read(".wreckit/.gitignore").contains("/batch-progress.json"));
    let nothing = repository.run(&["run", "--mock-agent"]);
    assert_eq!((nothing.code, nothing.stdout.as_str()), (Some(0), "0 completed\n"));
    assert!(nothing.stderr.contains("wreckit-host add TITLE"), "{}", nothing.stderr);
    let again = repository.run(&["init"]);
    assert_eq!((again.code, again.stdout.as_str()), (Some(0), ""));

    let added = repository.run(&["add", "Fix the login: it fails!", "Ünïcode & more", "日本語"]);
    assert_eq!(added.stdout, "001-fix-the-login-it-fails\n002-ncode-more\n003-item\n");
    let mut command = repository.command(&["add", "-"]);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("it starts");
    child.stdin.as_mut().expect("a pipe").write_all(b"One\n\n  Two  \n").expect("it reads");
    assert_eq!(finish(child).stdout, "004-one\n005-two\n");
    let item = repository.json(".wreckit/items/005-two/item.json");
    assert_eq!(
        (&item["title"], &item["state"], &item["id"]),
        (&json!("Two"), &json!("idea"), &json!("005-two"))
    );

    let ran = repository.run(&["run", "--mock-agent", "--mock-delay", "0", "--parallel", "3"]);
    assert_eq!(ran.stdout, "5 completed\n", "{}", ran.stderr);
}

/// Whether it is killed or the disk is full: what `init` could not write, a second one makes.
#[test]
fn an_init_that_was_cut_off_is_completed_by_the_next_one() {
    let repository = Repository::empty();
    // No byte can be written; the first attempt to ends the program.
    let limited = format!("ulimit -f 0; exec '{}' init", program().display());
    let cut_off = Command::new("sh").args(["-c", &limited]).current_dir(repository.root()).output();
    assert_ne!(cut_off.expect("sh runs").status.code(), Some(0));
    assert!(repository.exists(".wreckit/items") && !repository.exists(".wreckit/config.json"));
    let again = repository.run(&["init"]);
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert!(repository.json(".wreckit/config.json")["agent"].is_object());
    assert!(!repository.read(".wreckit/prompts/plan.md").is_empty());
}

#[test]
fn a_command_gets_its_arguments_and_its_environment() {
    let script = r#"echo "out $1|$2|$3|$4"; echo "err $WRECKIT_ITEM_ID $WRECKIT_ATTEMPT" >&2; pwd; env | grep ^WRECKIT_ | sort"#;
    let repository = Repository::empty();
    repository.agent(json!({
        "kind": "command", "command": "sh",
        "args": ["-c", script, "agent", "{id}", "{title}", "{dir}", "{root}"],
    }));
    repository.item("001-a", &[]);
    let ran = repository.run(&["run"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let session = repository.events()[0]["session_id"].as_str().expect("an id").to_owned();
    let log = repository.read(&format!(".wreckit/runs/{session}/001-a.1.log"));
    let root = repository.root().canonicalize().expect("it is there");
    let root = root.display();
    let directory = format!("{root}/.wreckit/items/001-a");
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(
        lines[..3],
        [&format!("out 001-a|Title of 001-a|{directory}|{root}"), "err 001-a 1", &root.to_string(),]
    );
    for line in [
        format!("WRECKIT_ITEM_DIR={directory}"),
        "WRECKIT_ITEM_ID=001-a".to_owned(),
        format!("WRECKIT_SESSION_ID={session}"),
        "WRECKIT_ATTEMPT=1".to_owned(),
    ] {
        assert!(lines.contains(&line.as_str()), "{line} is not in {log}");
    }
    assert!(lines.iter().any(|line| line.starts_with("WRECKIT_ROOT=")));
}

#[test]
fn a_failure_is_shown_with_its_log_and_ends_with_1() {
    let repository = Repository::new("echo it broke; exit 4", &["001-a"]);
    repository.item("002-b", &["001-a"]);
    let ran = repository.run(&["run"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stdout.contains("failed   001-a: the agent exited with code 4"), "{}", ran.stdout);
    assert!(
        ran.stdout.contains("blocked  002-b: depends on 001-a, which failed"),
        "{}",
        ran.stdout
    );
    let log = ran.stdout.lines().find_map(|line| line.trim().strip_prefix("Log: ")).expect("a log");
    assert_eq!(repository.read(log), "it broke\n");
    let retry = "Retry failed items: wreckit-host run --retry-failed\n";
    assert!(ran.stderr.contains(retry), "{}", ran.stderr);
    let item = repository.json(".wreckit/items/001-a/item.json");
    assert_eq!(item["last_error"], "the agent exited with code 4");

    repository.agent(json!({"kind": "command", "command": "true"}));
    assert_eq!(repository.run(&["run"]).code, Some(1), "it is still blocked");
    let ran = repository.run(&["run", "--retry-failed"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "2 completed\n"));
}

#[test]
fn an_agent_killed_by_a_signal_names_it() {
    let repository = Repository::new("kill -9 $$", &["001-a"]);
    let ran = repository.run(&["run"]);
    assert!(ran.stdout.contains("ended by signal 9 (SIGKILL)"), "{}", ran.stdout);
}

#[test]
fn items_that_cannot_be_used_are_named_and_the_others_run() {
    let repository = Repository::new("true", &["001-a", "003-c"]);
    repository.write(".wreckit/items/002-b/item.json", "{\"schema_version\": 1}");
    std::fs::create_dir(repository.path(".wreckit/items/004-empty")).expect("a directory");
    repository.item("005-x", &[]);
    std::fs::rename(
        repository.path(".wreckit/items/005-x"),
        repository.path(".wreckit/items/006-y"),
    )
    .expect("moved");
    std::os::unix::fs::symlink("/etc", repository.path(".wreckit/items/007-out")).expect("a link");
    repository.write(".wreckit/items/notes.md", "not an item");
    let ran = repository.run(&["run", "--format", "json"]);
    assert_eq!(ran.code, Some(1));
    let last: Value =
        serde_json::from_str(ran.stdout.lines().last().expect("a line")).expect("JSON");
    assert_eq!(last["completed"], json!(["001-a", "003-c"]));
    assert_eq!(last["invalid"], json!(["002-b", "004-empty", "006-y", "007-out"]));
    for words in [
        "002-b: item.json is invalid: `id` must be",
        "004-empty: item.json is missing",
        "006-y",
        "007-out",
    ] {
        assert!(ran.stderr.contains(words), "{words}: {}", ran.stderr);
    }
    assert!(!repository.exists(".wreckit/batch-progress.json"), "nothing of it could ever run");
}

#[test]
fn json_events_are_the_journal_and_end_with_the_result() {
    let repository = Repository::new("true", &["001-a", "002-b"]);
    let ran = repository.run(&["run", "--format", "json"]);
    let printed: Vec<Value> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let journal = repository.events();
    assert_eq!(printed.len(), journal.len());
    for (printed, mut recorded) in printed.iter().zip(journal) {
        assert!(recorded.as_object_mut().expect("an object").shift_remove("checksum").is_some());
        if printed["event"] != "batch-finished" {
            assert_eq!(*printed, recorded);
        }
    }
    let last = printed.last().expect("an event");
    let keys: Vec<&str> =
        ["session_id", "completed", "failed", "skipped", "remaining", "invalid"].to_vec();
    assert!(keys.iter().all(|key| last.get(key).is_some()), "{last}");
}

#[test]
fn a_dry_run_changes_nothing() {
    let repository = Repository::new("true", &["001-a"]);
    repository.item("002-b", &["003-c"]);
    repository.item("003-c", &[]);
    repository.item("004-d", &["009-x"]);
    let before = repository.everything();
    let ran = repository.run(&["run", "--dry-run"]);
    assert_eq!(ran.code, Some(0));
    assert_eq!(
        ran.stdout,
        "run      001-a\nrun      003-c\nrun      002-b\nblocked  004-d: depends on 009-x, which does not exist\n"
    );
    assert_eq!(repository.everything(), before);
}

#[test]
fn next_runs_one_and_touches_no_progress_file() {
    let repository = Repository::new("echo $1 >> ran", &["001-a", "002-b"]);
    assert_eq!(repository.run(&["next"]).code, Some(0));
    assert_eq!(repository.ran(), ["001-a"]);
    assert!(!repository.exists(".wreckit/batch-progress.json"));
    assert_eq!(repository.run(&["next"]).code, Some(0));
    assert_eq!(repository.run(&["next"]).code, Some(0), "nothing is left to do");
    assert_eq!(repository.ran(), ["001-a", "002-b"]);
}

#[test]
fn the_status_of_a_repository_without_a_session() {
    let repository = Repository::new("true", &["001-a"]);
    repository.item("002-b", &["001-a"]);
    repository.write(".wreckit/items/003-c/item.json", "");
    let before = repository.everything();
    let status: Value =
        serde_json::from_str(&repository.run(&["status", "--json"]).stdout).expect("JSON");
    assert_eq!(repository.everything(), before);
    let keys: Vec<&String> = status.as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["session", "owner", "stale", "counts", "items"]);
    assert_eq!(
        (&status["session"], &status["owner"], &status["stale"]),
        (&Value::Null, &Value::Null, &json!(false))
    );
    let items: Vec<&Value> =
        status["items"].as_array().expect("a list").iter().map(|item| &item["status"]).collect();
    assert_eq!(items, ["ready", "blocked", "invalid"]);
}

/// The morning after: a session that has ended leaves no file, and what failed is still told.
#[test]
fn the_status_after_a_session_tells_what_failed() {
    let repository = Repository::new(r#"[ "$1" != 002-b ] || exit 3"#, &["001-a", "002-b"]);
    assert_eq!(repository.run(&["run"]).code, Some(1));
    let status = repository.run(&["status"]).stdout;
    assert!(status.contains("ready     002-b  "), "{status}");
    assert!(status.contains("(last failure: the agent exited with code 3)"), "{status}");
    assert_eq!(status.matches("last failure").count(), 1, "{status}");
}

#[test]
fn a_repository_full_of_odd_files_stops_nothing() {
    let repository = Repository::new("echo $1 >> ran", &["001-a"]);
    std::fs::create_dir_all(repository.path(".wreckit/runs/odd/events.1.jsonl"))
        .expect("a directory");
    repository.write(".wreckit/runs/huge/events.1.jsonl", "");
    let huge = std::fs::OpenOptions::new()
        .write(true)
        .open(repository.path(".wreckit/runs/huge/events.1.jsonl"))
        .expect("a file");
    huge.set_len(400 << 20).expect("a sparse file");
    repository.write(".wreckit/batch-progress.json", &format!("[{}0]", "0,".repeat(20 << 20)));
    let found = repository.run(&["doctor"]);
    assert!(found.stdout.contains("BATCH_PROGRESS_CORRUPT"), "{} {}", found.stdout, found.stderr);
    let ran = repository.run(&["run"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(repository.ran(), ["001-a"]);
}

#[test]
fn a_lock_that_is_a_link_is_refused_and_what_it_leads_to_stays() {
    let repository = Repository::new("true", &["001-a"]);
    let before = repository.read(".wreckit/config.json");
    std::os::unix::fs::symlink("config.json", repository.path(".wreckit/batch.lock"))
        .expect("a link");
    let ran = repository.run(&["run"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains(".wreckit/batch.lock"), "{}", ran.stderr);
    assert_eq!(repository.read(".wreckit/config.json"), before);
}

#[test]
fn a_result_whose_file_cannot_be_written_is_named_and_kept() {
    let repository =
        Repository::new("printf broken > .wreckit/items/$1/item.json; echo $1 >> ran", &["001-a"]);
    let whole = repository.read(".wreckit/items/001-a/item.json");
    let ran = repository.run(&["run"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stdout);
    assert!(ran.stdout.contains("invalid  001-a: its result cannot be written"), "{}", ran.stdout);
    std::thread::sleep(std::time::Duration::from_millis(20));
    repository.write(".wreckit/items/001-a/item.json", &whole);
    let file =
        std::fs::File::open(repository.path(".wreckit/items/001-a/item.json")).expect("a file");
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).expect("it is ours");
    assert_eq!(repository.run(&["run"]).code, Some(0));
    assert_eq!((repository.state("001-a").as_str(), repository.ran().len()), ("done", 1));
}

#[test]
fn a_reader_that_goes_away_ends_nothing() {
    let repository = Repository::new("echo $1 >> ran", &["001-a", "002-b"]);
    let mut child = repository.start(&["run", "--format", "json"]);
    drop(child.stdout.take());
    drop(child.stderr.take());
    assert_eq!(finish(child).code, Some(0));
    assert_eq!(repository.ran(), ["001-a", "002-b"]);
}

#[test]
fn titles_with_escapes_do_not_reach_the_terminal() {
    let repository = Repository::new("exit 0", &[]);
    let text = repository.read(".wreckit/config.json");
    repository.write(".wreckit/config.json", &text);
    repository.item("001-a", &[]);
    let item = repository
        .read(".wreckit/items/001-a/item.json")
        .replace("Title of", "\\u001b[31mRed\\u0007");
    repository.write(".wreckit/items/001-a/item.json", &item);
    let status = repository.run(&["status"]);
    assert!(
        !status.stdout.contains('\u{1b}') && status.stdout.contains("\\u{1b}[31mRed"),
        "{}",
        status.stdout
    );
}

#[test]
fn backups_are_listed_and_restored() {
    let repository = Repository::new("true", &["001-a"]);
    repository.write(".wreckit/batch-progress.json", "precious");
    assert_eq!(repository.run(&["backups", "list"]).stdout, "no backups\n");
    assert_eq!(repository.run(&["doctor", "--fix"]).code, Some(0));
    let listed = repository.run(&["backups", "list"]).stdout;
    assert!(
        listed.contains("doctor-fix") && listed.contains(".wreckit/batch-progress.json"),
        "{listed}"
    );
    let id = listed.split_whitespace().next().expect("an id");
    let manifest = repository.json(&format!(".wreckit/backups/{id}/manifest.json"));
    assert_eq!((&manifest["schema_version"], &manifest["session_id"]), (&json!(1), &json!(id)));
    let file = &manifest["files"][0];
    assert_eq!(file["original_path"], ".wreckit/batch-progress.json");
    assert_eq!(
        (&file["operation"], &file["diagnostic_code"]),
        (&json!("deleted"), &json!("BATCH_PROGRESS_CORRUPT"))
    );
    assert_eq!(repository.run(&["backups", "restore", id]).code, Some(0));
    assert_eq!(repository.read(".wreckit/batch-progress.json"), "precious");
}

#[test]
fn a_directory_without_permission_stops_the_batch_and_says_which() {
    use std::os::unix::fs::PermissionsExt;
    let repository = Repository::new("true", &["001-a"]);
    let runs = repository.path(".wreckit/runs");
    std::fs::create_dir(&runs).expect("a directory");
    std::fs::set_permissions(&runs, PermissionsExt::from_mode(0o500)).expect("it is ours");
    if std::fs::write(runs.join("probe"), "").is_ok() {
        eprintln!("permissions do not bind this user: only the full disk in memory is tested");
        return;
    }
    let ran = repository.run(&["run"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains(".wreckit/runs"), "{}", ran.stderr);
    assert_eq!(repository.state("001-a"), "idea");
}

#[test]
fn help_and_version_and_completions() {
    let place = Repository::empty();
    let help = place.run(&["--help"]);
    assert_eq!(help.code, Some(0));
    for words in [
        "--no-resume",
        "Start fresh batch run, ignoring saved progress",
        "--retry-failed",
        "Include previously failed items when resuming",
    ] {
        assert!(help.stdout.contains(words), "{words}");
    }
    assert!(place.run(&["--version"]).stdout.starts_with("wreckit-host "));
    assert!(place.run(&["completions", "bash"]).stdout.contains("wreckit-host"));
}

#[test]
fn status_keeps_of_an_item_only_what_it_shows() {
    // More in total than the component may have memory.
    let repository = Repository::new("true", &["001-a"]);
    let item = repository.read(".wreckit/items/001-a/item.json");
    let overview = format!("\"overview\":\"{}\"", "words ".repeat(600_000));
    for number in 1..=80 {
        let id = format!("{number:03}-a");
        let item = item.replace("001-a", &id).replace("\"overview\":\"\"", &overview);
        assert!(item.len() > 3 << 20, "the overview is in it");
        repository.write(&format!(".wreckit/items/{id}/item.json"), &item);
    }
    let ran = repository.run(&["status", "--json"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let status: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(status["counts"]["queued"], 80);
    assert_eq!(repository.run(&["doctor"]).code, Some(0));
}
