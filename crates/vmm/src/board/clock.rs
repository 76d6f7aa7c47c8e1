//! The host's time as a machine's time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use clade_engine::Clock;

/// A clock that runs with the host's, and can be stopped. Times are in nanoseconds.
pub(super) struct HostClock {
    made: Instant,
    /// What is to be added to the time since then, modulo 2^64.
    offset: AtomicU64,
    /// What it shows while it is stopped, else [`RUNS`].
    stopped_at: AtomicU64,
}

const RUNS: u64 = u64::MAX;

impl HostClock {
    /// A clock that is stopped at `monotonic_ns`.
    pub(super) fn stopped_at(monotonic_ns: u64) -> Self {
        Self {
            made: Instant::now(),
            offset: AtomicU64::new(0),
            stopped_at: AtomicU64::new(monotonic_ns),
        }
    }

    fn since_made(&self) -> u64 {
        self.made.elapsed().as_nanos() as u64
    }

    /// Stops the clock. For a machine of which nobody reads it meanwhile.
    pub(super) fn stop(&self) {
        self.stopped_at
            .store(self.monotonic_ns(), Ordering::Release);
    }

    /// Lets it go on from what it shows.
    pub(super) fn start(&self) {
        let shown = self.monotonic_ns();
        let offset = shown.wrapping_sub(self.since_made());
        self.offset.store(offset, Ordering::Relaxed);
        self.stopped_at.store(RUNS, Ordering::Release);
    }
}

impl Clock for HostClock {
    fn monotonic_ns(&self) -> u64 {
        match self.stopped_at.load(Ordering::Acquire) {
            RUNS => {
                let offset = self.offset.load(Ordering::Relaxed);
                self.since_made().wrapping_add(offset)
            }
            stopped => stopped,
        }
    }

    fn wall_ns(&self) -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_nanos() as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;
    use std::time::Duration;

    use super::*;

    #[test]
    fn no_time_passes_while_it_is_stopped() {
        let clock = HostClock::stopped_at(5_000_000_000);
        sleep(Duration::from_millis(20));
        assert_eq!(clock.monotonic_ns(), 5_000_000_000);
        clock.start();
        sleep(Duration::from_millis(20));
        assert!(clock.monotonic_ns() >= 5_020_000_000);
        clock.stop();
        let stopped = clock.monotonic_ns();
        sleep(Duration::from_millis(50));
        assert_eq!(clock.monotonic_ns(), stopped);
        clock.start();
        assert!((stopped..stopped + 40_000_000).contains(&clock.monotonic_ns()));
    }
}
