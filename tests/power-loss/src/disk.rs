//! The model: a tree of files that knows what of it is durable.
//!
//! A file has its content and the content of its last `fsync`. A directory has its names and those of
//! its last `fsync`; each change of names between the two is an operation that survives a power loss
//! or does not. Nothing else is promised: a synced file may have no name, and a durable name may lead
//! to an empty file. That is less than any real file system promises, and all that POSIX does.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::time::SystemTime;

use fuser::Errno;

use crate::random::Random;

/// The number of the root directory.
pub const ROOT: u64 = 1;

type Names = BTreeMap<OsString, u64>;

/// A file, directory or link.
#[derive(Debug, Clone)]
pub(crate) struct Inode {
    pub(crate) body: Body,
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) modified: SystemTime,
}

#[derive(Debug, Clone)]
pub(crate) enum Body {
    File(Content),
    Directory { now: Names, durable: Names },
    Link(OsString),
}

/// What is in a file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Content {
    pub(crate) now: Vec<u8>,
    durable: Vec<u8>,
    /// Up to here both are the same and were not touched since the last sync.
    untouched: usize,
}

/// A change of names that is not durable yet. A rename is one operation, whichever of its directories
/// is synced.
#[derive(Debug, Clone)]
struct Operation(Vec<Change>);

/// A directory, a name in it, and what has that name now.
#[derive(Debug, Clone)]
struct Change {
    directory: u64,
    name: OsString,
    inode: Option<u64>,
}

/// What a power loss leaves of what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaves {
    /// Nothing.
    Nothing,
    /// Everything, as a kill does.
    Everything,
    /// Names up to some moment, as a journal of metadata does; content in any state.
    Prefix,
    /// Any names, and content in any state.
    Anything,
}

/// A disk that can lose power.
#[derive(Debug, Clone)]
pub struct Disk {
    inodes: HashMap<u64, Inode>,
    next: u64,
    unsynced: Vec<Operation>,
    /// Changes and syncs so far.
    operations: u64,
    interruption: Option<Interruption>,
    is_off: bool,
    /// Every call fails for the moment.
    is_held: bool,
    /// Whether it can rename without replacing; many FUSE file systems cannot.
    pub(crate) renames_to_new: bool,
}

/// What happens before a change or sync with some number, counted from the beginning of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interruption {
    /// The power is cut.
    PowerCut(u64),
    /// The program alone is killed. Until it is dead, the disk answers nothing but errors.
    Kill(u64),
}

impl Default for Disk {
    fn default() -> Self {
        let owner = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let mut disk = Disk {
            inodes: HashMap::new(),
            next: ROOT,
            unsynced: Vec::new(),
            operations: 0,
            interruption: None,
            is_off: false,
            is_held: false,
            renames_to_new: true,
        };
        disk.insert(Body::directory(), 0o755, owner);
        disk
    }
}

impl Body {
    pub(crate) fn directory() -> Self {
        Body::Directory { now: Names::new(), durable: Names::new() }
    }
}

impl Content {
    fn touch(&mut self, from: usize) {
        self.untouched = self.untouched.min(from);
    }

    fn resize(&mut self, size: usize) {
        self.touch(size.min(self.now.len()));
        self.now.resize(size, 0);
    }

    fn write(&mut self, offset: usize, data: &[u8]) {
        self.touch(offset.min(self.now.len()));
        let end = offset + data.len();
        if self.now.len() < end {
            self.now.resize(end, 0);
        }
        self.now[offset..end].copy_from_slice(data);
    }

    fn sync(&mut self) {
        self.durable.clone_from(&self.now);
        self.untouched = self.now.len();
    }

    /// What a power loss leaves.
    fn survivor(&self, leaves: Leaves, random: &mut Random) -> Vec<u8> {
        if self.untouched == self.now.len() && self.now.len() == self.durable.len() {
            return self.now.clone();
        }
        let choice = match leaves {
            Leaves::Nothing => 0,
            Leaves::Everything => 1,
            Leaves::Prefix | Leaves::Anything => random.below(5),
        };
        let cut = self.untouched + random.below((self.now.len() - self.untouched) as u64) as usize;
        match choice {
            0 => self.durable.clone(),
            1 => self.now.clone(),
            // The size is durable before the content is, or the other way round.
            2 => self.now[..self.untouched].to_vec(),
            3 => self.now[..cut].to_vec(),
            _ => {
                let mut zeros = self.now[..cut].to_vec();
                zeros.resize(self.now.len(), 0);
                zeros
            }
        }
    }
}

impl Disk {
    /// Counts changes and syncs from here on, up to an interruption.
    pub fn begin(&mut self, interruption: Option<Interruption>) {
        self.operations = 0;
        self.interruption = interruption;
    }

