//! A function's configuration space (section 6.1, header type 0).

use super::msix::Control;
use crate::StateError;

/// Size of the configuration space in bytes. The extended space beyond it reads as zeroes: there
/// are no PCI Express capabilities.
const SIZE: usize = 256;

const COMMAND: usize = 0x04;
const STATUS: usize = 0x06;
const CACHE_LINE_SIZE: usize = 0x0c;
const LATENCY_TIMER: usize = 0x0d;
const BAR_0: usize = 0x10;
const CAPABILITIES: usize = 0x34;
const INTERRUPT_LINE: usize = 0x3c;
const INTERRUPT_PIN: usize = 0x3d;
const FIRST_CAPABILITY: usize = 0x40;

const COMMAND_IO: u8 = 1 << 0;
const COMMAND_MEMORY: u16 = 1 << 1;
const COMMAND_BUS_MASTER: u16 = 1 << 2;
const COMMAND_INTX_DISABLE: u16 = 1 << 10;
const STATUS_INTERRUPT: u8 = 1 << 3;
const STATUS_CAPABILITIES: u8 = 1 << 4;

const BAR_64_BIT: u32 = 0b100;
const BAR_PREFETCHABLE: u32 = 0b1000;

/// What a function says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Vendor ID.
    pub vendor: u16,
    /// Device ID.
    pub device: u16,
    /// Revision ID.
    pub revision: u8,
    /// Base class and sub-class, and in the low byte the programming interface (24 bits).
    pub class: u32,
    /// Subsystem vendor ID.
    pub subsystem_vendor: u16,
    /// Subsystem ID.
    pub subsystem: u16,
}

/// How a memory BAR may be placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BarKind {
    /// Below 4 GiB.
    Memory32,
    /// Anywhere, and reads have no side effects that a bridge must heed; takes two registers.
    Memory64Prefetchable,
}

/// A memory BAR as the guest has placed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bar {
    /// Index of its (first) register, 0 to 5.
    pub index: u8,
    /// Where it lies, in bus addresses.
    pub address: u64,
    /// Its size in bytes, a power of two.
    pub size: u64,
}

#[derive(Debug, Clone, Copy)]
struct BarDefinition {
    index: u8,
    kind: BarKind,
    size: u64,
}

/// The configuration space of one function: its bytes, and which bits of them a guest can change.
#[derive(Debug, Clone)]
pub struct ConfigSpace {
    bytes: [u8; SIZE],
    writable: [u8; SIZE],
    bars: Vec<BarDefinition>,
    last_capability: Option<usize>,
    end: usize,
    /// Offset of MSI-X message control.
    msix_control: Option<usize>,
}

