//! The flattened device tree (Devicetree Specification 0.4) that describes the board to firmware
//! and kernels, node for node like that of QEMU's `virt` machine.
//!
//! Bindings: Linux, `Documentation/devicetree/bindings/`.

mod controllers;
mod tree;

#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::board::virt::map;
use crate::spec::Interrupts;

/// What differs between device trees of two machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FdtConfig {
    /// Number of harts, 1 to [`map::HARTS_MAX`].
    pub harts: u32,
    /// Guest RAM.
    pub ram: Range<u64>,
    /// Extensions of every hart beyond the base `rv64i`, in lower case and canonical order, with
    /// `i` first: `i`, `m`, `a`, ..., `zicsr`, ..., `sstc`.
    pub isa_extensions: Vec<String>,
    /// The largest virtual-memory mode: `riscv,sv39`, `riscv,sv48`, `riscv,sv57`.
    pub mmu_type: String,
    /// Bytes that Zicbom, Zicbop and Zicboz instructions work on.
    pub cache_block_size: u32,
    /// The interrupt controllers.
    pub interrupts: Interrupts,
    /// Whether M-mode is the guest's, and with it the CLINT and controllers of its own: firmware needs
    /// them, a kernel above SBI does not.
    pub machine_mode: bool,
    /// Whether the board has flash.
    pub flash: bool,
    /// Number of virtio-mmio slots, up to [`map::VIRTIO_MMIO_SLOTS`].
    pub virtio_mmio_slots: u32,
    /// The kernel command line.
    pub bootargs: String,
    /// Where the initial RAM disk is.
    pub initrd: Option<Range<u64>>,
    /// Random bytes that seed the kernel's generator; at least 32 count as full entropy. Fresh
    /// for every boot.
    pub rng_seed: Vec<u8>,
}

/// Why no device tree can be made.
#[derive(Debug, thiserror::Error)]
pub enum FdtError {
    /// Too few or too many harts.
    #[error("{0} CPUs are not possible: use 1 to {max}", max = map::HARTS_MAX)]
    Harts(u32),
    /// More virtio-mmio slots than the board has.
    #[error("{0} virtio-mmio slots are not possible: use up to {max}", max = map::VIRTIO_MMIO_SLOTS)]
    VirtioMmioSlots(u32),
    /// The command line contains a NUL, which ends strings in a device tree.
    #[error("the kernel command line contains a NUL character: remove it")]
    NulInBootargs,
    /// The device tree cannot represent a value.
    #[error("the device tree cannot be made: {0}")]
    Writer(#[from] vm_fdt::Error),
}

/// Free space at the end of a blob in bytes.
const ROOM: usize = 16 << 10;

/// Makes the device tree of the machine that `config` describes.
///
/// # Errors
/// When a number is out of its range or a string contains a NUL.
pub fn build(config: &FdtConfig) -> Result<Vec<u8>, FdtError> {
    if !(1..=map::HARTS_MAX).contains(&config.harts) {
        return Err(FdtError::Harts(config.harts));
    }
    if config.virtio_mmio_slots > map::VIRTIO_MMIO_SLOTS {
        return Err(FdtError::VirtioMmioSlots(config.virtio_mmio_slots));
    }
    if config.bootargs.contains('\0') {
        return Err(FdtError::NulInBootargs);
    }
    Ok(with_room(tree::build(config)?))
}

/// Lengthens a blob by [`ROOM`]: boot loaders put nodes and properties into it where it lies (U-Boot
/// makes it larger without asking what is behind it).
fn with_room(mut blob: Vec<u8>) -> Vec<u8> {
    // Devicetree Specification 5.2: `totalsize` includes free space at the end.
    const TOTAL_SIZE: std::ops::Range<usize> = 4..8;
    blob.resize(blob.len() + ROOM, 0);
    let size = u32::try_from(blob.len()).unwrap_or(u32::MAX);
    blob[TOTAL_SIZE].copy_from_slice(&size.to_be_bytes());
    blob
}
