//! Layers that are written no more.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Layers;
use crate::lock;
use crate::patient::{failed_sync, is_for_space};

/// A file of a disk, with all that it stands on.
pub(super) struct Layer {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) layers: Layers,
}

impl Layer {
    /// All that was written survives a crash of the host.
    pub(super) fn flush(&self) -> io::Result<()> {
        // What the metadata will point to first. By the file itself: `imago` would have those who
        // read it wait.
        self.file.sync_data().map_err(failed_sync)?;
        self.layers.flush()?;
        self.file.sync_data().map_err(failed_sync)
    }
}

/// A layer that another one was put above while it was written. What was written last may still be
/// in memory; the disk reads it there.
pub(super) struct Frozen {
    layer: Layer,
    progress: Mutex<Progress>,
}

#[derive(Clone, Copy, PartialEq)]
enum Progress {
    Unwritten,
    Settled,
    /// The host may have forgotten some of it.
    Lost,
}

impl Frozen {
    pub(super) fn new(layer: Layer) -> Self {
        Self {
            layer,
            progress: Mutex::new(Progress::Unwritten),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.layer.path
    }

    /// Makes the file whole and lasting, and leaves it to all who want to read it. Can be done
    /// again if the host had no space for it.
    pub(super) fn settle(&self) -> io::Result<()> {
        let mut progress = self.lock();
        match *progress {
            Progress::Settled => return Ok(()),
            Progress::Lost => return Err(io::Error::other("it could not be written before")),
            Progress::Unwritten => {}
        }
        let written = self.layer.flush();
        *progress = match &written {
            Ok(()) => Progress::Settled,
            Err(error) if is_for_space(error) => Progress::Unwritten,
            Err(_) => Progress::Lost,
        };
        if written.is_ok() {
            lock::downgrade(&self.layer.file);
        }
        written
    }

    pub(super) fn is_settled(&self) -> bool {
        *self.lock() == Progress::Settled
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
