//! JOURNAL_DAMAGED.

use super::finding::{Code, Diagnostic};
use crate::formats::journal;
use crate::formats::layout;
use crate::io::capabilities::Kind;
use crate::io::host::Host;

const BY_HAND: &str = "what it says cannot be counted: make it readable";

/// A segment is mended in memory, which holds some of this size.
const LARGEST: u64 = 24 << 20;
const TOO_LARGE: &str = "it is too large to be mended here; its sound lines count all the same";
const CUT_OFF: &str =
    "its sound lines before that count all the same: shorten it to where they end";

/// Looks at every line of every journal.
pub(super) fn examine(host: Host<'_>, found: &mut Vec<Diagnostic>) {
    let mut unreadable = |problem: String| {
        found.push(Diagnostic::new(Code::JournalDamaged, problem).by_hand(BY_HAND));
    };
    let runs = match host.list(host.layout().runs) {
        Ok(runs) => runs,
        Err(failure) => return unreadable(failure.to_string()),
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
            Err(failure) => unreadable(failure.to_string()),
        }
    }
    for path in segments {
        if let Ok(Some(metadata)) = host.stat(&path)
            && metadata.size > journal::LARGEST_SEGMENT
        {
            // Nothing of it is read: it may claim any size.
            let message = format!(
                "{}{path} has {} bytes, more than any batch writes: what comes after the first {} MiB does not count",
                layout::PREFIX,
                metadata.size,
                journal::LARGEST_SEGMENT >> 20
            );
            found.push(Diagnostic::new(Code::JournalDamaged, message).by_hand(CUT_OFF));
            continue;
        }
        match journal::inspect(host, &path) {
            Ok(soundness) => {
                let Some(message) = problem(&path, soundness) else { continue };
                let diagnostic = Diagnostic::new(Code::JournalDamaged, message);
                found.push(match host.stat(&path) {
                    Ok(Some(metadata)) if metadata.size > LARGEST => diagnostic.by_hand(TOO_LARGE),
                    _ => diagnostic.at(path),
                });
            }
            Err(failure) => {
                let diagnostic = Diagnostic::new(Code::JournalDamaged, failure.to_string());
                found.push(diagnostic.by_hand(BY_HAND));
            }
        }
    }
}

/// What is wrong with a segment, if anything.
fn problem(path: &str, soundness: journal::Soundness) -> Option<String> {
    let journal::Soundness { damage, sound, damaged, disorder } = soundness;
    let place = format!("{}{path}", layout::PREFIX);
    match (damage, disorder) {
        (Some(offset), _) => Some(format!(
            "{place} is damaged at byte {offset}: {damaged} of its lines are not as they were written and do not count, {sound} are sound"
        )),
        (None, Some(offset)) => Some(format!(
            "{place} has lines out of order, from byte {offset} on: all of them count"
        )),
        (None, None) => None,
    }
}
