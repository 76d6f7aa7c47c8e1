//! Doubles for what devices are given.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use clade_engine::{Clock, IoDevice, IrqLine, MsiSink, SystemEvent};

use crate::ConsoleHost;
use crate::syscon::SystemEventSink;

/// A wire that remembers its level.
#[derive(Default)]
pub(crate) struct Wire(AtomicBool);

impl Wire {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn level(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl IrqLine for Wire {
    fn set_level(&self, asserted: bool) {
        self.0.store(asserted, Ordering::SeqCst);
    }
}

/// A wire that keeps the levels it was driven to.
#[derive(Default)]
pub(crate) struct Levels(Mutex<Vec<bool>>);

impl Levels {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The levels since it was last asked.
    pub(crate) fn take(&self) -> Vec<bool> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl IrqLine for Levels {
    fn set_level(&self, asserted: bool) {
        self.0.lock().unwrap().push(asserted);
    }
}

/// Keeps the messages that are sent to it, as address and data.
#[derive(Default)]
pub(crate) struct Messages(Mutex<Vec<(u64, u32)>>);

impl Messages {
    /// What was sent since it was last asked.
    pub(crate) fn take(&self) -> Vec<(u64, u32)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl MsiSink for Messages {
    fn signal(&self, address: u64, data: u32) {
        self.0.lock().unwrap().push((address, data));
    }
}

/// A clock that stands until it is set; one hand serves both times.
#[derive(Default)]
pub(crate) struct FakeClock(pub(crate) AtomicU64);

impl Clock for FakeClock {
    fn monotonic_ns(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    fn wall_ns(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// A terminal that keeps what was printed and counts the offers of room.
#[derive(Default)]
pub(crate) struct Screen {
    pub(crate) printed: Mutex<Vec<u8>>,
    pub(crate) room: AtomicU64,
}

impl Screen {
    pub(crate) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.printed.lock().unwrap())
    }

    pub(crate) fn take_room(&self) -> u64 {
        self.room.swap(0, Ordering::SeqCst)
    }
}

impl ConsoleHost for Screen {
    fn output(&self, bytes: &[u8]) {
        self.printed.lock().unwrap().extend_from_slice(bytes);
    }

    fn input_room(&self) {
        self.room.fetch_add(1, Ordering::SeqCst);
    }
}

/// Reads a 32-bit register.
pub(crate) fn read32(device: &dyn IoDevice, offset: u64) -> u32 {
    let mut data = [0; 4];
    device.read(offset, &mut data);
    u32::from_le_bytes(data)
}

/// Writes a 32-bit register.
pub(crate) fn write32(device: &dyn IoDevice, offset: u64, value: u32) {
    device.write(offset, &value.to_le_bytes());
}

/// Keeps what a guest asked of its machine.
#[derive(Clone, Default)]
pub(crate) struct Events(Arc<Mutex<Vec<SystemEvent>>>);

impl Events {
    pub(crate) fn sink(&self) -> SystemEventSink {
        let events = self.0.clone();
        Arc::new(move |event| events.lock().unwrap().push(event))
    }

    /// What was asked since the last time.
    pub(crate) fn take(&self) -> Vec<SystemEvent> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}
