//! The host's time as a machine's time.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use clade_engine::Clock;

/// A clock that runs with the host's from the moment it is made.
pub(super) struct HostClock {
    started: Instant,
}

impl HostClock {
    pub(super) fn start() -> Self {
        Self {
            started: Instant::now(),
        }
    }
}

impl Clock for HostClock {
    fn monotonic_ns(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    fn wall_ns(&self) -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_nanos() as u64)
    }
}
