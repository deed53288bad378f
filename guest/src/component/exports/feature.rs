//! The `feature` interface.

use std::cell::RefCell;

use serde_json::Value;

use super::super::bindings::exports::wreckit::batch::doctor as doctor_wit;
use super::super::bindings::exports::wreckit::batch::feature as wit;
use super::batch::{opening, step, summary};
use super::{Component, features as host, wit as batch_wit};
use crate::backup;
use crate::feature::{
    self, Cleanup, Details, FeatureError, Iteration, Measurements, Move, New, Price, Reason, Run,
    RunOptions, Validation, Verdict, Worktree,
};
use crate::formats::layout::FEATURES;
use crate::session::{CloseReason, Report};

thread_local! {
    /// The one run of the instance.
    static RUN: RefCell<Option<Run>> = const { RefCell::new(None) };
}

impl wit::Guest for Component {
    fn create(new: wit::NewFeature) -> Result<wit::Changed, wit::FeatureError> {
        let new = New {
            name: new.name,
            phases: new.phases,
            worktree: new.worktree.map(|it| Worktree { path: it.path, commit: it.commit }),
        };
        Ok(feature::create(host(), &new)?.into())
    }

    fn list() -> Result<Vec<wit::Entry>, batch_wit::StorageFailure> {
        let entries = feature::list(host())?.into_iter().map(|entry| {
            let (document, damage) = match entry.document {
                Ok(document) => (Some(text(&document.to_bytes())), None),
                Err(problem) => (None, Some(problem)),
            };
            wit::Entry { id: entry.id, document, damage }
        });
        Ok(entries.collect())
    }

    fn read(id: String) -> Result<wit::Changed, wit::FeatureError> {
        let (id, document) = feature::read(host(), &id)?;
        Ok(wit::Changed { id, message: String::new(), document: text(&document.to_bytes()) })
    }

    fn resume(id: String) -> Result<String, wit::FeatureError> {
        Ok(pretty(&feature::resume(host(), &id)?))
    }

    fn summarize(id: String) -> Result<String, wit::FeatureError> {
        Ok(pretty(&feature::summary(host(), &id)?))
    }

    fn move_phase(
        id: String,
        phase: String,
        step: wit::PhaseMove,
        details: wit::Details,
    ) -> Result<wit::Changed, wit::FeatureError> {
        let step = match step {
            wit::PhaseMove::Start => Move::Start,
            wit::PhaseMove::Complete => Move::Complete,
            wit::PhaseMove::Block => Move::Block,
            wit::PhaseMove::Fail => Move::Fail,
        };
        let pairs = |fields: Vec<wit::Field>| {
            fields.into_iter().map(|field| (field.name, field.value)).collect()
        };
        let details = Details {
            set: pairs(details.set),
            artifacts: pairs(details.artifacts),
            decisions: details.decisions,
            reason: details.reason,
        };
        Ok(feature::make_move(host(), &id, &phase, step, &details)?.into())
    }

    fn iterate(id: String, iteration: wit::Iteration) -> Result<wit::Changed, wit::FeatureError> {
        let verdict = |verdict| match verdict {
            wit::Verdict::Pass => Verdict::Pass,
            wit::Verdict::Fail => Verdict::Fail,
        };
        let iteration = Iteration {
            implementation: iteration.implementation,
            review: verdict(iteration.review),
            test: verdict(iteration.test),
            test_failures: iteration.test_failures,
        };
        Ok(feature::iterate(host(), &id, &iteration)?.into())
    }

    fn record_metrics(
        id: String,
        measurements: wit::Measurements,
    ) -> Result<wit::Changed, wit::FeatureError> {
        Ok(feature::record(host(), &id, &measurements.into())?.into())
    }

    fn abort(
        id: String,
        reason: wit::AbortReason,
        cleanup: wit::Cleanup,
        commit: Option<String>,
    ) -> Result<wit::Changed, wit::FeatureError> {
        let reason = match reason {
            wit::AbortReason::UserRequest => Reason::UserRequest,
            wit::AbortReason::RepeatedEscalations => Reason::RepeatedEscalations,
            wit::AbortReason::CriticalSecurity => Reason::CriticalSecurity,
            wit::AbortReason::UnrecoverableError => Reason::UnrecoverableError,
            wit::AbortReason::CostExceeded => Reason::CostExceeded,
        };
        let cleanup = match cleanup {
            wit::Cleanup::KeepEverything => Cleanup::KeepEverything,
            wit::Cleanup::KeepArtifacts => Cleanup::KeepArtifacts,
            wit::Cleanup::Rollback => Cleanup::Rollback,
            wit::Cleanup::FullCleanup => Cleanup::FullCleanup,
        };
        Ok(feature::abort(host(), &id, reason, cleanup, commit.as_deref())?.into())
    }

    fn cleaned(id: String) -> Result<wit::Changed, wit::FeatureError> {
        Ok(feature::cleaned(host(), &id)?.into())
    }

