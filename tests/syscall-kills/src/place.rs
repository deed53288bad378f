//! Where a round happens: a repository, and beside it everything that the agents tell.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::tree::Tree;

/// Nothing here takes longer, however slow the machine: what does hangs.
pub(crate) const HANG: Duration = Duration::from_secs(90);

/// An agent that says in `agents/ledger` that it began, holds a lock of its item while it works, hangs or
/// fails where `agents/hang` or `agents/fail` names its item, and says that it is done. `$1` is the
/// item or feature, `$2` the phase.
const AGENT: &str = r#"cd ../agents || exit 9
exec 9> "$1.$2.lock"; flock -n 9 || echo "$1 $2" >> overlaps
echo "$1 $2" >> ledger
grep -qsx "$1" hang && exec sleep 1000
grep -qsx "$1" fail && exit 1
[ -e slow ] && sleep 0.03
echo "$1 $2" >> finished"#;

/// A directory of its own with `round/repository` and `round/agents`.
pub(crate) struct Place {
    directory: PathBuf,
    program: PathBuf,
}

/// What a command came to.
pub(crate) struct Ran {
    pub(crate) command: String,
    /// `None` if a signal ended it, also for hanging.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// What happened, in a line.
    pub(crate) fn told(&self) -> String {
        let code = self.code.map_or("a signal".to_owned(), |code| code.to_string());
        let said = self.stdout.lines().chain(self.stderr.lines()).collect::<Vec<_>>().join(" | ");
        format!("`{}` ended with {code}: {said}", self.command)
    }
}

impl Place {
    /// Makes the directories.
    pub(crate) fn new(directory: PathBuf, program: &Path) -> io::Result<Self> {
        let place = Place { directory, program: program.to_owned() };
        fs::create_dir_all(place.home())?;
        place.clear()?;
        Ok(place)
    }

    /// Empties the round.
    pub(crate) fn clear(&self) -> io::Result<()> {
        if self.round().exists() {
            fs::remove_dir_all(self.round())?;
        }
        fs::create_dir_all(self.root())?;
        fs::create_dir_all(self.round().join("agents"))
    }

    /// Copies the round as it is, to come [back](Self::back) to it.
    pub(crate) fn save(&self, name: &str) -> io::Result<()> {
        let to = self.directory.join(name);
        if to.exists() {
            fs::remove_dir_all(&to)?;
        }
        copy(&self.round(), &to)
    }

    /// Makes the round a copy of a saved one. The paths are the same in every round: git worktrees and
    /// journals may name them.
    pub(crate) fn back(&self, name: &str) -> io::Result<()> {
        fs::remove_dir_all(self.round())?;
        copy(&self.directory.join(name), &self.round())
    }

    /// Copies everything about a round to where it stays.
    pub(crate) fn keep(&self, to: &Path) -> io::Result<()> {
        copy(&self.directory, to)
    }

    pub(crate) fn round(&self) -> PathBuf {
        self.directory.join("round")
    }

