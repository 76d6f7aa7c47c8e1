use std::sync::{Arc, Mutex};

use clade_engine::{IoDevice, IrqLine};
use serde::{Deserialize, Serialize};

use crate::little_endian::{put, value_of};
use crate::sync::lock;

/// What happened to a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Event {
    /// Somebody pressed the power button.
    PowerButton = 1,
    /// It is another machine than it was.
    Generation = 2,
}

/// Tells the guest's generic event device (5.6.9) what happened: a register that shows, once, a bit for
/// each event since it was last read, and a pulse on a wire.
///
/// Whoever listens has written 1 to the register at offset 4.
pub struct AcpiEvents {
    irq: Arc<dyn IrqLine>,
    state: Mutex<AcpiEventsState>,
}

/// Everything about the events that the guest can observe. Any value is a valid one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcpiEventsState {
    /// What the guest has not read yet: a bit for each [`Event`].
    pub pending: u32,
    /// The guest has said that it listens.
    pub heard: bool,
}

const PENDING: u64 = 0;
const LISTENS: u64 = 4;

impl AcpiEvents {
    /// Size of the register range in bytes.
    pub const SIZE: u64 = 8;

    /// Events that are announced on `irq`.
    #[must_use]
    pub fn new(irq: Arc<dyn IrqLine>) -> Arc<Self> {
        Arc::new(Self {
            irq,
            state: Mutex::default(),
        })
    }

    /// Tells the guest of `event`. Returns whether it listens.
    pub fn raise(&self, event: Event) -> bool {
        let mut state = lock(&self.state);
        state.pending |= event as u32;
        self.irq.set_level(true);
        self.irq.set_level(false);
        state.heard
    }

    /// Everything that the guest can observe.
    #[must_use]
    pub fn save(&self) -> AcpiEventsState {
        *lock(&self.state)
    }

    /// Continues from a saved state.
    pub fn restore(&self, saved: &AcpiEventsState) {
        *lock(&self.state) = *saved;
    }
}

impl IoDevice for AcpiEvents {
    fn read(&self, offset: u64, data: &mut [u8]) {
        let mut state = lock(&self.state);
        let value = match offset {
            PENDING => std::mem::take(&mut state.pending),
            LISTENS => u32::from(state.heard),
            _ => 0,
        };
        put(data, u64::from(value));
    }

    fn write(&self, offset: u64, data: &[u8]) {
        if offset == LISTENS {
            lock(&self.state).heard = value_of(data) & 1 != 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Levels, read32, write32};

    #[test]
    fn events_are_announced_by_pulses_and_shown_once() {
        let wire = Levels::new();
        let events = AcpiEvents::new(wire.clone());
        assert!(!events.raise(Event::PowerButton), "nobody listens yet");
        write32(&*events, 4, 1);
        assert!(events.raise(Event::Generation));
        assert_eq!(wire.take(), [true, false, true, false]);
        assert_eq!(read32(&*events, 0), 3);
        assert_eq!(read32(&*events, 0), 0);
        assert_eq!(read32(&*events, 4), 1);
    }

    #[test]
    fn what_is_pending_is_kept() {
        let events = AcpiEvents::new(Levels::new());
        write32(&*events, 4, 1);
        events.raise(Event::PowerButton);
        let saved = events.save();
        let wire = Levels::new();
        let other = AcpiEvents::new(wire.clone());
        other.restore(&saved);
        assert_eq!(other.save(), saved);
        assert!(wire.take().is_empty(), "the interrupt controller keeps it");
        assert_eq!(read32(&*other, 0), 1);
        assert!(other.raise(Event::PowerButton));
    }
}
