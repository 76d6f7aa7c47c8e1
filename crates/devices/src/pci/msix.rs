//! MSI-X: interrupts as messages, each by a vector of the function's table (section 6.8.2).

use std::sync::{Arc, Mutex};

use clade_engine::MsiSink;
use serde::{Deserialize, Serialize};

use super::{BarKind, ConfigSpace};
use crate::StateError;
use crate::little_endian::{put_from, value_of};
use crate::sync::lock;

/// Capability ID.
const CAPABILITY: u8 = 0x11;
/// Fields of message control.
const CONTROL_FUNCTION_MASK: u16 = 1 << 14;
const CONTROL_ENABLE: u16 = 1 << 15;

/// Size of the BAR: the table is in its first half, the pending bits in its second.
const BAR_SIZE: u64 = 0x1000;
const PENDING_BITS: u64 = 0x800;

/// Bytes of a table entry: address, data, vector control.
const ENTRY: usize = 16;
/// Most vectors that the table has room for.
const VECTORS_MAX: u16 = (PENDING_BITS as usize / ENTRY) as u16;
const WORDS: usize = VECTORS_MAX as usize / 64;

/// Bit 0 of vector control.
const MASKED: u32 = 1;

/// What message control says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Control {
    /// The function uses messages in place of its pin.
    pub(super) enabled: bool,
    /// No vector sends.
    pub(super) masked: bool,
}

impl Control {
    pub(super) fn of(bits: u16) -> Self {
        Control {
            enabled: bits & CONTROL_ENABLE != 0,
            masked: bits & CONTROL_FUNCTION_MASK != 0,
        }
    }
}

/// The MSI-X table of a function with its pending bits.
pub struct Msix {
    sink: Arc<dyn MsiSink>,
    bar: u8,
    registers: Mutex<Registers>,
}

struct Registers {
    control: Control,
    state: MsixState,
}

/// Everything about a function's MSI-X table that a guest can observe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MsixState {
    /// The table.
    pub vectors: Vec<MsixVector>,
    /// Vectors that have something to send and may not: bit `n % 64` of word `n / 64`.
    pub pending: [u64; WORDS],
}

/// One entry of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MsixVector {
    /// Where to send to, a multiple of 4.
    pub address: u64,
    /// What to send.
    pub data: u32,
    /// It is not sent.
    pub masked: bool,
}

impl MsixVector {
    fn bytes(&self) -> [u8; ENTRY] {
        let address = u128::from(self.address);
        let data = u128::from(self.data) << 64;
        let control = if self.masked { MASKED } else { 0 };
        (address | data | u128::from(control) << 96).to_le_bytes()
    }

    fn write(&mut self, word: u64, value: u32) {
        let value = u64::from(value);
        match word {
            0 => self.address = self.address & !0xffff_ffff | value & !3,
            1 => self.address = self.address & 0xffff_ffff | value << 32,
            2 => self.data = value as u32,
            _ => self.masked = value as u32 & MASKED != 0,
        }
    }
}

impl Msix {
    /// A table of `vectors` vectors, 1 to 128 (more are not made), in BAR `bar` of its own. Messages go
    /// to `sink`.
    #[must_use]
    pub fn new(sink: Arc<dyn MsiSink>, bar: u8, vectors: u16) -> Arc<Self> {
        let reset = MsixVector {
            address: 0,
            data: 0,
            masked: true,
        };
        let vectors = vectors.clamp(1, VECTORS_MAX);
        Arc::new(Msix {
            sink,
            bar,
            registers: Mutex::new(Registers {
                control: Control::default(),
                state: MsixState {
                    vectors: vec![reset; usize::from(vectors)],
                    pending: [0; WORDS],
                },
            }),
        })
    }

    /// Adds BAR and capability to the function's configuration space; nothing when there is no room.
    #[must_use]
    pub fn describe(&self, config: ConfigSpace) -> Option<ConfigSpace> {
        let mut config = config.with_bar(self.bar, BarKind::Memory32, BAR_SIZE);
        let mut body = (self.vectors() - 1).to_le_bytes().to_vec();
        body.extend(u32::from(self.bar).to_le_bytes());
        body.extend((PENDING_BITS as u32 | u32::from(self.bar)).to_le_bytes());
        let writable = (CONTROL_ENABLE | CONTROL_FUNCTION_MASK).to_le_bytes();
        let at = config.add_capability(CAPABILITY, &body, &writable)?;
        config.set_msix_control(at + 2);
        Some(config)
    }

