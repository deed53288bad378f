//! A repository on a disk that can lose power, and the program at work in it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::disk::{Disk, Interruption, Leaves};
use crate::mount::{Mount, Shared};
use crate::random::Random;

/// No command takes longer, however slow the machine: one that does hangs.
const HANG: Duration = Duration::from_secs(120);
/// How often it is checked whether the power is off.
const TICK: Duration = Duration::from_micros(300);
/// Everything that a world starts has this variable, with the world's directory.
const MARK: &str = "POWER_LOSS_WORLD";

/// How a command ended.
#[derive(Debug)]
pub struct Ran {
    /// The exit code; `None` if it was killed.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it printed beside that.
    pub stderr: String,
}

/// What of the repository is on the disk that loses power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Everything,
    /// The items: the rest is on a disk that loses nothing.
    Items,
}

/// An item whose completion was read.
#[derive(Debug, Clone)]
pub struct Acknowledged {
    /// How many starts the ledger had then: there must be no later one.
    pub ledger: usize,
    /// Whether it was also read that the result is in its `item.json`.
    pub is_synced: bool,
    /// The session and the number of the event.
    event: (String, u64),
}

/// A repository, the disk that it is on, and what was acknowledged.
#[derive(Debug)]
pub struct World {
    /// On a disk that loses nothing: the mount point and the ledger.
    directory: TempDir,
    extent: Extent,
    program: PathBuf,
    disk: Shared,
    mount: Option<Mount>,
    /// The items whose completion was read.
    pub acknowledged: BTreeMap<String, Acknowledged>,
    /// Titles of items that were added, by id.
    pub added: BTreeMap<String, String>,
}

impl World {
    /// Makes a repository without items on an empty disk. Fails where nothing can be mounted.
    pub fn new(disk: Disk, program: &Path, agent: &str, extent: Extent) -> io::Result<Self> {
        let mut world = World::on(disk, program, extent)?;
        world.mount()?;
        for directory in [".wreckit/items", ".wreckit/prompts", ".claude"] {
            fs::create_dir_all(world.path(directory))?;
        }
        let args = json!(["-c", agent, "agent", "{id}", "{phase}"]);
        let agent = json!({"kind": "command", "command": "sh", "args": args});
        let config = json!({"schema_version": 1, "agent": agent});
        world.write(".wreckit/config.json", &config.to_string())?;
        Ok(world)
    }

    fn on(disk: Disk, program: &Path, extent: Extent) -> io::Result<Self> {
        let world = World {
            directory: tempfile::tempdir()?,
            extent,
            program: program.to_owned(),
            disk: Shared::new(disk),
            mount: None,
            acknowledged: BTreeMap::new(),
            added: BTreeMap::new(),
        };
        fs::create_dir_all(world.mount_point())?;
        fs::write(world.ledger_file(), "")?;
        Ok(world)
    }

    fn mount_point(&self) -> PathBuf {
        match self.extent {
            Extent::Everything => self.root(),
            Extent::Items => self.path(".wreckit/items"),
        }
    }

    fn mount(&mut self) -> io::Result<()> {
        self.mount = Some(Mount::new(&self.disk, &self.mount_point())?);
        Ok(())
    }

    /// Returns a world of its own that goes on from here. This one is not changed by it.
    pub fn copy(&self) -> io::Result<World> {
        let mut copy = World::on(self.disk.disk().clone(), &self.program, self.extent)?;
        if self.extent == Extent::Items {
            // The disk is no part of the copy: it is copied as a whole.
            let source = self.root().join(".");
            let mut command = Command::new("cp");
            command.args(["-a", "-x"]).arg(source).arg(copy.root());
            if !command.status()?.success() {
                return Err(io::Error::other("the repository cannot be copied"));
            }
        }
        copy.mount()?;
        fs::copy(self.ledger_file(), copy.ledger_file())?;
        copy.acknowledged.clone_from(&self.acknowledged);
        copy.added.clone_from(&self.added);
        Ok(copy)
    }

    /// Returns the root of the repository.
    pub fn root(&self) -> PathBuf {
        self.directory.path().join("mount")
    }

    /// Returns a path in the repository.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    /// Writes a file of the repository.
    pub fn write(&self, path: &str, contents: &str) -> io::Result<()> {
        fs::write(self.path(path), contents)
    }

    /// Adds an item in the state `idea`.
    pub fn item(&self, id: &str) -> io::Result<()> {
        let document = json!({
            "schema_version": 1, "id": id, "title": format!("Title of {id}"), "state": "idea",
            "overview": "", "branch": null, "pr_url": null, "pr_number": null, "last_error": null,
            "created_at": "2026-01-01T00:00:00.000Z", "updated_at": "2026-01-01T00:00:00.000Z",
        });
        fs::create_dir(self.path(&format!(".wreckit/items/{id}")))?;
        let text = serde_json::to_string_pretty(&document)?;
        self.write(&format!(".wreckit/items/{id}/item.json"), &text)
    }

