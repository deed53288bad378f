//! The `doctor` interface.

use super::{Component, features, host, scoped, terminating};
use crate::backup;
use crate::bindings::exports::wreckit::batch::doctor::{
    Backup, Diagnostic, FixReport, Guest, RepairError, Restoration, Scope,
};
use crate::bindings::exports::wreckit::batch::session::StorageFailure;
use crate::doctor;

impl Guest for Component {
    fn diagnose(scope: Scope) -> Vec<Diagnostic> {
        match scope {
            Scope::Batch => doctor::diagnose(host()),
            Scope::Features => doctor::features::diagnose(features()),
        }
    }

    fn fix(scope: Scope) -> Result<FixReport, RepairError> {
        terminating(|termination| match scope {
            Scope::Batch => doctor::fix(host(), termination),
            Scope::Features => doctor::features::fix(features(), termination),
        })
    }

    fn list_backups(scope: Scope) -> Result<Vec<Backup>, StorageFailure> {
        Ok(backup::list(scoped(scope))?)
    }

    fn restore(scope: Scope, id: String) -> Result<Restoration, RepairError> {
        match scope {
            Scope::Batch => doctor::restore(host(), &id),
            Scope::Features => doctor::features::restore(features(), &id),
        }
    }
}
