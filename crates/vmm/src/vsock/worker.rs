use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use clade_devices::virtio::VirtioVsock;

use super::VsockBackend;
use crate::io_thread::IoWorker;

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
        self.device.process().then_some(Duration::ZERO)
    }
}