impl ConfigSpace {
    /// A function without BARs, capabilities or interrupt pin.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        let mut space = ConfigSpace {
            bytes: [0; SIZE],
            writable: [0; SIZE],
            bars: Vec::new(),
            last_capability: None,
            end: FIRST_CAPABILITY,
            msix_control: None,
        };
        let class = identity.class.to_le_bytes();
        space.set(0x00, &identity.vendor.to_le_bytes());
        space.set(0x02, &identity.device.to_le_bytes());
        space.set(0x08, &[identity.revision, class[0], class[1], class[2]]);
        space.set(0x2c, &identity.subsystem_vendor.to_le_bytes());
        space.set(0x2e, &identity.subsystem.to_le_bytes());
        let command = COMMAND_MEMORY | COMMAND_BUS_MASTER | COMMAND_INTX_DISABLE;
        space.allow(COMMAND, &command.to_le_bytes());
        space.allow(CACHE_LINE_SIZE, &[0xff]);
        space.allow(LATENCY_TIMER, &[0xff]);
        space.allow(INTERRUPT_LINE, &[0xff]);
        space
    }

    /// Adds a memory BAR at register `index`. The function's own code calls this, with an index
    /// of 0 to 5 whose registers are free, and a size that is a power of two and at least 16.
    #[must_use]
    pub fn with_bar(mut self, index: u8, kind: BarKind, size: u64) -> Self {
        debug_assert!(size.is_power_of_two() && size >= 16);
        let register = BAR_0 + 4 * usize::from(index);
        // Section 6.2.5.1: the address bits below the size are hardwired to zero, so that all
        // ones written read back as the size's two's complement.
        let mask = !(size - 1);
        self.allow(register, &(mask as u32).to_le_bytes());
        if kind == BarKind::Memory64Prefetchable {
            self.set(register, &(BAR_64_BIT | BAR_PREFETCHABLE).to_le_bytes());
            self.allow(register + 4, &((mask >> 32) as u32).to_le_bytes());
        }
        self.bars.push(BarDefinition { index, kind, size });
        self
    }

    /// Lets the guest switch the function's I/O ports on and off, or so it seems to it: there are none in BARs.
    #[must_use]
    pub fn with_ports(mut self) -> Self {
        self.writable[COMMAND] |= COMMAND_IO;
        self
    }

    /// Gives the function's own register at `offset` (0x40 to 0xfc, behind all capabilities) a value that the
    /// guest cannot change.
    #[must_use]
    pub fn with_register(mut self, offset: u8, value: u32) -> Self {
        let offset = usize::from(offset);
        debug_assert!((FIRST_CAPABILITY..=SIZE - 4).contains(&offset));
        self.set(offset, &value.to_le_bytes());
        self
    }

    /// Connects the function to interrupt pin INTA.
    #[must_use]
    pub fn with_interrupt_pin(mut self) -> Self {
        self.set(INTERRUPT_PIN, &[1]);
        self
    }

    /// Appends a capability with the given body (what follows its ID and next pointer), of which
    /// the guest can change the bits set in `writable`. Returns the capability's offset, or
    /// nothing when the space is full.
    pub fn add_capability(&mut self, id: u8, body: &[u8], writable: &[u8]) -> Option<usize> {
        let offset = self.end;
        let end = offset.checked_add(2 + body.len())?.next_multiple_of(4);
        if end > SIZE || writable.len() > body.len() {
            return None;
        }
        self.set(offset, &[id, 0]);
        self.set(offset + 2, body);
        self.allow(offset + 2, writable);
        let link = match self.last_capability {
            Some(last) => last + 1,
            None => CAPABILITIES,
        };
        self.set(link, &[offset as u8]);
        self.bytes[STATUS] |= STATUS_CAPABILITIES;
        self.last_capability = Some(offset);
        self.end = end;
        Some(offset)
    }

    /// Reads bytes from `offset` on; what lies beyond the space is zero.
    pub fn read(&self, offset: usize, data: &mut [u8]) {
        crate::little_endian::put_from(data, &self.bytes, offset as u64);
    }

    /// Writes those bits from `offset` on that a guest can change.
    pub fn write(&mut self, offset: usize, data: &[u8]) {
        let places = self.bytes.iter_mut().zip(self.writable);
        for ((byte, writable), value) in places.skip(offset).zip(data) {
            *byte = *byte & !writable | value & writable;
        }
    }

    /// The BARs as they decode now: none unless the guest has enabled memory decoding.
    pub fn bars(&self) -> impl Iterator<Item = Bar> {
        let enabled = self.command() & COMMAND_MEMORY != 0;
        self.bars
            .iter()
            .filter(move |_| enabled)
            .map(|definition| Bar {
                index: definition.index,
                address: self.bar_address(definition),
                size: definition.size,
            })
    }

    /// Whether the guest lets the function use its interrupt pin: not beside messages (section 6.8.3.3).
    #[must_use]
    pub fn intx_enabled(&self) -> bool {
        self.command() & COMMAND_INTX_DISABLE == 0 && !self.msix().enabled
    }

    /// Whether the function is to interrupt by messages; not if it cannot.
    pub(super) fn msix(&self) -> Control {
        let bits = self
            .msix_control
            .map(|at| u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]]));
        bits.map(Control::of).unwrap_or_default()
    }

    /// Message control is at this offset.
    pub(super) fn set_msix_control(&mut self, offset: usize) {
        self.msix_control = Some(offset);
    }

    /// Shows in the status register whether the function wants an interrupt.
    pub(super) fn set_interrupt_status(&mut self, wanted: bool) {
        self.bytes[STATUS] &= !STATUS_INTERRUPT;
        if wanted {
            self.bytes[STATUS] |= STATUS_INTERRUPT;
        }
    }

    /// All bytes, for a saved state.
    pub(super) fn save(&self) -> Vec<u8> {
        let mut bytes = self.bytes;
        bytes[STATUS] &= !STATUS_INTERRUPT;
        bytes.to_vec()
    }

    /// What [`ConfigSpace::save`] returned, checked: bits that a guest cannot change must be as
    /// they are here.
    pub(super) fn restored(&self, saved: &[u8]) -> Result<Self, StateError> {
        let refuse = |reason: String| Err(StateError::new("PCI bus", reason));
        if saved.len() != SIZE {
            return refuse(format!(
                "a configuration space has {} bytes in place of {SIZE}",
                saved.len()
            ));
        }
        let mut restored = self.clone();
        restored.set_interrupt_status(false);
        for (offset, (&saved, byte)) in saved.iter().zip(&mut restored.bytes).enumerate() {
            if (saved ^ *byte) & !self.writable[offset] != 0 {
                return refuse(format!("another device was there (offset {offset:#x})"));
            }
            *byte = saved;
        }
        Ok(restored)
    }

    fn command(&self) -> u16 {
        u16::from_le_bytes([self.bytes[COMMAND], self.bytes[COMMAND + 1]])
    }

    fn bar_address(&self, definition: &BarDefinition) -> u64 {
        let register = BAR_0 + 4 * usize::from(definition.index);
        let mut address = [0; 8];
        let length = match definition.kind {
            BarKind::Memory32 => 4,
            BarKind::Memory64Prefetchable => 8,
        };
        self.read(register, &mut address[..length]);
        u64::from_le_bytes(address) & !(definition.size - 1)
    }

    fn set(&mut self, offset: usize, value: &[u8]) {
        self.bytes[offset..offset + value.len()].copy_from_slice(value);
    }

    fn allow(&mut self, offset: usize, mask: &[u8]) {
        self.writable[offset..offset + mask.len()].copy_from_slice(mask);
    }
}
