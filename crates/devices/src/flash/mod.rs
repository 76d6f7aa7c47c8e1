//! NOR flash with the Intel command set, as QEMU's boards have it. UEFI firmware keeps its variables there.
//!
//! Commands: Intel StrataFlash P30 datasheet, section 9; the query structure: Common Flash Memory
//! Interface, JEDEC JESD68.01, and vendor table JEP137 (command set 0001).

mod device;
mod query;
mod state;
#[cfg(test)]
mod tests;

pub use device::{Flash, FlashStore, Geometry};
pub use state::{FlashMode, FlashState};

/// Bits of the status register.
mod status {
    /// Nothing is being programmed or erased. Once the register was cleared, it is 0 until there is something
    /// to be done again: so it is with QEMU's flash, and OVMF tells flash from other memory by that.
    pub(super) const READY: u8 = 1 << 7;
    pub(super) const ERASE_ERROR: u8 = 1 << 5;
    pub(super) const PROGRAM_ERROR: u8 = 1 << 4;
}