    /// The repository.
    pub(crate) fn root(&self) -> PathBuf {
        self.round().join("repository")
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    fn home(&self) -> PathBuf {
        self.directory.join("home")
    }

    /// `program` with these arguments, its output in files: what a leftover process holds open delays
    /// nothing.
    pub(crate) fn command(&self, program: &Path, arguments: &[&str]) -> io::Result<Command> {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(self.root())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .stdin(Stdio::null())
            .stdout(File::create(self.output("stdout"))?)
            .stderr(File::create(self.output("stderr"))?);
        Ok(command)
    }

    fn output(&self, name: &str) -> PathBuf {
        self.round().join("agents").join(name)
    }

    /// The command under test, to be traced.
    pub(crate) fn traced(&self, arguments: &[String]) -> io::Result<Command> {
        let program = self.program.display().to_string();
        let words = [crate::trace::LAUNCH, &program].into_iter();
        let words: Vec<&str> = words.chain(arguments.iter().map(String::as_str)).collect();
        self.command(&std::env::current_exe()?, &words)
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        self.run_program(&self.program, arguments)
    }

    /// Runs git in the repository.
    pub(crate) fn git(&self, arguments: &[&str]) -> Result<String, String> {
        let identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"];
        let ran = self.run_program(Path::new("git"), &[&identity[..], arguments].concat());
        match ran.code {
            Some(0) => Ok(ran.stdout.trim().to_owned()),
            _ => Err(ran.told()),
        }
    }

    fn run_program(&self, program: &Path, arguments: &[&str]) -> Ran {
        let started = self.command(program, arguments).and_then(|mut command| command.spawn());
        let code = started.and_then(wait);
        Ran {
            command: arguments.join(" "),
            code: code.unwrap_or(None),
            stdout: self.said("stdout"),
            stderr: self.said("stderr"),
        }
    }

    /// Starts a `run` that hangs at an item, and kills both.
    pub(crate) fn kill_run_at(&self, item: &str, arguments: &[&str]) -> Result<(), String> {
        let failed = |error: io::Error| error.to_string();
        let before = self.ledger("ledger").len();
        fs::write(self.output("hang"), format!("{item}\n")).map_err(failed)?;
        let mut command = self.command(&self.program, arguments).map_err(failed)?;
        let mut batch = command.spawn().map_err(failed)?;
        let start = Instant::now();
        let hangs = || {
            let is_there = self.ledger("ledger").iter().skip(before).any(|id| id.starts_with(item));
            let is_known =
                |event: &Value| event["event"] == "phase-started" && event["item"] == item;
            is_there && self.events().iter().any(is_known)
        };
        while !hangs() {
            if start.elapsed() > HANG {
                return Err(format!("the run does not get to {item}"));
            }
            thread::sleep(Duration::from_millis(2));
        }
        batch.kill().and_then(|()| batch.wait()).map_err(failed)?;
        let events = self.events();
        let mut workers = events.iter().filter(|event| event["event"] == "phase-started");
        if let Some(agent) = workers.next_back().and_then(|event| event["pid"].as_i64()) {
            let agent = nix::unistd::Pid::from_raw(agent as i32);
            let _ = nix::sys::signal::kill(agent, nix::sys::signal::Signal::SIGKILL);
        }
        fs::remove_file(self.output("hang")).map_err(failed)
    }

    /// A `.wreckit` with an agent and these items, each with those it depends on.
    pub(crate) fn repository(&self, items: &[(&str, &[&str])]) -> Result<(), String> {
        let agent = json!({
            "kind": "command", "command": "sh", "args": ["-c", AGENT, "agent", "{id}", "{phase}"],
        });
        self.write(".wreckit/config.json", &json!({"schema_version": 1, "agent": agent}))?;
        fs::create_dir_all(self.path(".wreckit/prompts")).map_err(|error| error.to_string())?;
        for (id, depends_on) in items {
            let document = json!({
                "schema_version": 1, "id": id, "title": title(id), "state": "idea", "overview": "",
                "depends_on": depends_on, "branch": null, "pr_url": null, "pr_number": null,
                "last_error": null, "created_at": "2026-01-01T00:00:00.000Z",
                "updated_at": "2026-01-01T00:00:00.000Z",
            });
            self.write(&item_file(id), &document)?;
        }
        Ok(())
    }

    pub(crate) fn write(&self, path: &str, document: &Value) -> Result<(), String> {
        self.write_text(path, &document.to_string())
    }

    pub(crate) fn write_text(&self, path: &str, text: &str) -> Result<(), String> {
        let path = self.path(path);
        let parent = path.parent().unwrap_or(&path);
        fs::create_dir_all(parent)
            .and_then(|()| fs::write(&path, text))
            .map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Changes fields of a JSON document.
    pub(crate) fn set(&self, path: &str, fields: &[(&str, Value)]) -> Result<(), String> {
        let mut document = self.json(path);
        for (key, value) in fields {
            document[*key] = value.clone();
        }
        self.write(path, &document)
    }

    /// A file of `agents`: `fail` and `slow` say what agents do.
    pub(crate) fn tell_agents(&self, file: &str, text: &str) -> Result<(), String> {
        fs::write(self.output(file), text).map_err(|error| error.to_string())
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_default()
    }

    /// The document, or null.
    pub(crate) fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.read(path)).unwrap_or_default()
    }

