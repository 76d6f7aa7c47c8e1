//! The harts' incoming MSI controllers (IMSIC), as the rest of the machine sees them. They are part
//! of the engine because the hart that takes an interrupt does so by its own registers.
//!
//! Section numbers are those of *The RISC-V Advanced Interrupt Architecture*, version 1.0.

use std::sync::Arc;

use clade_engine::{IoDevice, PAGE_SIZE};
use clade_riscv::hart::Mode;
use clade_riscv::imsic::IDENTITIES;

use crate::port::Port;

/// Offset of the one register in each page, `seteipnum_le`.
const SET_PENDING: u64 = 0;

/// The interrupt files of all harts at one privilege level: a page for each, by number, without
/// gaps (section 3.6).
pub struct Imsic {
    ports: Vec<Arc<Port>>,
    level: Mode,
}

impl Imsic {
    /// The highest interrupt identity; the lowest is 1.
    pub const IDENTITIES: u32 = IDENTITIES;

    pub(crate) fn new(ports: Vec<Arc<Port>>, level: Mode) -> Self {
        Self { ports, level }
    }

    /// Size in bytes of all pages.
    pub fn size(&self) -> u64 {
        self.ports.len() as u64 * PAGE_SIZE
    }

    /// A 32-bit write of `data` at `offset`. May be called from any thread and takes no lock. What is
    /// not an interrupt's place, or not the number of one, is ignored.
    pub fn signal(&self, offset: u64, data: u32) {
        let hart = usize::try_from(offset / PAGE_SIZE).ok();
        if offset % PAGE_SIZE == SET_PENDING
            && let Some(port) = hart.and_then(|hart| self.ports.get(hart))
        {
            port.signal(self.level, data);
        }
    }
}

/// Reads give zero (section 3.5).
impl IoDevice for Imsic {
    fn read(&self, _offset: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn write(&self, offset: u64, data: &[u8]) {
        if let Ok(data) = data.try_into() {
            self.signal(offset, u32::from_le_bytes(data));
        }
    }
}
