//! One instance of a component over one directory.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use cap_std::fs::Dir;
use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Store, UpdateDeadline};

use super::Component;
use super::error::ComponentError;
use super::imports::Imports;
use super::limits::{Limits, Meter};
use crate::wasm::one_line;
use crate::wit::{Exports, batch, doctor, feature, log, session};

/// An instance: the exports of the component as methods.
///
/// After a [`ComponentError`] the instance cannot be used any more.
pub struct Instance {
    store: Store<State>,
    exports: Exports,
}

struct State {
    imports: Imports,
    meter: Meter,
}

macro_rules! exports {
    ($($(#[$doc:meta])* fn $name:ident($($argument:ident: $type:ty),*) -> $result:ty = $interface:ident.$call:ident;)*) => {
        impl Instance {
            $(
                $(#[$doc])*
                pub fn $name(&mut self, $($argument: $type),*) -> Result<$result, ComponentError> {
                    self.call(|exports, store| exports.$interface().$call(store, $($argument),*))
                }
            )*
        }
    };
}

exports! {
    /// `session.advance`
    fn advance(reports: &[session::Report], slots: u32) -> Result<session::Step, session::SessionError>
        = wreckit_batch_session.call_advance;
    /// `session.output`
    fn output(item: &session::ItemId, attempt: u32, bytes: &[u8]) -> ()
        = wreckit_batch_session.call_output;
    /// `session.close`
    fn close(reason: session::CloseReason) -> Result<session::Summary, session::SessionError>
        = wreckit_batch_session.call_close;
    /// `batch.default-options`
    fn default_options() -> batch::Options
        = wreckit_batch_batch.call_default_options;
    /// `batch.settings`
    fn settings() -> Result<batch::Configuration, Vec<batch::ConfigurationProblem>>
        = wreckit_batch_batch.call_settings;
    /// `batch.prices`
    fn prices() -> Result<Vec<batch::Price>, Vec<batch::ConfigurationProblem>>
        = wreckit_batch_batch.call_prices;
    /// `batch.open`
    fn open(options: &batch::Options) -> Result<session::Opening, batch::OpenError>
        = wreckit_batch_batch.call_open;
    /// `batch.preview`
    fn preview(options: &batch::Options) -> Result<batch::Forecast, batch::OpenError>
        = wreckit_batch_batch.call_preview;
    /// `batch.status`
    fn status() -> Result<batch::Overview, session::StorageFailure>
        = wreckit_batch_batch.call_status;
    /// `batch.read-progress`
    fn read_progress() -> Option<session::Json>
        = wreckit_batch_batch.call_read_progress;
    /// `batch.clear-progress`
    fn clear_progress() -> Result<(), session::StorageFailure>
        = wreckit_batch_batch.call_clear_progress;
    /// `batch.add`
    fn add(titles: &[String]) -> Result<Vec<session::ItemId>, batch::AddError>
        = wreckit_batch_batch.call_add;
    /// `doctor.diagnose`
    fn diagnose(scope: doctor::Scope) -> Vec<doctor::Diagnostic>
        = wreckit_batch_doctor.call_diagnose;
    /// `doctor.fix`
    fn fix(scope: doctor::Scope) -> Result<doctor::FixReport, doctor::RepairError>
        = wreckit_batch_doctor.call_fix;
    /// `doctor.list-backups`
    fn list_backups(scope: doctor::Scope) -> Result<Vec<doctor::Backup>, session::StorageFailure>
        = wreckit_batch_doctor.call_list_backups;
    /// `doctor.restore`
    fn restore(scope: doctor::Scope, id: &str) -> Result<doctor::Restoration, doctor::RepairError>
        = wreckit_batch_doctor.call_restore;
    /// `feature.create`
    fn feature_create(new: &feature::NewFeature) -> Result<feature::Snapshot, feature::FeatureError>
        = wreckit_batch_feature.call_create;
    /// `feature.list`
    fn feature_list() -> Result<Vec<feature::Entry>, session::StorageFailure>
        = wreckit_batch_feature.call_list;
    /// `feature.read`
    fn feature_read(id: &feature::FeatureId) -> Result<feature::Snapshot, feature::FeatureError>
        = wreckit_batch_feature.call_read;
    /// `feature.resume`
    fn feature_resume(id: &feature::FeatureId) -> Result<feature::View, feature::FeatureError>
        = wreckit_batch_feature.call_resume;
    /// `feature.summarize`
    fn feature_summarize(id: &feature::FeatureId) -> Result<feature::View, feature::FeatureError>
        = wreckit_batch_feature.call_summarize;
    /// `feature.move-phase`
    fn feature_move(id: &feature::FeatureId, phase: &feature::PhaseName, step: feature::PhaseMove, details: &feature::Details) -> Result<feature::Snapshot, feature::FeatureError>
        = wreckit_batch_feature.call_move_phase;
    /// `feature.iterate`
    fn feature_iterate(id: &feature::FeatureId, iteration: &feature::Iteration) -> Result<feature::Snapshot, feature::FeatureError>
        = wreckit_batch_feature.call_iterate;
    /// `feature.record-metrics`
    fn feature_record(id: &feature::FeatureId, measurements: &feature::Measurements) -> Result<feature::Snapshot, feature::FeatureError>
        = wreckit_batch_feature.call_record_metrics;
    /// `feature.plan-abort`
    fn feature_plan_abort(id: &feature::FeatureId, cleanup: feature::Cleanup) -> Result<feature::AbortPlan, feature::FeatureError>
        = wreckit_batch_feature.call_plan_abort;
    /// `feature.abort`
    fn feature_abort(id: &feature::FeatureId, reason: feature::AbortReason, cleanup: feature::Cleanup, commit: Option<&str>) -> Result<feature::Snapshot, feature::FeatureError>
        = wreckit_batch_feature.call_abort;
    /// `feature.confirm-cleanup`
    fn feature_confirm_cleanup(id: &feature::FeatureId) -> Result<feature::Snapshot, feature::FeatureError>
        = wreckit_batch_feature.call_confirm_cleanup;
    /// `feature.open-run`
    fn feature_open_run(id: &feature::FeatureId, options: &feature::RunOptions) -> Result<session::Opening, feature::FeatureError>
        = wreckit_batch_feature.call_open_run;
}

impl Instance {
    /// Creates an instance whose only root is `root`.
    pub fn new(component: &Component, root: Dir, limits: Limits) -> Result<Self, ComponentError> {
        let state = State { imports: Imports::new(root), meter: Meter::new(limits) };
        let mut store = Store::new(&component.engine, state);
        store.limiter(|state| &mut state.meter.memory);
        store.set_hostcall_fuel(limits.transfer);
        store.call_hook(|mut context, hook| match context.data_mut().meter.hook(hook) {
            true => Ok(()),
            false => Err(wasmtime::Error::msg("the call was stopped")),
        });
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|mut context| {
            match context.data_mut().meter.may_continue() {
                true => Ok(UpdateDeadline::Continue(1)),
                false => Ok(UpdateDeadline::Interrupt),
            }
        });

        let mut linker = Linker::new(&component.engine);
        Exports::add_to_linker::<_, HasSelf<Imports>>(&mut linker, |state: &mut State| {
            &mut state.imports
        })
        .map_err(ComponentError::unusable)?;
        let exports = Exports::instantiate(&mut store, &component.code, &linker);
        match exports {
            Ok(exports) => Ok(Instance { store, exports }),
            Err(error) => {
                Err(store.data().meter.explain().unwrap_or_else(|| ComponentError::unusable(error)))
            }
        }
    }

    /// Ends calls when this flag is set, by a signal handler or another thread: the current one if it does
    /// not return within [`Limits::stopping`], and almost immediately if the flag is set again. The call then
    /// fails with [`ComponentError::Interrupted`].
    pub fn interrupt_on(&mut self, flag: Arc<AtomicBool>) {
        self.store.data_mut().meter.interrupt_on(flag);
    }

    /// Takes the messages that the component has logged since the last call.
    pub fn take_messages(&mut self) -> Vec<(log::Level, String)> {
        self.store.data_mut().imports.messages.take()
    }

    fn call<R>(
        &mut self,
        call: impl FnOnce(&Exports, &mut Store<State>) -> wasmtime::Result<R>,
    ) -> Result<R, ComponentError> {
        self.store.data_mut().meter.reset();
        call(&self.exports, &mut self.store).map_err(|error| {
            let exceeded = self.store.data().meter.explain();
            exceeded.unwrap_or_else(|| ComponentError::Trapped(one_line(&error)))
        })
    }
}
