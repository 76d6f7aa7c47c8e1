use std::sync::Arc;

use clade_engine::{IoDevice, SystemEvent};

use crate::syscon::SystemEventSink;

/// Offset of the sleep control register (4.8.3.7).
pub const SLEEP_CONTROL: u64 = 0;
/// Offset of the sleep status register (4.8.3.7).
pub const SLEEP_STATUS: u64 = 1;
/// Offset of the reset register (4.8.3.6).
const RESET: u64 = 2;

/// What resets the machine, written to the reset register.
pub const RESET_VALUE: u8 = 1;
/// The `SLP_TYP` of the only sleeping state, S5: off.
pub const SLEEP_OFF: u8 = 5;

const SLEEP_TYPE_SHIFT: u8 = 2;
const SLEEP_TYPE: u8 = 0b111;
const SLEEP_ENABLE: u8 = 1 << 5;

/// Sleep and reset. Without state.
pub struct PowerRegisters {
    sink: SystemEventSink,
}

impl PowerRegisters {
    /// Size of the register range in bytes.
    pub const SIZE: u64 = 4;
    /// Offset of the reset register.
    pub const RESET: u64 = RESET;

    /// Registers that pass the guest's requests to `sink`.
    #[must_use]
    pub fn new(sink: SystemEventSink) -> Arc<Self> {
        Arc::new(Self { sink })
    }
}

impl IoDevice for PowerRegisters {
    /// It has not woken up.
    fn read(&self, _offset: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn write(&self, offset: u64, data: &[u8]) {
        let Some(&value) = data.first() else { return };
        let sleeps = value & SLEEP_ENABLE != 0;
        match offset {
            SLEEP_CONTROL if sleeps && value >> SLEEP_TYPE_SHIFT & SLEEP_TYPE == SLEEP_OFF => {
                (self.sink)(SystemEvent::PowerOff);
            }
            RESET if value == RESET_VALUE => (self.sink)(SystemEvent::Reboot),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Events;

    #[test]
    fn off_and_reset_reach_the_sink_and_nothing_else_does() {
        let events = Events::default();
        let device = PowerRegisters::new(events.sink());
        for (offset, value) in [(0, 5 << 2), (0, 1 << 5 | 3 << 2), (1, 0x34), (2, 6), (3, 1)] {
            device.write(offset, &[value]);
        }
        assert_eq!(events.take(), []);
        device.write(0, &[1 << 5 | 5 << 2]);
        device.write(2, &[1]);
        assert_eq!(events.take(), [SystemEvent::PowerOff, SystemEvent::Reboot]);
    }
}
