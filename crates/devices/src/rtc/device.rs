use std::sync::{Arc, Mutex};

use clade_engine::{Clock, IoDevice, IrqLine};

use super::RtcState;
use crate::little_endian::{put, value_of};
use crate::sync::lock;

/// Size of its register range in bytes.
pub const SIZE: u64 = 0x1000;

const TIME_LOW: u64 = 0x00;
const TIME_HIGH: u64 = 0x04;
const ALARM_LOW: u64 = 0x08;
const ALARM_HIGH: u64 = 0x0c;
const IRQ_ENABLED: u64 = 0x10;
const CLEAR_ALARM: u64 = 0x14;
const ALARM_STATUS: u64 = 0x18;
const CLEAR_INTERRUPT: u64 = 0x1c;

/// The device.
///
/// It counts nanoseconds since 1970. It has no thread: the machine's I/O loop asks
/// [`Rtc::next_deadline_wall_ns`] how long to sleep and calls [`Rtc::poll`] then.
pub struct Rtc {
    clock: Arc<dyn Clock>,
    irq: Arc<dyn IrqLine>,
    rearm: Arc<dyn Fn() + Send + Sync>,
    state: Mutex<RtcState>,
}

impl Rtc {
    /// A clock that shows `clock`'s wall time and asserts `irq` while an alarm is pending.
    /// `rearm` is called, with no lock held, whenever the next deadline may have become another.
    #[must_use]
    pub fn new(
        clock: Arc<dyn Clock>,
        irq: Arc<dyn IrqLine>,
        rearm: Arc<dyn Fn() + Send + Sync>,
    ) -> Arc<Self> {
        Arc::new(Rtc {
            clock,
            irq,
            rearm,
            state: Mutex::default(),
        })
    }

    /// When [`Rtc::poll`] is next wanted, as a reading of [`Clock::wall_ns`]; none while no alarm
    /// is set.
    #[must_use]
    pub fn next_deadline_wall_ns(&self) -> Option<u64> {
        let state = lock(&self.state);
        let ahead = state.alarm_ns.saturating_sub(self.guest_ns(&state));
        state
            .alarm_armed
            .then(|| self.clock.wall_ns().saturating_add(ahead))
    }

    /// Lets a due alarm go off.
    pub fn poll(&self) {
        let mut state = lock(&self.state);
        self.check_alarm(&mut state);
    }

    /// Everything that the guest can observe.
    #[must_use]
    pub fn save(&self) -> RtcState {
        *lock(&self.state)
    }

    /// Continues from a saved state.
    pub fn restore(&self, saved: &RtcState) {
        let mut state = lock(&self.state);
        *state = *saved;
        self.check_alarm(&mut state);
        self.drive(&state);
        drop(state);
        (self.rearm)();
    }

    fn guest_ns(&self, state: &RtcState) -> u64 {
        self.clock.wall_ns().wrapping_add(state.offset_ns)
    }

    fn set_guest_ns(&self, state: &mut RtcState, value: u64) {
        state.offset_ns = value.wrapping_sub(self.clock.wall_ns());
        self.check_alarm(state);
    }

    fn check_alarm(&self, state: &mut RtcState) {
        if state.alarm_armed && state.alarm_ns <= self.guest_ns(state) {
            state.alarm_armed = false;
            state.interrupt_pending = true;
            self.drive(state);
        }
    }

    fn drive(&self, state: &RtcState) {
        self.irq
            .set_level(state.interrupt_pending && state.interrupt_enabled);
    }

    fn write_register(&self, state: &mut RtcState, offset: u64, value: u32) {
        match offset {
            TIME_LOW => {
                let time = with_low(self.guest_ns(state), value);
                self.set_guest_ns(state, time);
            }
            TIME_HIGH => {
                let time = with_high(self.guest_ns(state), value);
                self.set_guest_ns(state, time);
            }
            // The low half is written last and arms the alarm.
            ALARM_LOW => {
                state.alarm_ns = with_low(state.alarm_ns, value);
                state.alarm_armed = true;
                self.check_alarm(state);
            }
            ALARM_HIGH => state.alarm_ns = with_high(state.alarm_ns, value),
            IRQ_ENABLED => state.interrupt_enabled = value & 1 != 0,
            CLEAR_ALARM => state.alarm_armed = false,
            CLEAR_INTERRUPT => state.interrupt_pending = false,
            _ => {}
        }
        self.drive(state);
    }
}

fn with_low(value: u64, low: u32) -> u64 {
    value & !u64::from(u32::MAX) | u64::from(low)
}

fn with_high(value: u64, high: u32) -> u64 {
    value & u64::from(u32::MAX) | u64::from(high) << 32
}

impl IoDevice for Rtc {
    fn read(&self, offset: u64, data: &mut [u8]) {
        let mut state = lock(&self.state);
        let value = match offset {
            TIME_LOW => {
                let time = self.guest_ns(&state);
                state.latched_high = (time >> 32) as u32;
                time as u32
            }
            TIME_HIGH => state.latched_high,
            ALARM_LOW => state.alarm_ns as u32,
            ALARM_HIGH => (state.alarm_ns >> 32) as u32,
            IRQ_ENABLED => u32::from(state.interrupt_enabled),
            ALARM_STATUS => u32::from(state.alarm_armed),
            _ => 0,
        };
        put(data, value.into());
    }

    fn write(&self, offset: u64, data: &[u8]) {
        if data.len() != 4 {
            return;
        }
        let mut state = lock(&self.state);
        self.write_register(&mut state, offset, value_of(data) as u32);
        drop(state);
        (self.rearm)();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeClock, Wire, read32, write32};
    use std::sync::atomic::{AtomicU64, Ordering};

