//! The keyboard controller of a PC, of which only one thing is left: its output port resets the machine.
//!
//! IBM, "Personal System/2 Hardware Interface Technical Reference", keyboard and auxiliary device
//! controller.

use std::sync::Arc;

use clade_engine::{IoDevice, SystemEvent};

use crate::syscon::SystemEventSink;

/// Size of its register range in bytes, from port 0x60 on.
pub const SIZE: u64 = 5;

const COMMAND: u64 = 4;

/// Commands 0xf0 to 0xff pulse those of the four lines whose bit is clear. Line 0 is the reset.
const PULSE: u8 = 0xf0;
const RESET_LINE: u8 = 1;

/// The device. It has no state: there is neither keyboard nor mouse.
pub struct I8042 {
    sink: SystemEventSink,
    /// What reads give.
    shown: u8,
}

impl I8042 {
    /// A controller whose reset line leads to `sink`.
    #[must_use]
    pub fn new(sink: SystemEventSink) -> Arc<Self> {
        Arc::new(Self { sink, shown: 0 })
    }

    /// The same, but for those who look it seems not to be there: UEFI would wait for a keyboard to answer.
    #[must_use]
    pub fn hidden(sink: SystemEventSink) -> Arc<Self> {
        Arc::new(Self { sink, shown: 0xff })
    }
}

impl IoDevice for I8042 {
    /// Nothing has been typed, and there is room for commands; or nobody answers.
    fn read(&self, _offset: u64, data: &mut [u8]) {
        data.fill(self.shown);
    }

    fn write(&self, offset: u64, data: &[u8]) {
        let Some(&command) = data.first() else { return };
        if offset == COMMAND && command & PULSE == PULSE && command & RESET_LINE == 0 {
            (self.sink)(SystemEvent::Reboot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Events;

    #[test]
    fn only_the_reset_line_does_anything() {
        let events = Events::default();
        let device = I8042::new(events.sink());
        for (offset, command) in [(0, 0xfe), (4, 0xff), (4, 0xd1), (4, 0x64), (2, 0xfe)] {
            device.write(offset, &[command]);
        }
        assert_eq!(events.take(), []);
        device.write(4, &[0xfe]);
        assert_eq!(events.take(), [SystemEvent::Reboot]);
        let mut data = [7; 1];
        device.read(4, &mut data);
        assert_eq!(data, [0]);

        let hidden = I8042::hidden(events.sink());
        hidden.read(4, &mut data);
        assert_eq!(data, [0xff]);
        hidden.write(4, &[0xfe]);
        assert_eq!(events.take(), [SystemEvent::Reboot]);
    }
}
