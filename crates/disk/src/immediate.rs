//! Disks that do each operation at once, on the thread that asks for it.

use std::collections::VecDeque;
use std::io;

use clade_devices::virtio::GuestBuffer;
use clade_devices::virtio::block::{BlockBackend, BlockInfo, BlockOperation};

/// A disk that does one thing at a time. As for [`BlockOperation`]: all within its capacity.
pub(crate) trait Blocking: Send {
    fn info(&self) -> BlockInfo;
    /// Fills the buffer and marks it dirty.
    fn read(&mut self, offset: u64, buffer: &GuestBuffer) -> io::Result<()>;
    fn write(&mut self, offset: u64, buffer: &GuestBuffer, durable: bool) -> io::Result<()>;
    /// What was written before survives a crash of the host.
    fn flush(&mut self) -> io::Result<()>;
    fn discard(&mut self, offset: u64, length: u64) -> io::Result<()>;
    fn write_zeroes(&mut self, offset: u64, length: u64, unmap: bool) -> io::Result<()>;

    fn perform(&mut self, operation: &BlockOperation) -> io::Result<()> {
        match *operation {
            BlockOperation::Read { offset, ref buffer } => self.read(offset, buffer),
            BlockOperation::Write {
                offset,
                ref buffer,
                durable,
            } => self.write(offset, buffer, durable),
            BlockOperation::Flush => self.flush(),
            BlockOperation::Discard { offset, length } => self.discard(offset, length),
            BlockOperation::WriteZeroes {
                offset,
                length,
                unmap,
                durable,
            } => {
                self.write_zeroes(offset, length, unmap)?;
                if durable { self.flush() } else { Ok(()) }
            }
        }
    }
}

/// A backend that has everything completed when it was begun.
pub(crate) struct Immediate<D> {
    disk: D,
    completed: VecDeque<(u16, io::Result<()>)>,
}

impl<D: Blocking> Immediate<D> {
    pub(crate) fn new(disk: D) -> Self {
        Self {
            disk,
            completed: VecDeque::new(),
        }
    }
}

impl<D: Blocking> BlockBackend for Immediate<D> {
    fn info(&self) -> BlockInfo {
        self.disk.info()
    }

    fn begin(&mut self, tag: u16, operation: BlockOperation) {
        let result = self.disk.perform(&operation);
        self.completed.push_back((tag, result));
    }

    fn submit(&mut self) {}

    fn completed(&mut self) -> Option<(u16, io::Result<()>)> {
        self.completed.pop_front()
    }

    fn drain(&mut self) {}
}
