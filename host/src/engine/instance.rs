//! One instance of a component over one directory.

use cap_std::fs::Dir;
use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Store, UpdateDeadline};

use super::bindings::Component as Bindings;
use super::error::{ComponentError, one_line};
use super::limits::{Limits, Meter};
use super::{Component, batch, doctor};
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
    fn add(titles: &[String]) -> Result<Vec<batch::ItemId>, batch::StorageFailure>
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
}

impl Instance {
    /// Makes an instance whose only root is `root`.
    pub fn new(component: &Component, root: Dir, limits: Limits) -> Result<Self, ComponentError> {
        let state = State { imports: Imports::new(root), meter: Meter::new(limits) };
        let mut store = Store::new(&component.engine, state);
        store.limiter(|state| &mut state.meter);
        store.set_hostcall_fuel(limits.transfer);
        store.call_hook(|mut context, hook| {
            context.data_mut().meter.hook(hook);
            Ok(())
        });
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|mut context| match context.data_mut().meter.is_over() {
            true => Ok(UpdateDeadline::Interrupt),
            false => Ok(UpdateDeadline::Continue(1)),
        });

        let mut linker = Linker::new(&component.engine);
        Bindings::add_to_linker::<_, HasSelf<Imports>>(&mut linker, |state: &mut State| {
            &mut state.imports
        })
        .map_err(ComponentError::unusable)?;
        let bindings = Bindings::instantiate(&mut store, &component.code, &linker);
        match bindings {
            Ok(bindings) => Ok(Instance { store, bindings }),
            Err(error) if store.data().meter.out_of_memory || store.data().meter.out_of_time => {
                Err(explain(&store, &error))
            }
            Err(error) => Err(ComponentError::unusable(error)),
        }
    }

    /// What the component has logged since the last call of this, and how much it matters.
    pub fn take_messages(&mut self) -> Vec<(crate::imports::Level, String)> {
        std::mem::take(&mut self.store.data_mut().imports.messages)
    }

    fn call<R>(
        &mut self,
        call: impl FnOnce(&Bindings, &mut Store<State>) -> wasmtime::Result<R>,
    ) -> Result<R, ComponentError> {
        self.store.data_mut().meter.reset();
        call(&self.bindings, &mut self.store).map_err(|error| explain(&self.store, &error))
    }
}

fn explain(store: &Store<State>, error: &wasmtime::Error) -> ComponentError {
    let meter = &store.data().meter;
    if meter.out_of_time {
        ComponentError::OutOfTime(meter.limits())
    } else if meter.out_of_memory {
        ComponentError::OutOfMemory(meter.limits())
    } else {
        ComponentError::Trapped(one_line(error))
    }
}
