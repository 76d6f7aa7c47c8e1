use std::sync::{Arc, Mutex};

use clade_engine::{IoDevice, IrqLine};

use super::UartState;
use super::registers::Effect;
use crate::sync::lock;
use crate::{ConsoleHost, ConsolePort, StateError};

/// Size of its register range in bytes. Registers are one byte each, at offsets 0 to 7.
pub const SIZE: u64 = 0x100;

/// The device.
pub struct Uart {
    irq: Arc<dyn IrqLine>,
    host: Arc<dyn ConsoleHost>,
    state: Mutex<UartState>,
}

impl Uart {
    /// A serial port whose far end is `host`.
    #[must_use]
    pub fn new(irq: Arc<dyn IrqLine>, host: Arc<dyn ConsoleHost>) -> Arc<Self> {
        Arc::new(Uart {
            irq,
            host,
            state: Mutex::default(),
        })
    }

    /// Everything that the guest can observe.
    #[must_use]
    pub fn save(&self) -> UartState {
        lock(&self.state).clone()
    }

    /// Continues from a saved state.
    ///
    /// # Errors
    /// When no UART can have been in that state.
    pub fn restore(&self, saved: &UartState) -> Result<(), StateError> {
        saved.check()?;
        self.access(|state| *state = saved.clone());
        Ok(())
    }

    /// Does something to the registers, and lets the interrupt wire follow.
    fn access<R>(&self, work: impl FnOnce(&mut UartState) -> R) -> R {
        let mut state = lock(&self.state);
        let result = work(&mut state);
        self.irq.set_level(state.interrupts());
        result
    }

    fn perform(&self, effect: Effect) {
        match effect {
            Effect::None => {}
            Effect::Transmit(byte) => self.host.output(&[byte]),
            Effect::Room => self.host.input_room(),
        }
    }
}

impl IoDevice for Uart {
    fn read(&self, offset: u64, data: &mut [u8]) {
        let (value, effect) = self.access(|state| state.read(offset));
        data.fill(0);
        if let Some(first) = data.first_mut() {
            *first = value;
        }
        self.perform(effect);
    }

    fn write(&self, offset: u64, data: &[u8]) {
        if let Some(&value) = data.first() {
            let effect = self.access(|state| state.write(offset, value));
            self.perform(effect);
        }
    }
}

impl ConsolePort for Uart {
    fn input(&self, bytes: &[u8]) -> usize {
        self.access(|state| state.receive(bytes))
    }

    fn resize(&self, _columns: u16, _rows: u16) {}
}
