//! Which repositories are trusted: those that the user owns, by the rule of git's `safe.directory`.
//!
//! A repository says which programs run. One that someone else plants above the working directory would run
//! their programs as the user. Exceptions come from the user alone: from the environment and from their
//! settings, never from a repository.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use cap_std::fs::MetadataExt;
use serde_json::Value;

use crate::ambient;

/// The variable that lists exceptions, separated like `PATH`.
const VARIABLE: &str = "WRECKIT_SAFE_DIRECTORY";
/// The key of the settings that lists exceptions.
const KEY: &str = "safe_directories";
/// The settings, from the user's directory for configuration.
const SETTINGS: &str = "wreckit-host/config.json";
/// Maximum size of the settings in bytes. Larger ones are a mistake.
const LIMIT: u64 = 1 << 20;
const ROOT_USER: u32 = 0;

/// Why a file or directory of a repository is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OwnershipError {
    #[error(
        "dubious ownership: {} belongs to {owner}, and wreckit-host runs as {caller}; it could run commands as you",
        path.display()
    )]
    Foreign { path: PathBuf, owner: String, caller: String, root: PathBuf },
    #[error("cannot read the owner of {}: {error}", path.display())]
    Unknown { path: PathBuf, error: io::Error },
    #[error("{}: {problem}", path.display())]
    Settings { path: PathBuf, problem: String },
}

impl OwnershipError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            OwnershipError::Foreign { root, .. } => Some(format!(
                "if you trust it: `export {VARIABLE}={}` (in a container or CI job, for example), or add the path to `{KEY}` in {}",
                quoted(&root.to_string_lossy()),
                settings_path().map_or_else(
                    || format!("~/.config/{SETTINGS}"),
                    |path| path.display().to_string()
                ),
            )),
            OwnershipError::Settings { .. } => Some(format!(
                "correct the file, for example {{\"{KEY}\": [\"/path/to/repository\"]}}"
            )),
            OwnershipError::Unknown { .. } => None,
        }
    }
}

/// Checks that `path`, which `owner` owns, may be used for the repository at `root`.
pub(crate) fn check(root: &Path, path: &Path, owner: u32) -> Result<(), OwnershipError> {
    if is_callers(owner) || is_exempt(root)? {
        return Ok(());
    }
    Err(OwnershipError::Foreign {
        path: path.to_owned(),
        owner: user(owner),
        caller: user(rustix::process::geteuid().as_raw()),
        root: root.to_owned(),
    })
}

/// Checks a path with the metadata that a system call returned.
pub(crate) fn check_metadata(
    root: &Path,
    path: &Path,
    metadata: io::Result<cap_std::fs::Metadata>,
) -> Result<(), OwnershipError> {
    let metadata =
        metadata.map_err(|error| OwnershipError::Unknown { path: path.to_owned(), error })?;
    check(root, path, metadata.uid())
}

/// Whether a user is the caller or, if the caller is root, the one who called `sudo`.
fn is_callers(owner: u32) -> bool {
    let caller = rustix::process::geteuid().as_raw();
    let sudo_user = || ambient::variable("SUDO_UID")?.to_str()?.parse().ok();
    owner == caller || (caller == ROOT_USER && sudo_user() == Some(owner))
}

/// Whether the caller has listed the repository.
fn is_exempt(root: &Path) -> Result<bool, OwnershipError> {
    let listed = ambient::variable(VARIABLE).unwrap_or_default();
    if std::env::split_paths(&listed).any(|entry| covers(&entry, root)) {
        return Ok(true);
    }
    let Some(path) = settings_path() else { return Ok(false) };
    let invalid = |problem: String| OwnershipError::Settings { path: path.clone(), problem };
    let Some(text) = read_settings(&path).map_err(|error| invalid(error.to_string()))? else {
        return Ok(false);
    };
    let settings: Value =
        serde_json::from_slice(&text).map_err(|error| invalid(format!("invalid JSON: {error}")))?;
    let Some(listed) = settings.get(KEY) else { return Ok(false) };
    let entries: Option<Vec<&str>> =
        listed.as_array().and_then(|entries| entries.iter().map(Value::as_str).collect());
    let entries = entries.ok_or_else(|| invalid(format!("`{KEY}` must be a list of paths")))?;
    Ok(entries.iter().any(|entry| covers(entry.as_ref(), root)))
}

