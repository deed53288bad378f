//! The capabilities in memory, for tests: a disk that can lose power, and a clock, processes and
//! random numbers that do what the test says.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

mod conformance;
mod files;
mod paths;
mod processes;

pub(crate) use self::files::{Change, Node, Operation};
use self::files::{Files, cut_off, touched};
pub(crate) use self::processes::{leftover, process};

use crate::io::capabilities::{
    Entry, FileSystem, FsError, Kind, Leftover, LockState, Metadata, Replacement, StopSignal,
};
use crate::time::Timestamp;

/// A machine: its disk, its clock and what is known of processes.
pub(crate) struct Machine {
    files: RefCell<Files>,
    /// The disk before the first operation.
    start: RefCell<Files>,
    operations: RefCell<Vec<Operation>>,
    locks: RefCell<HashMap<String, (u64, Vec<u8>)>>,
    pub(crate) clock: Cell<u64>,
    random: Cell<u64>,
    /// After this many operations, the power is off.
    pub(crate) power_until: Cell<usize>,
    /// The operation at that limit is applied without a sync, and only in part: this many files of a replacement, or
    /// bytes of an append, modulo their number.
    pub(crate) cut: Cell<Option<usize>>,
    /// Every write fails, an append after writing half, as on a full disk.
    pub(crate) full: Cell<bool>,
    /// A directory that is on another file system.
    pub(crate) mount: RefCell<Option<String>>,
    pub(crate) running: RefCell<Vec<u64>>,
    pub(crate) unknown: RefCell<Vec<u64>>,
    /// Processes with the marker of this root.
    pub(crate) marked: RefCell<Vec<Leftover>>,
    /// Running processes without the marker, which the journal may name.
    pub(crate) unmarked: RefCell<Vec<u64>>,
    /// Processes that no signal ends.
    pub(crate) immortal: RefCell<Vec<u64>>,
    /// Every signal that was sent, with the process.
    pub(crate) signals: RefCell<Vec<(u64, StopSignal)>>,
    /// Maximum number of random bytes that a call returns.
    pub(crate) randomness: Cell<usize>,
    pub(crate) messages: RefCell<Vec<String>>,
}

/// A process on a machine.
#[derive(Clone)]
pub(crate) struct Process {
    pub(crate) machine: Rc<Machine>,
    pub(crate) pid: u64,
}

impl Machine {
    pub(crate) fn new() -> Rc<Self> {
        Machine::with(Files::default(), 1_700_000_000_000, 1)
    }

    fn with(files: Files, clock: u64, random: u64) -> Rc<Self> {
        Rc::new(Machine {
            start: RefCell::new(files.clone()),
            files: RefCell::new(files),
            operations: RefCell::default(),
            locks: RefCell::default(),
            clock: Cell::new(clock),
            random: Cell::new(random),
            power_until: Cell::new(usize::MAX),
            cut: Cell::new(None),
            full: Cell::new(false),
            running: RefCell::default(),
            unknown: RefCell::default(),
            marked: RefCell::default(),
            unmarked: RefCell::default(),
            mount: RefCell::default(),
            immortal: RefCell::default(),
            signals: RefCell::default(),
            randomness: Cell::new(usize::MAX),
            messages: RefCell::default(),
        })
    }

    /// Starts a process on it.
    pub(crate) fn process(self: &Rc<Self>, pid: u64) -> Process {
        self.running.borrow_mut().push(pid);
        Process { machine: Rc::clone(self), pid }
    }

    /// Kills a process: what it wrote remains, and its locks end.
    pub(crate) fn kill(&self, pid: u64) {
        self.running.borrow_mut().retain(|other| *other != pid);
        self.locks.borrow_mut().retain(|_, (holder, _)| *holder != pid);
    }

