use std::sync::{Arc, Mutex};

use clade_engine::{IoDevice, IrqLine};

use super::VmGenIdState;
use crate::little_endian::put_from;
use crate::sync::lock;

/// Size of its register range in bytes; the identifier is at the beginning.
pub const SIZE: u64 = 0x1000;

/// The device. A guest only reads it.
pub struct VmGenId {
    irq: Arc<dyn IrqLine>,
    state: Mutex<VmGenIdState>,
}

impl VmGenId {
    /// A device that shows `id`, which no other machine has, and says by a pulse on `irq` that it has
    /// become another than the guest has read.
    #[must_use]
    pub fn new(irq: Arc<dyn IrqLine>, id: [u8; 16]) -> Arc<Self> {
        let state = Mutex::new(VmGenIdState { id, known: false });
        Arc::new(VmGenId { irq, state })
    }

    /// Tells the guest that from now on it is the machine `id`.
    pub fn renew(&self, id: [u8; 16]) {
        let mut state = lock(&self.state);
        state.id = id;
        // An interrupt controller may keep a pulse for a driver that is yet to come, and Linux's (6.12)
        // comes down if it is interrupted before it is ready. What it has not read is news anyway.
        if state.known {
            self.irq.set_level(true);
            self.irq.set_level(false);
        }
    }

    /// Everything that the guest can observe.
    #[must_use]
    pub fn save(&self) -> VmGenIdState {
        *lock(&self.state)
    }

    /// Continues from a saved state: the guest is the machine that it was.
    pub fn restore(&self, saved: &VmGenIdState) {
        *lock(&self.state) = *saved;
    }
}

impl IoDevice for VmGenId {
    fn read(&self, offset: u64, data: &mut [u8]) {
        let mut state = lock(&self.state);
        state.known = true;
        put_from(data, &state.id, offset);
    }

    fn write(&self, _offset: u64, _data: &[u8]) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Levels;

    const ID: [u8; 16] = *b"0123456789abcdef";

    fn id(device: &VmGenId) -> Vec<u8> {
        let mut bytes = vec![0; 16];
        for (offset, word) in (0..).step_by(8).zip(bytes.chunks_mut(8)) {
            device.read(offset, word);
        }
        bytes
    }

    #[test]
    fn the_identifier_is_read_in_any_pieces_and_not_written() {
        let device = VmGenId::new(Levels::new(), ID);
        assert_eq!(id(&device), ID);
        for length in [1, 2, 4] {
            for offset in (0..16).step_by(length) {
                let mut data = vec![0; length];
                device.read(offset as u64, &mut data);
                assert_eq!(data, ID[offset..offset + length]);
            }
        }
        for offset in [16, 0xff8] {
            let mut data = [7; 8];
            device.read(offset, &mut data);
            assert_eq!(data, [0; 8]);
        }
        device.write(0, &[7; 8]);
        assert_eq!(id(&device), ID);
    }

    #[test]
    fn a_new_one_is_announced_by_one_pulse() {
        let wire = Levels::new();
        let device = VmGenId::new(wire.clone(), ID);
        device.renew([2; 16]);
        assert!(wire.take().is_empty(), "nobody knows the one before");
        assert_eq!(id(&device), [2; 16]);
        for number in [3, 4] {
            device.renew([number; 16]);
            assert_eq!(wire.take(), [true, false]);
        }
        assert_eq!(id(&device), [4; 16]);
    }

    #[test]
    fn who_is_restored_is_who_it_was() {
        let device = VmGenId::new(Levels::new(), ID);
        assert_eq!(id(&device), ID);
        let saved = device.save();
        let wire = Levels::new();
        let other = VmGenId::new(wire.clone(), [3; 16]);
        other.restore(&saved);
        assert_eq!(other.save(), saved);
        assert!(wire.take().is_empty(), "it has not become another");
        other.renew([3; 16]);
        assert_eq!(wire.take(), [true, false]);
        assert_eq!(id(&other), [3; 16]);
    }
}
