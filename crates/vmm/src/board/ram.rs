//! Guest RAM.

use std::num::NonZeroUsize;

use clade_engine::{GuestRam, PAGE_SIZE};
use vm_memory::bitmap::AtomicBitmap;
use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{GuestAddress, GuestRegionMmap};

use super::map;

/// Reserves `size` bytes (a multiple of the page size) of zeroed guest RAM at its place on the
/// board. The host gives memory only to pages that are touched.
pub(super) fn allocate(size: u64) -> Result<GuestRam, String> {
    let length = usize::try_from(size).map_err(|error| error.to_string())?;
    let page = NonZeroUsize::new(PAGE_SIZE as usize).unwrap_or(NonZeroUsize::MIN);
    let mapping = MmapRegionBuilder::new_with_bitmap(length, AtomicBitmap::new(length, page))
        .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
        .with_mmap_flags(libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_PRIVATE)
        .build()
        .map_err(|error| error.to_string())?;
    let region = GuestRegionMmap::new(mapping, GuestAddress(map::RAM_BASE))
        .ok_or("it would reach beyond the address space")?;
    GuestRam::from_regions(vec![region]).map_err(|error| error.to_string())
}