    /// Returns how many changes and syncs there were since [`Disk::begin`].
    pub fn operations(&self) -> u64 {
        self.operations
    }

    /// Whether the program is to be killed now.
    pub fn is_held(&self) -> bool {
        self.is_held
    }

    /// Works on, unless the power is off: the program has ended.
    pub fn release(&mut self) {
        self.interruption = None;
        self.is_held = false;
    }

    /// Whether the power is off: every call fails.
    pub fn is_off(&self) -> bool {
        self.is_off
    }

    /// Turns the power off.
    pub fn turn_off(&mut self) {
        self.is_off = true;
    }

    /// Makes everything durable.
    pub fn sync_all(&mut self) {
        self.unsynced.clear();
        for inode in self.inodes.values_mut() {
            match &mut inode.body {
                Body::File(content) => content.sync(),
                Body::Directory { now, durable } => durable.clone_from(now),
                Body::Link(_) => {}
            }
        }
    }

    /// Returns the disk as it is when the power comes back.
    pub fn after_power_loss(&self, leaves: Leaves, random: &mut Random) -> Disk {
        let mut names: HashMap<u64, Names> = HashMap::new();
        for (number, inode) in &self.inodes {
            if let Body::Directory { durable, .. } = &inode.body {
                names.insert(*number, durable.clone());
            }
        }
        let until = random.below(self.unsynced.len() as u64 + 1) as usize;
        for (index, Operation(changes)) in self.unsynced.iter().enumerate() {
            let survives = match leaves {
                Leaves::Nothing => false,
                Leaves::Everything => true,
                Leaves::Prefix => index < until,
                Leaves::Anything => random.once_in(2),
            };
            for change in changes.iter().filter(|_| survives) {
                set(names.entry(change.directory).or_default(), change);
            }
        }
        let mut after = Disk { inodes: HashMap::new(), ..Disk::default() };
        after.next = self.next;
        after.renames_to_new = self.renames_to_new;
        let mut found = vec![ROOT];
        while let Some(number) = found.pop() {
            // A file with two names is one file.
            if after.inodes.contains_key(&number) {
                continue;
            }
            let Some(inode) = self.inodes.get(&number) else { continue };
            let body = match &inode.body {
                Body::File(content) => {
                    let mut content =
                        Content { now: content.survivor(leaves, random), ..Content::default() };
                    content.sync();
                    Body::File(content)
                }
                Body::Directory { .. } => {
                    let names = names.remove(&number).unwrap_or_default();
                    found.extend(names.values());
                    Body::Directory { now: names.clone(), durable: names }
                }
                Body::Link(target) => Body::Link(target.clone()),
            };
            after.inodes.insert(number, Inode { body, ..inode.clone() });
        }
        after
    }

    /// Counts a change or a sync, before it is made.
    fn step(&mut self) -> Result<(), Errno> {
        match self.interruption {
            Some(Interruption::PowerCut(at)) if self.operations >= at => self.is_off = true,
            Some(Interruption::Kill(at)) if self.operations >= at => self.is_held = true,
            _ => {}
        }
        self.operations += 1;
        self.powered()
    }

    fn powered(&self) -> Result<(), Errno> {
        if self.is_off || self.is_held { Err(Errno::EIO) } else { Ok(()) }
    }

    fn insert(&mut self, body: Body, mode: u16, (uid, gid): (u32, u32)) -> u64 {
        let number = self.next;
        self.next += 1;
        self.inodes.insert(number, Inode { body, mode, uid, gid, modified: SystemTime::now() });
        number
    }

    pub(crate) fn inode(&self, number: u64) -> Result<&Inode, Errno> {
        self.powered()?;
        self.inodes.get(&number).ok_or(Errno::ENOENT)
    }

    pub(crate) fn names(&self, directory: u64) -> Result<&Names, Errno> {
        match &self.inode(directory)?.body {
            Body::Directory { now, .. } => Ok(now),
            Body::File(_) | Body::Link(_) => Err(Errno::ENOTDIR),
        }
    }

    pub(crate) fn lookup(&self, directory: u64, name: &OsStr) -> Result<u64, Errno> {
        self.names(directory)?.get(name).copied().ok_or(Errno::ENOENT)
    }

    /// Returns how many names an inode has; those of a directory are not counted exactly.
    pub(crate) fn links(&self, number: u64) -> u32 {
        let all = self.inodes.values().filter_map(|inode| match &inode.body {
            Body::Directory { now, .. } => Some(now),
            Body::File(_) | Body::Link(_) => None,
        });
        all.flat_map(Names::values).filter(|named| **named == number).count() as u32
    }

    pub(crate) fn content(&mut self, number: u64) -> Result<&mut Content, Errno> {
        self.powered()?;
        match self.inodes.get_mut(&number).map(|inode| &mut inode.body) {
            Some(Body::File(content)) => Ok(content),
            Some(_) => Err(Errno::EISDIR),
            None => Err(Errno::ENOENT),
        }
    }

