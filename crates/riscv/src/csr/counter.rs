//! The counters that follow retired instructions.

use serde::{Deserialize, Serialize};

/// `mcycle` or `minstret`: a value that grows by one with each retired instruction unless it is
/// inhibited. It holds the distance to the hart's own count, so that running costs nothing.
///
/// A cycle is an instruction here: guests see time pass in `time`, and a deterministic `cycle`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// The counter's value when the hart's count was `since`.
    value: u64,
    /// The hart's count of retired instructions when the counter was last written.
    since: u64,
    /// The counter stands still (`mcountinhibit`).
    inhibited: bool,
}

impl Counter {
    /// The counter's value when the hart has retired `retired` instructions.
    pub fn read(&self, retired: u64) -> u64 {
        if self.inhibited {
            self.value
        } else {
            self.value.wrapping_add(retired.wrapping_sub(self.since))
        }
    }

    /// Sets the value. The writing instruction itself is not counted, so that the next one reads
    /// what was written (privileged spec 3.1.11).
    pub fn write(&mut self, value: u64, retired: u64) {
        self.value = value;
        self.since = retired.wrapping_add(1);
    }

    /// Stops or starts the counter.
    pub fn set_inhibited(&mut self, inhibited: bool, retired: u64) {
        self.value = self.read(retired);
        self.since = retired;
        self.inhibited = inhibited;
    }
}
