//! The interface `session`.

use super::{Component, SESSION, features, host};
use crate::bindings::exports::wreckit::batch::session::{
    CloseReason, Guest, ItemId, Report, SessionError, Step, Summary,
};
use crate::io::host::Host;
use crate::session::Session;

impl Guest for Component {
    fn advance(reports: Vec<Report>, slots: u32) -> Result<Step, SessionError> {
        with_session(|session, host| session.advance(host, &reports, slots as usize))
    }

    fn output(item: ItemId, attempt: u32, bytes: Vec<u8>) {
        SESSION.with_borrow_mut(|slot| {
            if let Some(session) = slot {
                session.output(&item, attempt, &bytes);
            }
        });
    }

    fn close(reason: CloseReason) -> Result<Summary, SessionError> {
        let summary = with_session(|session, host| session.close(host, reason))?;
        SESSION.set(None);
        Ok(summary)
    }
}

fn with_session<T>(
    call: impl FnOnce(&mut Session, Host<'static>) -> Result<T, SessionError>,
) -> Result<T, SessionError> {
    SESSION.with_borrow_mut(|slot| {
        let session = slot.as_mut().ok_or(SessionError::NotOpen)?;
        let host = if session.is_of_feature() { features() } else { host() };
        call(session, host)
    })
}
