//! `backups/{id}/left.jsonl`: what the changes behind a backup left, one file a line: `path`, from the
//! root of the instance, and `crc32`, the checksum of its content as eight hexadecimal digits. Written
//! before the change, so a file may also have its old content. The existing tool passes it over.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

use super::directory;
use crate::io::capabilities::FsError;
use crate::io::host::{Failure, Host};

/// The name of the file.
pub(super) const NAME: &str = "left.jsonl";
/// Lines of a hundred thousand files have about 10 MiB.
const LIMIT: u64 = 96 << 20;

/// What was left, by path: any of these checksums.
pub(super) type Left = HashMap<String, HashSet<String>>;

/// The file of a backup.
pub(super) fn file(host: Host<'_>, id: &str) -> String {
    format!("{}/{NAME}", directory(host, id))
}

/// A line of it.
pub(super) fn line(path: &str, sum: u32) -> String {
    format!("{}\n", json!({"path": path, "crc32": hex(sum)}))
}

/// The checksum of a content, as it is written.
pub(super) fn sum_of(contents: &[u8]) -> String {
    hex(crc32fast::hash(contents))
}

fn hex(sum: u32) -> String {
    format!("{sum:08x}")
}

/// Reads it; `None` if there is none: the backup is older than this file, or another tool's.
pub(super) fn read(host: Host<'_>, id: &str) -> Result<Option<Left>, Failure> {
    let path = file(host, id);
    let bytes = match host.read(&path, LIMIT) {
        Ok(bytes) => bytes,
        Err(FsError::NotFound) => return Ok(None),
        Err(error) => return Err(host.failed("read", &path)(error)),
    };
    let mut left = Left::new();
    for line in bytes.split(|b| *b == b'\n') {
        // A torn last line is of a change that was not made.
        let Ok(line) = serde_json::from_slice::<Value>(line) else { continue };
        let text = |key: &str| line.get(key).and_then(Value::as_str).map(str::to_owned);
        if let Some((path, sum)) = text("path").zip(text("crc32")) {
            left.entry(path).or_default().insert(sum);
        }
    }
    Ok(Some(left))
}
