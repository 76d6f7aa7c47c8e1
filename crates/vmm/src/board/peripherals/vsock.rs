use clade_devices::virtio::{VirtioPci, VirtioVsock};

use super::{Plugging, slot};
use crate::board::virt::BoardError;
use crate::io_thread::{IoTask, IoWaker};
use crate::vsock::VsockWorker;

pub(super) fn plug(plugging: &mut Plugging<'_>) -> Result<(), BoardError> {
    let parts = plugging.parts;
    let Some(backend) = &parts.backends.vsock else {
        return Ok(());
    };
    let waker = IoWaker::new().map_err(|source| BoardError::Host {
        what: "an event",
        source,
    })?;
    let device = VirtioVsock::new(backend.guest_cid(), backend.clone(), waker.clone());
    plugging.tasks.push(IoTask {
        name: "vsock".into(),
        waker,
        worker: Box::new(VsockWorker::new(device.clone(), backend.clone())),
    });
    plugging
        .pci
        .plug(slot::VSOCK, |pin| VirtioPci::new(device, parts.ram, pin))?;
    Ok(())
}
