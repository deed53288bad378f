//! Which system calls change the world outside of a process, and what a call is about.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::libc;

/// `O_CREAT`, `O_TRUNC` and `O_TMPFILE`: an `open` without them changes nothing.
const MAKING: u64 = (libc::O_CREAT | libc::O_TRUNC | (libc::O_TMPFILE & !libc::O_DIRECTORY)) as u64;
/// The longest path or structure that is read from the program's memory.
const PATH_LIMIT: usize = 4096;

/// Where in its arguments a call says what it works on.
#[derive(Clone, Copy)]
enum About {
    /// The first argument is a descriptor.
    Descriptor,
    /// A path, counted from the working directory.
    Path,
    /// A directory's descriptor and a path below it.
    At,
    /// The source of a rename or a link, and its target.
    TwoAt,
    /// `openat`: like `At`, and only if the flags make something.
    Open,
    /// `openat2`: the same, with the flags in a structure.
    OpenHow,
    /// Nothing with a name.
    Nothing,
}

/// The calls that are kill points. Whatever is not here (reads, waits, memory) leaves the world as the
/// call before it did, so killing there shows nothing new.
const CALLS: &[(libc::c_long, &str, About)] = &[
    (libc::SYS_write, "write", About::Descriptor),
    (libc::SYS_writev, "writev", About::Descriptor),
    (libc::SYS_pwrite64, "pwrite64", About::Descriptor),
    (libc::SYS_pwritev, "pwritev", About::Descriptor),
    (libc::SYS_pwritev2, "pwritev2", About::Descriptor),
    (libc::SYS_sendfile, "sendfile", About::Descriptor),
    (libc::SYS_copy_file_range, "copy_file_range", About::Descriptor),
    (libc::SYS_ftruncate, "ftruncate", About::Descriptor),
    (libc::SYS_fallocate, "fallocate", About::Descriptor),
    (libc::SYS_fsync, "fsync", About::Descriptor),
    (libc::SYS_fdatasync, "fdatasync", About::Descriptor),
    (libc::SYS_syncfs, "syncfs", About::Descriptor),
    (libc::SYS_sync_file_range, "sync_file_range", About::Descriptor),
    (libc::SYS_fchmod, "fchmod", About::Descriptor),
    (libc::SYS_fchown, "fchown", About::Descriptor),
    (libc::SYS_flock, "flock", About::Descriptor),
    (libc::SYS_fsetxattr, "fsetxattr", About::Descriptor),
    (libc::SYS_openat, "openat", About::Open),
    (libc::SYS_openat2, "openat2", About::OpenHow),
    (libc::SYS_mkdirat, "mkdirat", About::At),
    (libc::SYS_unlinkat, "unlinkat", About::At),
    (libc::SYS_mknodat, "mknodat", About::At),
    (libc::SYS_fchmodat, "fchmodat", About::At),
    (libc::SYS_fchownat, "fchownat", About::At),
    (libc::SYS_utimensat, "utimensat", About::At),
    (libc::SYS_renameat2, "renameat2", About::TwoAt),
    (libc::SYS_linkat, "linkat", About::TwoAt),
    (libc::SYS_symlinkat, "symlinkat", About::Path),
    (libc::SYS_truncate, "truncate", About::Path),
    (libc::SYS_kill, "kill", About::Nothing),
    (libc::SYS_tgkill, "tgkill", About::Nothing),
    (libc::SYS_pidfd_send_signal, "pidfd_send_signal", About::Nothing),
    (libc::SYS_setpgid, "setpgid", About::Nothing),
    (libc::SYS_clone, "clone", About::Nothing),
    (libc::SYS_clone3, "clone3", About::Nothing),
    (libc::SYS_exit_group, "exit_group", About::Nothing),
];

