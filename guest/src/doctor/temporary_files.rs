//! ORPHANED_TEMP_FILE: what a crash left of a file that was being replaced, or of an item that was
//! being added.

use super::finding::{Code, Diagnostic};
use crate::formats::layout;
use crate::io::capabilities::{Entry, Kind};
use crate::io::host::Host;
use crate::io::time::Timestamp;

/// An item that is being added takes no lock; this old, nobody is at it any more.
const UNFINISHED_AFTER: u64 = 60 * 1000;

/// Where files are replaced, apart from the items' directories. What is in a backup stays with it.
const DIRECTORIES: [&str; 2] = [".", "prompts"];

/// Temporary files outside of the items. Nobody may be writing.
pub(super) fn examine_rest(host: Host<'_>, found: &mut Vec<Diagnostic>) {
    let runs = host.list(host.layout().runs).unwrap_or_default();
    let runs = runs
        .into_iter()
        .filter(|run| run.kind == Kind::Directory)
        .map(|run| format!("{}/{}", host.layout().runs, run.name));
    for directory in DIRECTORIES.into_iter().map(str::to_owned).chain(runs) {
        // What cannot be read is somebody else's finding.
        let entries = host.list(&directory).unwrap_or_default();
        examine(layout::PREFIX, &directory, None, entries.iter(), found);
    }
}

/// Temporary files among the entries of a directory. Nobody may be writing.
pub(crate) fn examine<'e>(
    prefix: &str,
    directory: &str,
    item: Option<&str>,
    entries: impl Iterator<Item = &'e Entry>,
    found: &mut Vec<Diagnostic>,
) {
    let is_left = |entry: &&Entry| {
        entry.kind == Kind::File && layout::temporary_target(&entry.name).is_some()
    };
    for entry in entries.filter(is_left) {
        let path = match directory {
            "." => entry.name.clone(),
            directory => format!("{directory}/{}", entry.name),
        };
        let message = format!(
            "{prefix}{path} is left of a write that was cut off; {} was not changed by it",
            layout::temporary_target(&entry.name).unwrap_or_default()
        );
        let diagnostic = Diagnostic::new(Code::OrphanedTempFile, message);
        let diagnostic = match path.contains(char::REPLACEMENT_CHARACTER) {
            false => diagnostic.at(path),
            true => diagnostic.by_hand("its name is not UTF-8: remove it by hand"),
        };
        found.push(match item {
            Some(item) => diagnostic.of(item),
            None => diagnostic,
        });
    }
}

/// Directories of items that were never finished.
pub(super) fn unfinished_items(host: Host<'_>, entries: &[Entry], found: &mut Vec<Diagnostic>) {
    let unfinished = entries.iter().filter(|entry| {
        entry.kind == Kind::Directory && entry.name.starts_with(layout::UNFINISHED_ITEM)
    });
    for entry in unfinished {
        let path = layout::item_directory(&entry.name);
        let Ok(Some(metadata)) = host.stat(&path) else { continue };
        if host.now().since(Timestamp::from_millis(metadata.modified)) > UNFINISHED_AFTER {
            let message = format!(
                "{}{path} is left of an item that was being added, and was cut off",
                layout::PREFIX
            );
            found.push(Diagnostic::new(Code::OrphanedTempFile, message).at(path));
        }
    }
}
