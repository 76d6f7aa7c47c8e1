//! What a disk needs of its host.

use std::io;

use crate::virtio::GuestBuffer;

/// What does not change about a disk while a machine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockInfo {
    /// Size in bytes, a multiple of 512.
    pub capacity: u64,
    /// Nothing can be written.
    pub read_only: bool,
    /// Discarding works in units of so many bytes, a power of two of at least 512.
    pub discard_granularity: u32,
}

/// One thing for a disk to do. Offsets and lengths are in bytes, multiples of 512, and within the
/// disk's capacity; nothing writes to a disk that is read-only.
#[derive(Clone)]
pub enum BlockOperation {
    /// Fill the buffer, and mark it dirty, with what is at the offset.
    Read {
        /// Where on the disk.
        offset: u64,
        /// Guest memory to fill.
        buffer: GuestBuffer,
    },
    /// Write the buffer at the offset.
    Write {
        /// Where on the disk.
        offset: u64,
        /// Guest memory to write.
        buffer: GuestBuffer,
        /// It is complete only when it would survive a crash of the host.
        durable: bool,
    },
    /// Make everything that was complete before survive a crash of the host.
    Flush,
    /// The guest no longer needs this range; what it reads there afterwards is zeroes or what was
    /// there before.
    Discard {
        /// Where on the disk.
        offset: u64,
        /// How much.
        length: u64,
    },
    /// Make this range read as zeroes.
    WriteZeroes {
        /// Where on the disk.
        offset: u64,
        /// How much.
        length: u64,
        /// The range's space may be given back to the host.
        unmap: bool,
        /// As for [`BlockOperation::Write`].
        durable: bool,
    },
}

/// The host's side of a disk. It is called on the machine's I/O threads.
///
/// Operations may be worked on and complete in any order: a driver that wants an order waits.
pub trait BlockBackend: Send {
    /// What the disk is like.
    fn info(&self) -> BlockInfo;

    /// Takes on an operation that the caller calls `tag`, a number that no unfinished one has.
    fn begin(&mut self, tag: u16, operation: BlockOperation);

    /// The end of a batch: what was begun is to be on its way when this returns.
    fn submit(&mut self);

    /// Takes the next operation that is complete: its tag, and how it went.
    fn completed(&mut self) -> Option<(u16, io::Result<()>)>;

    /// Waits until everything that was begun is complete. Afterwards no guest memory is touched
    /// any more.
    fn drain(&mut self);
}
