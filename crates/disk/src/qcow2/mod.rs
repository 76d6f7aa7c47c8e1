//! qcow2 disks, by `imago`.

mod chain;
mod overlay;
mod refcounts;

use std::io;
use std::path::Path;
use std::sync::Arc;

use clade_devices::virtio::GuestBuffer;
use clade_devices::virtio::block::BlockInfo;
use imago::FormatAccess;
use imago::file::File;
use imago::io_buffers::{IoVector, IoVectorMut};

pub use overlay::create_overlay;

use crate::DiskError;
use crate::immediate::Blocking;
use crate::patient::failed_sync;

/// What is freed at a time: a cluster, of the usual size.
const DISCARD_GRANULARITY: u32 = 65536;

/// The part of a disk that a layer and the layers below it make up.
type Layers = Arc<FormatAccess<File>>;

/// A disk with layers.
pub(crate) struct Qcow2Disk {
    layers: FormatAccess<File>,
    info: BlockInfo,
}

/// Opens the disk at `path` with all its backing files, and locks them.
pub(crate) fn open(path: &Path, read_only: bool) -> Result<Qcow2Disk, DiskError> {
    let layers = chain::open(path, read_only)?;
    let capacity = layers.size();
    if !capacity.is_multiple_of(512) {
        return Err(DiskError::Size {
            path: path.to_owned(),
            size: capacity,
        });
    }
    Ok(Qcow2Disk {
        layers,
        info: BlockInfo {
            capacity,
            read_only,
            discard_granularity: DISCARD_GRANULARITY,
        },
    })
}

impl Blocking for Qcow2Disk {
    fn info(&self) -> BlockInfo {
        self.info
    }

    fn read(&mut self, offset: u64, buffer: &GuestBuffer) -> io::Result<()> {
        let slices: Vec<_> = buffer.slices().collect();
        // The guard marks the memory dirty when it is dropped.
        let (vector, _guard) = IoVectorMut::from_volatile_slice(&slices);
        self.layers.readv(vector, offset)
    }

    fn write(&mut self, offset: u64, buffer: &GuestBuffer, durable: bool) -> io::Result<()> {
        let slices: Vec<_> = buffer.slices().collect();
        let (vector, _guard) = IoVector::from_volatile_slice(&slices);
        self.layers.writev(vector, offset)?;
        if durable { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        // What the metadata will point to first.
        self.layers.sync().map_err(failed_sync)?;
        self.layers.flush()?;
        self.layers.sync().map_err(failed_sync)
    }

    fn discard(&mut self, offset: u64, length: u64) -> io::Result<()> {
        match self.layers.discard_to_any(offset, length) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
            result => result,
        }
    }

    fn write_zeroes(&mut self, offset: u64, length: u64, unmap: bool) -> io::Result<()> {
        if unmap {
            self.layers.discard_to_zero(offset, length)
        } else {
            self.layers.write_zeroes(offset, length)
        }
    }
}
