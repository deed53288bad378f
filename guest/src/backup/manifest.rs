//! `backups/{id}/manifest.json`: what a backup holds.

use serde_json::{Value, json};

use super::{Unusable, directory, is_ours};
use crate::formats::json::{self, Fields};
use crate::formats::layout;
use crate::io::capabilities::FsError;
use crate::io::host::{Failure, Host};

/// The name of the file.
pub(super) const NAME: &str = "manifest.json";
/// A larger manifest is none of ours.
const LIMIT: u64 = 16 << 20;

/// What was done to a file after it was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// It has another content now.
    Modified,
    /// It is gone.
    Deleted,
}

/// A file in a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its path from `.wreckit`.
    pub path: String,
    /// Where it stands in the backup.
    pub stored: String,
    /// What was done to it.
    pub operation: Operation,
    /// Why: the code of a finding.
    pub code: String,
    /// The item that the finding was about.
    pub item: Option<String>,
}

/// A backup.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Backup {
    /// Its name.
    pub id: String,
    /// When it was made, RFC 3339.
    pub created_at: String,
    /// What it was made for.
    pub reason: String,
    /// Its files.
    pub files: Vec<File>,
    /// What was not there before, from `.wreckit`: files, and directories behind those above them.
    /// A field that the existing tool passes over.
    pub created: Vec<String>,
}

/// Writes a manifest, durably.
pub(super) fn write(host: Host<'_>, backup: &Backup) -> Result<(), Failure> {
    let prefix = host.layout().prefix;
    let files = backup.files.iter().map(|file| {
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
    let created = backup.created.iter().map(|path| format!("{prefix}{path}"));
    let mut manifest = json!({
        "schema_version": 1,
        "session_id": backup.id,
        "created_at": backup.created_at,
        "reason": backup.reason,
        "files": files.collect::<Value>(),
    });
    if !backup.created.is_empty() {
        manifest["created"] = created.collect::<Value>();
    }
    host.write(&format!("{}/manifest.json", directory(host, &backup.id)), json::pretty(&manifest))
}

/// Reads a manifest.
pub(super) fn read(host: Host<'_>, id: &str) -> Result<Backup, Unusable> {
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
            return Err(Unusable::Invalid(format!("manifest.json cannot be read: {error}")));
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
    let files = fields.required("files", "a list of files of this directory", |files| {
        files.as_array()?.iter().map(|it| file(host, it)).collect::<Option<Vec<File>>>()
    });
    let created = fields.optional("created", "a list of paths in this directory", |paths| {
        let paths = json::strings(paths)?;
        paths.iter().map(|path| own_path(host, path)).collect::<Option<Vec<String>>>()
    });
    match (fields.problems(), files) {
        (None, Some(files)) => Ok(Backup {
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
            .filter(|path| ![NAME, super::left::NAME].contains(path))?
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

/// A path of a manifest, from `.wreckit`. Whatever else it may be is the file system's to refuse: it
/// reaches nothing outside.
fn own_path(host: Host<'_>, path: &str) -> Option<String> {
    let path = path.strip_prefix(host.layout().prefix)?;
    (!is_ours(host, path)).then(|| path.to_owned())
}
