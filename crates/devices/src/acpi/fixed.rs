//! Two of the fixed registers of machines that are not hardware-reduced (4.8.3). Firmware for a PC's chipset
//! uses them without looking for them in a table.

use std::sync::Arc;

use clade_engine::{Clock, IoDevice, SystemEvent};

use crate::little_endian::{put, value_of};
use crate::syscon::SystemEventSink;

/// The control register (4.8.3.2.1) of a chipset whose `SLP_TYP` for S5 is 0, as QEMU's have it. Without state:
/// it turns the machine off, and nothing else.
pub struct PmControl {
    sink: SystemEventSink,
}

const SLEEP_ENABLE: u64 = 1 << 13;
const SLEEP_TYPE: u64 = 0b111 << 10;

impl PmControl {
    /// Size of the register in bytes.
    pub const SIZE: u64 = 2;

    /// A register that passes the guest's request to `sink`.
    #[must_use]
    pub fn new(sink: SystemEventSink) -> Arc<Self> {
        Arc::new(Self { sink })
    }
}

impl IoDevice for PmControl {
    fn read(&self, _offset: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn write(&self, offset: u64, data: &[u8]) {
        let value = value_of(data) << (8 * offset.min(7));
        if value & SLEEP_ENABLE != 0 && value & SLEEP_TYPE == 0 {
            (self.sink)(SystemEvent::PowerOff);
        }
    }
}

/// The timer (4.8.3.3): 24 bits that count at 3.579545 MHz. It does not interrupt.
pub struct PmTimer {
    clock: Arc<dyn Clock>,
}

const HZ: u128 = 3_579_545;
const NANOSECONDS: u128 = 1_000_000_000;
const BITS: u64 = 0x00ff_ffff;

impl PmTimer {
    /// Size of the register in bytes.
    pub const SIZE: u64 = 4;

    /// A timer that goes by `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { clock })
    }
}

impl IoDevice for PmTimer {
    fn read(&self, offset: u64, data: &mut [u8]) {
        let ticks = u128::from(self.clock.monotonic_ns()) * HZ / NANOSECONDS;
        put(data, (ticks as u64 & BITS) >> (8 * offset.min(7)));
    }

    fn write(&self, _offset: u64, _data: &[u8]) {}
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::testing::{Events, FakeClock, read32};

    #[test]
    fn off_reaches_the_sink_and_nothing_else_does() {
        let events = Events::default();
        let control = PmControl::new(events.sink());
        control.write(0, &[0, 0]);
        control.write(0, &[0xff, 0xdf]);
        control.write(0, &[0, 0x24]);
        assert_eq!(events.take(), []);
        control.write(0, &[0, 0x20]);
        control.write(1, &[0x20]);
        assert_eq!(events.take(), [SystemEvent::PowerOff; 2]);
        let mut value = [7; 2];
        control.read(0, &mut value);
        assert_eq!(value, [0; 2]);
    }

    #[test]
    fn the_timer_counts_with_the_clock() {
        let clock = Arc::new(FakeClock::default());
        let timer = PmTimer::new(clock.clone());
        let at = |ns| {
            clock.0.store(ns, Ordering::SeqCst);
            read32(&*timer, 0)
        };
        assert_eq!(at(0), 0);
        assert_eq!(at(1_000_000_000), 3_579_545);
        assert_eq!(at(10_000_000_000), 35_795_450 & 0xff_ffff);
        assert!(at(u64::MAX) < 1 << 24);
        let mut byte = [0];
        at(1_000_000_000);
        timer.read(2, &mut byte);
        assert_eq!(byte, [(3_579_545 >> 16) as u8]);
    }
}
