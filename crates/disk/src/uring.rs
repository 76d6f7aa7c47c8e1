//! Raw disks by io_uring: several requests under way at once.

use std::collections::{BTreeMap, VecDeque};
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use clade_devices::virtio::block::{BlockBackend, BlockInfo, BlockOperation};
use io_uring::register::Restriction;
use io_uring::squeue::Flags;
use io_uring::types::{Fixed, FsyncFlags};
use io_uring::{IoUring, cqueue, opcode, squeue};

use crate::file::RawDisk;
use crate::immediate::Blocking;
use crate::patient::failed_sync;
use crate::vectored::Pieces;

/// As many as the device has under way at most.
const ENTRIES: u32 = 256;

/// The disk's file in the ring's table of files, the only one there.
const FILE: Fixed = Fixed(0);

/// What the ring may be used for: it is made for good before the process is confined, and seccomp
/// does not see what goes through it.
const ALLOWED: [u8; 3] = [
    opcode::Readv::CODE,
    opcode::Writev::CODE,
    opcode::Fsync::CODE,
];

/// A raw disk whose reads and flushes wait in the kernel. Writes go to the page cache at once: the
/// kernel would take most file systems' to a thread of its own, which costs more than the copy.
pub(crate) struct UringDisk {
    ring: IoUring,
    disk: RawDisk,
    under_way: BTreeMap<u16, UnderWay>,
    completed: VecDeque<(u16, io::Result<()>)>,
}

/// A request that the kernel works on. It keeps what the kernel was given pointers to.
struct UnderWay {
    operation: BlockOperation,
    pieces: Pieces,
    done: u64,
}

impl UringDisk {
    /// The disk by a ring of its own, and what can be read when something is complete; or the disk
    /// as it was if this host has no such ring.
    pub(crate) fn new(disk: RawDisk) -> Result<(Self, OwnedFd), RawDisk> {
        let Ok((ring, ready)) = restricted_ring(&disk) else {
            return Err(disk);
        };
        let disk = Self {
            ring,
            disk,
            under_way: BTreeMap::new(),
            completed: VecDeque::new(),
        };
        Ok((disk, ready))
    }

    fn queue(&mut self, tag: u16) {
        let Some(request) = self.under_way.get(&tag) else {
            return;
        };
        let entry = request.entry().user_data(tag.into());
        loop {
            // SAFETY: what the entry points to, the pieces and guest RAM, belongs to `request`,
            // which stays in `under_way` until the kernel has completed the entry, and `drop`
            // waits for that; neither moves meanwhile.
            let queued = unsafe { self.ring.submission().push(&entry) };
            if queued.is_ok() {
                return;
            }
            self.enter(0);
        }
    }

    /// Hands what is queued to the kernel, and waits for `wanted` completions.
    fn enter(&self, wanted: usize) {
        while let Err(error) = self.ring.submit_and_wait(wanted) {
            // Short of memory, or of room for completions, for a moment.
            if error.kind() != io::ErrorKind::Interrupted {
                std::thread::yield_now();
            }
            if error.raw_os_error() == Some(libc::EBUSY) {
                return;
            }
        }
    }

    /// Takes what the kernel has completed.
    fn collect(&mut self) {
        let entries: Vec<cqueue::Entry> = self.ring.completion().collect();
        let mut again = false;
        for entry in entries {
            let tag = entry.user_data() as u16;
            let Some(request) = self.under_way.get_mut(&tag) else {
                continue;
            };
            match request.advance(entry.result()) {
                Some(result) => {
                    request.finish();
                    self.under_way.remove(&tag);
                    self.completed.push_back((tag, result));
                }
                None => {
                    self.queue(tag);
                    again = true;
                }
            }
        }
        if again {
            self.enter(0);
        }
    }
}

impl UnderWay {
    fn entry(&self) -> squeue::Entry {
        let pieces = self.pieces.first();
        let count = pieces.len() as u32;
        match &self.operation {
            BlockOperation::Read { offset, .. } => opcode::Readv::new(FILE, pieces.as_ptr(), count)
                .offset(offset + self.done)
                .build(),
            BlockOperation::Write { offset, .. } => {
                opcode::Writev::new(FILE, pieces.as_ptr(), count)
                    .offset(offset + self.done)
                    .rw_flags(libc::RWF_DSYNC)
                    .build()
            }
            _ => opcode::Fsync::new(FILE).flags(FsyncFlags::DATASYNC).build(),
        }
    }

