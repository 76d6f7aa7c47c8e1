use std::sync::Arc;
use std::time::Duration;

use clade_devices::virtio::balloon::MemoryReclaim;
use clade_devices::virtio::{GuestSlice, VirtioBalloon, VirtioPci};

use super::{Plugging, slot};
use crate::board::virt::BoardError;
use crate::io_thread::{IoTask, IoWaker, IoWorker};

pub(super) fn plug(plugging: &mut Plugging<'_>) -> Result<Arc<VirtioBalloon>, BoardError> {
    let waker = IoWaker::new().map_err(|source| BoardError::Host {
        what: "a descriptor for the balloon",
        source,
    })?;
    let ram = plugging.parts.ram;
    let device = VirtioBalloon::new(ram.clone(), Box::new(AnonymousMemory), waker.clone());
    plugging.tasks.push(IoTask {
        name: "balloon".into(),
        waker,
        worker: Box::new(BalloonWorker(device.clone())),
    });
    let plugged = device.clone();
    plugging
        .pci
        .plug(slot::BALLOON, |pin| VirtioPci::new(plugged, ram, pin))?;
    Ok(device)
}

struct BalloonWorker(Arc<VirtioBalloon>);

impl IoWorker for BalloonWorker {
    fn work(&mut self) -> Option<Duration> {
        self.0.process().then_some(Duration::ZERO)
    }
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
