use std::sync::Arc;

use clade_devices::virtio::balloon::MemoryReclaim;
use clade_devices::virtio::{GuestSlice, VirtioBalloon};
use rustix::mm::{MapFlags, ProtFlags};

use super::{Plugging, Repeat, slot};
use crate::board::BoardError;

pub(super) fn plug(plugging: &mut Plugging<'_>) -> Result<Arc<VirtioBalloon>, BoardError> {
    let waker = plugging.waker("the balloon")?;
    let ram = plugging.parts.ram.clone();
    let device = VirtioBalloon::new(ram, Box::new(PrivateMemory), waker.clone());
    let worked = device.clone();
    plugging.employ("balloon", waker, Repeat(move || worked.process()));
    plugging.plug(slot::BALLOON, device.clone())?;
    Ok(device)
}

/// Guest RAM, which may be a mapping of saved memory's layers.
struct PrivateMemory;

impl MemoryReclaim for PrivateMemory {
    fn reclaim(&self, memory: &GuestSlice<'_>) {
        let start = memory.ptr_guard_mut();
        // New memory in its place, and not what a layer has there, which the next snapshot would keep.
        // SAFETY: the slice is a part of the mapping of guest RAM, which is private, and is mapped again
        // with the same rights: afterwards it holds zeros, and stays mapped until all of the RAM is
        // unmapped. Rust has no references into guest RAM, and the guest may find any value in what it
        // has given away.
        let mapped = unsafe {
            rustix::mm::mmap_anonymous(
                start.as_ptr().cast(),
                memory.len(),
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE,
            )
        };
        if mapped.is_err() {
            // The host has no more mappings for this process.
            // SAFETY: as above, but that it may hold what it held when the machine was saved.
            let advised =
                unsafe { libc::madvise(start.as_ptr().cast(), memory.len(), libc::MADV_DONTNEED) };
            // Fails only for what is locked into memory; the host goes without then.
            debug_assert_eq!(advised, 0);
        }
    }
}
