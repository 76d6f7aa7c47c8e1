//! NOR flash with the Intel command set: two 16-bit chips side by side on a 32-bit bus, as QEMU's
//! `virt` board has them. UEFI firmware keeps its variables there.
//!
//! Commands: Intel StrataFlash P30 datasheet, section 9; the query structure: Common Flash Memory
//! Interface, JEDEC JESD68.01, and vendor table JEP137 (command set 0001).

mod device;
mod query;
mod state;
#[cfg(test)]
mod tests;

pub use device::{BLOCK_SIZE, Flash, FlashStore};
pub use state::{FlashMode, FlashState};
