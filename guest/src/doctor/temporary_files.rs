//! ORPHANED_TEMP_FILE: what remains of a write or of the creation of an item after a crash.

use super::finding::{Code, Finding};
use crate::io::capabilities::{Entry, Kind};
use crate::io::host::Host;
use crate::io::layout;
use crate::time::Timestamp;

/// The age in milliseconds from which on the creation of an item counts as interrupted: adding takes no lock.
const UNFINISHED_AFTER: u64 = 60 * 1000;

/// The directories in which files are replaced, apart from those of items and runs. Backups are left alone.
const DIRECTORIES: [&str; 2] = [".", "prompts"];

/// What was done about a finding.
pub(crate) const MOVED: &str = "Moved into the backup";

/// Finds temporary files outside of items. No other process may be writing.
pub(super) fn examine_rest(host: Host<'_>, found: &mut Vec<Finding>) {
    let runs = host.list(host.layout().runs).unwrap_or_default();
    let runs = runs
        .into_iter()
        .filter(|run| run.kind == Kind::Directory)
        .map(|run| format!("{}/{}", host.layout().runs, run.name));
    for directory in DIRECTORIES.into_iter().map(str::to_owned).chain(runs) {
        // Other findings report directories that cannot be read.
        let entries = host.list(&directory).unwrap_or_default();
        examine(host, &directory, None, &entries, found);
    }
}

/// Finds temporary files among the entries of a directory. No other process may be writing.
pub(crate) fn examine(
    host: Host<'_>,
    directory: &str,
    item: Option<&str>,
    entries: &[Entry],
    found: &mut Vec<Finding>,
) {
    let prefix = host.layout().prefix;
    for entry in entries.iter().filter(|entry| entry.kind == Kind::File) {
        let Some(target) = layout::temporary_target(&entry.name) else { continue };
        let path = match directory {
            "." => entry.name.clone(),
            directory => format!("{directory}/{}", entry.name),
        };
        let message = format!(
            "{prefix}{path} is a leftover of an interrupted write; {target} was not changed"
        );
        let finding = Finding::new(Code::OrphanedTempFile, message);
        let finding = match path.contains(char::REPLACEMENT_CHARACTER) {
            false => finding.at(path),
            true => finding.by_hand("its name is not UTF-8: remove it by hand"),
        };
        found.push(match item {
            Some(item) => finding.of(item),
            None => finding,
        });
    }
}

/// Finds directories of items whose creation was interrupted.
pub(super) fn unfinished_items(host: Host<'_>, entries: &[Entry], found: &mut Vec<Finding>) {
    let unfinished = entries.iter().filter(|entry| {
        entry.kind == Kind::Directory && entry.name.starts_with(layout::UNFINISHED_ITEM)
    });
    for entry in unfinished {
        let path = layout::item_directory(&entry.name);
        let Ok(Some(metadata)) = host.stat(&path) else { continue };
        if host.now().since(Timestamp::from_millis(metadata.modified)) > UNFINISHED_AFTER {
            let message = format!(
                "{}{path} is a leftover of an item whose creation was interrupted",
                layout::PREFIX
            );
            found.push(Finding::new(Code::OrphanedTempFile, message).at(path));
        }
    }
}
