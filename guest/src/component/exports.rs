//! The exports of the component.

mod batch;
mod doctor;
mod feature;
mod session;

use std::cell::RefCell;
use std::sync::Once;

use super::imports::Imports;
use crate::bindings::exports::wreckit::batch::doctor::Scope;
use crate::io::capabilities::{Level, Log};
use crate::io::host::Host;
use crate::io::layout;
use crate::session::Session;
use crate::session::leftovers::Termination;

/// The component.
pub(super) struct Component;

thread_local! {
    /// The session of the instance, if one is open.
    static SESSION: RefCell<Option<Session>> = const { RefCell::new(None) };
    /// The leftover processes that the instance is ending.
    static TERMINATION: RefCell<Termination> = RefCell::default();
}

/// The capabilities of an instance over a `.wreckit`.
fn host() -> Host<'static> {
    report_panics();
    Host::new(&Imports)
}

/// The capabilities of an instance over a directory of features.
fn features() -> Host<'static> {
    report_panics();
    Host::with_layout(&Imports, &layout::FEATURES)
}

/// The capabilities of an instance over this root.
fn scoped(scope: Scope) -> Host<'static> {
    match scope {
        Scope::Batch => host(),
        Scope::Features => features(),
    }
}

/// Logs a panic before it becomes a trap.
fn report_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            Imports.write(Level::Error, &format!("the component panicked: {panic}"));
        }));
    });
}

/// Calls a function that may end leftover processes across several calls.
fn terminating<T>(call: impl FnOnce(&mut Termination) -> T) -> T {
    TERMINATION.with_borrow_mut(call)
}
