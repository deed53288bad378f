//! The `doctor` interface.

use super::super::bindings::exports::wreckit::batch::doctor as wit;
use super::{Component, host};
use crate::backup::{self, Backup, Restored, Unusable};
use crate::doctor::{self, Diagnostic, Mended, RepairError, Severity, Treatment};
use crate::formats::layout;

impl wit::Guest for Component {
    fn diagnose() -> Vec<wit::Diagnostic> {
        diagnostics(doctor::diagnose(host()))
    }

    fn fix() -> Result<wit::Treatment, wit::RepairError> {
        Ok(doctor::fix(host())?.into())
    }

    fn list_backups() -> Result<Vec<wit::Backup>, wit::StorageFailure> {
        let backups = backup::all(host())?.into_iter();
        Ok(backups.map(|it| backup(it, layout::PREFIX)).collect())
    }

    fn restore(id: String) -> Result<wit::Restoration, wit::RepairError> {
        Ok(restoration(doctor::restore(host(), &id)?, layout::PREFIX))
    }
}

/// Paths from the repository's root.
fn from_root(paths: impl IntoIterator<Item = String>, prefix: &str) -> Vec<String> {
    paths.into_iter().map(|path| format!("{prefix}{path}")).collect()
}

pub(super) fn restoration(restored: Restored, prefix: &str) -> wit::Restoration {
    wit::Restoration {
        files: from_root(restored.files, prefix),
        removed: from_root(restored.removed, prefix),
        backup: restored.backup,
    }
}

pub(super) fn backup(backup: Backup, prefix: &str) -> wit::Backup {
    wit::Backup {
        id: backup.id,
        created_at: backup.created_at,
        reason: backup.reason,
        files: from_root(backup.files.into_iter().map(|file| file.path), prefix),
        created: from_root(backup.created, prefix),
    }
}

impl From<Treatment> for wit::Treatment {
    fn from(treatment: Treatment) -> Self {
        wit::Treatment {
            found: diagnostics(treatment.found),
            fixes: treatment.fixes.into_iter().map(Into::into).collect(),
            left: diagnostics(treatment.left),
            backup: treatment.backup,
        }
    }
}

fn diagnostics(list: Vec<Diagnostic>) -> Vec<wit::Diagnostic> {
    list.into_iter().map(Into::into).collect()
}

impl From<Diagnostic> for wit::Diagnostic {
    fn from(diagnostic: Diagnostic) -> Self {
        wit::Diagnostic {
            item_id: diagnostic.item,
            severity: match diagnostic.severity {
                Severity::Error => wit::Severity::Error,
                Severity::Warning => wit::Severity::Warning,
                Severity::Info => wit::Severity::Info,
            },
            code: diagnostic.code.name().to_owned(),
            message: diagnostic.message,
            fixable: diagnostic.fixable,
            remedy: diagnostic.remedy.to_owned(),
        }
    }
}

impl From<Mended> for wit::Mended {
    fn from(mended: Mended) -> Self {
        wit::Mended {
            diagnostic: mended.diagnostic.into(),
            fixed: mended.fixed,
            message: mended.message,
            backup: mended.backup.map(|(id, path)| wit::BackupReference { id, path }),
        }
    }
}

impl From<RepairError> for wit::RepairError {
    fn from(error: RepairError) -> Self {
        match error {
            RepairError::Busy(holder) => wit::RepairError::Busy((*holder).into()),
            RepairError::Backup(Unusable::Unknown) => wit::RepairError::UnknownBackup,
            RepairError::Backup(Unusable::Changed(paths)) => wit::RepairError::Changed(paths),
            RepairError::Backup(Unusable::Invalid(why)) => wit::RepairError::InvalidBackup(why),
            RepairError::Backup(Unusable::Storage(failure)) | RepairError::Storage(failure) => {
                wit::RepairError::Storage(failure.into())
            }
        }
    }
}