    /// Returns the document of each item; `None` for one that is not JSON.
    pub fn items(&self) -> BTreeMap<String, Option<Value>> {
        let entries = fs::read_dir(self.path(".wreckit/items")).into_iter().flatten().flatten();
        let ids = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        ids.filter(|id| !id.starts_with('.'))
            .map(|id| {
                let bytes = fs::read(self.path(&format!(".wreckit/items/{id}/item.json")));
                (id, bytes.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()))
            })
            .collect()
    }

    fn ledger_file(&self) -> PathBuf {
        self.directory.path().join("ledger")
    }

    /// Returns what agents have noted: the id of an item for each start.
    pub fn ledger(&self) -> Vec<String> {
        let text = fs::read_to_string(self.ledger_file()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Makes everything durable.
    pub fn sync(&self) {
        self.disk.disk().sync_all();
    }

    /// Whether the power is off.
    pub fn is_off(&self) -> bool {
        self.disk.disk().is_off()
    }

    /// Returns how many changes and syncs the last command made.
    pub fn operations(&self) -> u64 {
        self.disk.disk().operations()
    }

    /// Runs the program to its end, or to its interruption.
    pub fn run(
        &mut self,
        arguments: &[&str],
        interruption: Option<Interruption>,
    ) -> Result<Ran, String> {
        self.disk.disk().begin(interruption);
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .current_dir(self.root())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.directory.path())
            .env("LEDGER", self.ledger_file())
            .env(MARK, self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = command.spawn().map_err(|error| format!("the program: {error}"))?;
        let (stdout, stderr) = (reader(child.stdout.take()), reader(child.stderr.take()));
        let status = self.wait(&mut child)?;
        self.disk.disk().release();
        let text = |reader: thread::JoinHandle<String>| reader.join().unwrap_or_default();
        let (stdout, stderr) = (text(stdout), text(stderr));
        if let Some(line) = ["panicked at", "is a bug"].iter().find(|it| stderr.contains(**it)) {
            return Err(format!("{arguments:?}: {line}: {stderr}"));
        }
        let ran = Ran { code: status.code(), stdout, stderr };
        self.read_acknowledgements(&ran)?;
        Ok(ran)
    }

    fn wait(&self, child: &mut Child) -> Result<ExitStatus, String> {
        let start = Instant::now();
        loop {
            let (is_off, is_held) = {
                let disk = self.disk.disk();
                (disk.is_off(), disk.is_held())
            };
            if is_off {
                self.kill_all();
            }
            if is_held {
                let _ = child.kill();
                return child.wait().map_err(|error| error.to_string());
            }
            if start.elapsed() > HANG {
                let _ = child.kill();
                return Err("a command hangs".to_owned());
            }
            match child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) => thread::sleep(TICK),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// Takes the completed items of a run's events. An event without the end of its line was not
    /// read.
    fn read_acknowledgements(&mut self, ran: &Ran) -> Result<(), String> {
        let ledger = self.ledger().len();
        let mut session = String::new();
        for line in ran.stdout.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
            let item = event["item"].as_str().unwrap_or_default();
            match event["event"].as_str() {
                Some("batch-started") => {
                    session = event["session_id"].as_str().unwrap_or_default().to_owned();
                }
                Some("item-completed") => {
                    let event = (session.clone(), event["seq"].as_u64().unwrap_or_default());
                    let acknowledged = Acknowledged { ledger, is_synced: false, event };
                    self.acknowledged.entry(item.to_owned()).or_insert(acknowledged);
                }
                Some("synced") => {
                    let through = event["through"].as_u64().unwrap_or_default();
                    for acknowledged in self.acknowledged.values_mut() {
                        let (of, seq) = &acknowledged.event;
                        acknowledged.is_synced |= *of == session && *seq <= through;
                    }
                }
                Some("item-started") if self.acknowledged.contains_key(item) => {
                    return Err(format!("{item} started again after it had completed"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes the items that agents were started for since the ledger had this length for completed,
    /// and their results for written: a command said so that prints no events.
    pub fn acknowledge_since(&mut self, length: usize) {
        let all = self.ledger();
        let ledger = all.len();
        for item in all.into_iter().skip(length) {
            let event = (String::new(), 0);
            self.acknowledged.insert(item, Acknowledged { ledger, is_synced: true, event });
        }
    }

    /// Takes the power away, if it is still there, and brings it back.
    pub fn lose_power(&mut self, leaves: Leaves, random: &mut Random) -> io::Result<()> {
        self.disk.disk().turn_off();
        self.kill_all();
        self.mount = None;
        let after = self.disk.disk().after_power_loss(leaves, random);
        self.disk = Shared::new(after);
        self.mount()
    }

    /// Kills everything that was started in this world, and waits until it is gone.
    fn kill_all(&self) {
        let mark = format!("{MARK}={}", self.directory.path().display());
        let until = Instant::now() + HANG;
        loop {
            let alive = marked(&mark);
            if alive.is_empty() || Instant::now() > until {
                return;
            }
            for pid in alive {
                let _ = kill_process(pid, Signal::KILL);
            }
            thread::sleep(TICK);
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.disk.disk().turn_off();
        self.kill_all();
        self.mount = None;
    }
}

fn reader(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// The processes with this variable. One that has ended has no variables.
fn marked(mark: &str) -> Vec<Pid> {
    let ours = std::process::id();
    let names = fs::read_dir("/proc").into_iter().flatten().flatten();
    names
        .filter_map(|entry| entry.file_name().to_string_lossy().parse::<u32>().ok())
        .filter(|pid| *pid != ours)
        .filter(|pid| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
        })
        .filter_map(|pid| Pid::from_raw(pid as i32))
        .collect()
}
