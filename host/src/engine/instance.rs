//! One instance of a component over one directory.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use cap_std::fs::Dir;
use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Store, UpdateDeadline};

use super::bindings::Component as Bindings;
use super::error::{ComponentError, one_line};
use super::limits::{Limits, Meter};
use super::{Component, batch, doctor, feature};
use crate::imports::Imports;

/// An instance: the exports of the component as methods.
///
/// After a [`ComponentError`] the instance is of no more use.
pub struct Instance {
    store: Store<State>,
    bindings: Bindings,
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
                    self.call(|bindings, store| bindings.$interface().$call(store, $($argument),*))
                }
            )*
        }
    };
}

exports! {
    /// `batch.open`
    fn open(options: &batch::Options) -> Result<batch::Opening, batch::OpenError>
        = wreckit_batch_batch.call_open;
    /// `batch.advance`
    fn advance(reports: &[batch::Report], slots: u32) -> Result<batch::Step, batch::SessionError>
        = wreckit_batch_batch.call_advance;
    /// `batch.close`
    fn close(reason: batch::CloseReason) -> Result<batch::Summary, batch::SessionError>
        = wreckit_batch_batch.call_close;
    /// `batch.preview`
    fn preview(options: &batch::Options) -> Result<batch::Forecast, batch::OpenError>
        = wreckit_batch_batch.call_preview;
    /// `batch.status`
    fn status() -> Result<batch::Overview, batch::StorageFailure>
        = wreckit_batch_batch.call_status;
    /// `batch.read-progress`
    fn read_progress() -> Option<batch::Json>
        = wreckit_batch_batch.call_read_progress;
    /// `batch.clear-progress`
    fn clear_progress() -> Result<(), batch::StorageFailure>
        = wreckit_batch_batch.call_clear_progress;
    /// `batch.add`
    fn add(titles: &[String]) -> Result<Vec<batch::ItemId>, batch::AddError>
        = wreckit_batch_batch.call_add;
    /// `doctor.diagnose`
    fn diagnose() -> Vec<doctor::Diagnostic>
        = wreckit_batch_doctor.call_diagnose;
    /// `doctor.fix`
    fn fix() -> Result<doctor::Treatment, doctor::RepairError>
        = wreckit_batch_doctor.call_fix;
    /// `doctor.list-backups`
    fn list_backups() -> Result<Vec<doctor::Backup>, doctor::StorageFailure>
        = wreckit_batch_doctor.call_list_backups;
    /// `doctor.restore`
    fn restore(id: &str) -> Result<doctor::Restoration, doctor::RepairError>
        = wreckit_batch_doctor.call_restore;
    /// `feature.create`
    fn feature_create(new: &feature::NewFeature) -> Result<feature::Changed, feature::FeatureError>
        = wreckit_batch_feature.call_create;
    /// `feature.list`
    fn feature_list() -> Result<Vec<feature::Entry>, batch::StorageFailure>
        = wreckit_batch_feature.call_list;
    /// `feature.read`
    fn feature_read(id: &feature::FeatureId) -> Result<feature::Changed, feature::FeatureError>
        = wreckit_batch_feature.call_read;
    /// `feature.resume`
    fn feature_resume(id: &feature::FeatureId) -> Result<batch::Json, feature::FeatureError>
        = wreckit_batch_feature.call_resume;
    /// `feature.summarize`
    fn feature_summarize(id: &feature::FeatureId) -> Result<batch::Json, feature::FeatureError>
        = wreckit_batch_feature.call_summarize;
    /// `feature.move-phase`
    fn feature_move(id: &feature::FeatureId, phase: &feature::PhaseName, step: feature::PhaseMove, details: &feature::Details) -> Result<feature::Changed, feature::FeatureError>
        = wreckit_batch_feature.call_move_phase;
    /// `feature.iterate`
    fn feature_iterate(id: &feature::FeatureId, iteration: &feature::Iteration) -> Result<feature::Changed, feature::FeatureError>
        = wreckit_batch_feature.call_iterate;
    /// `feature.record-metrics`
    fn feature_record(id: &feature::FeatureId, measurements: &feature::Measurements) -> Result<feature::Changed, feature::FeatureError>
        = wreckit_batch_feature.call_record_metrics;
    /// `feature.abort`
    fn feature_abort(id: &feature::FeatureId, reason: feature::AbortReason, cleanup: feature::Cleanup, commit: Option<&str>) -> Result<feature::Changed, feature::FeatureError>
        = wreckit_batch_feature.call_abort;
    /// `feature.cleaned`
    fn feature_cleaned(id: &feature::FeatureId) -> Result<feature::Changed, feature::FeatureError>
        = wreckit_batch_feature.call_cleaned;
    /// `feature.open-run`
    fn feature_open_run(id: &feature::FeatureId, options: &feature::RunOptions) -> Result<batch::Opening, feature::FeatureError>
        = wreckit_batch_feature.call_open_run;
    /// `feature.advance-run`
    fn feature_advance_run(reports: &[batch::Report], slots: u32) -> Result<batch::Step, batch::SessionError>
        = wreckit_batch_feature.call_advance_run;
    /// `feature.close-run`
    fn feature_close_run(reason: batch::CloseReason) -> Result<batch::Summary, batch::SessionError>
        = wreckit_batch_feature.call_close_run;
    /// `feature.diagnose`
    fn feature_diagnose() -> Vec<doctor::Diagnostic>
        = wreckit_batch_feature.call_diagnose;
    /// `feature.fix`
    fn feature_fix() -> Result<doctor::Treatment, doctor::RepairError>
        = wreckit_batch_feature.call_fix;
    /// `feature.list-backups`
    fn feature_list_backups() -> Result<Vec<doctor::Backup>, batch::StorageFailure>
        = wreckit_batch_feature.call_list_backups;
    /// `feature.restore`
    fn feature_restore(id: &str) -> Result<doctor::Restoration, doctor::RepairError>
        = wreckit_batch_feature.call_restore;
}

impl Instance {
    /// Makes an instance whose only root is `root`.
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
        Bindings::add_to_linker::<_, HasSelf<Imports>>(&mut linker, |state: &mut State| {
            &mut state.imports
        })
        .map_err(ComponentError::unusable)?;
        let bindings = Bindings::instantiate(&mut store, &component.code, &linker);
        match bindings {
            Ok(bindings) => Ok(Instance { store, bindings }),
            Err(error) => {
                Err(store.data().meter.explain().unwrap_or_else(|| ComponentError::unusable(error)))
            }
        }
    }

    /// Ends calls when this flag is set, by a signal handler or another thread: the current one, if
    /// it does not return within [`Limits::stopping`], and nearly at once if the flag is set again.
    /// Then the call fails with [`ComponentError::Interrupted`].
    pub fn interrupt_on(&mut self, flag: Arc<AtomicBool>) {
        self.store.data_mut().meter.interrupt_on(flag);
    }

    /// Takes the messages that the component has logged since the last call of this.
    pub fn take_messages(&mut self) -> Vec<(crate::imports::Level, String)> {
        self.store.data_mut().imports.messages.take()
    }

    fn call<R>(
        &mut self,
        call: impl FnOnce(&Bindings, &mut Store<State>) -> wasmtime::Result<R>,
    ) -> Result<R, ComponentError> {
        self.store.data_mut().meter.reset();
        call(&self.bindings, &mut self.store).map_err(|error| {
            let exceeded = self.store.data().meter.explain();
            exceeded.unwrap_or_else(|| ComponentError::Trapped(one_line(&error)))
        })
    }
}
