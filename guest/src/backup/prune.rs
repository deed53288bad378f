//! Removing old backups.

use std::collections::HashSet;

use super::manifest::{self, Manifest};
use super::{FEATURE, checksums, directory, ids, manifests, restore};
use crate::io::capabilities::Kind;
use crate::io::host::{Failure, Host};
use crate::io::layout;

/// Number of backups that are retained in each group.
const KEPT: usize = 10;

/// Backups that are counted together.
#[derive(Debug, PartialEq)]
enum Group {
    /// The changes of one feature, by its file.
    Feature(Option<String>),
    /// What restores replaced.
    Restore,
    /// All others.
    Other,
}

impl Group {
    fn of(manifest: &Manifest) -> Self {
        match manifest.reason.as_str() {
            FEATURE => Group::Feature(manifest.files.first().map(|file| file.path.clone())),
            restore::PURPOSE => Group::Restore,
            _ => Group::Other,
        }
    }
}

/// Removes the oldest backups of a group beyond those that are retained, and backups that were interrupted before they
/// had a manifest. Backups in use remain, whatever time is in their name. So does everything that is not a backup:
/// directories that are not named after a time, such as copies, and files that no manifest lists.
///
/// The changes of each feature are counted separately, and so are restores: a user who goes back step by step
/// must not lose the backups that come next.
pub(super) fn prune(host: Host<'_>, in_use: &[&str]) -> Result<(), Failure> {
    let mut backups = manifests(host)?;
    backups.retain(|backup| is_time(&backup.id));
    let unfinished = unfinished(host, &backups)?;
    let current = backups.iter().find(|backup| in_use.contains(&backup.id.as_str()));
    let group = current.map(Group::of);
    let backups = backups.iter().filter(|backup| Some(Group::of(backup)) == group);
    let old = backups
        .filter(|backup| !in_use.contains(&backup.id.as_str()))
        .skip(KEPT.saturating_sub(in_use.len()));
    for backup in old {
        remove(host, backup)?;
    }
    for id in unfinished {
        host.remove_tree(&directory(host, &id))?;
    }
    Ok(())
}

/// Whether a name has the form of a backup's id.
fn is_time(name: &str) -> bool {
    name.len() == "2026-11-20T21-02-22-735Z".len()
        && name.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'T' | b'-' | b'Z'))
}

/// The directories of backups that were interrupted before they had a manifest. Nothing had been changed then.
fn unfinished(host: Host<'_>, backups: &[Manifest]) -> Result<Vec<String>, Failure> {
    let is_unfinished = |name: &str| {
        checksums::is_name(name) || (name.starts_with("manifest.json.") && name.ends_with(".tmp"))
    };
    let mut unfinished = Vec::new();
    for id in ids(host)? {
        if is_time(&id)
            && !backups.iter().any(|backup| backup.id == id)
            && host.list(&directory(host, &id))?.iter().all(|entry| is_unfinished(&entry.name))
        {
            unfinished.push(id);
        }
    }
    Ok(unfinished)
}

/// Removes a backup: the files that its manifest lists, then the manifest, then its directory if it is empty.
fn remove(host: Host<'_>, backup: &Manifest) -> Result<(), Failure> {
    let directory = directory(host, &backup.id);
    let stored: HashSet<&str> = backup.files.iter().map(|file| file.stored.as_str()).collect();
    let parents: HashSet<&str> = stored
        .iter()
        .flat_map(|path| path.match_indices('/').map(|(end, _)| &path[..end]))
        .collect();
    let is_empty = Content { stored, parents }.remove_from(host, &directory, "")?;
    checksums::remove(host, &backup.id)?;
    host.remove(&format!("{directory}/{}", manifest::NAME))?;
    if is_empty { host.remove(&directory) } else { Ok(()) }
}

/// What the manifest of a backup lists, relative to the backup's directory.
struct Content<'b> {
    stored: HashSet<&'b str>,
    /// The directories that contain stored files.
    parents: HashSet<&'b str>,
}

impl Content<'_> {
    /// Removes what is stored in a directory of the backup, except for the manifest and the checksums. Returns
    /// whether the directory contains nothing else.
    fn remove_from(&self, host: Host<'_>, directory: &str, prefix: &str) -> Result<bool, Failure> {
        let mut is_empty = true;
        for entry in host.list(directory)? {
            let path = format!("{directory}/{}", entry.name);
            let own = format!("{prefix}{}", entry.name);
            let is_interrupted_copy = layout::temporary_target(&own)
                .is_some_and(|target| self.stored.contains(target) || target == manifest::NAME);
            match entry.kind {
                Kind::Directory if self.stored.contains(own.as_str()) => host.remove_tree(&path)?,
                Kind::Directory if self.parents.contains(own.as_str()) => {
                    match self.remove_from(host, &path, &format!("{own}/"))? {
                        true => host.remove(&path)?,
                        false => is_empty = false,
                    }
                }
                Kind::File if own == manifest::NAME || checksums::is_name(&own) => {}
                Kind::File if is_interrupted_copy => host.remove(&path)?,
                Kind::File | Kind::Link | Kind::Other if self.stored.contains(own.as_str()) => {
                    host.remove(&path)?;
                }
                Kind::File | Kind::Directory | Kind::Link | Kind::Other => is_empty = false,
            }
        }
        Ok(is_empty)
    }
}
