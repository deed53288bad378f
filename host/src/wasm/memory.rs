//! What the instances of one store may allocate in total.

use wasmtime::{Error, ResourceLimiter, Result};

/// Number of bytes that a table entry counts as: a function reference and its metadata.
const TABLE_ENTRY: usize = 16;

/// Limits the total size of the memories and tables of a store, and their number.
///
/// Exceeding the limit traps: the allocators of most languages would abort anyway, and say less.
#[derive(Debug)]
pub(crate) struct MemoryLimiter {
    limit: usize,
    used: usize,
    /// How much the latest growth added: it is subtracted if the growth fails after all.
    growth: usize,
    exceeded: bool,
    instances: usize,
}

impl MemoryLimiter {
    /// Maximum number of core instances, for a component whose module is bound to its imports by a few small
    /// ones. Every instance costs memory that no limiter sees: a few bytes per function and global.
    const INSTANCES: usize = 16;

    /// Creates a limiter for `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        MemoryLimiter {
            limit,
            used: 0,
            growth: 0,
            exceeded: false,
            instances: MemoryLimiter::INSTANCES,
        }
    }

    /// Changes the maximum number of core instances.
    #[cfg(feature = "compile")]
    pub(crate) fn with_instances(self, instances: usize) -> Self {
        MemoryLimiter { instances, ..self }
    }

    /// Whether an allocation was refused.
    pub(crate) fn is_exceeded(&self) -> bool {
        self.exceeded
    }

    fn grow(&mut self, bytes: usize) -> Result<bool> {
        self.growth = 0;
        let Some(used) = self.used.checked_add(bytes).filter(|used| *used <= self.limit) else {
            self.exceeded = true;
            let text = format!("it asked for more than {} MiB of memory", self.limit >> 20);
            return Err(Error::msg(text));
        };
        (self.used, self.growth) = (used, bytes);
        Ok(true)
    }

    fn undo_growth(&mut self) -> Result<()> {
        self.used -= std::mem::take(&mut self.growth);
        Ok(())
    }
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> Result<bool> {
        self.grow(desired.saturating_sub(current))
    }

    fn memory_grow_failed(&mut self, _error: Error) -> Result<()> {
        self.undo_growth()
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> Result<bool> {
        self.grow(desired.saturating_sub(current).saturating_mul(TABLE_ENTRY))
    }

    fn table_grow_failed(&mut self, _error: Error) -> Result<()> {
        self.undo_growth()
    }

    fn instances(&self) -> usize {
        self.instances
    }

    // An instance has at most one memory and two tables. Each memory reserves 4 GiB of address space.
    fn memories(&self) -> usize {
        self.instances
    }

    fn tables(&self) -> usize {
        self.instances * 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_and_tables_count_together() {
        let mut limiter = MemoryLimiter::new(256 << 20);
        assert!(limiter.memory_growing(0, 100 << 20, None).unwrap());
        assert!(limiter.memory_growing(0, 100 << 20, None).unwrap());
        assert!(limiter.table_growing(0, 3 << 20, None).unwrap());
        assert!(limiter.memory_growing(100 << 20, 108 << 20, None).unwrap());
        assert!(!limiter.is_exceeded());
        assert!(limiter.table_growing(0, 1, None).is_err());
        assert!(limiter.is_exceeded());
    }

    #[test]
    fn a_growth_that_failed_is_not_charged() {
        let mut limiter = MemoryLimiter::new(1 << 20);
        for _ in 0..10 {
            assert!(limiter.memory_growing(0, 1 << 20, None).unwrap());
            limiter.memory_grow_failed(Error::msg("beyond its maximum")).unwrap();
        }
    }
}
