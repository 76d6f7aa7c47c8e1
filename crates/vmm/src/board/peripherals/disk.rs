use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use clade_devices::virtio::VirtioBlock;
use clade_devices::virtio::block::BlockOptions;
use clade_disk::Disk;

use super::{Plugging, slot};
use crate::board::BoardError;
use crate::io_thread::IoWorker;

/// More queues than this serve no one.
const QUEUES_MAX: u32 = 8;

pub(super) fn plug(plugging: &mut Plugging<'_>) -> Result<(), BoardError> {
    let parts = plugging.parts;
    let disks = parts.backends.disks.iter().zip(&parts.config.disks);
    for ((number, slot), (disk, spec)) in (0..).zip(slot::DISKS).zip(disks) {
        let waker = plugging.waker("a disk")?;
        let options = BlockOptions {
            serial: spec.serial.clone(),
            queues: parts.config.cpus.min(QUEUES_MAX) as u16,
        };
        let device = VirtioBlock::new(Box::new(disk.clone()), options, waker.clone());
        let worker = DiskWorker {
            device: device.clone(),
            disk: disk.clone(),
        };
        plugging.employ(format!("disk {number}"), waker, worker);
        plugging.plug(slot, device)?;
    }
    Ok(())
}

struct DiskWorker {
    device: Arc<VirtioBlock>,
    disk: Disk,
}

impl IoWorker for DiskWorker {
    fn watched(&self) -> Option<BorrowedFd<'_>> {
        self.disk.ready()
    }

    fn work(&mut self) -> Option<Duration> {
        if self.device.process() {
            return Some(Duration::ZERO);
        }
        self.disk.next_try()
    }
}
