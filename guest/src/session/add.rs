//! Adding items.

use crate::bindings::exports::wreckit::batch::batch::AddError;
use crate::formats::item;
use crate::io::host::{Failure, Host};
use crate::io::layout;
use crate::io::root::{self, RootError};

impl From<Failure> for AddError {
    fn from(failure: Failure) -> Self {
        AddError::Storage(failure.into())
    }
}

impl From<RootError> for AddError {
    fn from(error: RootError) -> Self {
        match error {
            RootError::Wrong(why) => AddError::WrongRoot(why),
            RootError::Storage(failure) => failure.into(),
        }
    }
}

/// Creates an item for each title. A session may run meanwhile; another `add` may not, or both would use the same
/// number.
pub fn add(host: Host<'_>, titles: &[String]) -> Result<Vec<String>, AddError> {
    root::check(host)?;
    host.create_directory(layout::ITEMS)?;
    // Where directories cannot be locked, a number may be used twice, and nothing worse.
    if host.lock(layout::ITEMS, b"").is_ok_and(|state| state.held) {
        return Err(AddError::Busy);
    }
    let added: Result<Vec<String>, Failure> =
        titles.iter().map(|title| item::add(host, title)).collect();
    host.unlock(layout::ITEMS).map_err(host.failed("unlock", layout::ITEMS))?;
    Ok(added?)
}
