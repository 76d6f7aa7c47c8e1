//! Raw disks.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

use clade_devices::virtio::GuestBuffer;
use clade_devices::virtio::block::BlockInfo;
use rustix::fs::{FallocateFlags, fallocate};

use crate::immediate::Blocking;
use crate::patient::failed_sync;
use crate::vectored;

/// What the host's file systems free at a time, at the least.
const DISCARD_GRANULARITY: u32 = 4096;

/// A file, or a block device, that holds one block after the other.
pub(crate) struct RawDisk {
    file: File,
    info: BlockInfo,
}

impl RawDisk {
    pub(crate) fn new(file: File, capacity: u64, read_only: bool) -> Self {
        Self {
            file,
            info: BlockInfo {
                capacity,
                read_only,
                discard_granularity: DISCARD_GRANULARITY,
            },
        }
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Writes zeroes where the host knows no better way.
    fn fill(&self, offset: u64, length: u64) -> io::Result<()> {
        static ZEROES: [u8; 1 << 16] = [0; 1 << 16];
        let mut done = 0;
        while done < length {
            let piece = (length - done).min(ZEROES.len() as u64);
            self.file
                .write_all_at(&ZEROES[..piece as usize], offset + done)?;
            done += piece;
        }
        Ok(())
    }
}

impl Blocking for RawDisk {
    fn info(&self) -> BlockInfo {
        self.info
    }

    fn read(&mut self, offset: u64, buffer: &GuestBuffer) -> io::Result<()> {
        vectored::read(&self.file, offset, buffer)
    }

    fn write(&mut self, offset: u64, buffer: &GuestBuffer, durable: bool) -> io::Result<()> {
        vectored::write(&self.file, offset, buffer, durable)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.sync_data().map_err(failed_sync)
    }

    fn discard(&mut self, offset: u64, length: u64) -> io::Result<()> {
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match fallocate_some(&self.file, punch, offset, length) {
            // A hint, which this host cannot take.
            Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
            result => Ok(result?),
        }
    }

    fn write_zeroes(&mut self, offset: u64, length: u64, unmap: bool) -> io::Result<()> {
        let how = if unmap {
            FallocateFlags::PUNCH_HOLE
        } else {
            FallocateFlags::ZERO_RANGE
        };
        match fallocate_some(&self.file, how | FallocateFlags::KEEP_SIZE, offset, length) {
            Err(rustix::io::Errno::OPNOTSUPP) => self.fill(offset, length),
            result => Ok(result?),
        }
    }
}

/// As `fallocate`, which refuses to do nothing.
fn fallocate_some(
    file: &File,
    flags: FallocateFlags,
    offset: u64,
    length: u64,
) -> rustix::io::Result<()> {
    if length == 0 {
        return Ok(());
    }
    rustix::io::retry_on_intr(|| fallocate(file, flags, offset, length))
}
