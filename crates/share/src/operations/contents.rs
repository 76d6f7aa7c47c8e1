//! Files' contents.

use fuse_abi::linux::*;
use rustix::fs::{
    CWD, FallocateFlags, FileType, Mode, OFlags, SeekFrom, copy_file_range, fallocate, fdatasync,
    fsync, openat, seek,
};
use rustix::io::Errno;
use vm_memory::VolatileSlice;
use vm_memory::bitmap::BitmapSlice;
use zerocopy::IntoBytes;

use super::names::asking;
use super::session::MAX_TRANSFER;
use crate::handles::Version;
use crate::server::Share;
use crate::wire::{REPLY_HEADER, Reply, Request, WRITE_HEAD, part, total};
use crate::{host, io};

/// Flags of `open` as guests number them (asm-generic).
mod guest {
    pub(super) const ACCESS_MODE: u32 = 0o3;
    pub(super) const READ_ONLY: u32 = 0o0;
    pub(super) const WRITE_ONLY: u32 = 0o1;
    pub(super) const READ_WRITE: u32 = 0o2;
    pub(super) const EXCLUSIVE: u32 = 0o200;
    pub(super) const TRUNCATE: u32 = 0o1000;
    pub(super) const APPEND: u32 = 0o2000;
    pub(super) const DATA_SYNC: u32 = 0o10000;
    pub(super) const SYNC: u32 = 0o4010000;
    pub(super) const SEEK_DATA: u32 = 3;
    pub(super) const SEEK_HOLE: u32 = 4;
}

/// The most that one request copies, in bytes: others wait meanwhile.
const MAX_COPY: u64 = 64 << 20;

impl Share {
    pub(crate) fn open_file(&mut self, request: &mut Request) -> Result<Reply, Errno> {
        let open: fuse_open_in = request.take()?;
        let node = request.header.nodeid;
        let flags = self.host_flags(open.flags)?;
        self.handles.room()?;
        let handle = self.inodes.handle(node)?;
        let file = host::open(&handle, FileType::RegularFile, flags)?;
        if open.open_flags & FUSE_OPEN_KILL_SUIDGID != 0 {
            host::drop_privileges(&handle)?;
        }
        let version = Version::of(&host::status(&file)?);
        let before = self.inodes.opened(node, version);
        let unchanged = before.is_some_and(|before| version.is_still(&before));
        Ok(Reply::of(&fuse_open_out {
            fh: self.handles.add(file),
            // What the guest has of the contents in its memory is good.
            open_flags: if unchanged { FOPEN_KEEP_CACHE } else { 0 },
            backing_id: 0,
        }))
    }

    pub(crate) fn create(&mut self, request: &mut Request) -> Result<Reply, Errno> {
        let create: fuse_create_in = request.take()?;
        let parent = request.header.nodeid;
        let name = request.take_name()?.to_owned();
        let flags = self.host_flags(create.flags)?;
        self.handles.room()?;
        let folder = self.inodes.handle(parent)?;
        let owner = asking(request)?;
        let new = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let private = Mode::RUSR | Mode::WUSR;
        let (file, handle) = match openat(&folder, &name, flags | new, private) {
            Ok(file) => {
                let path = host::path_of(&file);
                let handle = openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
                self.settle(owner, &folder, &handle, Some(create.mode))?;
                (file, handle)
            }
            // Somebody on the host was first; what it is must be seen before it is opened.
            Err(Errno::EXIST) if create.flags & guest::EXCLUSIVE == 0 => {
                let handle = host::find(&folder, &name)?;
                let file = host::open(&handle, FileType::RegularFile, flags)?;
                (file, handle)
            }
            Err(error) => return Err(error),
        };
        let entry = self.tell(parent, &name, handle)?;
        let open = fuse_open_out {
            fh: self.handles.add(file),
            ..fuse_open_out::default()
        };
        Ok(Reply::Bytes([entry.as_bytes(), open.as_bytes()].concat()))
    }

