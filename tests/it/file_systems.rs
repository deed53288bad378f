//! File systems of other kinds than the one of the tests: layers, mounts below the root, limits.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::environment::{Ran, Repository, finish, program};

/// Runs a shell script in the repository, in a mount namespace of its own; `$PROGRAM` is the program.
/// `None`, and said so, where nothing can be mounted.
fn with_mounts(repository: &Repository, script: &str) -> Option<Ran> {
    let child = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &format!("set -e\n{script}")])
        .current_dir(repository.root())
        .env("PROGRAM", program())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let ran = child.map(finish).ok();
    let ran = ran.filter(|ran| !["unshare:", "mount:"].iter().any(|it| ran.stderr.contains(it)));
    if ran.is_none() {
        eprintln!("this file system cannot be mounted here: not tested");
    }
    ran
}

#[test]
fn a_directory_of_a_lower_layer_moves_into_a_backup_and_back() {
    let repository = Repository::empty();
    let lower = Repository::new("true", &["001-a"]);
    lower.write(".wreckit/batch-progress.json/deep/file", "precious");
    for directory in ["upper", "work", "merged"] {
        fs::create_dir(repository.path(directory)).expect("a directory");
    }
    let script = format!(
        "mount -t overlay -o userxattr,lowerdir={},upperdir=upper,workdir=work overlay merged\n\
         cd merged\n\
         $PROGRAM run --progress none\n\
         [ ! -e .wreckit/batch-progress.json ]\n\
         $PROGRAM add second\n\
         $PROGRAM backups restore $(ls .wreckit/backups)\n\
         cat .wreckit/batch-progress.json/deep/file",
        lower.root().display()
    );
    let Some(ran) = with_mounts(&repository, &script) else { return };
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.ends_with("precious"), "{}", ran.stdout);
    assert!(ran.stdout.contains("002-second"), "{}", ran.stdout);
}

#[test]
fn items_on_another_file_system_run_and_what_is_found_there_moves_into_a_backup() {
    let repository = Repository::new("true", &[]);
    // Enough results for one group, and a leftover of an interrupted write.
    let source = Repository::empty();
    for number in 1..=12 {
        source.item(&format!("{number:03}-a"), &[]);
    }
    let leftover = "items/001-a/item.json.abcdef012345.tmp";
    source.write(&format!(".wreckit/{leftover}"), "{");
    let script = format!(
        "mount -t tmpfs tmpfs .wreckit/items\n\
         cp -r {}/.wreckit/items/. .wreckit/items/\n\
         ln -s nowhere .wreckit/items/001-a/item.json.abcdef012346.tmp\n\
         $PROGRAM run --progress none --parallel 2\n\
         $PROGRAM doctor --fix\n\
         [ ! -e .wreckit/{leftover} ]\n\
         cat .wreckit/backups/*/{leftover}\n\
         cat .wreckit/items/*/item.json | grep -c '\"done\"'",
        source.root().display()
    );
    let Some(ran) = with_mounts(&repository, &script) else { return };
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.ends_with("{12\n"), "{}", ran.stdout);
}

#[test]
fn a_limit_on_file_size_is_an_error_that_says_so() {
    let repository = Repository::new("true", &["001-a"]);
    // Doctor brings it up to date, and keeps what it does not know.
    let index =
        json!({"schema_version": 1, "items": [], "generated_at": "", "big": "x".repeat(2 << 20)});
    repository.write(".wreckit/index.json", &index.to_string());
    let before = repository.read(".wreckit/index.json");
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -f 2000; exec \"$0\" doctor --fix --strict"])
        .arg(program())
        .current_dir(repository.root())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let ran = finish(command.spawn().expect("a shell"));
    let output = ran.stdout + &ran.stderr;
    assert_eq!(ran.code, Some(1), "{output}");
    assert!(output.contains("index.json: File too large"), "{output}");
    assert!(output.contains("ulimit -f"), "{output}");
    assert_eq!(repository.read(".wreckit/index.json"), before);
}

#[test]
fn agents_have_the_signal_of_the_file_size_limit_at_its_default() {
    const SIGXFSZ: i32 = 25;
    let script = "sh -c 'ulimit -f 0; echo x > file'; echo $? > ended; exit 0";
    let repository = Repository::new(script, &["001-a"]);
    assert_eq!(repository.run(&["run"]).code, Some(0));
    // Where a shell takes it for an error of its own, the signal did not come.
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -f 0; echo x > file"]).current_dir(repository.root());
    let expected = shell.status().expect("a shell");
    assert_eq!(expected.signal(), Some(SIGXFSZ), "the default of this machine");
    assert_eq!(repository.read("ended"), format!("{}\n", 128 + SIGXFSZ));
}
