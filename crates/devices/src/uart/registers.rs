//! The port's registers over its plain state.

use super::UartState;

/// Depth of either FIFO in bytes.
pub(super) const FIFO_SIZE: usize = 16;

/// Interrupt enable register (section 8.7).
mod ier {
    pub(super) const RECEIVED_DATA: u8 = 1 << 0;
    pub(super) const TRANSMITTER_EMPTY: u8 = 1 << 1;
    pub(super) const LINE_STATUS: u8 = 1 << 2;
    pub(super) const MODEM_STATUS: u8 = 1 << 3;
    pub(super) const ALL: u8 = 0x0f;
}

/// Interrupt identification register (section 8.6, table IV), highest priority first.
mod iir {
    pub(super) const LINE_STATUS: u8 = 0x06;
    pub(super) const RECEIVED_DATA: u8 = 0x04;
    pub(super) const CHARACTER_TIMEOUT: u8 = 0x0c;
    pub(super) const TRANSMITTER_EMPTY: u8 = 0x02;
    pub(super) const MODEM_STATUS: u8 = 0x00;
    pub(super) const NONE: u8 = 0x01;
    pub(super) const FIFOS_ENABLED: u8 = 0xc0;
}

/// FIFO control register (section 8.5).
mod fcr {
    pub(super) const ENABLE: u8 = 1 << 0;
    pub(super) const CLEAR_RECEIVER: u8 = 1 << 1;
    pub(super) const TRIGGER: u8 = 0xc0;
}

/// Line control register (section 8.1).
mod lcr {
    pub(super) const DIVISOR_LATCH: u8 = 1 << 7;
}

/// Modem control register (section 8.8).
mod mcr {
    pub(super) const DTR: u8 = 1 << 0;
    pub(super) const RTS: u8 = 1 << 1;
    pub(super) const OUT1: u8 = 1 << 2;
    pub(super) const OUT2: u8 = 1 << 3;
    pub(super) const LOOP: u8 = 1 << 4;
    pub(super) const ALL: u8 = 0x1f;
}

/// Line status register (section 8.4).
pub(super) mod lsr {
    pub(super) const DATA_READY: u8 = 1 << 0;
    pub(super) const OVERRUN: u8 = 1 << 1;
    pub(super) const TRANSMITTER_EMPTY: u8 = 1 << 5 | 1 << 6;
    pub(in crate::uart) const ERRORS: u8 = OVERRUN;
}

/// Modem status register (section 8.9).
mod msr {
    pub(super) const CTS: u8 = 1 << 4;
    pub(super) const DSR: u8 = 1 << 5;
    pub(super) const RI: u8 = 1 << 6;
    pub(super) const DCD: u8 = 1 << 7;
}

/// What a register access asks of the world outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    None,
    /// A byte leaves on the line.
    Transmit(u8),
    /// The receiver has room again.
    Room,
}

impl UartState {
    /// The level of the interrupt output.
    pub(super) fn interrupts(&self) -> bool {
        self.interrupt() != iir::NONE
    }

    pub(super) fn read(&mut self, register: u64) -> (u8, Effect) {
        let latched = self.lcr & lcr::DIVISOR_LATCH != 0;
        let value = match register {
            0 if latched => self.divisor as u8,
            1 if latched => (self.divisor >> 8) as u8,
            0 => {
                let byte = self.received.pop_front();
                let effect = byte.map_or(Effect::None, |_| Effect::Room);
                return (byte.unwrap_or(0), effect);
            }
            1 => self.ier,
            2 => self.read_iir(),
            3 => self.lcr,
            4 => self.mcr,
            5 => self.read_lsr(),
            6 => {
                let value = self.modem_inputs() | self.modem_changes;
                self.modem_changes = 0;
                value
            }
            7 => self.scr,
            _ => 0,
        };
        (value, Effect::None)
    }

    pub(super) fn write(&mut self, register: u64, value: u8) -> Effect {
        let latched = self.lcr & lcr::DIVISOR_LATCH != 0;
        match register {
            0 if latched => self.divisor = self.divisor & 0xff00 | u16::from(value),
            1 if latched => self.divisor = self.divisor & 0x00ff | u16::from(value) << 8,
            0 => return self.transmit(value),
            1 => self.write_ier(value),
            2 => return self.write_fcr(value),
            3 => self.lcr = value,
            4 => return self.write_mcr(value),
            // LSR and MSR are for reading only.
            7 => self.scr = value,
            _ => {}
        }
        Effect::None
    }

