//! The configuration files of a repository, as bytes. The component decides what they mean.

use std::io::{self, Read};

use cap_std::fs::{File, MetadataExt, OpenOptions, OpenOptionsExt};

use super::{Repository, RepositoryError, STATE, ownership};
use crate::wit::feature::Field;

/// The files that say which programs run.
const CONFIGURATION: [&str; 2] = ["config.json", "config.local.json"];
/// The directory of the prompts.
const PROMPTS: &str = "prompts";
/// Maximum size of a file in bytes. The component has smaller limits, with better messages.
const LIMIT: u64 = 8 << 20;
/// Maximum size of all files together, in bytes: they are passed to the component in one call.
const TOTAL: usize = 64 << 20;
/// Maximum number of prompts. A feature has a handful of phases.
const MOST_PROMPTS: usize = 100;
/// The flag that keeps an `open` from waiting for the other end of a FIFO.
const NONBLOCK: i32 = rustix::fs::OFlags::NONBLOCK.bits() as i32;

/// Checks that the user owns the configuration files. Missing files, and entries that are not files, are left
/// to the component.
pub(crate) fn check_configuration(repository: &Repository) -> Result<(), RepositoryError> {
    for name in CONFIGURATION {
        if let Ok(file) = open(repository, name) {
            check_owner(repository, name, &file)?;
        }
    }
    Ok(())
}

/// Reads the configuration files and the prompts, with their names in `.wreckit`. The user must own them.
pub(crate) fn read_configuration(repository: &Repository) -> Result<Vec<Field>, RepositoryError> {
    let mut names: Vec<String> = CONFIGURATION.map(str::to_owned).into();
    names.extend(prompts(repository)?);
    let (mut fields, mut total) = (Vec::new(), 0);
    for name in names {
        let unreadable = |error| RepositoryError::UnreadableFile { name: name.clone(), error };
        let file = match open(repository, &name) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(unreadable(error)),
        };
        check_owner(repository, &name, &file)?;
        let value = read(file).map_err(unreadable)?;
        total += value.len();
        if total > TOTAL {
            let text = format!("configuration and prompts are larger than {} MiB", TOTAL >> 20);
            return Err(unreadable(io::Error::other(text)));
        }
        fields.push(Field { name, value });
    }
    Ok(fields)
}

/// Returns the names of the prompts: `prompts/plan.md`.
fn prompts(repository: &Repository) -> Result<Vec<String>, RepositoryError> {
    let unreadable = |error| RepositoryError::UnreadableFile { name: PROMPTS.to_owned(), error };
    let entries = match repository.state.read_dir(PROMPTS) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(unreadable)?.file_name();
        if let Some(name) = name.to_str().filter(|name| name.ends_with(".md")) {
            names.push(format!("{PROMPTS}/{name}"));
        }
    }
    if names.len() > MOST_PROMPTS {
        let text = format!("it has more than {MOST_PROMPTS} prompts");
        return Err(unreadable(io::Error::other(text)));
    }
    names.sort_unstable();
    Ok(names)
}

/// Opens a regular file. Anything else is an error, at once.
fn open(repository: &Repository, name: &str) -> io::Result<File> {
    let not_regular = || io::Error::other("it is not a regular file");
    // Opening a device can have effects of its own.
    if !repository.state.metadata(name)?.is_file() {
        return Err(not_regular());
    }
    let mut options = OpenOptions::new();
    let file = repository.state.open_with(name, options.read(true).custom_flags(NONBLOCK))?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(not_regular()) }
}

/// Checks the owner of an open file: its name may be given to another file at any time.
fn check_owner(repository: &Repository, name: &str, file: &File) -> Result<(), RepositoryError> {
    let unreadable = |error| RepositoryError::UnreadableFile { name: name.to_owned(), error };
    let owner = file.metadata().map_err(unreadable)?.uid();
    let path = repository.root.join(STATE).join(name);
    Ok(ownership::check(&repository.root, &path, owner)?)
}

fn read(file: File) -> io::Result<String> {
    let mut contents = Vec::new();
    file.take(LIMIT + 1).read_to_end(&mut contents)?;
    if contents.len() as u64 > LIMIT {
        return Err(io::Error::other(format!("it is larger than {} MiB", LIMIT >> 20)));
    }
    Ok(match String::from_utf8(contents) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configuration_and_prompts_are_read_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let root = crate::ambient::open_dir(directory.path()).unwrap();
        root.create_dir_all(".wreckit/prompts").unwrap();
        root.create_dir_all(".wreckit/items").unwrap();
        for (name, text) in [
            ("config.json", "{}"),
            ("prompts/b.md", "b\u{e4}"),
            ("prompts/a.md", "a"),
            ("prompts/a.md~", "old"),
            ("index.json", "[]"),
        ] {
            root.write(format!(".wreckit/{name}"), text).unwrap();
        }
        let repository = Repository::open(directory.path()).unwrap();
        let read = || read_configuration(&repository).map_err(|error| error.to_string());
        let fields: Vec<(String, String)> =
            read().unwrap().into_iter().map(|field| (field.name, field.value)).collect();
        let expected = [("config.json", "{}"), ("prompts/a.md", "a"), ("prompts/b.md", "b\u{e4}")];
        assert_eq!(fields, expected.map(|(name, text)| (name.to_owned(), text.to_owned())));

        root.create_dir(".wreckit/config.local.json").unwrap();
        let error = "cannot read .wreckit/config.local.json: it is not a regular file";
        assert_eq!(read().unwrap_err(), error);
        assert!(check_configuration(&repository).is_ok(), "the component explains it better");
    }
}
