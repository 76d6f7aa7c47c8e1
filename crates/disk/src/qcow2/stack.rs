//! The layers of an open disk, of which there may be more while it is used.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use imago::{FormatAccess, ShallowMapping};
use rustix::fs::{FileType, OFlags, fcntl_getfl};

use super::chain::{self, DEPTH_MAX};
use super::frozen::{Frozen, Layer};
use crate::{DiskError, Format, lock};

/// The layers of a disk: one on top, which is written unless the disk is only read, and what it
/// stands on.
pub(crate) struct Stack {
    inner: Mutex<Inner>,
    capacity: u64,
    read_only: bool,
}

struct Inner {
    top: Layer,
    /// How many files there are.
    depth: usize,
    /// Those below the top that are not all written yet, the lowest first.
    frozen: Vec<Arc<Frozen>>,
}

impl Stack {
    /// Opens the disk at `path` with all its backing files, and locks them.
    pub(crate) fn open(path: &Path, read_only: bool) -> Result<Self, DiskError> {
        let chain = chain::open(path, read_only)?;
        let capacity = chain.layers.size();
        check_size(path, capacity)?;
        let inner = Inner {
            top: Layer {
                path: path.to_owned(),
                file: chain.file,
                layers: Arc::new(chain.layers),
            },
            depth: chain.depth,
            frozen: Vec::new(),
        };
        Ok(Self {
            inner: Mutex::new(inner),
            capacity,
            read_only,
        })
    }

    /// Size in bytes.
    pub(super) fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Does something with the disk, and nothing else meanwhile.
    pub(super) fn with<T>(
        &self,
        action: impl FnOnce(&mut FormatAccess<imago::file::File>) -> T,
    ) -> T {
        let mut inner = self.lock();
        let top = Arc::get_mut(&mut inner.top.layers);
        action(top.expect("nothing stands on the top"))
    }

    /// All that was written survives a crash of the host, in whichever layer it is.
    pub(super) fn flush(&self) -> io::Result<()> {
        let mut inner = self.lock();
        for layer in &inner.frozen {
            layer.settle()?;
        }
        inner.frozen.clear();
        inner.top.flush()
    }

    /// Whether one more layer can be put on top.
    pub(crate) fn has_room(&self) -> Result<(), DiskError> {
        self.lock().has_room()
    }

    /// See [`crate::Disk::branch`].
    pub(crate) fn branch(&self, file: File, path: &Path) -> Result<(), DiskError> {
        let mut inner = self.lock();
        inner.has_room()?;
        let top = self.above(&inner.top, file, path)?;
        let frozen = std::mem::replace(&mut inner.top, top);
        inner.frozen.push(Arc::new(Frozen::new(frozen)));
        inner.depth += 1;
        Ok(())
    }

    /// See [`crate::Disk::settle`].
    pub(crate) fn settle(&self) -> Result<(), DiskError> {
        // The disk is used meanwhile.
        let frozen = self.lock().frozen.clone();
        for layer in frozen {
            layer.settle().map_err(|source| DiskError::Settle {
                path: layer.path().to_owned(),
                source,
            })?;
        }
        self.lock().frozen.retain(|layer| !layer.is_settled());
        Ok(())
    }

    /// The empty layer in `file` above `below`.
    fn above(&self, below: &Layer, file: File, path: &Path) -> Result<Layer, DiskError> {
        let unfit = |reason: &str| DiskError::Unfit {
            path: path.to_owned(),
            below: below.path.clone(),
            reason: reason.to_owned(),
        };
        if self.read_only {
            return Err(unfit("the disk is only read"));
        }
        if !is_writable_file(&file) {
            return Err(unfit("it is no file that is open for writing"));
        }
        lock::lock(&file, path, false)?;
        let layer = chain::layer(&file, path, false)?;
        let named = chain::backing_file(&layer, path)?;
        if named != Some((below.path.clone(), Format::Qcow2)) {
            return Err(unfit("it names another file as the one below"));
        }
        let layers = chain::stand(layer, Some(below.layers.clone()), path)?;
        if layers.size() != self.capacity {
            return Err(unfit("it has another size"));
        }
        if !is_empty(&layers).map_err(|source| DiskError::qcow2(path, source))? {
            return Err(unfit("it is not empty"));
        }
        Ok(Layer {
            path: path.to_owned(),
            file,
            layers: Arc::new(layers),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn has_room(&self) -> Result<(), DiskError> {
        if self.depth < DEPTH_MAX {
            return Ok(());
        }
        Err(DiskError::too_deep(&self.top.path))
    }
}

/// How many bytes a guest finds on the disk in `file`.
pub(crate) fn capacity(file: &File, path: &Path) -> Result<u64, DiskError> {
    let layer = chain::layer(file, path, true)?;
    let capacity = chain::stand(layer, None, path)?.size();
    check_size(path, capacity)?;
    Ok(capacity)
}

fn check_size(path: &Path, size: u64) -> Result<(), DiskError> {
    if size.is_multiple_of(512) {
        return Ok(());
    }
    Err(DiskError::Size {
        path: path.to_owned(),
        size,
    })
}

/// Asked of the descriptor, which came from another process.
fn is_writable_file(file: &File) -> bool {
    let writable = fcntl_getfl(file).is_ok_and(|flags| flags & OFlags::ACCMODE == OFlags::RDWR);
    let kind = rustix::fs::fstat(file).map(|stat| FileType::from_raw_mode(stat.st_mode));
    writable && kind == Ok(FileType::RegularFile)
}

/// Whether all is as in the layer below.
fn is_empty(layers: &FormatAccess<imago::file::File>) -> io::Result<bool> {
    let (mut offset, size) = (0, layers.size());
    while offset < size {
        let (mapping, length) = layers.get_shallow_mapping(offset, size - offset)?;
        if !matches!(mapping, ShallowMapping::Indirect { .. }) {
            return Ok(false);
        }
        offset += length;
    }
    Ok(true)
}