    /// The machine after a power loss, with everything that was durable. `survives` returns a number for each operation
    /// that was not: how many bytes of an append, or whether a replacement, are on disk.
    pub(crate) fn power_loss(&self, mut survives: impl FnMut() -> usize) -> Rc<Machine> {
        let mut files = self.start.borrow().clone();
        let operations = self.operations.borrow();
        let mut torn: Vec<String> = Vec::new();
        for (index, operation) in operations.iter().enumerate() {
            // A later sync of the same file includes everything before it.
            let synced_later = |path: &str| {
                let mut later = operations[index..].iter().filter(|later| later.durable);
                later.any(|later| touched(&later.change).contains(&path))
            };
            if touched(&operation.change).into_iter().all(synced_later) {
                files.apply(&operation.change, operation.time);
                continue;
            }
            match &operation.change {
                // Nothing after a torn end can have been written.
                Change::Append(path, _) if torn.contains(path) => {}
                Change::Append(path, contents) => {
                    let length = survives() % (contents.len() + 1);
                    let start = Change::Append(path.clone(), contents[..length].to_vec());
                    files.apply(&start, operation.time);
                    if length < contents.len() {
                        torn.push(path.clone());
                    }
                }
                // Each file independently: their renames are not ordered.
                Change::Replace(replaced) => {
                    let survives = |file: &&Replacement| {
                        synced_later(&file.path) || survives().is_multiple_of(2)
                    };
                    for file in replaced.iter().filter(survives) {
                        files.apply(&Change::Replace(vec![file.clone()]), operation.time);
                    }
                }
                change if survives().is_multiple_of(2) => files.apply(change, operation.time),
                _ => {}
            }
        }
        Machine::with(files, self.clock.get(), self.random.get())
    }

    pub(crate) fn put(&self, path: &str, contents: impl AsRef<[u8]>) {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.files.borrow_mut().apply(
                &Change::CreateDirectory(parent.to_owned()),
                Timestamp::from_millis(self.clock.get()),
            );
        }
        self.put_node(path, Node::File(contents.as_ref().to_vec()));
    }

    pub(crate) fn put_node(&self, path: &str, node: Node) {
        let time = Timestamp::from_millis(self.clock.get());
        self.files.borrow_mut().put(path, node, time);
        *self.start.borrow_mut() = self.files.borrow().clone();
        self.operations.borrow_mut().clear();
    }

    /// Writes a file as an agent does: without a sync.
    pub(crate) fn write_without_sync(&self, path: &str, contents: impl AsRef<[u8]>) {
        let time = Timestamp::from_millis(self.clock.get());
        let change = Change::Replace(vec![Replacement::new(path, contents.as_ref().to_vec())]);
        self.files.borrow_mut().apply(&change, time);
        self.operations.borrow_mut().push(Operation { change, durable: false, time });
    }

    pub(crate) fn set_modified(&self, path: &str, time: u64) {
        if let Some((_, modified)) = self.files.borrow_mut().0.get_mut(path) {
            *modified = time;
        }
    }

    pub(crate) fn delete(&self, path: &str) {
        self.files.borrow_mut().0.remove(path);
        *self.start.borrow_mut() = self.files.borrow().clone();
        self.operations.borrow_mut().clear();
    }

    /// Removes a directory and everything in it, and forgets its locks, as `rm -r` does.
    pub(crate) fn delete_all(&self, directory: &str) {
        let inside = format!("{directory}/");
        let is_inside = |path: &str| path == directory || path.starts_with(&inside);
        self.files.borrow_mut().0.retain(|path, _| !is_inside(path));
        self.locks.borrow_mut().retain(|path, _| !is_inside(path));
        *self.start.borrow_mut() = self.files.borrow().clone();
        self.operations.borrow_mut().clear();
    }

    pub(crate) fn text(&self, path: &str) -> Option<String> {
        match self.files.borrow().0.get(path) {
            Some((Node::File(contents), _)) => Some(String::from_utf8_lossy(contents).into_owned()),
            _ => None,
        }
    }

    pub(crate) fn paths(&self) -> Vec<String> {
        self.files.borrow().0.keys().cloned().collect()
    }

    pub(crate) fn operations(&self) -> Vec<Operation> {
        self.operations.borrow().clone()
    }

    pub(crate) fn said(&self, words: &str) -> bool {
        self.messages.borrow().iter().any(|message| message.contains(words))
    }

    /// Adds a valid item.
    pub(crate) fn item(&self, id: &str, state: &str, depends_on: &[&str]) {
        let document = serde_json::json!({
            "schema_version": 1, "id": id, "title": format!("Title of {id}"), "state": state,
            "overview": "", "depends_on": depends_on, "branch": null, "pr_url": null,
            "pr_number": null, "last_error": null, "created_at": "2023-01-01T00:00:00.000Z",
            "updated_at": "2023-01-01T00:00:00.000Z", "extra": 2.50,
        });
        self.put(&crate::io::layout::item_file(id), document.to_string());
    }

    pub(crate) fn state_of(&self, id: &str) -> String {
        let text = self.text(&crate::io::layout::item_file(id)).unwrap_or_default();
        let document: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        document["state"].as_str().unwrap_or_default().to_owned()
    }
}