    pub(crate) fn make(
        &mut self,
        (directory, name): (u64, &OsStr),
        body: Body,
        mode: u16,
        owner: (u32, u32),
    ) -> Result<u64, Errno> {
        if self.lookup(directory, name).is_ok() {
            return Err(Errno::EEXIST);
        }
        self.names(directory)?;
        self.step()?;
        let number = self.insert(body, mode, owner);
        self.change(vec![Change { directory, name: name.to_owned(), inode: Some(number) }]);
        Ok(number)
    }

    pub(crate) fn link(&mut self, number: u64, directory: u64, name: &OsStr) -> Result<(), Errno> {
        if self.lookup(directory, name).is_ok() {
            return Err(Errno::EEXIST);
        }
        self.step()?;
        self.change(vec![Change { directory, name: name.to_owned(), inode: Some(number) }]);
        Ok(())
    }

    pub(crate) fn remove(&mut self, directory: u64, name: &OsStr) -> Result<(), Errno> {
        let number = self.lookup(directory, name)?;
        if self.names(number).is_ok_and(|names| !names.is_empty()) {
            return Err(Errno::ENOTEMPTY);
        }
        self.step()?;
        self.change(vec![Change { directory, name: name.to_owned(), inode: None }]);
        Ok(())
    }

    pub(crate) fn rename(
        &mut self,
        (directory, name): (u64, &OsStr),
        (new_directory, new_name): (u64, &OsStr),
        keep: bool,
    ) -> Result<(), Errno> {
        let number = self.lookup(directory, name)?;
        if let Ok(replaced) = self.lookup(new_directory, new_name) {
            if keep {
                return Err(Errno::EEXIST);
            }
            if self.names(replaced).is_ok_and(|names| !names.is_empty()) {
                return Err(Errno::ENOTEMPTY);
            }
        }
        self.step()?;
        if (directory, name) != (new_directory, new_name) {
            self.change(vec![
                Change { directory, name: name.to_owned(), inode: None },
                Change { directory: new_directory, name: new_name.to_owned(), inode: Some(number) },
            ]);
        }
        Ok(())
    }

    pub(crate) fn write(&mut self, number: u64, offset: usize, data: &[u8]) -> Result<(), Errno> {
        self.step()?;
        self.content(number)?.write(offset, data);
        self.set_modified(number, SystemTime::now())
    }

    pub(crate) fn resize(&mut self, number: u64, size: usize) -> Result<(), Errno> {
        self.step()?;
        self.content(number)?.resize(size);
        self.set_modified(number, SystemTime::now())
    }

    pub(crate) fn set_modified(&mut self, number: u64, time: SystemTime) -> Result<(), Errno> {
        self.change_inode(number, |inode| inode.modified = time)
    }

    /// Changes what is durable at once: owner, permissions, time.
    pub(crate) fn change_inode(
        &mut self,
        number: u64,
        change: impl FnOnce(&mut Inode),
    ) -> Result<(), Errno> {
        self.powered()?;
        self.inodes.get_mut(&number).map(change).ok_or(Errno::ENOENT)
    }

    pub(crate) fn sync_file(&mut self, number: u64) -> Result<(), Errno> {
        self.step()?;
        self.content(number).map(Content::sync)
    }

    pub(crate) fn sync_directory(&mut self, directory: u64) -> Result<(), Errno> {
        self.step()?;
        let mut pending: Vec<Operation> = Vec::new();
        for Operation(changes) in std::mem::take(&mut self.unsynced) {
            if !changes.iter().any(|change| change.directory == directory) {
                pending.push(Operation(changes));
                continue;
            }
            for change in &changes {
                // What is durable now is not undone by what came before it.
                for Operation(earlier) in &mut pending {
                    earlier
                        .retain(|it| (it.directory, &it.name) != (change.directory, &change.name));
                }
                if let Some(Body::Directory { durable, .. }) =
                    self.inodes.get_mut(&change.directory).map(|inode| &mut inode.body)
                {
                    set(durable, change);
                }
            }
        }
        self.unsynced = pending;
        Ok(())
    }

    fn change(&mut self, changes: Vec<Change>) {
        for change in &changes {
            if let Some(inode) = self.inodes.get_mut(&change.directory) {
                inode.modified = SystemTime::now();
                if let Body::Directory { now, .. } = &mut inode.body {
                    set(now, change);
                }
            }
        }
        self.unsynced.push(Operation(changes));
    }
}

fn set(names: &mut Names, change: &Change) {
    match change.inode {
        Some(inode) => names.insert(change.name.clone(), inode),
        None => names.remove(&change.name),
    };
}

#[cfg(test)]
mod tests;
