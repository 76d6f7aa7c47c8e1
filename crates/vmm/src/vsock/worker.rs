use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use clade_devices::virtio::VirtioVsock;

use super::VsockBackend;
use crate::io_thread::IoWorker;

/// When to look again whether the guest can be connected to.
const SOON: Duration = Duration::from_millis(1);

/// Moves bytes between a guest and the host's sockets.
pub(crate) struct VsockWorker {
    device: Arc<VirtioVsock>,
    backend: Arc<VsockBackend>,
}

impl VsockWorker {
    pub(crate) fn new(device: Arc<VirtioVsock>, backend: Arc<VsockBackend>) -> Self {
        Self { device, backend }
    }
}

impl IoWorker for VsockWorker {
    fn watched(&self) -> Option<BorrowedFd<'_>> {
        Some(self.backend.descriptor())
    }

    fn work(&mut self) -> Option<Duration> {
        self.backend.update(&self.device);
        if self.device.process() {
            return Some(Duration::ZERO);
        }
        self.device.is_waiting().then_some(SOON)
    }
}
