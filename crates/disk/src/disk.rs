use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clade_devices::virtio::block::{BlockBackend, BlockInfo, BlockOperation};

/// An open disk. Its clones are the same disk: one is kept by the machine, and one given to each
/// device that stands for it, one after the other.
#[derive(Clone)]
pub struct Disk {
    backend: Arc<Mutex<Box<dyn BlockBackend>>>,
    ready: Option<Arc<OwnedFd>>,
}

impl Disk {
    /// A disk whose `backend` has everything complete when it was begun, or makes `ready`
    /// readable when something is.
    pub(crate) fn new(backend: impl BlockBackend + 'static, ready: Option<OwnedFd>) -> Self {
        Self {
            backend: Arc::new(Mutex::new(Box::new(backend))),
            ready: ready.map(Arc::new),
        }
    }

    /// What can be read when something is complete; none if it always is when it was begun.
    #[must_use]
    pub fn ready(&self) -> Option<BorrowedFd<'_>> {
        self.ready.as_deref().map(AsFd::as_fd)
    }

    fn lock(&self) -> MutexGuard<'_, Box<dyn BlockBackend>> {
        self.backend.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Disk").field(&self.info()).finish()
    }
}

impl BlockBackend for Disk {
    fn info(&self) -> BlockInfo {
        self.lock().info()
    }

    fn begin(&mut self, tag: u16, operation: BlockOperation) {
        self.lock().begin(tag, operation);
    }

    fn submit(&mut self) {
        self.lock().submit();
    }

    fn completed(&mut self) -> Option<(u16, io::Result<()>)> {
        self.lock().completed()
    }

    fn drain(&mut self) {
        self.lock().drain();
    }
}
