use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clade_devices::virtio::block::{BlockBackend, BlockInfo, BlockOperation};

use crate::patient::Patient;

/// How often what waits for space is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// An open disk. Its clones are the same disk: one is kept by the machine, and one given to each
/// device that stands for it, one after the other.
#[derive(Clone)]
pub struct Disk {
    backend: Arc<Mutex<Box<dyn BlockBackend>>>,
    ready: Option<Arc<OwnedFd>>,
    waits: Option<Arc<AtomicBool>>,
}

impl Disk {
    /// A disk whose `backend` has everything complete when it was begun, or makes `ready`
    /// readable when something is.
    pub(crate) fn new(backend: impl BlockBackend + 'static, ready: Option<OwnedFd>) -> Self {
        Self {
            backend: Arc::new(Mutex::new(Box::new(backend))),
            ready: ready.map(Arc::new),
            waits: None,
        }
    }

    /// This disk, whose operations wait where the host has no space left, in place of failing. It
    /// says so on standard error, where it is called `path`. What waits when the disk is drained
    /// fails.
    #[must_use]
    pub fn waiting_for_space(self, path: &Path) -> Self {
        let ready = self.ready.clone();
        let patient = Patient::new(self, path.to_owned(), PAUSE);
        Self {
            ready,
            waits: Some(patient.is_waiting()),
            backend: Arc::new(Mutex::new(Box::new(patient))),
        }
    }

    /// After how long its device is to be worked for again, though nothing calls for it: what waits
    /// for space is then tried.
    #[must_use]
    pub fn next_try(&self) -> Option<Duration> {
        let waits = self.waits.as_ref()?.load(Ordering::Acquire);
        waits.then_some(PAUSE)
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
