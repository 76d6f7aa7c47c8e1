use serde::{Deserialize, Serialize};

/// Everything about an RTC that a guest can observe. Any value is a valid one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RtcState {
    /// What the guest's time is ahead of the machine's wall clock, in nanoseconds modulo 2^64.
    pub offset_ns: u64,
    /// The upper half of the time, latched when the lower half was read.
    pub latched_high: u32,
    /// Guest time of the alarm, in nanoseconds since 1970.
    pub alarm_ns: u64,
    /// The alarm is set and has not gone off.
    pub alarm_armed: bool,
    /// The alarm went off and its interrupt was not cleared.
    pub interrupt_pending: bool,
    /// The interrupt may leave the device.
    pub interrupt_enabled: bool,
}
