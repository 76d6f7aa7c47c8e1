use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::registers::{FIFO_SIZE, lsr};
use crate::StateError;

/// Everything about a UART that a guest can observe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UartState {
    /// Interrupt enable register, bits 0 to 3.
    pub ier: u8,
    /// FIFO control register: bit 0 and bits 6 to 7.
    pub fcr: u8,
    /// Line control register.
    pub lcr: u8,
    /// Modem control register, bits 0 to 4.
    pub mcr: u8,
    /// Line status register's error bits; data-ready and empty bits follow from the rest.
    pub line_errors: u8,
    /// Modem status register's change bits, 0 to 3.
    pub modem_changes: u8,
    /// Scratch register.
    pub scr: u8,
    /// Divisor latch: the baud rate, which has no effect here.
    pub divisor: u16,
    /// The transmitter became empty and the guest was not told yet.
    pub transmit_interrupt: bool,
    /// Received bytes, the oldest first; at most 16.
    pub received: VecDeque<u8>,
}

impl Default for UartState {
    /// After a master reset (table III). The divisor is not affected by it; 9600 baud is what
    /// firmware expects of a PC's port.
    fn default() -> Self {
        UartState {
            ier: 0,
            fcr: 0,
            lcr: 0,
            mcr: 0,
            line_errors: 0,
            modem_changes: 0,
            scr: 0,
            divisor: 12,
            transmit_interrupt: false,
            received: VecDeque::new(),
        }
    }
}

impl UartState {
    pub(super) fn check(&self) -> Result<(), StateError> {
        let capacity = if self.fcr & 1 != 0 { FIFO_SIZE } else { 1 };
        let valid = self.ier & !0x0f == 0
            && self.fcr & !0xc1 == 0
            && self.mcr & !0x1f == 0
            && self.line_errors & !lsr::ERRORS == 0
            && self.modem_changes & !0x0f == 0
            && self.received.len() <= capacity;
        if valid {
            Ok(())
        } else {
            Err(StateError::new(
                "serial port",
                "a register holds a value that it cannot hold",
            ))
        }
    }
}
