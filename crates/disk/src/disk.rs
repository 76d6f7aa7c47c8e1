use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clade_devices::virtio::block::{BlockBackend, BlockInfo, BlockOperation};

use crate::DiskError;
use crate::immediate::Immediate;
use crate::patient::Patient;
use crate::qcow2::{Qcow2Disk, Stack};

/// How often what waits for space is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// What a snapshot needs of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Branching {
    /// Nothing: the disk is only read.
    Needless,
    /// [`Disk::branch`], with a new layer.
    Branch,
}

/// An open disk. Its clones are the same disk: one is kept by the machine, and one given to each
/// device that stands for it, one after the other.
#[derive(Clone)]
pub struct Disk {
    path: Arc<Path>,
    /// The layers of one that can have more of them.
    stack: Option<Arc<Stack>>,
    backend: Arc<Mutex<Box<dyn BlockBackend>>>,
    ready: Option<Arc<OwnedFd>>,
    waits: Option<Arc<AtomicBool>>,
}

impl Disk {
    /// The disk at `path`, whose `backend` has everything complete when it was begun, or makes
    /// `ready` readable when something is.
    pub(crate) fn new(
        path: &Path,
        backend: impl BlockBackend + 'static,
        ready: Option<OwnedFd>,
    ) -> Self {
        Self {
            path: path.into(),
            stack: None,
            backend: Arc::new(Mutex::new(Box::new(backend))),
            ready: ready.map(Arc::new),
            waits: None,
        }
    }

    /// The disk whose topmost layer is at `path`.
    pub(crate) fn layered(path: &Path, stack: Stack) -> Self {
        let stack = Arc::new(stack);
        let disk = Qcow2Disk::new(stack.clone());
        Self {
            stack: Some(stack),
            ..Self::new(path, Immediate::new(disk), None)
        }
    }

    /// What a snapshot needs of this disk.
    ///
    /// # Errors
    /// When it cannot be kept as it is: it is raw, or has as many layers as there may be.
    pub fn branching(&self) -> Result<Branching, DiskError> {
        if self.info().read_only {
            return Ok(Branching::Needless);
        }
        self.stack()?.has_room()?;
        Ok(Branching::Branch)
    }

    /// Keeps what is on the disk at this instant, and has it written no more: all that is written
    /// from now on goes into the empty layer in `file`, called `path`, whose backing file is the
    /// topmost file of now. What is being worked on is complete before; what waits for space is not,
    /// and will be done above.
    ///
    /// Nothing is written or waited for here, so that it takes no time. The file that was on top is
    /// not whole before [`Disk::settle`] has returned, and until then it is still locked as one that
    /// is written. The disk itself is, and a flush of the guest's is one of all that was written
    /// before.
    ///
    /// `file` is open to read and write, and its locks, which belong to what was opened and not to
    /// who did, hold until everybody has closed it.
    ///
    /// # Errors
    /// When [`Disk::branching`] says that it needs or bears no branch, or `file` is in use or not
    /// such a layer. Then all is as it was.
    pub fn branch(&self, file: File, path: &Path) -> Result<(), DiskError> {
        self.stack()?.branch(file, path)
    }

    /// Writes what is not yet in the files that [`Disk::branch`] left. Afterwards each is whole,
    /// survives a crash of the host, is written no more, and may be read by others. The guest
    /// goes on meanwhile, unless it flushes the disk.
    ///
    /// # Errors
    /// When the host cannot write it. Where it had no space, this can be tried again.
    pub fn settle(&self) -> Result<(), DiskError> {
        self.stack.as_ref().map_or(Ok(()), |stack| stack.settle())
    }

    fn stack(&self) -> Result<&Stack, DiskError> {
        self.stack.as_deref().ok_or_else(|| DiskError::Raw {
            path: self.path.to_path_buf(),
        })
    }

    /// This disk, whose operations wait where the host has no space left, in place of failing. It
    /// says so on standard error. What waits when the disk is drained fails.
    #[must_use]
    pub fn waiting_for_space(self) -> Self {
        let patient = Patient::new(self.clone(), self.path.to_path_buf(), PAUSE);
        Self {
            waits: Some(patient.is_waiting()),
            backend: Arc::new(Mutex::new(Box::new(patient))),
            ..self
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
