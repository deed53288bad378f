//! Text that means harm: in titles, names, errors, paths and the output of agents. It is shown, on the
//! line that it belongs to, and neither a terminal nor CI obeys it.

use serde_json::{Value, json};

use crate::environment::{Ran, Repository};

/// A line of its own that GitHub would obey, one that Azure would, an override of the direction, a
/// separator of lines, an escape, a byte order mark.
const HOSTILE: &str = "x\n::error::forged\n##[error]forged\u{2028}\u{202e}\u{1b}[2J\u{feff}y";

/// Whether the runner of GitHub or of Azure takes a line for a command.
fn is_command(line: &str) -> bool {
    line.trim_start().starts_with("::") || line.contains("##[") || line.contains("##vso[")
}

fn assert_harmless(ran: &Ran, what: &str) {
    for text in [&ran.stdout, &ran.stderr] {
        for line in text.lines() {
            assert!(!is_command(line), "{what}: {line:?} of {text}");
            assert!(!line.trim_start().starts_with("forged"), "{what}: {line:?} of {text}");
            let hidden = |c: char| {
                c.is_control()
                    || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
            };
            assert!(!line.contains(hidden), "{what}: {line:?}");
        }
    }
}

/// An item with a hostile title that depends on a hostile name.
fn hostile_item(repository: &Repository, id: &str, depends_on: &[&str]) {
    let item = json!({"schema_version": 1, "id": id, "title": HOSTILE, "section": HOSTILE,
        "state": "idea", "overview": HOSTILE, "branch": null, "pr_url": null, "pr_number": null,
        "last_error": HOSTILE, "created_at": "2026-01-01T00:00:00.000Z",
        "updated_at": "2026-01-01T00:00:00.000Z", "depends_on": depends_on});
    repository.write(&format!(".wreckit/items/{id}/item.json"), &item.to_string());
}

#[test]
fn titles_errors_and_the_output_of_agents_are_shown_and_not_obeyed() {
    let script = r#"printf 'x\n::error::forged\n  ::warning::forged\n##[error]forged\342\200\250\n'; exit 3"#;
    let repository = Repository::new(script, &[]);
    hostile_item(&repository, "001-a", &[]);
    hostile_item(&repository, "002-b", &[HOSTILE]);
    repository
        .write(".wreckit/items/003-c/item.json", "{\"id\": \"\u{202e}\u{2028}\n::error::forged\"");
    for arguments in [
        &["status"][..],
        &["run", "--dry-run"],
        &["doctor"],
        &["run", "-v", "--retries", "1"],
        &["status"],
        &["doctor", "--fix"],
        &["backups", "list"],
        &["run", "--retry-failed"],
        &["run", HOSTILE],
        &["backups", "restore", HOSTILE],
        &["status", HOSTILE],
        &["run", &format!("--{HOSTILE}")],
        &["--cwd", HOSTILE, "status"],
        &["--component", HOSTILE, "status"],
    ] {
        assert_harmless(&repository.run(arguments), &format!("{arguments:?}"));
    }
    let ran = repository.run(&["status"]);
    assert!(ran.stdout.contains(r"x\n::error::forged\n##\[error]forged\u{2028}"), "{}", ran.stdout);
    let ran = repository.run(&["run", "-v", "--retry-failed"]);
    assert!(ran.stderr.contains("[001-a] ::error::forged"), "it can be read: {}", ran.stderr);
}

#[test]
fn json_is_the_same_json_and_not_obeyed_either() {
    let repository = Repository::new("printf '##[error]\\342\\200\\256'; exit 3", &[]);
    hostile_item(&repository, "001-a", &[]);
    for arguments in
        [&["status", "--json"][..], &["doctor", "--json"], &["run", "--format", "json"]]
    {
        assert_harmless(&repository.run(arguments), &format!("{arguments:?}"));
    }
    let status: Value =
        serde_json::from_str(&repository.run(&["status", "--json"]).stdout).expect("JSON");
    assert_eq!(status["items"][0]["title"], HOSTILE);
}

#[test]
fn features_and_their_documents_are_shown_and_not_obeyed() {
    let repository = Repository::new("true", &[]);
    let ran = repository.run(&["feature", "new", HOSTILE]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_harmless(&ran, "new");
    let id = ran.stdout.trim().to_owned();
    let document = format!(".claude/.output/features/{id}/plan.md");
    repository.write(&document, "# Plan\n\n\tfirst\n::error::forged by a document\nlast\n");
    let artifact = format!("plan={document}");
    for arguments in [
        &["feature", "start", &id, "brainstorming", "--decision", HOSTILE, "--artifact", &artifact]
            [..],
        &["feature", "block", &id, "brainstorming", "--reason", HOSTILE],
        &["feature", "list"],
        &["feature", "show", &id],
        &["feature", "show", &id, "--json"],
        &["feature", "resume", &id],
        &["feature", "resume", &id, "--json"],
        &["feature", "summary", &id],
        &["feature", "start", &id, HOSTILE],
        &["feature", "show", HOSTILE],
        &["doctor"],
    ] {
        assert_harmless(&repository.run(arguments), &format!("{arguments:?}"));
    }
    let resume = repository.run(&["feature", "resume", &id]).stdout;
    assert!(
        resume.contains("\n# Plan\n\n    first\n\\::error::forged by a document\nlast\n"),
        "a document keeps its lines: {resume}"
    );
}

#[test]
fn a_command_to_copy_is_one_in_a_shell_as_well() {
    let repository = Repository::new("exit 3", &["001-a"]);
    let place = repository.path("a $(touch PWNED)'s");
    std::fs::create_dir(&place).expect("a directory");
    let ran = repository.run(&["--cwd", place.to_str().expect("a path"), "run"]);
    assert_eq!(ran.code, Some(1));
    let (_, hint) = ran.stderr.rsplit_once("Retry failed items: wreckit-host ").expect("a hint");
    let words = std::process::Command::new("sh")
        .args(["-c", &format!("printf '%s\\n' {hint}")])
        .current_dir(repository.root())
        .output()
        .expect("a shell");
    let words = String::from_utf8(words.stdout).expect("text");
    assert_eq!(words, format!("--cwd\n{}\nrun\n", place.display()));
    assert!(!repository.exists("PWNED"));
}

/// A repository that is moved while its batch runs has no directory for the next agent.
#[test]
fn standard_error_says_why_a_batch_failed_whose_events_are_json() {
    let repository = Repository::new("mv \"$PWD\" \"$PWD-moved\"", &["001-a", "002-b"]);
    let ran = repository.run(&["run", "--format", "json"]);
    let root = repository.root().display().to_string();
    std::fs::rename(format!("{root}-moved"), &root).expect("it is back");
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.stderr.contains("error: 1 failed; the first: 002-b: ")
            && ran.stderr.contains("was the repository moved?"),
        "{}",
        ran.stderr
    );
    assert!(ran.stdout.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
}
