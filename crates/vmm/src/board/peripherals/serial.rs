use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use clade_devices::virtio::VirtioSerial;

use super::{Plugging, slot};
use crate::board::BoardError;
use crate::io_thread::IoWorker;
use crate::serial::SerialBackend;

pub(super) fn plug(plugging: &mut Plugging<'_>) -> Result<(), BoardError> {
    let Some(backend) = &plugging.parts.backends.serial else {
        return Ok(());
    };
    let waker = plugging.waker("the serial ports")?;
    let device = VirtioSerial::new(backend.ports(), waker.clone());
    let worker = SerialWorker {
        device: device.clone(),
        backend: backend.clone(),
    };
    plugging.employ("serial", waker, worker);
    plugging.plug(slot::SERIAL, device)
}

struct SerialWorker {
    device: Arc<VirtioSerial>,
    backend: Arc<SerialBackend>,
}

impl IoWorker for SerialWorker {
    fn watched(&self) -> Option<BorrowedFd<'_>> {
        Some(self.backend.descriptor())
    }

    fn work(&mut self) -> Option<Duration> {
        self.backend.update();
        self.device.process().then_some(Duration::ZERO)
    }
}
