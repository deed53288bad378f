//! The interface `batch`.

use super::{Component, SESSION, host, terminating};
use crate::bindings::exports::wreckit::batch::batch::{
    AddError, Configuration, ConfigurationProblem, Forecast, Guest, ItemId, Json, OpenError,
    Opening, Options, Overview, Price, StorageFailure,
};
use crate::formats::config::{self, Source};
use crate::session;

impl Guest for Component {
    fn default_options() -> Options {
        Options::default()
    }

    fn settings() -> Result<Configuration, Vec<ConfigurationProblem>> {
        config::settings(Source::Root(host()))
    }

    fn prices() -> Result<Vec<Price>, Vec<ConfigurationProblem>> {
        config::prices(Source::Root(host()))
    }

    fn open(options: Options) -> Result<Opening, OpenError> {
        SESSION.with_borrow_mut(|slot| {
            if slot.is_some() {
                return Err(OpenError::AlreadyOpen);
            }
            let (session, opening) =
                terminating(|termination| session::open(host(), &options, termination))?;
            *slot = Some(session);
            Ok(opening)
        })
    }

    fn preview(options: Options) -> Result<Forecast, OpenError> {
        session::preview(host(), &options)
    }

    fn status() -> Result<Overview, StorageFailure> {
        Ok(session::status(host())?)
    }

    fn read_progress() -> Option<Json> {
        session::read_progress(host())
    }

    fn clear_progress() -> Result<(), StorageFailure> {
        Ok(session::clear_progress(host())?)
    }

    fn add(titles: Vec<String>) -> Result<Vec<ItemId>, AddError> {
        session::add::add(host(), &titles)
    }
}