impl Process {
    fn change(&self, change: Change, durable: bool) -> Result<(), FsError> {
        let machine = &self.machine;
        let mut operations = machine.operations.borrow_mut();
        let remaining = machine.power_until.get().checked_sub(operations.len());
        let power_is_off = || Err(FsError::Failed("the power is off".to_owned()));
        let cut = machine.cut.get().filter(|_| remaining == Some(0));
        if remaining.is_none_or(|remaining| remaining == 0) && cut.is_none() {
            return power_is_off();
        }
        machine.clock.set(machine.clock.get() + 1);
        let time = Timestamp::from_millis(machine.clock.get());
        if let Some(cut) = cut {
            let change = cut_off(change, cut);
            machine.files.borrow_mut().apply(&change, time);
            operations.push(Operation { change, durable: false, time });
            return power_is_off();
        }
        if machine.full.get() && matches!(change, Change::Replace(_)) {
            return Err(FsError::Full("No space left on device (os error 28)".to_owned()));
        }
        if machine.full.get()
            && let Change::Append(path, contents) = &change
        {
            let half = Change::Append(path.clone(), contents[..contents.len() / 2].to_vec());
            machine.files.borrow_mut().apply(&half, time);
            operations.push(Operation { change: half, durable: false, time });
            return Err(FsError::Full("No space left on device (os error 28)".to_owned()));
        }
        machine.files.borrow_mut().apply(&change, time);
        operations.push(Operation { change, durable, time });
        Ok(())
    }

    /// The path of an entry without links.
    fn resolve(&self, path: &str, follow: bool) -> Result<String, FsError> {
        paths::resolve(&self.machine.files.borrow(), path, follow)
    }

    /// The entry at a path without links, and when it was modified.
    fn node(&self, path: &str) -> Result<(Node, u64), FsError> {
        if path == "." {
            return Ok((Node::Directory, 0));
        }
        self.machine.files.borrow().0.get(path).cloned().ok_or(FsError::NotFound)
    }

    /// The path of a file that is going to be written: its directory exists, and it is not a directory.
    fn target(&self, path: &str) -> Result<String, FsError> {
        let target = self.resolve(path, true)?;
        let is_dangling = target != path && self.node(&target).is_err() && self.is_link(path);
        if is_dangling || !self.has_parent(&target) {
            return Err(FsError::NotFound);
        }
        match self.node(&target) {
            Ok((Node::Directory, _)) => Err(FsError::WrongKind(Kind::Directory)),
            _ => Ok(target),
        }
    }

    fn is_link(&self, path: &str) -> bool {
        let own = self.resolve(path, false).and_then(|own| self.node(&own));
        matches!(own, Ok((Node::Link(_), _)))
    }

    fn has_parent(&self, path: &str) -> bool {
        let parent = path.rsplit_once('/').map_or(".", |(parent, _)| parent);
        matches!(self.node(parent), Ok((Node::Directory, _)))
    }
}

fn kind(node: &Node) -> Kind {
    match node {
        Node::File(_) => Kind::File,
        Node::Directory => Kind::Directory,
        Node::Link(_) => Kind::Link,
        Node::Other => Kind::Other,
    }
}

impl FileSystem for Process {
    fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, FsError> {
        match self.node(&self.resolve(path, true)?)?.0 {
            Node::File(contents) if contents.len() as u64 > limit => {
                Err(FsError::TooLarge(contents.len() as u64))
            }
            Node::File(contents) => Ok(contents),
            node => Err(FsError::WrongKind(kind(&node))),
        }
    }

    fn read_at(&self, path: &str, offset: u64, length: u64) -> Result<Vec<u8>, FsError> {
        let contents = self.read(path, u64::MAX)?;
        Ok(contents.into_iter().skip(offset as usize).take(length as usize).collect())
    }

    fn replace(&self, files: Vec<Replacement>, durable: bool) -> Result<(), FsError> {
        let resolve =
            |file: Replacement| Ok(Replacement { path: self.target(&file.path)?, ..file });
        let files: Result<Vec<Replacement>, FsError> = files.into_iter().map(resolve).collect();
        self.change(Change::Replace(files?), durable)
    }

    fn append(&self, path: &str, contents: &[u8], durable: bool) -> Result<(), FsError> {
        self.change(Change::Append(self.target(path)?, contents.to_vec()), durable)
    }

    fn sync(&self, paths: &[String]) -> Result<(), FsError> {
        let resolve = |path: &String| {
            let path = self.resolve(path, true)?;
            self.node(&path).map(|_| path)
        };
        let paths: Result<Vec<String>, FsError> = paths.iter().map(resolve).collect();
        self.change(Change::Sync(paths?), true)
    }