    const NOW: u64 = 1_700_000_000_123_456_789;

    struct Bench {
        clock: Arc<FakeClock>,
        wire: Arc<Wire>,
        rearmed: Arc<AtomicU64>,
        rtc: Arc<Rtc>,
    }

    fn bench() -> Bench {
        let clock = Arc::new(FakeClock(AtomicU64::new(NOW)));
        let wire = Wire::new();
        let rearmed = Arc::new(AtomicU64::new(0));
        let count = rearmed.clone();
        let rtc = Rtc::new(
            clock.clone(),
            wire.clone(),
            Arc::new(move || {
                count.fetch_add(1, Ordering::SeqCst);
            }),
        );
        Bench {
            clock,
            wire,
            rearmed,
            rtc,
        }
    }

    impl Bench {
        fn at(&self, time: u64) {
            self.clock.0.store(time, Ordering::SeqCst);
        }

        fn time(&self) -> u64 {
            let low = read32(&*self.rtc, TIME_LOW);
            u64::from(read32(&*self.rtc, TIME_HIGH)) << 32 | u64::from(low)
        }

        fn set_alarm(&self, time: u64) {
            write32(&*self.rtc, ALARM_HIGH, (time >> 32) as u32);
            write32(&*self.rtc, ALARM_LOW, time as u32);
        }
    }

    #[test]
    fn time_is_read_without_tearing() {
        let bench = bench();
        bench.at(0x1_ffff_ffff);
        assert_eq!(read32(&*bench.rtc, TIME_LOW), 0xffff_ffff);
        bench.at(0x2_0000_0000);
        assert_eq!(read32(&*bench.rtc, TIME_HIGH), 1);
        assert_eq!(bench.time(), 0x2_0000_0000);
    }

    #[test]
    fn the_guest_sets_its_own_time() {
        let bench = bench();
        for target in [5u64, NOW + (1 << 40), u64::MAX - 9] {
            write32(&*bench.rtc, TIME_HIGH, (target >> 32) as u32);
            write32(&*bench.rtc, TIME_LOW, target as u32);
            assert_eq!(bench.time(), target);
            bench.at(NOW + 7);
            assert_eq!(bench.time(), target.wrapping_add(7));
            bench.at(NOW);
        }
    }

    #[test]
    fn an_alarm_interrupts_once_it_is_due() {
        let bench = bench();
        assert_eq!(bench.rtc.next_deadline_wall_ns(), None);
        write32(&*bench.rtc, IRQ_ENABLED, 1);
        bench.rearmed.store(0, Ordering::SeqCst);
        bench.set_alarm(NOW + 1000);
        assert!(bench.rearmed.load(Ordering::SeqCst) > 0);
        assert_eq!(bench.rtc.next_deadline_wall_ns(), Some(NOW + 1000));
        assert_eq!(read32(&*bench.rtc, ALARM_STATUS), 1);

        bench.at(NOW + 999);
        bench.rtc.poll();
        assert!(!bench.wire.level());
        bench.at(NOW + 1000);
        bench.rtc.poll();
        assert!(bench.wire.level());
        assert_eq!(bench.rtc.next_deadline_wall_ns(), None);
        assert_eq!(read32(&*bench.rtc, ALARM_STATUS), 0);

        write32(&*bench.rtc, IRQ_ENABLED, 0);
        assert!(!bench.wire.level());
        write32(&*bench.rtc, IRQ_ENABLED, 1);
        assert!(bench.wire.level());
        write32(&*bench.rtc, CLEAR_INTERRUPT, 1);
        assert!(!bench.wire.level());

        // An alarm in the past goes off at once; a cleared one never.
        bench.set_alarm(NOW);
        assert!(bench.wire.level());
        write32(&*bench.rtc, CLEAR_INTERRUPT, 1);
        bench.set_alarm(NOW + 5000);
        write32(&*bench.rtc, CLEAR_ALARM, 1);
        bench.at(NOW + 6000);
        bench.rtc.poll();
        assert!(!bench.wire.level());
    }

    #[test]
    fn a_deadline_follows_the_guests_offset() {
        let bench = bench();
        let guest_now = 10_000_000_000u64;
        write32(&*bench.rtc, TIME_HIGH, (guest_now >> 32) as u32);
        write32(&*bench.rtc, TIME_LOW, guest_now as u32);
        bench.set_alarm(guest_now + 50);
        assert_eq!(bench.rtc.next_deadline_wall_ns(), Some(NOW + 50));
        bench.set_alarm(u64::MAX);
        assert!(bench.rtc.next_deadline_wall_ns().unwrap() > NOW);
    }

    #[test]
    fn a_restored_clock_goes_on() {
        let source = bench();
        write32(&*source.rtc, TIME_LOW, 77);
        write32(&*source.rtc, IRQ_ENABLED, 1);
        source.set_alarm(source.time() + 1000);
        let saved = serde_json::to_string(&source.rtc.save()).unwrap();

        let target = bench();
        target.rtc.restore(&serde_json::from_str(&saved).unwrap());
        assert_eq!(target.rtc.save(), source.rtc.save());
        assert_eq!(target.time(), source.time());
        target.at(NOW + 2000);
        target.rtc.poll();
        assert!(target.wire.level());

        // The alarm became due while the machine was frozen.
        let late = bench();
        late.at(NOW + 1_000_000);
        late.rtc.restore(&serde_json::from_str(&saved).unwrap());
        assert!(late.wire.level());
    }
}
