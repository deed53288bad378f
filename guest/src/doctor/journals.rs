//! JOURNAL_DAMAGED.

use super::finding::{Code, Finding};
use super::fix::{Edit, FileFix};
use crate::formats::journal;
use crate::io::capabilities::Kind;
use crate::io::host::Host;
use crate::io::layout;

/// Maximum size in bytes of a segment that can be fixed: it is held in memory several times.
const LARGEST: u64 = 24 << 20;

const UNREADABLE: &str = "its results cannot be counted: make it readable";
const TOO_LARGE: &str = "it is too large to be fixed; its valid lines still count";
const OVERSIZED: &str = "its valid lines up to that size still count: truncate the file after them";

/// Examines every line of every journal.
pub(super) fn examine(host: Host<'_>, found: &mut Vec<Finding>) {
    for path in segments(host, found) {
        found.extend(examine_segment(host, path));
    }
}

/// The segments of every journal, in order.
fn segments(host: Host<'_>, found: &mut Vec<Finding>) -> Vec<String> {
    let unreadable =
        |problem: String| Finding::new(Code::JournalDamaged, problem).by_hand(UNREADABLE);
    let runs = match host.list(host.layout().runs) {
        Ok(runs) => runs,
        Err(failure) => {
            found.push(unreadable(failure.to_string()));
            return Vec::new();
        }
    };
    let mut segments = Vec::new();
    for run in runs.into_iter().filter(|run| run.kind == Kind::Directory) {
        let directory = format!("{}/{}", host.layout().runs, run.name);
        match host.list(&directory) {
            Ok(entries) => segments.extend(
                entries
                    .into_iter()
                    .filter(|entry| layout::segment_number(&entry.name).is_some())
                    .map(|entry| format!("{directory}/{}", entry.name)),
            ),
            Err(failure) => found.push(unreadable(failure.to_string())),
        }
    }
    segments
}

fn examine_segment(host: Host<'_>, path: String) -> Option<Finding> {
    if let Ok(Some(metadata)) = host.stat(&path)
        && metadata.size > journal::LARGEST_SEGMENT
    {
        // Not read at all: a sparse file may have any size.
        let message = format!(
            "{}{path} has {} bytes, more than any batch writes: only the first {} MiB are read",
            layout::PREFIX,
            metadata.size,
            journal::LARGEST_SEGMENT >> 20
        );
        return Some(Finding::new(Code::JournalDamaged, message).by_hand(OVERSIZED));
    }
    match journal::inspect(host, &path) {
        Ok(inspection) => {
            let finding = Finding::new(Code::JournalDamaged, problem(&path, inspection)?);
            Some(match host.stat(&path) {
                Ok(Some(metadata)) if metadata.size > LARGEST => finding.by_hand(TOO_LARGE),
                _ => finding.at(path),
            })
        }
        Err(failure) => {
            Some(Finding::new(Code::JournalDamaged, failure.to_string()).by_hand(UNREADABLE))
        }
    }
}

/// What is wrong with a segment, if anything.
fn problem(path: &str, inspection: journal::Inspection) -> Option<String> {
    let journal::Inspection { damage, valid, damaged, disorder } = inspection;
    let file_name = format!("{}{path}", layout::PREFIX);
    match (damage, disorder) {
        (Some(offset), _) => Some(format!(
            "{file_name} is damaged at byte {offset}: {damaged} damaged lines do not count, {valid} lines are valid"
        )),
        (None, Some(offset)) => Some(format!(
            "{file_name} has lines out of order from byte {offset} on; all of them count"
        )),
        (None, None) => None,
    }
}

/// Keeps the valid lines of a segment.
pub(super) fn fix(host: Host<'_>, file: &FileFix<'_>) -> Result<(Edit, String), String> {
    let lines = journal::valid_lines(host, file.path).map_err(|failure| failure.to_string())?;
    Ok((Edit::Replace(lines), "Kept the valid lines".to_owned()))
}
