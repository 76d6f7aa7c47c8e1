use std::sync::OnceLock;

use clade_devices::Bus;
use clade_engine::{IoBus, Unmapped};

/// A bus that is known before its devices are: the engine is given it, and some devices are the
/// engine's.
#[derive(Default)]
pub(super) struct LateBus(OnceLock<Bus>);

impl LateBus {
    /// Only the first call counts.
    pub(super) fn complete(&self, bus: Bus) {
        let _ = self.0.set(bus);
    }
}

impl IoBus for LateBus {
    fn read(&self, address: u64, data: &mut [u8]) -> Result<(), Unmapped> {
        self.0
            .get()
            .ok_or(Unmapped { address })?
            .read(address, data)
    }

    fn write(&self, address: u64, data: &[u8]) -> Result<(), Unmapped> {
        self.0
            .get()
            .ok_or(Unmapped { address })?
            .write(address, data)
    }
}