    /// What files are opened with. Where to append is said with each write: with the flag, those
    /// of a guest's memory mapping would go there, too. `O_DIRECT` is between the guest and its own
    /// memory.
    fn host_flags(&self, flags: u32) -> Result<OFlags, Errno> {
        let mut host = match flags & guest::ACCESS_MODE {
            guest::READ_ONLY => OFlags::RDONLY,
            guest::WRITE_ONLY => OFlags::WRONLY,
            guest::READ_WRITE => OFlags::RDWR,
            _ => return Err(Errno::INVAL),
        };
        for (guest, flag) in [
            (guest::TRUNCATE, OFlags::TRUNC),
            (guest::DATA_SYNC, OFlags::DSYNC),
            (guest::SYNC, OFlags::SYNC),
        ] {
            if flags & guest == guest {
                host |= flag;
            }
        }
        if self.read_only && host != OFlags::RDONLY {
            return Err(Errno::ROFS);
        }
        Ok(host)
    }

    pub(crate) fn read<B: BitmapSlice>(
        &mut self,
        request: &mut Request,
        reply: &[VolatileSlice<'_, B>],
    ) -> Result<Reply, Errno> {
        let read: fuse_read_in = request.take()?;
        let file = self.handles.get(read.fh)?;
        let length = read.size.min(MAX_TRANSFER) as usize;
        let room = part(reply, REPLY_HEADER, length);
        Ok(Reply::Placed(io::read_at(&file, &room, read.offset)?))
    }

    pub(crate) fn write<B: BitmapSlice>(
        &mut self,
        request: &mut Request,
        pieces: &[VolatileSlice<'_, B>],
    ) -> Result<Reply, Errno> {
        let write: fuse_write_in = request.take()?;
        let file = self.handles.get(write.fh)?;
        let length = write.size.min(MAX_TRANSFER) as usize;
        let data = part(pieces, WRITE_HEAD, length);
        if total(&data) < length {
            return Err(Errno::INVAL);
        }
        let mapped = write.write_flags & FUSE_WRITE_CACHE != 0;
        let append = write.flags & guest::APPEND != 0 && !mapped;
        let size = io::write_at(&file, &data, write.offset, append)? as u32;
        if write.write_flags & FUSE_WRITE_KILL_SUIDGID != 0 {
            host::drop_privileges(file)?;
        }
        Ok(Reply::of(&fuse_write_out { size, padding: 0 }))
    }

    pub(crate) fn release(&mut self, request: &mut Request) -> Result<Reply, Errno> {
        let release: fuse_release_in = request.take()?;
        self.handles.release(release.fh);
        Ok(Reply::DONE)
    }

    pub(crate) fn fsync(&mut self, request: &mut Request) -> Result<Reply, Errno> {
        let sync: fuse_fsync_in = request.take()?;
        let file = self.handles.get(sync.fh)?;
        if sync.fsync_flags & FUSE_FSYNC_FDATASYNC != 0 {
            fdatasync(&file)?;
        } else {
            fsync(&file)?;
        }
        Ok(Reply::DONE)
    }

    pub(crate) fn fallocate(&mut self, request: &mut Request) -> Result<Reply, Errno> {
        let allocate: fuse_fallocate_in = request.take()?;
        let mode = FallocateFlags::from_bits(allocate.mode).ok_or(Errno::OPNOTSUPP)?;
        let file = self.handles.get(allocate.fh)?;
        fallocate(file, mode, allocate.offset, allocate.length)?;
        Ok(Reply::DONE)
    }

    pub(crate) fn lseek(&mut self, request: &mut Request) -> Result<Reply, Errno> {
        let lseek: fuse_lseek_in = request.take()?;
        let place = match lseek.whence {
            guest::SEEK_DATA => SeekFrom::Data(lseek.offset),
            guest::SEEK_HOLE => SeekFrom::Hole(lseek.offset),
            _ => return Err(Errno::INVAL),
        };
        let offset = seek(self.handles.get(lseek.fh)?, place)?;
        Ok(Reply::of(&fuse_lseek_out { offset }))
    }

    pub(crate) fn copy_file_range(&mut self, request: &mut Request) -> Result<Reply, Errno> {
        let copy: fuse_copy_file_range_in = request.take()?;
        let from = self.handles.get(copy.fh_in)?;
        let to = self.handles.get(copy.fh_out)?;
        let (mut start, mut end) = (copy.off_in, copy.off_out);
        let length = copy.len.min(MAX_COPY) as usize;
        let size = copy_file_range(from, Some(&mut start), to, Some(&mut end), length)? as u32;
        Ok(Reply::of(&fuse_write_out { size, padding: 0 }))
    }
}
