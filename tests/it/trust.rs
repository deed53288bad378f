//! What a repository of someone else, or a title, cannot do.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use serde_json::json;

use crate::environment::{Ran, Repository, finish};

/// A user that is not the one who runs the tests.
const SOMEONE: u32 = 65534;

/// Gives files to someone else; false, and said so, where that is not possible.
fn give_away(repository: &Repository, paths: &[&str]) -> bool {
    let given = paths.iter().all(|path| {
        let path = repository.path(path);
        chown(path, Some(SOMEONE), Some(SOMEONE)).is_ok()
    });
    if !given {
        eprintln!("only root gives files away: not tested");
    }
    given
}

fn run_with(repository: &Repository, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
    let mut command = repository.command(arguments);
    command.envs(variables.iter().copied());
    finish(command.spawn().expect("the program starts"))
}

fn writes_ran() -> Repository {
    Repository::new("echo $1 >> ran", &["001-a"])
}

#[test]
fn a_repository_of_someone_else_is_refused_by_every_command() {
    let repository = writes_ran();
    if !give_away(&repository, &[".wreckit"]) {
        return;
    }
    let fix = format!("export WRECKIT_SAFE_DIRECTORY={}", repository.root().display());
    let commands: [&[&str]; 8] = [
        &["run"],
        &["next"],
        &["run", "--dry-run"],
        &["run", "--mock-agent"],
        &["status"],
        &["doctor"],
        &["backups", "list"],
        &["add", "B"],
    ];
    for arguments in commands {
        let ran = repository.run(arguments);
        assert_eq!(ran.code, Some(2), "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("dubious ownership"), "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(&format!("(uid {SOMEONE})")), "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(&fix), "{arguments:?}: {}", ran.stderr);
    }
    assert!(repository.ran().is_empty());
    // Below it, too: this is how one in a world-writable directory is found.
    fs::create_dir(repository.path("below")).expect("a directory");
    assert_eq!(repository.run(&["--cwd", "below", "run"]).code, Some(2));
    assert!(repository.ran().is_empty());
}

#[test]
fn every_part_of_a_repository_has_to_be_the_callers() {
    for path in [".", ".wreckit", ".wreckit/config.json", ".wreckit/config.local.json"] {
        let repository = writes_ran();
        repository.write(".wreckit/config.local.json", "{}");
        if !give_away(&repository, &[path]) {
            return;
        }
        let ran = repository.run(&["run"]);
        assert_eq!(ran.code, Some(2), "{path}: {}", ran.stderr);
        assert!(ran.stderr.contains("dubious ownership"), "{path}: {}", ran.stderr);
        assert!(repository.ran().is_empty(), "{path}");
    }
}

#[test]
fn features_of_someone_else_are_refused() {
    for path in [".claude", ".claude/.output/features", ".wreckit"] {
        let repository = writes_ran();
        let made = repository.run(&["feature", "new", "Search"]);
        assert_eq!(made.code, Some(0), "{}", made.stderr);
        if !give_away(&repository, &[path]) {
            return;
        }
        let ran = repository.run(&["feature", "run", made.stdout.trim()]);
        assert_eq!(ran.code, Some(2), "{path}: {}", ran.stderr);
        assert!(ran.stderr.contains("dubious ownership"), "{path}: {}", ran.stderr);
        assert!(repository.ran().is_empty(), "{path}");
    }
}

#[test]
fn exceptions_are_the_callers() {
    let repository = writes_ran();
    if !give_away(&repository, &[".", ".wreckit"]) {
        return;
    }
    let root = repository.root().to_str().expect("UTF-8").to_owned();
    let above = format!("{}/*", repository.root().parent().expect("a parent").display());
    let is_refused =
        |variables: &[(&str, &str)]| run_with(&repository, &["status"], variables).code == Some(2);
    assert!(is_refused(&[]));
    assert!(is_refused(&[("WRECKIT_SAFE_DIRECTORY", "/elsewhere:relative:")]));
    for listed in [&root, &above, "*", &format!("/elsewhere:{root}")] {
        assert!(!is_refused(&[("WRECKIT_SAFE_DIRECTORY", listed)]), "{listed}");
    }
    // The user who called `sudo`.
    assert!(!is_refused(&[("SUDO_UID", "65534")]));
    assert!(is_refused(&[("SUDO_UID", "65533")]));
    // The settings, unless they are someone else's, too.
    let home = tempfile::tempdir().expect("a directory");
    let home_path = home.path().to_str().expect("UTF-8");
    let settings = home.path().join("wreckit-host/config.json");
    fs::create_dir(home.path().join("wreckit-host")).expect("a directory");
    let write = |text: String| fs::write(&settings, text).expect("a file");
    write(json!({"safe_directories": ["/elsewhere"]}).to_string());
    assert!(is_refused(&[("XDG_CONFIG_HOME", home_path)]));
    write(json!({"safe_directories": [root]}).to_string());
    assert!(!is_refused(&[("XDG_CONFIG_HOME", home_path)]));
    chown(&settings, Some(SOMEONE), None).expect("root");
    assert!(is_refused(&[("XDG_CONFIG_HOME", home_path)]));
    chown(&settings, Some(0), None).expect("root");
    write("{".to_owned());
    let ran = run_with(&repository, &["status"], &[("XDG_CONFIG_HOME", home_path)]);
    assert!(ran.stderr.contains("wreckit-host/config.json: invalid JSON"), "{}", ran.stderr);
    // A repository cannot make itself an exception.
    repository.write(".config/wreckit-host/config.json", r#"{"safe_directories": ["*"]}"#);
    assert!(give_away(&repository, &[".config/wreckit-host/config.json"]));
    assert!(is_refused(&[]));
    let ran = run_with(&repository, &["run"], &[("WRECKIT_SAFE_DIRECTORY", &root)]);
    assert_eq!((ran.code, repository.ran()), (Some(0), vec!["001-a".to_owned()]), "{}", ran.stderr);
}

#[test]
fn a_link_out_of_the_repository_is_refused() {
    let other = writes_ran();
    for number in 0..40 {
        other.write(&format!(".wreckit/runs/exp{number}/model.bin"), "precious");
    }
    let before = other.everything();
    let repository = Repository::empty();
    symlink(other.path(".wreckit"), repository.path(".wreckit")).expect("a link");
    symlink(other.path(".claude"), repository.path(".claude")).expect("a link");
    fs::create_dir_all(other.path(".claude/.output/features")).expect("a directory");
    for arguments in [&["run"][..], &["status"], &["doctor", "--fix"], &["feature", "list"]] {
        let ran = repository.run(arguments);
        assert_eq!(ran.code, Some(2), "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("leads out of the repository"), "{}", ran.stderr);
    }
    fs::remove_dir_all(other.path(".claude")).expect("a directory");
    assert_eq!(other.everything(), before);
}

#[test]
fn a_link_that_stays_in_the_repository_is_followed() {
    let repository = writes_ran();
    fs::rename(repository.path(".wreckit"), repository.path("tools")).expect("a directory");
    symlink("tools", repository.path(".wreckit")).expect("a link");
    let ran = repository.run(&["run"]);
    assert_eq!((ran.code, repository.ran()), (Some(0), vec!["001-a".to_owned()]), "{}", ran.stderr);
}

#[test]
fn directories_of_someone_else_among_the_runs_stay() {
    let repository = writes_ran();
    for number in 0..40 {
        repository.write(&format!(".wreckit/runs/exp{number}/model.bin"), "precious");
    }
    assert_eq!(repository.run(&["run"]).code, Some(0));
    for number in 0..40 {
        assert!(repository.exists(&format!(".wreckit/runs/exp{number}/model.bin")), "{number}");
    }
}

#[test]
fn files_of_someone_else_in_an_old_run_stay() {
    let repository = Repository::new("", &[]);
    let runs = || -> BTreeSet<String> {
        let entries = fs::read_dir(repository.path(".wreckit/runs")).expect("a directory");
        entries.flatten().map(|it| it.file_name().to_string_lossy().into_owned()).collect()
    };
    let run = || {
        repository.item(&format!("{}-a", 100 + repository.ran().len()), &[]);
        repository.write("ran", &format!("{}x\n", repository.read("ran")));
        let ran = repository.run(&["run", "--mock-agent", "--mock-delay", "0"]);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    };
    run();
    let first = runs().into_iter().next().expect("a run");
    repository.write(&format!(".wreckit/runs/{first}/notes.txt"), "mine");
    // A copy of a run is theirs as well.
    let journal = repository.read(&format!(".wreckit/runs/{first}/events.1.jsonl"));
    repository.write(".wreckit/runs/copy/events.1.jsonl", &journal);
    run();
    let second = runs().into_iter().find(|run| *run != first && run != "copy").expect("a run");
    for _ in 0..20 {
        run();
    }
    assert!(!runs().contains(&second), "an old run is removed");
    assert_eq!(repository.read(&format!(".wreckit/runs/{first}/notes.txt")), "mine");
    assert!(!repository.exists(&format!(".wreckit/runs/{first}/events.1.jsonl")));
    assert!(repository.exists(".wreckit/runs/copy/events.1.jsonl"));
}

#[test]
fn an_item_with_an_illegal_id_does_not_run() {
    let repository = Repository::new("", &["001-$(touch PWNED)", "002-日本語", "003-हिन्दी_B.c"]);
    repository
        .agent(json!({"kind": "command", "command": "sh", "args": ["-c", "echo {id} >> ran"]}));
    let ran = repository.run(&["run"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert_eq!(repository.ran(), ["002-日本語", "003-हिन्दी_B.c"]);
    assert!(!repository.exists("PWNED"));
    assert!(ran.stderr.contains("an id may only contain letters, digits"), "{}", ran.stderr);
    // Said once, when the run starts.
    assert_eq!(ran.stderr.matches("in the script of").count(), 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("\"$WRECKIT_ITEM_ID\""), "{}", ran.stderr);
    let doctor = repository.run(&["doctor"]);
    assert_eq!(doctor.code, Some(1), "{}", doctor.stdout);
    for word in ["INVALID_ITEM_ID", "001-$(touch PWNED)", "UNSAFE_PLACEHOLDER"] {
        assert!(doctor.stdout.contains(word), "{word}: {}", doctor.stdout);
    }
    assert!(!repository.exists("PWNED"));
}

#[test]
fn agents_get_what_placeholders_stand_for_as_variables() {
    let script = "printf '%s|' \"$WRECKIT_ITEM_ID\" \"$WRECKIT_TITLE\" \"$WRECKIT_OVERVIEW\" \
        \"$WRECKIT_PHASE\" \"$WRECKIT_ITEM_DIR\" \"$WRECKIT_REPOSITORY\" > ran";
    let repository = Repository::new(script, &["001-a"]);
    let mut item = repository.json(".wreckit/items/001-a/item.json");
    item["title"] = json!("$(touch PWNED) `touch PWNED` \"'; touch PWNED; \u{0}");
    item["overview"] = json!("ä".repeat(40_000));
    repository.write(".wreckit/items/001-a/item.json", &item.to_string());
    let ran = repository.run(&["run"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let root = repository.root().display();
    assert_eq!(
        repository.read("ran"),
        format!(
            "001-a|$(touch PWNED) `touch PWNED` \"'; touch PWNED; \u{fffd}|{}|run|{root}/.wreckit/items/001-a|{root}|",
            "ä".repeat(32_768)
        )
    );
    assert!(!repository.exists("PWNED"));
}

#[test]
fn a_title_never_becomes_an_option() {
    let script = "printf '%s|' \"$@\" > ran";
    let repository = Repository::new("", &["001-a"]);
    let args = ["-c", script, "agent", "{title}", "{title}: {id}", "--title={title}"];
    repository.agent(json!({"kind": "command", "command": "sh", "args": args}));
    let item = repository.read(".wreckit/items/001-a/item.json");
    repository
        .write(".wreckit/items/001-a/item.json", &item.replace("Title of 001-a", "--dangerously"));
    assert_eq!(repository.run(&["run"]).code, Some(0));
    assert_eq!(
        repository.read("ran"),
        " --dangerously| --dangerously: 001-a|--title=--dangerously|"
    );
}

#[test]
fn a_program_is_not_found_in_the_repository_by_name() {
    let repository = Repository::new("", &["001-a"]);
    for path in ["own-agent", "bin/own-agent"] {
        repository.write(path, "#!/bin/sh\necho ran >> ran\n");
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(repository.path(path), mode).expect("a mode");
    }
    repository.agent(json!({"kind": "command", "command": "own-agent"}));
    for path in [":/usr/bin", "/usr/bin:.", "bin:/usr/bin", ".", ":"] {
        let ran = run_with(&repository, &["run"], &[("PATH", path)]);
        assert_eq!(ran.code, Some(2), "{path}: {}", ran.stderr);
    }
    // Named by its path it is meant.
    repository.agent(json!({"kind": "command", "command": "bin/own-agent"}));
    assert_eq!(repository.run(&["run"]).code, Some(0));
    assert_eq!(repository.ran(), ["ran"]);
}

#[test]
fn an_object_never_becomes_a_number() {
    let repository = writes_ran();
    let number = r#"{"$serde_json::private::Number": "12"}"#;
    repository.write(
        ".wreckit/config.json",
        &format!(r#"{{"agent": {{"kind": "mock"}}, "timeout_seconds": {number}}}"#),
    );
    let ran = repository.run(&["run"]);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(ran.stderr.contains("config.json has invalid JSON"), "{}", ran.stderr);
    let item = repository.read(".wreckit/items/001-a/item.json");
    let item = item.replace("\"pr_number\":null", &format!("\"pr_number\":{number}"));
    assert!(item.contains(number), "{item}");
    repository.write(".wreckit/items/001-a/item.json", &item);
    let doctor = repository.run(&["doctor"]);
    assert!(doctor.stdout.contains("INVALID_CONFIG"), "{}", doctor.stdout);
    assert!(doctor.stdout.contains("INVALID_ITEM_JSON"), "{}", doctor.stdout);
}

fn claim_a_terabyte(path: &Path) {
    let file = File::options().append(true).create(true).open(path).expect("a file");
    file.set_len(1 << 40).expect("a sparse file");
}

#[test]
fn a_journal_that_claims_any_size_is_damage() {
    let repository = writes_ran();
    fs::create_dir_all(repository.path(".wreckit/runs/huge")).expect("a directory");
    claim_a_terabyte(&repository.path(".wreckit/runs/huge/events.1.jsonl"));
    let doctor = repository.run(&["doctor"]);
    assert_eq!(doctor.code, Some(0), "{}{}", doctor.stdout, doctor.stderr);
    assert!(doctor.stdout.contains("JOURNAL_DAMAGED"), "{}", doctor.stdout);
    assert!(doctor.stdout.contains("1099511627776 bytes"), "{}", doctor.stdout);
    let ran = repository.run(&["run"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
}

#[test]
fn a_session_whose_journal_claims_any_size_goes_on() {
    let script =
        "echo $1 >> ran; [ $1 = 001-a ] || [ -e again ] || { touch again; kill -9 $PPID; }";
    for has_progress in [true, false] {
        let repository = Repository::new(script, &["001-a", "002-b"]);
        repository.run(&["run"]);
        let session = fs::read_dir(repository.path(".wreckit/runs")).expect("a directory");
        let session = session.flatten().next().expect("a session").path();
        claim_a_terabyte(&session.join("events.1.jsonl"));
        if !has_progress {
            fs::remove_file(repository.path(".wreckit/batch-progress.json")).expect("a file");
        }
        let ran = repository.run(&["run"]);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert_eq!(repository.ran(), ["001-a", "002-b", "002-b"], "{}", ran.stderr);
        assert!(ran.stderr.contains("is damaged"), "{}", ran.stderr);
    }
}

#[test]
fn a_prompt_of_any_shape_is_filled_in_at_once() {
    let repository = Repository::new("", &["001-a"]);
    repository.write(".wreckit/prompts/research.md", &"{{#if overview}}x{{/if}}".repeat(30_000));
    let args = ["-c", "cat; echo found > research.md; echo DONE; exit 1"];
    repository.agent(json!({"kind": "process", "command": "sh", "args": args,
        "completion_signal": "DONE"}));
    // Within the time after which a test counts as one that hangs.
    assert_eq!(repository.run(&["run"]).code, Some(1));
    assert_eq!(repository.events().iter().filter(|it| it["event"] == "item-failed").count(), 1);
}