/// Those that only older architectures have.
#[cfg(target_arch = "x86_64")]
const OLDER_CALLS: &[(libc::c_long, &str, About)] = &[
    (libc::SYS_creat, "creat", About::Path),
    (libc::SYS_mkdir, "mkdir", About::Path),
    (libc::SYS_rmdir, "rmdir", About::Path),
    (libc::SYS_unlink, "unlink", About::Path),
    (libc::SYS_rename, "rename", About::Path),
    (libc::SYS_renameat, "renameat", About::TwoAt),
    (libc::SYS_link, "link", About::Path),
    (libc::SYS_symlink, "symlink", About::Path),
    (libc::SYS_chmod, "chmod", About::Path),
    (libc::SYS_utime, "utime", About::Path),
    (libc::SYS_utimes, "utimes", About::Path),
    (libc::SYS_futimesat, "futimesat", About::At),
    (libc::SYS_fork, "fork", About::Nothing),
    (libc::SYS_vfork, "vfork", About::Nothing),
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER_CALLS: &[(libc::c_long, &str, About)] =
    &[(libc::SYS_renameat, "renameat", About::TwoAt)];

/// Returns what the call is that a stopped thread is about to make, if it is a kill point: its name
/// and the files that it names, those below `base` relative to it.
pub(crate) fn changing_call(thread: i32, base: &Path) -> Option<String> {
    let process = PathBuf::from(format!("/proc/{thread}"));
    // Number and six arguments: the same text on every architecture.
    let text = fs::read_to_string(process.join("syscall")).ok()?;
    let mut words = text.split_whitespace();
    let number: libc::c_long = words.next()?.parse().ok()?;
    let arguments: Vec<u64> = words.filter_map(hexadecimal).collect();
    let known = CALLS.iter().chain(OLDER_CALLS).find(|call| call.0 == number)?;
    let argument = |index: usize| arguments.get(index).copied().unwrap_or_default();
    let descriptor = |index| open_file(&process, argument(index));
    let at = |index| join(descriptor(index), path(&process, argument(index + 1)));
    let files = match known.2 {
        About::Nothing => vec![],
        About::Descriptor => vec![descriptor(0)],
        About::Path => vec![path(&process, argument(0))],
        About::At => vec![at(0)],
        About::TwoAt => vec![at(0), at(2)],
        About::Open if argument(2) & MAKING == 0 => return None,
        About::OpenHow if word(&process, argument(2))? & MAKING == 0 => return None,
        About::Open | About::OpenHow => vec![at(0)],
    };
    let shown = files.iter().map(|file| format!(" {}", below(file, base)));
    Some(known.1.to_owned() + &shown.collect::<String>())
}

fn hexadecimal(word: &str) -> Option<u64> {
    u64::from_str_radix(word.strip_prefix("0x")?, 16).ok()
}

/// The file behind a descriptor; nothing for `AT_FDCWD`.
fn open_file(process: &Path, descriptor: u64) -> PathBuf {
    let link = process.join("fd").join((descriptor as i32).to_string());
    fs::read_link(link).unwrap_or_default()
}

/// `utimensat` without a path works on the descriptor.
fn join(directory: PathBuf, path: PathBuf) -> PathBuf {
    if path.as_os_str().is_empty() { directory } else { directory.join(path) }
}

fn path(process: &Path, address: u64) -> PathBuf {
    let bytes = memory(process, address, PATH_LIMIT).unwrap_or_default();
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or_default();
    String::from_utf8_lossy(&bytes[..end]).into_owned().into()
}

fn word(process: &Path, address: u64) -> Option<u64> {
    Some(u64::from_ne_bytes(memory(process, address, 8)?.try_into().ok()?))
}

/// Up to `length` bytes of the program's memory; fewer where a mapping ends.
fn memory(process: &Path, address: u64, length: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; length];
    let read = fs::File::open(process.join("mem")).ok()?.read_at(&mut bytes, address).ok()?;
    bytes.truncate(read);
    Some(bytes)
}

fn below(file: &Path, base: &Path) -> String {
    file.strip_prefix(base).unwrap_or(file).display().to_string()
}