    /// The BAR of the table.
    #[must_use]
    pub fn bar(&self) -> u8 {
        self.bar
    }

    /// Number of vectors.
    #[must_use]
    pub fn vectors(&self) -> u16 {
        lock(&self.registers).state.vectors.len() as u16
    }

    /// Sends the message of `vector`, or keeps it pending while it is masked; one that does not exist
    /// sends nothing. Does nothing and returns false when the guest has not enabled messages: then
    /// the function is to use its pin.
    #[must_use]
    pub fn notify(&self, vector: u16) -> bool {
        let mut registers = lock(&self.registers);
        if !registers.control.enabled {
            return false;
        }
        if usize::from(vector) < registers.state.vectors.len() {
            registers.state.pending[usize::from(vector) / 64] |= 1 << (vector % 64);
            self.send_pending(&mut registers);
        }
        true
    }

    /// Forgets what waits to be sent.
    pub fn clear_pending(&self) {
        lock(&self.registers).state.pending = [0; WORDS];
    }

    /// Reads from the BAR.
    pub fn read(&self, offset: u64, data: &mut [u8]) {
        let registers = lock(&self.registers);
        if offset >= PENDING_BITS {
            let words = registers.state.pending;
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            put_from(data, &bytes, offset - PENDING_BITS);
            return;
        }
        let (index, within) = (offset as usize / ENTRY, offset % ENTRY as u64);
        match registers.state.vectors.get(index) {
            Some(vector) => put_from(data, &vector.bytes(), within),
            None => data.fill(0),
        }
    }

    /// Writes to the BAR: whole words of the table, or two at once.
    pub fn write(&self, offset: u64, data: &[u8]) {
        let aligned = offset.is_multiple_of(data.len() as u64);
        if offset >= PENDING_BITS || !matches!(data.len(), 4 | 8) || !aligned {
            return;
        }
        let mut registers = lock(&self.registers);
        let (index, within) = (offset as usize / ENTRY, offset % ENTRY as u64 / 4);
        if let Some(vector) = registers.state.vectors.get_mut(index) {
            for (word, value) in (within..).zip(data.chunks(4)) {
                vector.write(word, value_of(value) as u32);
            }
            self.send_pending(&mut registers);
        }
    }

    /// The guest has written message control.
    pub(super) fn set_control(&self, control: Control) {
        let mut registers = lock(&self.registers);
        registers.control = control;
        self.send_pending(&mut registers);
    }

    /// Everything that a guest can observe, but for message control, which is in configuration space.
    pub(super) fn save(&self) -> MsixState {
        lock(&self.registers).state.clone()
    }

    /// Whether [`Msix::restore`] can take this state.
    pub(super) fn check(&self, saved: &MsixState) -> Result<(), StateError> {
        let refuse = |reason: String| Err(StateError::new("PCI bus", reason));
        let (its, ours) = (saved.vectors.len(), usize::from(self.vectors()));
        if its != ours {
            return refuse(format!("a function has {its} MSI-X vectors, here {ours}"));
        }
        let pending = |vector| saved.pending[vector / 64] >> (vector % 64) & 1 != 0;
        let beyond = (ours..usize::from(VECTORS_MAX)).any(pending);
        if beyond || saved.vectors.iter().any(|vector| vector.address & 3 != 0) {
            return refuse("an MSI-X table holds what no guest can write".into());
        }
        Ok(())
    }

    /// Continues from a saved state that was checked. What may be sent was sent before it was saved.
    pub(super) fn restore(&self, saved: &MsixState, control: Control) {
        *lock(&self.registers) = Registers {
            control,
            state: saved.clone(),
        };
    }

    /// Sends what is pending and may be sent (section 6.8.3.4). Called with the lock held, so that a
    /// vector that is changed sends the old message or the new one.
    fn send_pending(&self, registers: &mut Registers) {
        let Registers { control, state } = registers;
        if !control.enabled || control.masked {
            return;
        }
        for (word, pending) in state.pending.iter_mut().enumerate() {
            let mut rest = *pending;
            while rest != 0 {
                let bit = rest.trailing_zeros() as usize;
                rest &= rest - 1;
                let vector = &state.vectors[word * 64 + bit];
                if !vector.masked {
                    *pending &= !(1 << bit);
                    self.sink.signal(vector.address, vector.data);
                }
            }
        }
    }
}
