//! A hermetic place to run the program in: its own directory, its own environment.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Nothing here takes longer, however slow the machine: what does hangs. Some of it takes 10 s of CPU
/// time.
pub(crate) const HANG: Duration = Duration::from_secs(300);

/// The program under test, built once by whichever test comes first.
///
/// The binary belongs to another package, so cargo does not build it for these tests by itself.
pub(crate) fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        // target/debug/deps/it-… -> target/debug/wreckit-host
        let mut path = std::env::current_exe().expect("the path of this test");
        path.pop();
        path.pop();
        let profile = if path.ends_with("release") { "release" } else { "dev" };
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            // Together with the tests: then cargo takes the dependencies as they are built already.
            .args(["build", "--quiet", "--workspace", "--bins", "--tests", "--profile", profile])
            .current_dir(workspace())
            .status();
        assert!(built.expect("cargo runs").success(), "the program builds");
        path.join("wreckit-host")
    })
}

/// The root of the workspace.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

/// A repository in a directory of its own.
pub(crate) struct Repository {
    directory: TempDir,
}

/// What a command came to.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Repository {
    /// One without a `.wreckit`.
    pub(crate) fn empty() -> Self {
        Repository { directory: tempfile::tempdir().expect("a directory") }
    }

    /// One with an agent that runs `script` in a shell (`$1` is the item's id) and these items.
    pub(crate) fn new(script: &str, items: &[&str]) -> Self {
        let repository = Repository::empty();
        repository.agent(
            json!({"kind": "command", "command": "sh", "args": ["-c", script, "agent", "{id}"]}),
        );
        for directory in ["items", "prompts"] {
            fs::create_dir_all(repository.path(".wreckit").join(directory)).expect("a directory");
        }
        for id in items {
            repository.item(id, &[]);
        }
        repository
    }

    /// A copy of a directory tree, made writable.
    pub(crate) fn copy_of(source: &Path) -> Self {
        let repository = Repository::empty();
        copy(source, repository.root());
        repository
    }

    /// Leaves it where it is, to be looked at.
    pub(crate) fn keep(&mut self) {
        self.directory.disable_cleanup(true);
    }

    pub(crate) fn root(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    pub(crate) fn agent(&self, agent: Value) {
        self.write(
            ".wreckit/config.json",
            &json!({"schema_version": 1, "agent": agent}).to_string(),
        );
    }

    pub(crate) fn item(&self, id: &str, depends_on: &[&str]) {
        let document = json!({
            "schema_version": 1, "id": id, "title": format!("Title of {id}"), "state": "idea",
            "overview": "", "depends_on": depends_on, "branch": null, "pr_url": null,
            "pr_number": null, "last_error": null, "created_at": "2026-01-01T00:00:00.000Z",
            "updated_at": "2026-01-01T00:00:00.000Z",
        });
        self.write(&format!(".wreckit/items/{id}/item.json"), &document.to_string());
    }

    pub(crate) fn write(&self, path: &str, contents: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, contents).expect("a file");
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_default()
    }

    pub(crate) fn exists(&self, path: &str) -> bool {
        self.path(path).symlink_metadata().is_ok()
    }

    pub(crate) fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub(crate) fn state(&self, id: &str) -> String {
        self.json(&format!(".wreckit/items/{id}/item.json"))["state"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// Everything below `.wreckit`, with its content: to see that nothing was changed.
    pub(crate) fn everything(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        collect(self.root(), &mut found);
        found.sort();
        found
    }

    /// The program with these arguments, in this repository.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command
            .args(arguments)
            .current_dir(self.root())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.root())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs it to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        finish(self.command(arguments).spawn().expect("the program starts"))
    }

    /// Starts it and does not wait.
    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().expect("the program starts")
    }

    /// The events of every journal, in order.
    pub(crate) fn events(&self) -> Vec<Value> {
        let mut segments: Vec<PathBuf> = Vec::new();
        for run in fs::read_dir(self.path(".wreckit/runs")).into_iter().flatten().flatten() {
            for file in fs::read_dir(run.path()).into_iter().flatten().flatten() {
                if file.file_name().to_string_lossy().starts_with("events.") {
                    segments.push(file.path());
                }
            }
        }
        segments.sort();
        let text: String =
            segments.iter().map(|path| fs::read_to_string(path).unwrap_or_default()).collect();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The lines that agents wrote into `ran`, in order.
    pub(crate) fn ran(&self) -> Vec<String> {
        self.read("ran").lines().map(str::to_owned).collect()
    }

    /// Waits until something is so.
    pub(crate) fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !is_so(self) {
            assert!(start.elapsed() < HANG, "waited in vain for: {what}");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Waits for the end of a program; one that hangs is ended and fails the test.
pub(crate) fn finish(mut child: Child) -> Ran {
    let id = child.id();
    let (sender, ended) = std::sync::mpsc::channel::<()>();
    let guard = thread::spawn(move || {
        if ended.recv_timeout(HANG).is_err() {
            kill(id, "KILL");
        }
    });
    let stdin = child.stdin.take();
    drop(stdin);
    let Output { status, stdout, stderr } = child.wait_with_output().expect("its output");
    let _ = sender.send(());
    guard.join().expect("the guard ends");
    Ran {
        code: status.code(),
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    }
}

/// The program, without the rights of root; `None`, and said so, where they cannot be given up.
pub(crate) fn unprivileged(repository: &Repository, arguments: &[&str]) -> Option<Child> {
    let is_root = Command::new("id").arg("-u").output().expect("id runs").stdout == b"0\n";
    if !is_root {
        return Some(repository.start(arguments));
    }
    let root = repository.root().display().to_string();
    // The program may stand where only root gets to.
    fs::copy(program(), repository.path("program")).expect("a copy");
    let given = Command::new("chown").args(["-R", "65534:65534", &root]).status();
    assert!(given.expect("chown runs").success());
    let child = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "./program"])
        .args(arguments)
        .current_dir(repository.root())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    if child.is_err() {
        eprintln!("setpriv is not here: not tested");
    }
    child.ok()
}

/// Sends a signal to a process, or with a minus to a group.
pub(crate) fn kill(id: u32, signal: &str) {
    let sent = Command::new("kill").args([&format!("-{signal}"), "--", &id.to_string()]).status();
    assert!(sent.is_ok());
}

/// Whether a process runs; one that is dead and not collected yet does not.
pub(crate) fn runs(id: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z'))
}

/// Kills a program as a crash would, and waits until it is gone.
pub(crate) fn crash(mut child: Child) {
    child.kill().expect("it runs");
    child.wait().expect("it ends");
}

fn copy(source: &Path, target: &Path) {
    fs::create_dir_all(target).expect("a directory");
    for entry in fs::read_dir(source).expect("a directory").flatten() {
        let to = target.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            // Not fs::copy, which would copy the permissions of a read-only original, too.
            fs::write(&to, fs::read(entry.path()).expect("a file")).expect("a file");
        }
    }
}

fn collect(directory: &Path, found: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            true => {
                found.push((entry.path(), Vec::new()));
                collect(&entry.path(), found);
            }
            false => found.push((entry.path(), fs::read(entry.path()).unwrap_or_default())),
        }
    }
}
