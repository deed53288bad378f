//! Paths on a disk in memory: the rules of the interface `filesystem`.

use super::files::{Files, Node};
use crate::io::capabilities::FsError;

/// Maximum length of a name in bytes.
const LONGEST_NAME: usize = 255;
/// Maximum number of links in one path.
const MOST_LINKS: usize = 40;

/// Refuses a malformed path.
fn check(path: &str) -> Result<(), FsError> {
    let is_name = |name: &str| {
        !matches!(name, "" | "." | "..") && name.len() <= LONGEST_NAME && !name.contains('\0')
    };
    match path == "." || path.split('/').all(is_name) {
        true => Ok(()),
        false => Err(FsError::Outside),
    }
}

/// The path of an entry without links. The last name is followed if `follow` says so, and need not exist.
pub(super) fn resolve(files: &Files, path: &str, follow: bool) -> Result<String, FsError> {
    check(path)?;
    let mut pending: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
    let mut resolved: Vec<String> = Vec::new();
    let mut links = 0;
    while let Some(name) = pending.pop() {
        match name.as_str() {
            "." | "" => continue,
            ".." => {
                resolved.pop().ok_or(FsError::Outside)?;
                continue;
            }
            _ => resolved.push(name),
        }
        let is_last = pending.is_empty();
        match files.0.get(&resolved.join("/")).map(|(node, _)| node) {
            Some(Node::Link(target)) if !is_last || follow => {
                links += 1;
                if target.starts_with('/') {
                    return Err(FsError::Outside);
                }
                if links > MOST_LINKS {
                    return Err(FsError::Failed("Too many levels of symbolic links".to_owned()));
                }
                resolved.pop();
                pending.extend(target.split('/').rev().map(str::to_owned));
            }
            Some(Node::Directory) => {}
            Some(_) if is_last => {}
            None if is_last => {}
            Some(_) | None => return Err(FsError::NotFound),
        }
    }
    Ok(if resolved.is_empty() { ".".to_owned() } else { resolved.join("/") })
}
