//! Interrupt pins: from functions over four shared wires to the interrupt controller.

use std::sync::{Arc, Mutex};

use clade_engine::IrqLine;

use super::SLOTS;
use crate::sync::lock;

/// A level-triggered wire that several functions pull.
pub(super) struct SharedWire {
    wire: Arc<dyn IrqLine>,
    /// One bit for each slot that pulls.
    pulling: Mutex<u32>,
}

impl SharedWire {
    pub(super) fn new(wire: Arc<dyn IrqLine>) -> Arc<Self> {
        Arc::new(SharedWire {
            wire,
            pulling: Mutex::new(0),
        })
    }

    fn pull(&self, slot: u8, asserted: bool) {
        debug_assert!(slot < SLOTS);
        let mut pulling = lock(&self.pulling);
        let bit = 1 << slot;
        if asserted {
            *pulling |= bit;
        } else {
            *pulling &= !bit;
        }
        self.wire.set_level(*pulling != 0);
    }
}

/// The pin of one function: pulls its wire while the function wants an interrupt and the guest
/// has not disabled the pin (command register, bit 10).
pub(super) struct Pin {
    slot: u8,
    wire: Arc<SharedWire>,
    state: Mutex<PinState>,
}

struct PinState {
    wanted: bool,
    enabled: bool,
}

impl Pin {
    pub(super) fn new(slot: u8, wire: Arc<SharedWire>) -> Arc<Self> {
        Arc::new(Pin {
            slot,
            wire,
            state: Mutex::new(PinState {
                wanted: false,
                enabled: true,
            }),
        })
    }

    pub(super) fn wanted(&self) -> bool {
        lock(&self.state).wanted
    }

    pub(super) fn enable(&self, enabled: bool) {
        self.change(|state| state.enabled = enabled);
    }

    fn change(&self, change: impl FnOnce(&mut PinState)) {
        let mut state = lock(&self.state);
        change(&mut state);
        self.wire.pull(self.slot, state.wanted && state.enabled);
    }
}

impl IrqLine for Pin {
    fn set_level(&self, asserted: bool) {
        self.change(|state| state.wanted = asserted);
    }
}
