//! Applying the results in a journal to the files of their items.

use std::collections::HashMap;

use crate::formats::item::{self, Change};
use crate::formats::result::ItemResult;
use crate::io::capabilities::{FsError, Level, Replacement};
use crate::io::host::{Failure, Host};
use crate::io::layout;

/// How many files are replaced together: enough to share a sync, few enough to hold in memory.
const GROUP: usize = 512;

/// A result that could not be written into its file.
#[derive(Debug, Clone, PartialEq)]
pub struct Unwritten {
    /// The result.
    pub result: ItemResult,
    /// Why.
    pub problem: String,
    /// Whether another process is changing the file at this moment, so that it is worth trying again soon.
    pub busy: bool,
}

/// Writes results into the `item.json` of their items, durably, and returns those that could not be written.
/// A file that cannot be read or a directory that cannot be written affects only its item. A full disk affects
/// every item, and is a failure.
///
/// The content of the file decides whether it has a result already, never its modification time. A file that has
/// it is synced all the same: an agent wrote it, or a process that was killed before its sync.
pub fn apply(host: Host<'_>, results: &[ItemResult]) -> Result<Vec<Unwritten>, Failure> {
    let mut unwritten = Vec::new();
    let mut items = by_item(results).into_iter().peekable();
    while items.peek().is_some() {
        let mut writing: Vec<(Vec<&ItemResult>, Replacement)> = Vec::new();
        let mut written: Vec<(Vec<&ItemResult>, String)> = Vec::new();
        for results in items.by_ref().take(GROUP) {
            let changes: Vec<&Change> = results.iter().map(|result| &result.change).collect();
            let Some(item) = results.first().map(|result| &result.item) else { continue };
            match item::replacement(host, item, &changes) {
                Ok(Some(file)) => writing.push((results, file)),
                Ok(None) => written.push((results, layout::item_file(item))),
                // The item was removed, and its file with it.
                Err(_) if host.stat(&layout::item_directory(item))?.is_none() => {}
                Err(problem) => unwritten.extend(each(&results, &problem)),
            }
        }
        unwritten.extend(write(host, writing)?);
        unwritten.extend(sync(host, &written)?);
    }
    // In the order in which they were recorded: a snapshot covers what precedes the first of them.
    unwritten.sort_by_key(|it: &Unwritten| it.result.seq);
    Ok(unwritten)
}

/// The results of each item, in order.
fn by_item(results: &[ItemResult]) -> Vec<Vec<&ItemResult>> {
    let mut groups: Vec<Vec<&ItemResult>> = Vec::new();
    let mut group_of: HashMap<&str, usize> = HashMap::new();
    for result in results {
        let group = *group_of.entry(&result.item).or_insert(groups.len());
        if group == groups.len() {
            groups.push(Vec::new());
        }
        groups[group].push(result);
    }
    groups
}

/// Replaces files together; if that fails, one by one, to find those that cannot be replaced.
fn write(
    host: Host<'_>,
    files: Vec<(Vec<&ItemResult>, Replacement)>,
) -> Result<Vec<Unwritten>, Failure> {
    let together: Vec<Replacement> = files.iter().map(|(_, file)| file.clone()).collect();
    if together.is_empty() || host.replace(together, true).is_ok() {
        return Ok(Vec::new());
    }
    one_by_one(files, |file| host.replace(vec![file], true))
}

/// Syncs files that need no change: together, or one by one.
fn sync(host: Host<'_>, files: &[(Vec<&ItemResult>, String)]) -> Result<Vec<Unwritten>, Failure> {
    let together: Vec<String> = files.iter().map(|(_, path)| path.clone()).collect();
    if host.sync(&together).is_ok() {
        return Ok(Vec::new());
    }
    one_by_one(files.to_vec(), |path| match host.sync(&[path]) {
        // Removed in the meantime.
        Err(Failure { error: FsError::NotFound, .. }) => Ok(()),
        other => other,
    })
}

fn one_by_one<F>(
    files: Vec<(Vec<&ItemResult>, F)>,
    attempt: impl Fn(F) -> Result<(), Failure>,
) -> Result<Vec<Unwritten>, Failure> {
    let mut unwritten = Vec::new();
    for (results, file) in files {
        match attempt(file) {
            Ok(()) => {}
            Err(failure) if matches!(failure.error, FsError::Full(_)) => return Err(failure),
            Err(failure) => unwritten.extend(each(&results, &failure.to_string())),
        }
    }
    Ok(unwritten)
}

fn each(results: &[&ItemResult], problem: &str) -> Vec<Unwritten> {
    let unwritten = |result: &&ItemResult| Unwritten {
        result: (*result).clone(),
        problem: problem.to_owned(),
        busy: false,
    };
    results.iter().map(unwritten).collect()
}

/// Warns about results that could not be written.
pub fn warn_unwritten(host: Host<'_>, unwritten: &[Unwritten]) {
    for Unwritten { result, problem, .. } in unwritten.iter().filter(|it| !it.busy) {
        let text = format!("{}: its result cannot be written yet: {problem}", result.item);
        host.log(Level::Warning, &text);
    }
}