    fn open_run(
        id: String,
        options: wit::RunOptions,
    ) -> Result<batch_wit::Opening, wit::FeatureError> {
        let options = RunOptions {
            agent: options.agent,
            approve: options.approve,
            approve_all: options.approve_all,
            limit_wait: options.limit_wait,
            retries: options.retries,
            take_over: options.take_over,
        };
        RUN.with_borrow_mut(|slot| {
            if slot.is_some() {
                return Err(wit::FeatureError::Invalid(
                    "the run before this one was not closed".to_owned(),
                ));
            }
            let (run, opened) = feature::open_run(host(), &id, options)?;
            *slot = Some(run);
            Ok(opening(opened))
        })
    }

    fn advance_run(
        reports: Vec<batch_wit::Report>,
        slots: u32,
    ) -> Result<batch_wit::Step, batch_wit::SessionError> {
        let reports: Vec<Report> = reports.into_iter().map(Into::into).collect();
        RUN.with_borrow_mut(|slot| {
            let run = slot.as_mut().ok_or(batch_wit::SessionError::NotOpen)?;
            Ok(step(run.advance(host(), &reports, slots as usize)?))
        })
    }

    fn close_run(
        reason: batch_wit::CloseReason,
    ) -> Result<batch_wit::Summary, batch_wit::SessionError> {
        let reason = match reason {
            batch_wit::CloseReason::Ended => CloseReason::Ended,
            batch_wit::CloseReason::Interrupted => CloseReason::Interrupted,
        };
        RUN.with_borrow_mut(|slot| {
            let run = slot.as_mut().ok_or(batch_wit::SessionError::NotOpen)?;
            let closed = run.close(host(), reason)?;
            *slot = None;
            Ok(summary(closed))
        })
    }

    fn diagnose() -> Vec<doctor_wit::Diagnostic> {
        feature::doctor::diagnose(host()).into_iter().map(Into::into).collect()
    }

    fn fix() -> Result<doctor_wit::Treatment, doctor_wit::RepairError> {
        Ok(feature::doctor::fix(host())?.into())
    }

    fn list_backups() -> Result<Vec<doctor_wit::Backup>, batch_wit::StorageFailure> {
        let backups = backup::all(host())?.into_iter();
        Ok(backups.map(|backup| super::doctor::backup(backup, FEATURES.prefix)).collect())
    }

    fn restore(id: String) -> Result<doctor_wit::Restoration, doctor_wit::RepairError> {
        let restored = feature::doctor::restore(host(), &id)?;
        Ok(super::doctor::restoration(restored, FEATURES.prefix))
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn pretty(value: &Value) -> String {
    text(&crate::formats::json::pretty(value))
}

impl From<feature::Changed> for wit::Changed {
    fn from(changed: feature::Changed) -> Self {
        wit::Changed { id: changed.id, message: changed.message, document: changed.document }
    }
}

impl From<wit::Measurements> for Measurements {
    fn from(measurements: wit::Measurements) -> Self {
        let validation = |validation| match validation {
            wit::Validation::SpecCompliance => Validation::SpecCompliance,
            wit::Validation::CodeQuality => Validation::CodeQuality,
            wit::Validation::TestValidation => Validation::TestValidation,
        };
        let price = |price: wit::Price| Price {
            model: price.model,
            input: price.input,
            output: price.output,
        };
        let tokens = |tokens: wit::Tokens| (tokens.phase, tokens.input, tokens.output);
        Measurements {
            agents: measurements.agents,
            parallel: measurements.parallel,
            sequential: measurements.sequential,
            escalations: measurements.escalations,
            conflicts_detected: measurements.conflicts_detected,
            conflicts_resolved: measurements.conflicts_resolved,
            validations: measurements.validations.into_iter().map(validation).collect(),
            checkpoints: measurements.checkpoints,
            tokens: measurements.tokens.into_iter().map(tokens).collect(),
            model: measurements.model,
            prices: measurements.prices.into_iter().map(price).collect(),
        }
    }
}

impl From<FeatureError> for wit::FeatureError {
    fn from(error: FeatureError) -> Self {
        match error {
            FeatureError::Busy(holder) => wit::FeatureError::Busy((*holder).into()),
            FeatureError::Unknown(words) => {
                let ambiguous = words.ambiguous;
                let words =
                    batch_wit::Unresolved { given: words.given, candidates: words.candidates };
                match ambiguous {
                    true => wit::FeatureError::AmbiguousFeature(words),
                    false => wit::FeatureError::UnknownFeature(words),
                }
            }
            FeatureError::Invalid(message) => wit::FeatureError::Invalid(message),
            FeatureError::Illegal { message, legal } => {
                wit::FeatureError::Illegal(wit::IllegalMove { message, legal })
            }
            FeatureError::Corrupt(message) => wit::FeatureError::Corrupt(message),
            FeatureError::Storage(failure) => wit::FeatureError::Storage(failure.into()),
        }
    }
}
