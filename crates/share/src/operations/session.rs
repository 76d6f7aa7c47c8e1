//! Beginning, and the file system as a whole.

use fuse_abi::linux::*;
use rustix::fs::{FileType, OFlags, fstatvfs, syncfs};
use rustix::io::Errno;

use crate::host;
use crate::server::Share;
use crate::wire::{Reply, Request};

/// The oldest version that is spoken, 7.31: the first with virtio-fs.
const OLDEST_MINOR: u32 = 31;

/// The newest version that is spoken.
const NEWEST_MINOR: u32 = 38;

/// The most that is read or written by one request: 256 pages, as much as Linux asks for.
pub(super) const MAX_TRANSFER: u32 = 1 << 20;
const MAX_PAGES: u16 = 256;

/// What is agreed to if the guest offers it.
const WANTED: u32 = FUSE_ASYNC_READ
    | FUSE_ATOMIC_O_TRUNC
    | FUSE_BIG_WRITES
    | FUSE_AUTO_INVAL_DATA
    | FUSE_DO_READDIRPLUS
    | FUSE_READDIRPLUS_AUTO
    | FUSE_ASYNC_DIO
    | FUSE_PARALLEL_DIROPS
    | FUSE_MAX_PAGES
    | FUSE_CACHE_SYMLINKS
    // The guest then need not ask for `security.capability` before each write.
    | FUSE_HANDLE_KILLPRIV_V2;

impl Share {
    pub(crate) fn init(&mut self, request: &mut Request) -> Result<Reply, Errno> {
        let init: fuse_init_in = request.take_padded();
        if init.major < FUSE_KERNEL_VERSION
            || init.major == FUSE_KERNEL_VERSION && init.minor < OLDEST_MINOR
        {
            return Err(Errno::PROTO);
        }
        self.reset();
        // A guest with a newer major version begins again with this one.
        Ok(Reply::of(&fuse_init_out {
            major: FUSE_KERNEL_VERSION,
            minor: NEWEST_MINOR,
            max_readahead: init.max_readahead.min(MAX_TRANSFER),
            flags: init.flags & WANTED,
            max_background: 64,
            congestion_threshold: 48,
            max_write: MAX_TRANSFER,
            time_gran: 1,
            max_pages: MAX_PAGES,
            ..fuse_init_out::default()
        }))
    }

    pub(crate) fn statfs(&mut self, request: &Request) -> Result<Reply, Errno> {
        let handle = self.inodes.handle(request.header.nodeid)?;
        let all = fstatvfs(&handle)?;
        Ok(Reply::of(&fuse_kstatfs {
            blocks: all.f_blocks,
            bfree: all.f_bfree,
            bavail: all.f_bavail,
            files: all.f_files,
            ffree: all.f_ffree,
            bsize: all.f_bsize as u32,
            namelen: all.f_namemax as u32,
            frsize: all.f_frsize as u32,
            ..fuse_kstatfs::default()
        }))
    }

    pub(crate) fn syncfs(&mut self) -> Result<Reply, Errno> {
        if !self.read_only {
            let root = self.inodes.handle(FUSE_ROOT_ID)?;
            syncfs(host::open(&root, FileType::Directory, OFlags::RDONLY)?)?;
        }
        Ok(Reply::DONE)
    }
}
