use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use clade_devices::virtio::block::BlockOptions;
use clade_devices::virtio::{VirtioBlock, VirtioPci};
use clade_disk::Disk;

use super::{Plugging, slot};
use crate::board::virt::BoardError;
use crate::io_thread::{IoTask, IoWaker, IoWorker};

/// More queues than this serve no one.
const QUEUES_MAX: u32 = 8;

pub(super) fn plug(plugging: &mut Plugging<'_>) -> Result<(), BoardError> {
    let parts = plugging.parts;
    let disks = parts.backends.disks.iter().zip(&parts.config.disks);
    for ((number, slot), (disk, spec)) in (0..).zip(slot::DISKS).zip(disks) {
        let waker = IoWaker::new().map_err(|source| BoardError::Host {
            what: "a descriptor for a disk",
            source,
        })?;
        let options = BlockOptions {
            serial: spec.serial.clone(),
            queues: parts.config.cpus.min(QUEUES_MAX) as u16,
        };
        let device = VirtioBlock::new(Box::new(disk.clone()), options, waker.clone());
        plugging.tasks.push(IoTask {
            name: format!("disk {number}"),
            waker,
            worker: Box::new(DiskWorker {
                device: device.clone(),
                disk: disk.clone(),
            }),
        });
        plugging
            .pci
            .plug(slot, |pin| VirtioPci::new(device, parts.ram, pin))?;
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
        self.device.process().then_some(Duration::ZERO)
    }
}
