use clade_devices::virtio::VirtioVsock;

use super::{Plugging, slot};
use crate::board::BoardError;
use crate::vsock::VsockWorker;

pub(super) fn plug(plugging: &mut Plugging<'_>) -> Result<(), BoardError> {
    let Some(backend) = &plugging.parts.backends.vsock else {
        return Ok(());
    };
    let waker = plugging.waker("the socket device")?;
    let device = VirtioVsock::new(backend.guest_cid(), backend.clone(), waker.clone());
    let worker = VsockWorker::new(device.clone(), backend.clone());
    plugging.employ("vsock", waker, worker);
    plugging.plug(slot::VSOCK, device)
}
