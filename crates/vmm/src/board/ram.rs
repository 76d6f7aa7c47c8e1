//! Guest RAM.

use std::num::NonZeroUsize;

use clade_engine::{GuestRam, PAGE_SIZE};
use vm_memory::bitmap::AtomicBitmap;
use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{GuestAddress, GuestRegionMmap};

use super::Window;

/// Reserves zeroed guest memory at `windows`: whole pages, in ascending order. The host gives memory
/// only to pages that are touched.
pub(super) fn allocate(windows: &[Window]) -> Result<GuestRam, String> {
    let regions = windows.iter().map(region).collect::<Result<Vec<_>, _>>()?;
    GuestRam::from_regions(regions).map_err(|error| error.to_string())
}

fn region(window: &Window) -> Result<GuestRegionMmap<AtomicBitmap>, String> {
    let length = usize::try_from(window.size).map_err(|error| error.to_string())?;
    let page = NonZeroUsize::new(PAGE_SIZE as usize).unwrap_or(NonZeroUsize::MIN);
    let mapping = MmapRegionBuilder::new_with_bitmap(length, AtomicBitmap::new(length, page))
        .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
        .with_mmap_flags(libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_PRIVATE)
        .build()
        .map_err(|error| error.to_string())?;
    GuestRegionMmap::new(mapping, GuestAddress(window.base))
        .ok_or_else(|| "it would reach beyond the address space".to_owned())
}
