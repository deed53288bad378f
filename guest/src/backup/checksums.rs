//! `backups/{id}/checksums.jsonl`: the content of every file after the changes that a backup was made for. One
//! line per file: `path`, relative to the root of the instance, and `crc32`, the checksum of the content as eight
//! hexadecimal digits. A line is written before the change, so the file may still have its old content. The
//! existing tool ignores this file.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

use super::directory;
use crate::io::capabilities::FsError;
use crate::io::host::{Failure, Host};

/// The name of the file.
const NAME: &str = "checksums.jsonl";
/// The name that earlier builds gave it.
const OLD_NAME: &str = "left.jsonl";
/// Maximum size in bytes. The lines of 100,000 files take about 10 MiB.
const LIMIT: u64 = 96 << 20;

/// The checksums that each file may have, by path.
pub(super) type Checksums = HashMap<String, HashSet<String>>;

/// The file of a backup.
pub(super) fn file(host: Host<'_>, id: &str) -> String {
    format!("{}/{NAME}", directory(host, id))
}

/// Whether a file in the directory of a backup contains checksums.
pub(super) fn is_name(name: &str) -> bool {
    [NAME, OLD_NAME].contains(&name)
}

/// One line of the file.
pub(super) fn line(path: &str, sum: u32) -> String {
    format!("{}\n", json!({"path": path, "crc32": hex(sum)}))
}

/// The checksum of a content, as the file has it.
pub(super) fn sum_of(contents: &[u8]) -> String {
    hex(crc32fast::hash(contents))
}

fn hex(sum: u32) -> String {
    format!("{sum:08x}")
}

/// Reads the checksums of a backup, under both names: an interrupted fix of an earlier build may have been
/// continued. `None` if there are none: another tool made the backup, or a build before checksums.
pub(super) fn read(host: Host<'_>, id: &str) -> Result<Option<Checksums>, Failure> {
    let mut checksums = None;
    for name in [OLD_NAME, NAME] {
        let path = format!("{}/{name}", directory(host, id));
        match host.read(&path, LIMIT) {
            Ok(bytes) => parse(&bytes, checksums.get_or_insert_default()),
            Err(FsError::NotFound) => {}
            Err(error) => return Err(host.failed("read", &path)(error)),
        }
    }
    Ok(checksums)
}

/// Removes the checksums of a backup.
pub(super) fn remove(host: Host<'_>, id: &str) -> Result<(), Failure> {
    [OLD_NAME, NAME]
        .iter()
        .try_for_each(|name| host.remove(&format!("{}/{name}", directory(host, id))))
}

fn parse(bytes: &[u8], checksums: &mut Checksums) {
    for line in bytes.split(|b| *b == b'\n') {
        // A torn line belongs to a change that was not made.
        let Ok(line) = serde_json::from_slice::<Value>(line) else { continue };
        let text = |key: &str| line.get(key).and_then(Value::as_str).map(str::to_owned);
        if let Some((path, sum)) = text("path").zip(text("crc32")) {
            checksums.entry(path).or_default().insert(sum);
        }
    }
}
