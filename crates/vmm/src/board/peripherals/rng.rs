use std::sync::Arc;
use std::time::Duration;

use clade_devices::virtio::{VirtioPci, VirtioRng};

use super::{Plugging, slot};
use crate::board::entropy::HostEntropy;
use crate::board::virt::BoardError;
use crate::io_thread::{IoTask, IoWaker, IoWorker};

pub(super) fn plug(plugging: &mut Plugging<'_>) -> Result<(), BoardError> {
    let waker = IoWaker::new().map_err(|source| BoardError::Host {
        what: "a descriptor for the entropy device",
        source,
    })?;
    let device = VirtioRng::new(Arc::new(HostEntropy), waker.clone());
    plugging.tasks.push(IoTask {
        name: "entropy".into(),
        waker,
        worker: Box::new(RngWorker(device.clone())),
    });
    let ram = plugging.parts.ram;
    plugging
        .pci
        .plug(slot::ENTROPY, |pin| VirtioPci::new(device, ram, pin))?;
    Ok(())
}

struct RngWorker(Arc<VirtioRng>);

impl IoWorker for RngWorker {
    fn work(&mut self) -> Option<Duration> {
        self.0.process().then_some(Duration::ZERO)
    }
}
