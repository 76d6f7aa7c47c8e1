use std::sync::Arc;

use clade_devices::virtio::balloon::MemoryReclaim;
use clade_devices::virtio::{GuestSlice, VirtioBalloon};

use super::{Plugging, Repeat, slot};
use crate::board::virt::BoardError;

pub(super) fn plug(plugging: &mut Plugging<'_>) -> Result<Arc<VirtioBalloon>, BoardError> {
    let waker = plugging.waker("the balloon")?;
    let ram = plugging.parts.ram.clone();
    let device = VirtioBalloon::new(ram, Box::new(AnonymousMemory), waker.clone());
    let worked = device.clone();
    plugging.employ("balloon", waker, Repeat(move || worked.process()));
    plugging.plug(slot::BALLOON, device.clone())?;
    Ok(device)
}

/// Guest RAM that no file is behind.
struct AnonymousMemory;

impl MemoryReclaim for AnonymousMemory {
    fn reclaim(&self, memory: &GuestSlice<'_>) {
        let start = memory.ptr_guard_mut();
        // SAFETY: the slice is a part of the mapping of guest RAM, which is private and anonymous:
        // afterwards it holds zeros, and stays mapped. Rust has no references into guest RAM, and
        // the guest may find any value in what it has given away.
        let advised =
            unsafe { libc::madvise(start.as_ptr().cast(), memory.len(), libc::MADV_DONTNEED) };
        // Fails only for what is locked into memory; the guest goes without then.
        debug_assert_eq!(advised, 0);
    }
}
