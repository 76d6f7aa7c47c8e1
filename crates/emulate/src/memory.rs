//! Guest RAM as harts see it: host addresses, and atomic accesses to them.
//!
//! All of the emulator's unsafe code for guest memory is here. A [`HostAddress`] is made by
//! [`GuestMemory`] or derived by the TLB from one within the same page, and lives no longer than
//! the `GuestMemory` that every hart holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

use clade_engine::{GuestRam, PAGE_SIZE};
use clade_riscv::mmu::PageTableMemory;
use portable_atomic::AtomicU128;
use vm_memory::bitmap::{AtomicBitmap, Bitmap};
use vm_memory::mmap::MmapRegion;
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};

/// The address of guest RAM in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HostAddress(pub(crate) usize);

/// A value that one instruction loads or stores.
///
/// Loads acquire and stores release: that is what RVWMO's consumers may rely on at the least
/// (stronger than it asks), costs nothing on x86-64, and keeps the host's compiler in order.
pub(crate) trait Scalar: Copy {
    /// Size in bytes, a power of two.
    const SIZE: u64;
    /// # Safety
    /// `at` is that of guest RAM, aligned to `SIZE`, with `SIZE` bytes.
    unsafe fn load(at: HostAddress) -> Self;
    /// # Safety
    /// As for [`Scalar::load`].
    unsafe fn store(self, at: HostAddress);
    fn from_bytes(bytes: [u8; 8]) -> Self;
    fn to_bytes(self) -> [u8; 8];
}

macro_rules! scalar {
    ($int:ty, $atomic:ty) => {
        impl Scalar for $int {
            const SIZE: u64 = size_of::<$int>() as u64;
            #[inline(always)]
            unsafe fn load(at: HostAddress) -> Self {
                // SAFETY: valid and aligned by this function's contract; shared with other harts
                // only through atomics.
                unsafe { <$atomic>::from_ptr(at.0 as *mut $int) }.load(Ordering::Acquire)
            }
            #[inline(always)]
            unsafe fn store(self, at: HostAddress) {
                // SAFETY: as in `load`.
                unsafe { <$atomic>::from_ptr(at.0 as *mut $int) }.store(self, Ordering::Release)
            }
            #[inline]
            fn from_bytes(bytes: [u8; 8]) -> Self {
                u64::from_le_bytes(bytes) as $int
            }
            #[inline]
            fn to_bytes(self) -> [u8; 8] {
                u64::from(self).to_le_bytes()
            }
        }
    };
}
scalar!(u8, AtomicU8);
scalar!(u16, AtomicU16);
scalar!(u32, AtomicU32);
scalar!(u64, AtomicU64);

/// The 32-bit word at `at` for read-modify-write.
///
/// # Safety
/// `at` is that of guest RAM, aligned to 4, and the `GuestMemory` outlives the reference.
#[inline]
pub(crate) unsafe fn atomic_u32<'a>(at: HostAddress) -> &'a AtomicU32 {
    // SAFETY: by this function's contract.
    unsafe { AtomicU32::from_ptr(at.0 as *mut u32) }
}

/// The 64-bit word at `at` for read-modify-write.
///
/// # Safety
/// `at` is that of guest RAM, aligned to 8, and the `GuestMemory` outlives the reference.
#[inline]
pub(crate) unsafe fn atomic_u64<'a>(at: HostAddress) -> &'a AtomicU64 {
    // SAFETY: by this function's contract.
    unsafe { AtomicU64::from_ptr(at.0 as *mut u64) }
}

/// The 128-bit word at `at` for read-modify-write.
///
/// # Safety
/// `at` is that of guest RAM, aligned to 16, and the `GuestMemory` outlives the reference.
#[inline]
pub(crate) unsafe fn atomic_u128<'a>(at: HostAddress) -> &'a AtomicU128 {
    // SAFETY: by this function's contract.
    unsafe { AtomicU128::from_ptr(at.0 as *mut u128) }
}

struct Region {
    start: u64,
    length: u64,
    host: usize,
    /// The number of its first page, the pages of all regions counted through.
    first_page: u32,
    mapping: Arc<MmapRegion<AtomicBitmap>>,
}

/// The guest's RAM, by physical address.
pub(crate) struct GuestMemory {
    regions: Vec<Region>,
}

