//! What an instance may use up.

use std::time::{Duration, Instant};

use wasmtime::{CallHook, ResourceLimiter, Result};

/// How often the clock of the deadline ticks: a call may run over by this much.
pub(super) const TICK: Duration = Duration::from_millis(50);

/// Limits on one instance.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of memory of its own. 256 MiB: a hundred thousand items need about 40.
    pub memory: usize,
    /// How long one call may compute; what passes inside an import does not count.
    pub deadline: Duration,
    /// Bytes that one call may hand over, in either direction: wasmtime's own default.
    pub transfer: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { memory: 256 << 20, deadline: Duration::from_secs(10), transfer: 128 << 20 }
    }
}

/// Counts what one instance uses.
#[derive(Debug)]
pub(super) struct Meter {
    limits: Limits,
    /// How long the current call has computed.
    spent: Duration,
    /// Since when it computes; `None` while it is in an import or nothing is called.
    running: Option<Instant>,
    /// True once it was refused memory.
    pub(super) out_of_memory: bool,
    /// True once it ran over its deadline.
    pub(super) out_of_time: bool,
}

impl Meter {
    pub(super) fn new(limits: Limits) -> Self {
        Meter {
            limits,
            spent: Duration::ZERO,
            running: None,
            out_of_memory: false,
            out_of_time: false,
        }
    }

    /// A call begins: its time starts anew.
    pub(super) fn reset(&mut self) {
        self.spent = Duration::ZERO;
        self.running = None;
    }

    /// The instance starts or stops computing.
    pub(super) fn hook(&mut self, hook: CallHook) {
        if let Some(since) = self.running.take() {
            self.spent += since.elapsed();
        }
        if hook.exiting_host() {
            self.running = Some(Instant::now());
        }
    }

    /// True if the current call has run for too long.
    pub(super) fn is_over(&mut self) -> bool {
        let now = self.running.map_or(Duration::ZERO, |since| since.elapsed());
        self.out_of_time = self.spent + now > self.limits.deadline;
        self.out_of_time
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> Result<bool> {
        let allowed = desired <= self.limits.memory;
        self.out_of_memory |= !allowed;
        Ok(allowed)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> Result<bool> {
        // An entry takes a pointer or two of ours.
        Ok(desired <= self.limits.memory / 64)
    }
}
