//! What a machine did in its life, in numbers.

use std::ops::AddAssign;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Counts of all vCPUs together, over all boots.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineStats {
    /// The host's processor time that the vCPUs' threads took.
    pub vcpu_time: Duration,
    /// What the engine counted.
    pub engine: clade_emulate::Stats,
}

impl AddAssign for MachineStats {
    fn add_assign(&mut self, other: Self) {
        self.vcpu_time += other.vcpu_time;
        self.engine += other.engine;
    }
}

/// The host's processor time that the calling thread has taken.
pub(crate) fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}