impl GuestMemory {
    pub(crate) fn new(ram: &GuestRam) -> Self {
        let mut pages = 0;
        let regions = ram
            .iter()
            .map(|region| {
                let mapping = region.get_mmap();
                let first_page = pages;
                pages += region.len().div_ceil(PAGE_SIZE) as u32;
                Region {
                    start: region.start_addr().0,
                    length: region.len(),
                    host: mapping.as_ptr() as usize,
                    first_page,
                    mapping,
                }
            })
            .collect();
        Self { regions }
    }

    /// How many pages there are.
    pub(crate) fn pages(&self) -> usize {
        self.regions.last().map_or(0, |last| {
            last.first_page as usize + last.length.div_ceil(PAGE_SIZE) as usize
        })
    }

    /// The number of the page that `at` is in, below [`GuestMemory::pages`]: the same wherever a
    /// machine's memory is mapped.
    pub(crate) fn page_number(&self, at: HostAddress) -> Option<u32> {
        let (region, offset) = self.region_of(at)?;
        Some(region.first_page + (offset / PAGE_SIZE) as u32)
    }

    /// The physical address of what is at `at`.
    pub(crate) fn physical(&self, at: HostAddress) -> Option<u64> {
        let (region, offset) = self.region_of(at)?;
        Some(region.start + offset)
    }

    /// The region that `at` is in, and how far in it.
    fn region_of(&self, at: HostAddress) -> Option<(&Region, u64)> {
        self.regions.iter().find_map(|region| {
            let offset = at.0.checked_sub(region.host)? as u64;
            (offset < region.length).then_some((region, offset))
        })
    }

    fn find(&self, physical: u64, size: u64) -> Option<(&Region, u64)> {
        self.regions.iter().find_map(|region| {
            let offset = physical.checked_sub(region.start)?;
            (offset < region.length && region.length - offset >= size).then_some((region, offset))
        })
    }

    /// Where `size` bytes at `physical` are, or `None` when they are not all RAM.
    #[inline]
    pub(crate) fn host(&self, physical: u64, size: u64) -> Option<HostAddress> {
        let (region, offset) = self.find(physical, size)?;
        Some(HostAddress(region.host + offset as usize))
    }

    /// As [`GuestMemory::host`], noting that the page is written.
    pub(crate) fn host_for_write(&self, physical: u64, size: u64) -> Option<HostAddress> {
        let (region, offset) = self.find(physical, size)?;
        region
            .mapping
            .bitmap()
            .mark_dirty(offset as usize, size as usize);
        Some(HostAddress(region.host + offset as usize))
    }

    /// Copies `bytes.len()` bytes from `physical`, or `None` when they are not all RAM.
    pub(crate) fn read(&self, physical: u64, bytes: &mut [u8]) -> Option<()> {
        let at = self.host(physical, bytes.len() as u64)?;
        for (offset, byte) in bytes.iter_mut().enumerate() {
            // SAFETY: all of `bytes.len()` bytes of RAM were found at `at`.
            *byte = unsafe { u8::load(HostAddress(at.0 + offset)) };
        }
        Some(())
    }

    /// Writes `bytes` at `physical`, or `None` when they would not all be RAM.
    pub(crate) fn write(&self, physical: u64, bytes: &[u8]) -> Option<()> {
        let at = self.host_for_write(physical, bytes.len() as u64)?;
        for (offset, &byte) in bytes.iter().enumerate() {
            // SAFETY: as in `read`.
            unsafe { byte.store(HostAddress(at.0 + offset)) };
        }
        Some(())
    }
}

impl PageTableMemory for GuestMemory {
    fn load_entry(&self, address: u64) -> Option<u64> {
        let at = self.host(address, 8)?;
        // SAFETY: eight bytes of RAM; entries are aligned, and so are the regions' mappings.
        Some(unsafe { u64::load(at) })
    }

    fn replace_entry(&self, address: u64, old: u64, new: u64) -> Option<bool> {
        let at = self.host_for_write(address, 8)?;
        // SAFETY: as in `load_entry`.
        let entry = unsafe { atomic_u64(at) };
        Some(
            entry
                .compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire)
                .is_ok(),
        )
    }
}

const _: () = assert!(PAGE_SIZE == 4096);
