//! The `feature` interface.

use super::{Component, SESSION, features as host, terminating};
use crate::bindings::exports::wreckit::batch::feature::{
    AbortPlan, AbortReason, Cleanup, Details, Entry, FeatureError, Guest, Iteration, Measurements,
    NewFeature, PhaseMove, RunOptions, Snapshot, View,
};
use crate::bindings::exports::wreckit::batch::session::{Opening, StorageFailure};
use crate::{feature, session};

impl Guest for Component {
    fn create(new: NewFeature) -> Result<Snapshot, FeatureError> {
        feature::create(host(), &new)
    }

    fn list() -> Result<Vec<Entry>, StorageFailure> {
        Ok(feature::list(host())?)
    }

    fn read(id: String) -> Result<Snapshot, FeatureError> {
        feature::read(host(), &id)
    }

    fn resume(id: String) -> Result<View, FeatureError> {
        feature::resume(host(), &id)
    }

    fn summarize(id: String) -> Result<View, FeatureError> {
        feature::summarize(host(), &id)
    }

    fn move_phase(
        id: String,
        phase: String,
        step: PhaseMove,
        details: Details,
    ) -> Result<Snapshot, FeatureError> {
        feature::move_phase(host(), &id, &phase, step, &details)
    }

    fn iterate(id: String, iteration: Iteration) -> Result<Snapshot, FeatureError> {
        feature::iterate(host(), &id, &iteration)
    }

    fn record_metrics(id: String, measurements: Measurements) -> Result<Snapshot, FeatureError> {
        feature::record(host(), &id, &measurements)
    }

    fn plan_abort(id: String, cleanup: Cleanup) -> Result<AbortPlan, FeatureError> {
        feature::plan_abort(host(), &id, cleanup)
    }

    fn abort(
        id: String,
        reason: AbortReason,
        cleanup: Cleanup,
        commit: Option<String>,
    ) -> Result<Snapshot, FeatureError> {
        feature::abort(host(), &id, reason, cleanup, commit.as_deref())
    }

    fn confirm_cleanup(id: String) -> Result<Snapshot, FeatureError> {
        feature::confirm_cleanup(host(), &id)
    }

    fn open_run(id: String, options: RunOptions) -> Result<Opening, FeatureError> {
        SESSION.with_borrow_mut(|slot| {
            if slot.is_some() {
                return Err(FeatureError::AlreadyOpen);
            }
            let opened = terminating(|it| session::open_feature(host(), &id, options, it));
            let (session, opening) = opened?;
            *slot = Some(session);
            Ok(opening)
        })
    }
}
