//! A [`Disk`] as a file system of this machine.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem,
    FopenFlags, Generation, INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyStatfs, ReplyWrite,
    Request, TimeOrNow, WriteFlags,
};

use crate::disk::{Body, Content, Disk};

/// Nothing changes behind the kernel's back.
const TTL: Duration = Duration::from_secs(60);
const GENERATION: Generation = Generation(0);

/// A disk that the file system and the campaign share.
#[derive(Debug, Clone, Default)]
pub struct Shared(Arc<Mutex<Disk>>);

impl Shared {
    /// Shares a disk.
    pub fn new(disk: Disk) -> Self {
        Shared(Arc::new(Mutex::new(disk)))
    }

    /// Gives access to the disk.
    pub fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A mounted disk; unmounted when dropped.
#[derive(Debug)]
pub struct Mount {
    point: PathBuf,
    session: Option<BackgroundSession>,
}

impl Mount {
    /// Mounts a disk on an empty directory.
    pub fn new(disk: &Shared, point: &Path) -> io::Result<Self> {
        let mut config = Config::default();
        config.mount_options =
            vec![MountOption::FSName("power-loss".to_owned()), MountOption::DefaultPermissions];
        let session = fuser::spawn_mount(Served(disk.clone()), point, &config)?;
        Ok(Mount { point: point.to_owned(), session: Some(session) })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Also if a process that was killed has not gone yet.
        let detached = ["umount", "fusermount3", "fusermount"].into_iter().any(|program| {
            let flags: &[&str] = if program == "umount" { &["-l"] } else { &["-u", "-z"] };
            let mut command = Command::new(program);
            command.args(flags).arg(&self.point).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        });
        match self.session.take() {
            Some(session) if detached => drop(session.join()),
            session => drop(session),
        }
    }
}

/// What the kernel calls.
struct Served(Shared);

impl Served {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.disk()
    }
}

fn attributes(disk: &Disk, number: u64) -> Result<FileAttr, Errno> {
    let inode = disk.inode(number)?;
    let (kind, size, nlink) = match &inode.body {
        Body::File(content) => {
            (FileType::RegularFile, content.now.len() as u64, disk.links(number))
        }
        Body::Directory { .. } => (FileType::Directory, 0, 2),
        Body::Link(target) => (FileType::Symlink, target.len() as u64, 1),
    };
    Ok(FileAttr {
        ino: INodeNo(number),
        size,
        blocks: size.div_ceil(512),
        atime: inode.modified,
        mtime: inode.modified,
        ctime: inode.modified,
        crtime: UNIX_EPOCH,
        kind,
        perm: inode.mode,
        nlink,
        uid: inode.uid,
        gid: inode.gid,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    })
}

/// The permissions that the kernel asks for; the umask has been applied.
fn permissions(mode: u32) -> u16 {
    (mode & 0o7777) as u16
}

fn owner(request: &Request) -> (u32, u32) {
    (request.uid(), request.gid())
}

fn empty(reply: ReplyEmpty, result: Result<(), Errno>) {
    match result {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}

fn entry(reply: ReplyEntry, result: Result<FileAttr, Errno>) {
    match result {
        Ok(attributes) => reply.entry(&TTL, &attributes, GENERATION),
        Err(errno) => reply.error(errno),
    }
}

impl Filesystem for Served {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let disk = self.disk();
        entry(reply, disk.lookup(parent.0, name).and_then(|number| attributes(&disk, number)));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match attributes(&self.disk(), ino.0) {
            Ok(attributes) => reply.attr(&TTL, &attributes),
            Err(errno) => reply.error(errno),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut disk = self.disk();
        let resized = size.map_or(Ok(()), |size| disk.resize(ino.0, size as usize));
        let changed = resized.and_then(|()| {
            disk.change_inode(ino.0, |inode| {
                inode.mode = mode.map_or(inode.mode, permissions);
                inode.uid = uid.unwrap_or(inode.uid);
                inode.gid = gid.unwrap_or(inode.gid);
                inode.modified = match mtime {
                    Some(TimeOrNow::SpecificTime(time)) => time,
                    Some(TimeOrNow::Now) => SystemTime::now(),
                    None => inode.modified,
                };
            })
        });
        match changed.and_then(|()| attributes(&disk, ino.0)) {
            Ok(attributes) => reply.attr(&TTL, &attributes),
            Err(errno) => reply.error(errno),
        }
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        match self.disk().inode(ino.0).map(|inode| &inode.body) {
            Ok(Body::Link(target)) => reply.data(target.as_bytes()),
            Ok(_) => reply.error(Errno::EINVAL),
            Err(errno) => reply.error(errno),
        }
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let mut disk = self.disk();
        let mode = permissions(mode & !umask);
        let made = disk.make((parent.0, name), Body::directory(), mode, owner(request));
        entry(reply, made.and_then(|number| attributes(&disk, number)));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(reply, self.disk().remove(parent.0, name));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(reply, self.disk().remove(parent.0, name));
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let mut disk = self.disk();
        let link = Body::Link(target.as_os_str().to_owned());
        let made = disk.make((parent.0, name), link, 0o777, owner(request));
        entry(reply, made.and_then(|number| attributes(&disk, number)));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let keep = flags == RenameFlags::RENAME_NOREPLACE;
        let mut disk = self.disk();
        if !(flags.is_empty() || keep && disk.renames_to_new) {
            return reply.error(Errno::EINVAL);
        }
        let (from, to) = ((parent.0, name), (new_parent.0, new_name));
        empty(reply, disk.rename(from, to, keep));
    }

    fn link(&self, _: &Request, ino: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let mut disk = self.disk();
        let linked = disk.link(ino.0, parent.0, name);
        entry(reply, linked.and_then(|()| attributes(&disk, ino.0)));
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let mut disk = self.disk();
        let (file, mode) = (Body::File(Content::default()), permissions(mode & !umask));
        let made = disk.make((parent.0, name), file, mode, owner(request));
        match made.and_then(|number| attributes(&disk, number)) {
            Ok(made) => {
                reply.created(&TTL, &made, GENERATION, FileHandle(0), FopenFlags::empty());
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.disk().content(ino.0) {
            Ok(content) => {
                let from = (offset as usize).min(content.now.len());
                let to = (from + size as usize).min(content.now.len());
                reply.data(&content.now[from..to]);
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.disk().write(ino.0, offset as usize, data) {
            Ok(()) => reply.written(data.len() as u32),
            Err(errno) => reply.error(errno),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // Closing a file syncs nothing, and after this answer the kernel does not ask again: the
        // last thread of a harness that is killed would wait for an answer of its own.
        reply.error(Errno::ENOSYS);
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        empty(reply, self.disk().sync_file(ino.0));
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        empty(reply, self.disk().sync_directory(ino.0));
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let disk = self.disk();
        let names = match disk.names(ino.0) {
            Ok(names) => names,
            Err(errno) => return reply.error(errno),
        };
        // By number, so that nothing is passed over when something is removed meanwhile.
        let mut names: Vec<_> = names.iter().map(|(name, number)| (*number, name)).collect();
        names.sort_unstable();
        for (number, name) in names.into_iter().filter(|(number, _)| *number > offset) {
            let kind = match disk.inode(number).map(|inode| &inode.body) {
                Ok(Body::File(_)) => FileType::RegularFile,
                Ok(Body::Link(_)) => FileType::Symlink,
                Ok(Body::Directory { .. }) | Err(_) => FileType::Directory,
            };
            if reply.add(INodeNo(number), number, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        reply.statfs(1 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 20, 4096, 255, 4096);
    }
}