    fn remove(&self, path: &str) -> Result<(), FsError> {
        let path = self.resolve(path, false)?;
        let (node, _) = self.node(&path)?;
        if node == Node::Directory && !self.list(&path)?.is_empty() {
            return Err(FsError::Failed("Directory not empty (os error 39)".to_owned()));
        }
        self.change(Change::Remove(path), true)
    }

    fn rename(&self, source: &str, target: &str) -> Result<(), FsError> {
        let (source, target) = (self.resolve(source, false)?, self.resolve(target, false)?);
        let is_directory = self.node(&source)?.0 == Node::Directory;
        if self.node(&target).is_ok() {
            return Err(FsError::Exists);
        }
        if !self.has_parent(&target) {
            return Err(FsError::NotFound);
        }
        let is_mounted = |path: &str| {
            let mount = self.machine.mount.borrow();
            mount.as_ref().is_some_and(|mount| path.starts_with(mount.as_str()))
        };
        if is_directory && is_mounted(&source) != is_mounted(&target) {
            return Err(FsError::CrossesDevices);
        }
        self.change(Change::Rename(source, target), true)
    }

    fn create_directory(&self, path: &str) -> Result<(), FsError> {
        let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
        for directory in ends.map(|end| &path[..end]) {
            let directory = match self.resolve(directory, true) {
                // Its parent is about to be created.
                Err(FsError::NotFound) => break,
                directory => directory?,
            };
            if self.node(&directory).is_ok_and(|(node, _)| node != Node::Directory) {
                return Err(FsError::Exists);
            }
        }
        match self.resolve(path, true) {
            Ok(root) if root == "." => Ok(()),
            Ok(path) => self.change(Change::CreateDirectory(path), true),
            // Its parents are created as well.
            Err(FsError::NotFound) => self.change(Change::CreateDirectory(path.to_owned()), true),
            Err(error) => Err(error),
        }
    }

    fn list(&self, path: &str) -> Result<Vec<Entry>, FsError> {
        let path = self.resolve(path, true)?;
        let (node, _) = self.node(&path)?;
        if node != Node::Directory {
            return Err(FsError::WrongKind(kind(&node)));
        }
        let inside = if path == "." { String::new() } else { format!("{path}/") };
        let files = self.machine.files.borrow();
        let entries = files.0.iter().filter_map(|(path, (node, _))| {
            let name = path.strip_prefix(&inside).filter(|name| !name.contains('/'))?;
            Some(Entry { name: name.to_owned(), kind: kind(node) })
        });
        Ok(entries.collect())
    }

    fn stat(&self, path: &str) -> Result<Metadata, FsError> {
        let (node, modified) = self.node(&self.resolve(path, false)?)?;
        let size = match &node {
            Node::File(contents) => contents.len() as u64,
            Node::Directory | Node::Link(_) | Node::Other => 0,
        };
        Ok(Metadata { kind: kind(&node), size, modified })
    }

    fn lock(&self, path: &str, note: &[u8]) -> Result<LockState, FsError> {
        let path = &*self.resolve(path, true)?;
        let is_directory = matches!(self.node(path), Ok((Node::Directory, _)));
        if !is_directory && !self.has_parent(path) {
            return Err(FsError::NotFound);
        }
        let note = if is_directory { b"" } else { note };
        let mut locks = self.machine.locks.borrow_mut();
        match locks.get(path) {
            Some((pid, note)) if *pid != self.pid => {
                Ok(LockState { held: true, note: note.clone() })
            }
            _ => {
                locks.insert(path.to_owned(), (self.pid, note.to_vec()));
                if !is_directory {
                    let time = Timestamp::from_millis(self.machine.clock.get());
                    let file = Node::File(note.to_vec());
                    self.machine.files.borrow_mut().put(path, file, time);
                }
                Ok(LockState { held: false, note: Vec::new() })
            }
        }
    }

    fn unlock(&self, path: &str) -> Result<(), FsError> {
        let mut locks = self.machine.locks.borrow_mut();
        if locks.get(path).is_some_and(|(holder, _)| *holder == self.pid) {
            locks.remove(path);
        }
        Ok(())
    }

    fn lock_holder(&self, path: &str) -> Result<LockState, FsError> {
        let note = self.machine.locks.borrow().get(path).map(|(_, note)| note.clone());
        Ok(LockState { held: note.is_some(), note: note.unwrap_or_default() })
    }
}