    /// What the last command printed, or what agents wrote.
    pub(crate) fn said(&self, name: &str) -> String {
        let bytes = fs::read(self.output(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// `item phase`, in the order in which agents wrote it.
    pub(crate) fn ledger(&self, name: &str) -> Vec<String> {
        self.said(name).lines().map(str::to_owned).collect()
    }

    /// The locks that agents hold: there are none when no agent is running.
    pub(crate) fn held_locks(&self) -> Vec<String> {
        let entries = fs::read_dir(self.round().join("agents")).into_iter().flatten().flatten();
        let is_held = |path: &Path| File::open(path).is_ok_and(|file| file.try_lock().is_err());
        entries
            .filter(|entry| entry.path().extension().is_some_and(|it| it == "lock"))
            .filter(|entry| is_held(&entry.path()))
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect()
    }

    /// The whole lines of every journal.
    pub(crate) fn events(&self) -> Vec<Value> {
        let runs = fs::read_dir(self.path(".wreckit/runs")).into_iter().flatten().flatten();
        let files = runs.flat_map(|run| fs::read_dir(run.path()).into_iter().flatten().flatten());
        let mut segments: Vec<PathBuf> = files
            .filter(|file| file.file_name().to_string_lossy().starts_with("events."))
            .map(|file| file.path())
            .collect();
        segments.sort();
        let texts = segments.iter().map(|path| fs::read_to_string(path).unwrap_or_default());
        texts.flat_map(|text| events_in(&text)).collect()
    }

    /// The items, by id, each with its document.
    pub(crate) fn items(&self) -> BTreeMap<String, Value> {
        let entries = fs::read_dir(self.path(".wreckit/items")).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names
            // What is still being added has another name.
            .filter(|id| id.starts_with(|c: char| c.is_ascii_digit()))
            .map(|id| (id.clone(), self.json(&item_file(&id))))
            .collect()
    }

    /// The names of the backups, the oldest first.
    pub(crate) fn backups(&self, place: &str) -> BTreeSet<String> {
        let entries = fs::read_dir(self.path(place)).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// What is in a directory of the repository.
    pub(crate) fn tree(&self, directory: &str) -> Tree {
        Tree::read(&self.path(directory))
    }
}

/// The events of whole lines.
pub(crate) fn events_in(text: &str) -> Vec<Value> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

pub(crate) fn item_file(id: &str) -> String {
    format!(".wreckit/items/{id}/item.json")
}

pub(crate) fn title(id: &str) -> String {
    format!("Title of {id}")
}

/// Whether a name is that of a file that a write leaves when it is cut off.
pub(crate) fn is_temporary(name: &str) -> bool {
    let stem = name.strip_suffix(".tmp").and_then(|stem| stem.rsplit_once('.'));
    stem.is_some_and(|(_, random)| {
        random.len() == 12 && random.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// Waits for a program; one that hangs is killed.
fn wait(mut child: Child) -> io::Result<Option<i32>> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code());
        }
        if start.elapsed() > HANG {
            child.kill()?;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Copies a tree with permissions and times of modification.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &target)?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(entry.path())?, &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
            let modified = entry.metadata()?.modified()?;
            File::options().append(true).open(&target)?.set_modified(modified)?;
        }
    }
    fs::set_permissions(to, fs::metadata(from)?.permissions())
}
