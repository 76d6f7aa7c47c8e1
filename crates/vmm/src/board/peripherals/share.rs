use std::sync::Arc;
use std::time::Duration;

use clade_devices::virtio::{VirtioFs, VirtioPci};

use super::{Plugging, slot};
use crate::board::virt::BoardError;
use crate::io_thread::{IoTask, IoWaker, IoWorker};

pub(super) fn plug(plugging: &mut Plugging<'_>) -> Result<(), BoardError> {
    let parts = plugging.parts;
    let shares = parts.backends.shares.iter().zip(&parts.config.shares);
    for ((number, slot), (folder, spec)) in (0..).zip(slot::SHARES).zip(shares) {
        let waker = IoWaker::new().map_err(|source| BoardError::Host {
            what: "a descriptor for a shared folder",
            source,
        })?;
        let device = VirtioFs::new(&spec.tag, Box::new(folder.clone()), waker.clone());
        plugging.tasks.push(IoTask {
            name: format!("share {number}"),
            waker,
            worker: Box::new(ShareWorker(device.clone())),
        });
        plugging
            .pci
            .plug(slot, |pin| VirtioPci::new(device, parts.ram, pin))?;
    }
    Ok(())
}

struct ShareWorker(Arc<VirtioFs>);

impl IoWorker for ShareWorker {
    fn work(&mut self) -> Option<Duration> {
        self.0.process().then_some(Duration::ZERO)
    }
}
