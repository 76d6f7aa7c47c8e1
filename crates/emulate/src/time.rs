//! The timebase that `time`, `stimecmp` and the CLINT count in.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clade_engine::Clock;

/// Frequency of the `time` counter in hertz, as QEMU's `virt` board has it.
pub const TIMEBASE_HZ: u64 = 10_000_000;

const NS_PER_TICK: u64 = 1_000_000_000 / TIMEBASE_HZ;

/// The machine's `mtime`: the clock in ticks, plus what a guest added by writing the register.
pub(crate) struct Timebase {
    clock: Arc<dyn Clock>,
    offset: AtomicU64,
}

impl Timebase {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            offset: AtomicU64::new(0),
        }
    }

    /// The time now, in ticks.
    pub(crate) fn now(&self) -> u64 {
        let ticks = self.clock.monotonic_ns() / NS_PER_TICK;
        ticks.wrapping_add(self.offset.load(Ordering::Relaxed))
    }

    /// Makes `now` be `ticks`.
    pub(crate) fn set(&self, ticks: u64) {
        let unadjusted = self.clock.monotonic_ns() / NS_PER_TICK;
        self.offset
            .store(ticks.wrapping_sub(unadjusted), Ordering::Relaxed);
    }

    /// What a guest's writes have added to the clock, in ticks.
    pub(crate) fn offset(&self) -> u64 {
        self.offset.load(Ordering::Relaxed)
    }

    /// Puts back what [`Timebase::offset`] gave.
    pub(crate) fn set_offset(&self, ticks: u64) {
        self.offset.store(ticks, Ordering::Relaxed);
    }

    /// How long until `deadline` (in ticks) from `now`.
    pub(crate) fn until(now: u64, deadline: u64) -> Duration {
        let ticks = deadline.saturating_sub(now);
        Duration::from_nanos(ticks.saturating_mul(NS_PER_TICK))
    }
}