    /// Takes bytes from the line while there is room; returns how many.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> usize {
        // In loop-back the receiver is cut off from the line (section 8.8).
        if self.mcr & mcr::LOOP != 0 {
            return 0;
        }
        let room = self.capacity().saturating_sub(self.received.len());
        let taken = room.min(bytes.len());
        self.received.extend(&bytes[..taken]);
        taken
    }

    fn fifos_enabled(&self) -> bool {
        self.fcr & fcr::ENABLE != 0
    }

    fn capacity(&self) -> usize {
        if self.fifos_enabled() { FIFO_SIZE } else { 1 }
    }

    fn trigger_level(&self) -> usize {
        match self.fcr & fcr::TRIGGER {
            _ if !self.fifos_enabled() => 1,
            0x00 => 1,
            0x40 => 4,
            0x80 => 8,
            _ => 14,
        }
    }

    fn interrupt(&self) -> u8 {
        let enabled = |bit| self.ier & bit != 0;
        if enabled(ier::LINE_STATUS) && self.line_errors != 0 {
            iir::LINE_STATUS
        } else if enabled(ier::RECEIVED_DATA) && !self.received.is_empty() {
            // The line is idle between our bytes, so a FIFO below its trigger level has always
            // timed out already (section 8.11).
            if self.received.len() >= self.trigger_level() {
                iir::RECEIVED_DATA
            } else {
                iir::CHARACTER_TIMEOUT
            }
        } else if enabled(ier::TRANSMITTER_EMPTY) && self.transmit_interrupt {
            iir::TRANSMITTER_EMPTY
        } else if enabled(ier::MODEM_STATUS) && self.modem_changes != 0 {
            iir::MODEM_STATUS
        } else {
            iir::NONE
        }
    }

    /// Reading IIR acknowledges the transmitter's interrupt, if that is the one it shows.
    fn read_iir(&mut self) -> u8 {
        let interrupt = self.interrupt();
        if interrupt == iir::TRANSMITTER_EMPTY {
            self.transmit_interrupt = false;
        }
        let fifos = if self.fifos_enabled() {
            iir::FIFOS_ENABLED
        } else {
            0
        };
        interrupt | fifos
    }

    fn read_lsr(&mut self) -> u8 {
        let ready = if self.received.is_empty() {
            0
        } else {
            lsr::DATA_READY
        };
        // A byte leaves at once, so the transmitter is always empty.
        let value = lsr::TRANSMITTER_EMPTY | self.line_errors | ready;
        self.line_errors = 0;
        value
    }

    fn transmit(&mut self, byte: u8) -> Effect {
        self.transmit_interrupt = true;
        if self.mcr & mcr::LOOP == 0 {
            return Effect::Transmit(byte);
        }
        if self.received.len() < self.capacity() {
            self.received.push_back(byte);
        } else {
            self.line_errors |= lsr::OVERRUN;
            // Without a FIFO the new byte takes the place of the old one (section 8.4, bit 1).
            if !self.fifos_enabled() {
                self.received[0] = byte;
            }
        }
        Effect::None
    }

    fn write_ier(&mut self, value: u8) {
        let rising = value & !self.ier;
        // The transmitter is empty, and says so as soon as it may.
        if rising & ier::TRANSMITTER_EMPTY != 0 {
            self.transmit_interrupt = true;
        }
        self.ier = value & ier::ALL;
    }

    fn write_fcr(&mut self, value: u8) -> Effect {
        let switched = (self.fcr ^ value) & fcr::ENABLE != 0;
        // The other bits count only together with the enabling one.
        let settings = if value & fcr::ENABLE != 0 { value } else { 0 };
        self.fcr = settings & (fcr::ENABLE | fcr::TRIGGER);
        if switched || settings & fcr::CLEAR_RECEIVER != 0 {
            self.received.clear();
            return Effect::Room;
        }
        Effect::None
    }

    fn write_mcr(&mut self, value: u8) -> Effect {
        let reconnected = self.mcr & !value & mcr::LOOP != 0;
        let before = self.modem_inputs();
        self.mcr = value & mcr::ALL;
        let after = self.modem_inputs();
        let changed = before ^ after;
        // The ring indicator tells its trailing edge only (section 8.9, bit 2).
        let ring_ended = before & !after & msr::RI;
        self.modem_changes |= ((changed & !msr::RI) | ring_ended) >> 4;
        if reconnected {
            Effect::Room
        } else {
            Effect::None
        }
    }

    fn modem_inputs(&self) -> u8 {
        if self.mcr & mcr::LOOP == 0 {
            return msr::CTS | msr::DSR | msr::DCD;
        }
        let wire = |output, input| if self.mcr & output != 0 { input } else { 0 };
        wire(mcr::RTS, msr::CTS)
            | wire(mcr::DTR, msr::DSR)
            | wire(mcr::OUT1, msr::RI)
            | wire(mcr::OUT2, msr::DCD)
    }
}
