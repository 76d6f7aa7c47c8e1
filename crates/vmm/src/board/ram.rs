//! Guest RAM.

use std::num::NonZeroUsize;

use clade_engine::{GuestRam, PAGE_SIZE};
use vm_memory::bitmap::AtomicBitmap;
use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{GuestAddress, GuestRegionMmap};

use super::map;

/// Reserves `size` bytes (a multiple of the page size) of zeroed guest RAM at its place on the
/// board, and memory for the flash that holds code if `flash` says so. The host gives memory only
/// to pages that are touched.
pub(super) fn allocate(size: u64, flash: bool) -> Result<GuestRam, String> {
    let mut regions = vec![region(map::RAM_BASE, size)?];
    if flash {
        regions.insert(0, region(map::FLASH.base, map::FLASH.size)?);
    }
    GuestRam::from_regions(regions).map_err(|error| error.to_string())
}

fn region(start: u64, size: u64) -> Result<GuestRegionMmap<AtomicBitmap>, String> {
    let length = usize::try_from(size).map_err(|error| error.to_string())?;
    let page = NonZeroUsize::new(PAGE_SIZE as usize).unwrap_or(NonZeroUsize::MIN);
    let mapping = MmapRegionBuilder::new_with_bitmap(length, AtomicBitmap::new(length, page))
        .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
        .with_mmap_flags(libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_PRIVATE)
        .build()
        .map_err(|error| error.to_string())?;
    GuestRegionMmap::new(mapping, GuestAddress(start))
        .ok_or_else(|| "it would reach beyond the address space".to_owned())
}