/// Whether an exception applies to a repository: `*` applies to all of them, `/path/*` to those below
/// `/path`, an absolute path to the one there.
fn covers(entry: &Path, root: &Path) -> bool {
    if entry == Path::new("*") {
        return true;
    }
    if !entry.is_absolute() {
        return false;
    }
    let real = |path: &Path| ambient::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    match entry.file_name().is_some_and(|name| name == "*") {
        true => entry.parent().is_some_and(|above| {
            let above = real(above);
            root != above && root.starts_with(above)
        }),
        false => root == real(entry),
    }
}

/// Returns the path of the caller's settings: in `XDG_CONFIG_HOME`, otherwise in `~/.config`.
fn settings_path() -> Option<PathBuf> {
    let absolute =
        |name: &str| ambient::variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let directory =
        absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")))?;
    Some(directory.join(SETTINGS))
}

/// Reads the settings; `None` if they do not exist. Settings of another user are ignored: `HOME` may be
/// theirs.
fn read_settings(path: &Path) -> io::Result<Option<Vec<u8>>> {
    // The file is often a link into a directory of dotfiles.
    let path = match ambient::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        path => path?,
    };
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
    let directory = ambient::open_dir(directory)?;
    if !directory.metadata(name)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let file = directory.open(name)?;
    let owner = file.metadata()?.uid();
    if !is_callers(owner) && owner != ROOT_USER {
        return Ok(None);
    }
    let mut text = Vec::new();
    file.take(LIMIT).read_to_end(&mut text)?;
    Ok(Some(text))
}

/// Returns the name of a user: `alice (uid 1000)`.
fn user(id: u32) -> String {
    let users = ambient::read_to_string("/etc/passwd".as_ref()).unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then_some(name)
    });
    match name {
        Some(name) => format!("{name} (uid {id})"),
        None => format!("uid {id}"),
    }
}

/// Quotes a word for a shell.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,@%".contains(c);
    match word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exception_applies_to_a_repository_those_below_a_directory_or_all() {
        for (entry, root, applies) in [
            ("*", "/nowhere/a", true),
            ("/nowhere/a", "/nowhere/a", true),
            ("/nowhere/a/", "/nowhere/a", true),
            ("/nowhere/a", "/nowhere/a/b", false),
            ("/nowhere/a", "/nowhere/ab", false),
            ("/nowhere/*", "/nowhere/a", true),
            ("/nowhere/*", "/nowhere/a/b", true),
            ("/nowhere/*", "/nowhere", false),
            ("/nowhere/*", "/nowhereelse", false),
            ("a", "/nowhere/a", false),
            ("", "/nowhere/a", false),
        ] {
            let covered = covers(entry.as_ref(), root.as_ref());
            assert_eq!(covered, applies, "{entry} {root}");
        }
    }

    #[test]
    fn a_path_of_another_user_is_named_with_its_owner_and_what_to_do() {
        let caller = rustix::process::geteuid().as_raw();
        let root = Path::new("/nowhere/it's");
        assert!(check(root, root, caller).is_ok());
        let error = check(root, &root.join(".wreckit"), caller + 54321).unwrap_err();
        assert!(error.to_string().contains(&format!("uid {}", caller + 54321)), "{error}");
        assert!(error.to_string().contains("/nowhere/it's/.wreckit"), "{error}");
        let hint = error.hint().unwrap();
        assert!(hint.contains("export WRECKIT_SAFE_DIRECTORY='/nowhere/it'\\''s'"), "{hint}");
    }
}