    /// What the kernel says; none if it is to be asked again, for the rest.
    fn advance(&mut self, result: i32) -> Option<io::Result<()>> {
        let (length, none) = match &self.operation {
            BlockOperation::Read { buffer, .. } => (buffer.len(), io::ErrorKind::UnexpectedEof),
            BlockOperation::Write { buffer, .. } => (buffer.len(), io::ErrorKind::WriteZero),
            _ => (0, io::ErrorKind::Other),
        };
        match usize::try_from(result) {
            Ok(0) if self.done < length => Some(Err(none.into())),
            Ok(count) => {
                self.pieces.advance(count);
                self.done += count as u64;
                (self.done >= length).then_some(Ok(()))
            }
            Err(_) if [-libc::EINTR, -libc::EAGAIN].contains(&result) => None,
            Err(_) => {
                let error = io::Error::from_raw_os_error(-result);
                let sync = matches!(self.operation, BlockOperation::Flush);
                Some(Err(if sync { failed_sync(error) } else { error }))
            }
        }
    }

    fn finish(&self) {
        if let BlockOperation::Read { buffer, .. } = &self.operation {
            // Afterwards, and even if it failed half-way: see `harvest_dirty`.
            buffer.mark_dirty();
        }
    }
}

impl BlockBackend for UringDisk {
    fn info(&self) -> BlockInfo {
        self.disk.info()
    }

    fn begin(&mut self, tag: u16, operation: BlockOperation) {
        let pieces = match &operation {
            BlockOperation::Read { buffer, .. }
            | BlockOperation::Write {
                buffer,
                durable: true,
                ..
            } if !buffer.is_empty() => Pieces::of(buffer),
            BlockOperation::Flush => Pieces::none(),
            _ => {
                let result = self.disk.perform(&operation);
                self.completed.push_back((tag, result));
                return;
            }
        };
        let request = UnderWay {
            operation,
            pieces,
            done: 0,
        };
        self.under_way.insert(tag, request);
        self.queue(tag);
    }

    fn submit(&mut self) {
        if !self.ring.submission().is_empty() {
            self.enter(0);
        }
    }

    fn completed(&mut self) -> Option<(u16, io::Result<()>)> {
        if self.completed.is_empty() {
            self.collect();
        }
        self.completed.pop_front()
    }

    fn drain(&mut self) {
        while !self.under_way.is_empty() {
            self.enter(1);
            self.collect();
        }
    }
}

impl Drop for UringDisk {
    fn drop(&mut self) {
        self.drain();
    }
}

/// A ring for this disk's file and nothing else, and another descriptor of it.
fn restricted_ring(disk: &RawDisk) -> io::Result<(IoUring, OwnedFd)> {
    let ring = IoUring::builder().setup_r_disabled().build(ENTRIES)?;
    let submitter = ring.submitter();
    // Opened anew: the ring lets go of its file some time after its end, when another machine may
    // long want the lock, which is held by what was opened first.
    let file = OpenOptions::new()
        .read(true)
        .write(!disk.info().read_only)
        .open(format!("/proc/self/fd/{}", disk.as_fd().as_raw_fd()))?;
    submitter.register_files(&[file.as_raw_fd()])?;
    let allowed = ALLOWED.into_iter().map(Restriction::sqe_op);
    let mut restrictions: Vec<_> = allowed.collect();
    let fixed_file = Flags::FIXED_FILE.bits();
    restrictions.push(Restriction::sqe_flags_allowed(fixed_file));
    restrictions.push(Restriction::sqe_flags_required(fixed_file));
    submitter.register_restrictions(&mut restrictions)?;
    submitter.register_enable_rings()?;
    // SAFETY: the ring keeps its descriptor open for as long as it lives.
    let ready = unsafe { BorrowedFd::borrow_raw(ring.as_raw_fd()) }.try_clone_to_owned()?;
    Ok((ring, ready))
}
