//! The system controller by which a guest switches its machine off or resets it.
//!
//! It has the register of SiFive's test finisher as QEMU's `virt` board carries it; a device
//! tree describes it as `sifive,test1` with `syscon-poweroff` and `syscon-reboot`.

use std::sync::Arc;

use clade_engine::{IoDevice, SystemEvent};

use crate::little_endian::value_of;

/// Size of its register range in bytes.
pub const SIZE: u64 = 0x1000;

/// Written to report failure, with a code in the upper 16 bits.
pub const FAIL: u16 = 0x3333;
/// Written to switch off.
pub const PASS: u16 = 0x5555;
/// Written to reset.
pub const RESET: u16 = 0x7777;

/// Where a guest's request about the machine as a whole goes. It is called on a vCPU's thread.
pub type SystemEventSink = Arc<dyn Fn(SystemEvent) + Send + Sync>;

/// The device. It has no state.
pub struct Syscon {
    sink: SystemEventSink,
}

impl Syscon {
    /// A system controller that passes the guest's requests to `sink`.
    #[must_use]
    pub fn new(sink: SystemEventSink) -> Arc<Self> {
        Arc::new(Syscon { sink })
    }
}

impl IoDevice for Syscon {
    fn read(&self, _offset: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn write(&self, offset: u64, data: &[u8]) {
        if offset != 0 {
            return;
        }
        let value = value_of(data) as u32;
        match value as u16 {
            PASS => (self.sink)(SystemEvent::PowerOff),
            FAIL => (self.sink)(SystemEvent::Fail(value >> 16)),
            RESET => (self.sink)(SystemEvent::Reboot),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{read32, write32};
    use std::sync::Mutex;

    #[test]
    fn requests_reach_the_sink() {
        let events = Arc::new(Mutex::new(Vec::new()));
        let sink = events.clone();
        let syscon = Syscon::new(Arc::new(move |event| sink.lock().unwrap().push(event)));
        write32(&*syscon, 0, 0x5555);
        write32(&*syscon, 0, 0x7777);
        write32(&*syscon, 0, 0x002a_3333);
        syscon.write(0, &[0x55, 0x55]);
        write32(&*syscon, 0, 0x5554);
        write32(&*syscon, 4, 0x5555);
        syscon.write(0, &[0x55]);
        assert_eq!(
            *events.lock().unwrap(),
            [
                SystemEvent::PowerOff,
                SystemEvent::Reboot,
                SystemEvent::Fail(42),
                SystemEvent::PowerOff
            ]
        );
        assert_eq!(read32(&*syscon, 0), 0);
    }
}
