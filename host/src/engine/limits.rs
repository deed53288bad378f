//! What an instance may consume, and who may stop it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use wasmtime::CallHook;

use super::error::ComponentError;
use crate::wasm::MemoryLimiter;

/// How often the epoch advances: a call may exceed its limits by this much.
pub(super) const TICK: Duration = Duration::from_millis(50);

/// How long a call may continue after a second request to stop, so that one that is about to return does.
const LAST_MOMENT: Duration = Duration::from_secs(1);

/// Limits on one instance.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Maximum size of all memories and tables together, in bytes. With 256 MiB, `status` works on more than
    /// 300,000 items.
    pub memory: usize,
    /// CPU time of one call, without its imports. Wall-clock time would punish a busy machine.
    pub computing: Duration,
    /// CPU time that each call of an import adds: a repository of 200,000 items takes more work than one of
    /// ten, and its files are read one by one.
    pub computing_per_import: Duration,
    /// Time that one call may spend inside imports. Only a call that never ends takes this long:
    /// repairs of a large repository on a slow disk must not be cut off.
    pub imports: Duration,
    /// Maximum number of bytes that the component may pass to one call of an import, or return from one call
    /// of an export: wasmtime's own default.
    pub transfer: usize,
    /// How long a call may continue once the program was asked to stop.
    pub stopping: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            memory: 256 << 20,
            computing: Duration::from_secs(10),
            computing_per_import: Duration::from_micros(200),
            imports: Duration::from_secs(60 * 60),
            transfer: 128 << 20,
            stopping: Duration::from_secs(30),
        }
    }
}

/// The limit that a call exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exceeded {
    Computing,
    Imports,
    /// The program was asked to stop, and the call did not end in time.
    Stopping,
}

/// What spends the time of a call.
#[derive(Debug, Clone, Copy)]
enum Clock {
    /// No call is running.
    Stopped,
    /// The component, since this much CPU time of the thread.
    Computing(Duration),
    /// An import.
    Importing(Instant),
}

/// Measures what one instance consumes.
#[derive(Debug)]
pub(super) struct Meter {
    limits: Limits,
    pub(super) memory: MemoryLimiter,
    clock: Clock,
    computed: Duration,
    /// How much it may compute so far.
    may_compute: Duration,
    imported: Duration,
    /// Whether an import is running, during which the component's allocator may be called.
    in_import: bool,
    exceeded: Option<Exceeded>,
    /// Set from outside when the program is asked to stop.
    interrupt: Option<Arc<AtomicBool>>,
    /// When the current call must end because of that.
    stop_at: Option<Instant>,
}

impl Meter {
    pub(super) fn new(limits: Limits) -> Self {
        Meter {
            limits,
            memory: MemoryLimiter::new(limits.memory),
            clock: Clock::Stopped,
            computed: Duration::ZERO,
            may_compute: limits.computing,
            imported: Duration::ZERO,
            in_import: false,
            exceeded: None,
            interrupt: None,
            stop_at: None,
        }
    }

    /// Ends calls when this flag is set: the current one after [`Limits::stopping`], and almost immediately
    /// if it is set again.
    pub(super) fn interrupt_on(&mut self, flag: Arc<AtomicBool>) {
        self.interrupt = Some(flag);
    }

    /// Begins a call: its time starts at zero.
    pub(super) fn reset(&mut self) {
        self.computed = Duration::ZERO;
        self.may_compute = self.limits.computing;
        self.imported = Duration::ZERO;
        self.clock = Clock::Stopped;
        self.in_import = false;
        // A request from before the call is the caller's to handle: this call is part of stopping.
        if self.take_request() || self.stop_at.is_some() {
            self.stop_at = Some(Instant::now() + self.limits.stopping);
        }
    }

    /// Switches the clocks when the component calls an import or returns from one, or when a call begins or
    /// ends. Returns false if the call must not continue.
    pub(super) fn hook(&mut self, hook: CallHook) -> bool {
        self.charge();
        match hook {
            CallHook::CallingHost => {
                self.in_import = true;
                self.may_compute += self.limits.computing_per_import;
            }
            CallHook::ReturningFromHost => self.in_import = false,
            CallHook::CallingWasm | CallHook::ReturningFromWasm => {}
        }
        self.clock = if hook.exiting_host() {
            Clock::Computing(cpu_time())
        } else if self.in_import {
            Clock::Importing(Instant::now())
        } else {
            Clock::Stopped
        };
        // Not on the last return: the call has ended.
        !hook.exiting_host() || self.may_continue()
    }

    /// Returns false if the current call has exceeded a limit, or must stop.
    pub(super) fn may_continue(&mut self) -> bool {
        self.charge();
        if self.computed > self.may_compute {
            self.exceeded = Some(Exceeded::Computing);
        } else if self.imported > self.limits.imports {
            self.exceeded = Some(Exceeded::Imports);
        } else if self.must_stop() {
            self.exceeded = Some(Exceeded::Stopping);
        }
        self.exceeded.is_none()
    }

