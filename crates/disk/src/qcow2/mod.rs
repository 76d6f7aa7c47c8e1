//! qcow2 disks, by `imago`.

mod chain;
mod frozen;
mod merge;
mod overlay;
mod refcounts;
mod stack;

use std::io;
use std::sync::Arc;

use clade_devices::virtio::GuestBuffer;
use clade_devices::virtio::block::BlockInfo;
use imago::FormatAccess;
use imago::file::File;
use imago::io_buffers::{IoVector, IoVectorMut};

pub(crate) use chain::{DEPTH_MAX, files};
pub use merge::merge;
#[cfg(test)]
pub(crate) use overlay::CLUSTER;
pub use overlay::create_overlay;
pub(crate) use stack::{Stack, capacity};

use crate::immediate::Blocking;

/// What is freed at a time: a cluster, of the usual size.
const DISCARD_GRANULARITY: u32 = 65536;

/// The part of a disk that a layer and the layers below it make up.
type Layers = Arc<FormatAccess<File>>;

/// A disk with layers.
pub(crate) struct Qcow2Disk {
    stack: Arc<Stack>,
    info: BlockInfo,
}

impl Qcow2Disk {
    pub(crate) fn new(stack: Arc<Stack>) -> Self {
        let info = BlockInfo {
            capacity: stack.capacity(),
            read_only: stack.is_read_only(),
            discard_granularity: DISCARD_GRANULARITY,
        };
        Self { stack, info }
    }
}

impl Blocking for Qcow2Disk {
    fn info(&self) -> BlockInfo {
        self.info
    }

    fn read(&mut self, offset: u64, buffer: &GuestBuffer) -> io::Result<()> {
        let slices: Vec<_> = buffer.slices().collect();
        // The guard marks the memory dirty when it is dropped.
        let (vector, _guard) = IoVectorMut::from_volatile_slice(&slices);
        self.stack.with(|layers| layers.readv(vector, offset))
    }

    fn write(&mut self, offset: u64, buffer: &GuestBuffer, durable: bool) -> io::Result<()> {
        let slices: Vec<_> = buffer.slices().collect();
        let (vector, _guard) = IoVector::from_volatile_slice(&slices);
        self.stack.with(|layers| layers.writev(vector, offset))?;
        if durable { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stack.flush()
    }

    fn discard(&mut self, offset: u64, length: u64) -> io::Result<()> {
        match self
            .stack
            .with(|layers| layers.discard_to_any(offset, length))
        {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
            result => result,
        }
    }

    fn write_zeroes(&mut self, offset: u64, length: u64, unmap: bool) -> io::Result<()> {
        self.stack.with(|layers| {
            if unmap {
                layers.discard_to_zero(offset, length)
            } else {
                layers.write_zeroes(offset, length)
            }
        })
    }
}
