use std::sync::{Arc, Mutex};

use clade_engine::{Clock, IoDevice};

use super::CmosState;
use super::calendar::Date;
use crate::StateError;
use crate::sync::lock;

/// Size of its register range in bytes: which register, and what is in it.
pub const SIZE: u64 = 2;

/// Number of registers.
pub(super) const BYTES: usize = 128;

const INDEX: u64 = 0;
const DATA: u64 = 1;

const SECONDS: u8 = 0x00;
const MINUTES: u8 = 0x02;
const HOURS: u8 = 0x04;
const WEEKDAY: u8 = 0x06;
const DAY: u8 = 0x07;
const MONTH: u8 = 0x08;
const YEAR: u8 = 0x09;
const STATUS_A: u8 = 0x0a;
const STATUS_B: u8 = 0x0b;
const STATUS_C: u8 = 0x0c;
const STATUS_D: u8 = 0x0d;
/// Where PCs have the century.
const CENTURY: u8 = 0x32;

/// Oscillator on, and the usual rate.
const RUNNING: u8 = 0x26;
/// Hours count to 23.
const HOURS_24: u8 = 1 << 1;
/// Numbers are binary, and not two decimal digits.
const BINARY: u8 = 1 << 2;
/// The battery is good.
const VALID: u8 = 1 << 7;

/// The device. It shows the host's time, which a guest cannot change, and has no alarm.
pub struct Cmos {
    clock: Arc<dyn Clock>,
    state: Mutex<CmosState>,
}

impl Cmos {
    /// A clock that shows `clock`'s wall time in UTC.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            clock,
            state: Mutex::default(),
        })
    }

    /// Everything that the guest can observe, but for the time.
    #[must_use]
    pub fn save(&self) -> CmosState {
        lock(&self.state).clone()
    }

    /// Continues from a saved state.
    ///
    /// # Errors
    /// When no clock can have been in that state.
    pub fn restore(&self, saved: &CmosState) -> Result<(), StateError> {
        saved.check()?;
        lock(&self.state).clone_from(saved);
        Ok(())
    }

    fn register(&self, state: &CmosState) -> u8 {
        let stored = |register: u8| state.bytes[usize::from(register)];
        let status_b = stored(STATUS_B) & BINARY | HOURS_24;
        let date = Date::of_unix(self.clock.wall_ns() / 1_000_000_000);
        let number = match state.index {
            SECONDS => date.second,
            MINUTES => date.minute,
            HOURS => date.hour,
            WEEKDAY => date.weekday,
            DAY => date.day,
            MONTH => date.month,
            YEAR => (date.year % 100) as u8,
            CENTURY => (date.year / 100 % 100) as u8,
            STATUS_A => return RUNNING,
            STATUS_B => return status_b,
            STATUS_C => return 0,
            STATUS_D => return VALID,
            other => return stored(other),
        };
        if status_b & BINARY != 0 {
            number
        } else {
            ((number / 10) << 4) | (number % 10)
        }
    }
}

impl IoDevice for Cmos {
    fn read(&self, offset: u64, data: &mut [u8]) {
        // The index cannot be read.
        data.fill(0xff);
        if let (DATA, [first, ..]) = (offset, data) {
            *first = self.register(&lock(&self.state));
        }
    }

    fn write(&self, offset: u64, data: &[u8]) {
        let Some(&value) = data.first() else { return };
        let mut state = lock(&self.state);
        let index = usize::from(state.index);
        match offset {
            // Bit 7 masks non-maskable interrupts, of which there are none.
            INDEX => state.index = value & 0x7f,
            DATA => state.bytes[index] = value,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::FakeClock;
    use std::sync::atomic::Ordering;

    fn read(cmos: &Cmos, register: u8) -> u8 {
        cmos.write(0, &[register]);
        let mut data = [0];
        cmos.read(1, &mut data);
        data[0]
    }

    /// 2024-02-29 23:59:58 UTC.
    fn clock() -> Arc<FakeClock> {
        let clock = FakeClock::default();
        clock.0.store(1_709_251_198_000_000_000, Ordering::SeqCst);
        Arc::new(clock)
    }

    #[test]
    fn the_time_is_in_decimal_digits_unless_the_guest_wants_it_binary() {
        let cmos = Cmos::new(clock());
        let all = [0x00, 0x02, 0x04, 0x06, 0x07, 0x08, 0x09, 0x32];
        let digits = [0x58, 0x59, 0x23, 5, 0x29, 2, 0x24, 0x20];
        assert_eq!(all.map(|register| read(&cmos, register)), digits);
        assert_eq!(read(&cmos, 0x0b), 2);
        cmos.write(1, &[0xff]);
        assert_eq!(read(&cmos, 0x0b), 6, "no interrupts, 24 hours, binary");
        let binary = [58, 59, 23, 5, 29, 2, 24, 20];
        assert_eq!(all.map(|register| read(&cmos, register)), binary);
    }

    #[test]
    fn the_time_cannot_be_written_and_memory_can() {
        let cmos = Cmos::new(clock());
        for (register, value) in [(0x00, 0x58), (0x0a, 0x26), (0x0d, 0x80), (0x40, 0x11)] {
            cmos.write(0, &[register | 0x80]);
            cmos.write(1, &[0x11]);
            assert_eq!(read(&cmos, register), value, "{register:#x}");
        }
    }

    #[test]
    fn what_is_restored_is_checked() {
        let cmos = Cmos::new(clock());
        cmos.write(0, &[0x40]);
        cmos.write(1, &[9]);
        let saved = cmos.save();
        let other = Cmos::new(clock());
        other.restore(&saved).expect("a good state");
        assert_eq!(other.save(), saved);
        let mut data = [0];
        other.read(1, &mut data);
        assert_eq!(data, [9]);
        for (index, length) in [(128, 128), (0, 127), (0, 0)] {
            let bytes = vec![0; length];
            assert!(other.restore(&CmosState { index, bytes }).is_err());
        }
        assert_eq!(other.save(), saved);
    }
}