    /// Returns why the component failed, if it exceeded a limit.
    pub(super) fn explain(&self) -> Option<ComponentError> {
        match self.exceeded {
            None if self.memory.is_exceeded() => Some(ComponentError::OutOfMemory(self.limits)),
            None => None,
            Some(Exceeded::Computing) => Some(ComponentError::OutOfTime(self.limits)),
            Some(Exceeded::Imports) => Some(ComponentError::StuckInImports(self.limits)),
            Some(Exceeded::Stopping) => Some(ComponentError::Interrupted),
        }
    }

    /// Adds the time since the last switch to what spent it.
    fn charge(&mut self) {
        match &mut self.clock {
            Clock::Stopped => {}
            Clock::Computing(since) => {
                let now = cpu_time();
                self.computed += now.saturating_sub(*since);
                *since = now;
            }
            Clock::Importing(since) => {
                let now = Instant::now();
                self.imported += now.saturating_duration_since(*since);
                *since = now;
            }
        }
    }

    fn must_stop(&mut self) -> bool {
        if self.take_request() {
            let grace = if self.stop_at.is_some() { LAST_MOMENT } else { self.limits.stopping };
            let at = Instant::now() + grace;
            self.stop_at = Some(self.stop_at.map_or(at, |earlier| earlier.min(at)));
        }
        self.stop_at.is_some_and(|at| at <= Instant::now())
    }

    fn take_request(&self) -> bool {
        self.interrupt.as_ref().is_some_and(|flag| flag.swap(false, Ordering::Relaxed))
    }
}

/// Returns the CPU time of the calling thread, on which a call runs from its start to its end.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;

    use super::*;

    fn meter(limits: Limits) -> Meter {
        let mut meter = Meter::new(limits);
        meter.reset();
        assert!(meter.hook(CallHook::CallingWasm));
        meter
    }

    #[test]
    fn a_component_is_charged_with_cpu_time_and_not_with_waiting_for_it() {
        let computing = Duration::from_millis(50);
        let mut meter = meter(Limits { computing, ..Limits::default() });
        sleep(2 * computing);
        assert!(meter.may_continue());
        while cpu_time_after(&mut meter) {}
        assert!(matches!(meter.explain(), Some(ComponentError::OutOfTime(_))));
    }

    fn cpu_time_after(meter: &mut Meter) -> bool {
        (0..1000).fold(0_u64, |sum, number| std::hint::black_box(sum + number));
        meter.may_continue()
    }

    #[test]
    fn time_in_imports_is_bounded_on_its_own() {
        let imports = Duration::from_millis(50);
        let mut meter = meter(Limits { imports, ..Limits::default() });
        for _ in 0..2 {
            assert!(meter.hook(CallHook::CallingHost));
            // The component's allocator runs within an import.
            assert!(meter.hook(CallHook::CallingWasm));
            assert!(meter.hook(CallHook::ReturningFromWasm));
            sleep(imports * 2 / 3);
            let may_continue = meter.hook(CallHook::ReturningFromHost);
            assert_eq!(may_continue, meter.explain().is_none());
        }
        assert!(matches!(meter.explain(), Some(ComponentError::StuckInImports(_))));
    }

    #[test]
    fn a_call_that_does_not_end_after_a_request_to_stop_is_ended() {
        let stopping = Duration::from_millis(100);
        let flag = Arc::new(AtomicBool::new(false));
        let mut first = meter(Limits { stopping, ..Limits::default() });
        first.interrupt_on(Arc::clone(&flag));
        flag.store(true, Ordering::Relaxed);
        assert!(first.may_continue(), "it has time to return");
        sleep(stopping);
        assert!(!first.may_continue());
        assert!(matches!(first.explain(), Some(ComponentError::Interrupted)));

        let mut second = meter(Limits::default());
        second.interrupt_on(Arc::clone(&flag));
        flag.store(true, Ordering::Relaxed);
        assert!(second.may_continue());
        flag.store(true, Ordering::Relaxed);
        assert!(second.may_continue(), "one that is about to return does");
        sleep(LAST_MOMENT);
        assert!(!second.may_continue());
    }

    #[test]
    fn a_request_from_before_a_call_leaves_it_its_time() {
        let flag = Arc::new(AtomicBool::new(true));
        let mut meter = Meter::new(Limits::default());
        meter.interrupt_on(Arc::clone(&flag));
        for _ in 0..2 {
            flag.store(true, Ordering::Relaxed);
            meter.reset();
            assert!(meter.hook(CallHook::CallingWasm));
            assert!(meter.stop_at.is_some_and(|at| at > Instant::now() + LAST_MOMENT));
        }
    }
}
