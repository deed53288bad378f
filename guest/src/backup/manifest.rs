//! `backups/{id}/manifest.json`: the content of a backup.

use serde_json::{Value, json};

use super::{Unusable, checksums, directory, is_excluded};
use crate::bindings::exports::wreckit::batch::doctor::Backup;
use crate::io::capabilities::FsError;
use crate::io::host::{Failure, Host};
use crate::io::layout;
use crate::json::{self, Fields};

/// The name of the file.
pub(super) const NAME: &str = "manifest.json";
/// Maximum size of a manifest, in bytes.
const LIMIT: u64 = 16 << 20;

/// What happened to a file after it was backed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Its content was changed.
    Modified,
    /// It was removed.
    Deleted,
}

/// A file in a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its path, relative to the root of the instance.
    pub path: String,
    /// The path of its copy, relative to the directory of the backup.
    pub stored: String,
    /// What happened to it.
    pub operation: Operation,
    /// The code of the diagnostic that it was changed for.
    pub code: String,
    /// The item that the diagnostic concerns.
    pub item: Option<String>,
}

/// The manifest of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Manifest {
    /// The id of the backup: the name of its directory.
    pub id: String,
    /// When it was made (RFC 3339).
    pub created_at: String,
    /// What it was made for.
    pub reason: String,
    /// Its files.
    pub files: Vec<File>,
    /// The files and directories that did not exist before, relative to the root of the instance. A directory
    /// comes after the one that contains it. The existing tool ignores this field.
    pub created: Vec<String>,
}

impl Manifest {
    /// The path of the copy of a file, relative to the root of the instance.
    pub fn path_of(&self, host: Host<'_>, file: &File) -> String {
        format!("{}/{}", directory(host, &self.id), file.stored)
    }

    /// The backup as embedders see it, with paths relative to the root of the repository.
    pub fn into_backup(self, host: Host<'_>) -> Backup {
        let in_repository = |path: String| format!("{}{path}", host.layout().prefix);
        Backup {
            id: self.id,
            created_at: self.created_at,
            reason: self.reason,
            files: self.files.into_iter().map(|file| in_repository(file.path)).collect(),
            created: self.created.into_iter().map(in_repository).collect(),
        }
    }
}

/// Writes a manifest, durably.
pub(super) fn write(host: Host<'_>, manifest: &Manifest) -> Result<(), Failure> {
    let prefix = host.layout().prefix;
    let files = manifest.files.iter().map(|file| {
        json!({
            "original_path": format!("{prefix}{}", file.path),
            "backup_path": file.stored,
            "operation": match file.operation {
                Operation::Modified => "modified",
                Operation::Deleted => "deleted",
            },
            "diagnostic_code": file.code,
            "item_id": file.item,
        })
    });
    let created = manifest.created.iter().map(|path| format!("{prefix}{path}"));
    let mut document = json!({
        "schema_version": 1,
        "session_id": manifest.id,
        "created_at": manifest.created_at,
        "reason": manifest.reason,
        "files": files.collect::<Value>(),
    });
    if !manifest.created.is_empty() {
        document["created"] = created.collect::<Value>();
    }
    host.write(&format!("{}/{NAME}", directory(host, &manifest.id)), json::pretty(&document))
}

/// Reads a manifest.
pub fn read(host: Host<'_>, id: &str) -> Result<Manifest, Unusable> {
    if !layout::is_safe_name(id) {
        return Err(Unusable::Unknown);
    }
    let directory = directory(host, id);
    let bytes = match host.read(&format!("{directory}/manifest.json"), LIMIT) {
        Ok(bytes) => bytes,
        Err(FsError::NotFound) if host.stat(&directory)?.is_none() => {
            return Err(Unusable::Unknown);
        }
        Err(error) => {
            return Err(Unusable::Invalid(format!(
                "manifest.json cannot be read: {}",
                error.describe()
            )));
        }
    };
    let manifest = json::parse_up_to(&bytes, json::MANY_VALUES)
        .map_err(|error| Unusable::Invalid(format!("manifest.json has invalid JSON: {error}")))?;
    let Some(object) = manifest.as_object() else {
        return Err(Unusable::Invalid("manifest.json must be an object".to_owned()));
    };
    let mut fields = Fields::new(object);
    let created_at = fields.string("created_at").unwrap_or_default().to_owned();
    let reason = fields.string("reason").unwrap_or_default().to_owned();
    let files = fields.required("files", "a list of files in this directory", |files| {
        files.as_array()?.iter().map(|it| file(host, it)).collect::<Option<Vec<File>>>()
    });
    let created = fields.optional("created", "a list of paths in this directory", |paths| {
        let paths = json::strings(paths)?;
        paths.iter().map(|path| own_path(host, path)).collect::<Option<Vec<String>>>()
    });
    match (fields.problems(), files) {
        (None, Some(files)) => Ok(Manifest {
            id: id.to_owned(),
            created_at,
            reason,
            files,
            created: created.unwrap_or_default(),
        }),
        (problems, _) => Err(Unusable::Invalid(format!(
            "manifest.json is invalid: {}",
            problems.unwrap_or_default()
        ))),
    }
}

fn file(host: Host<'_>, value: &Value) -> Option<File> {
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    Some(File {
        path: own_path(host, text("original_path")?)?,
        stored: text("backup_path")
            .filter(|path| *path != NAME && !checksums::is_name(path))?
            .to_owned(),
        operation: match text("operation")? {
            "modified" => Operation::Modified,
            "deleted" => Operation::Deleted,
            _ => return None,
        },
        code: text("diagnostic_code")?.to_owned(),
        item: text("item_id").map(str::to_owned),
    })
}

/// A path in a manifest, relative to the root of the instance; `None` if it is outside the root or must not be
/// restored. The file system refuses every other path that is not legal.
fn own_path(host: Host<'_>, path: &str) -> Option<String> {
    let path = path.strip_prefix(host.layout().prefix)?;
    (!is_excluded(host, path)).then(|| path.to_owned())
}
