use clade_devices::virtio::{VirtioNet, VirtioPci};

use super::{Plugging, slot};
use crate::board::virt::BoardError;
use crate::io_thread::{IoTask, IoWaker};

pub(super) fn plug(plugging: &mut Plugging<'_>) -> Result<(), BoardError> {
    let parts = plugging.parts;
    let Some(link) = &parts.backends.network else {
        return Ok(());
    };
    let refused = |source| BoardError::Host {
        what: "descriptors for the network",
        source,
    };
    let waker = IoWaker::new().map_err(refused)?;
    let device = VirtioNet::new(link.mac.0, waker.clone());
    let worker = link.worker(device.clone()).map_err(refused)?;
    plugging
        .pci
        .plug(slot::NETWORK, |pin| VirtioPci::new(device, parts.ram, pin))?;
    plugging.tasks.push(IoTask {
        name: "network".into(),
        waker,
        worker: Box::new(worker),
    });
    Ok(())
}
