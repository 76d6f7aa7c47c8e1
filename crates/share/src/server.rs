//! Which request is served where.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use fuse_abi::linux::{fuse_entry_out, fuse_opcode};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use vm_memory::VolatileSlice;
use vm_memory::bitmap::BitmapSlice;

use crate::attributes::{attributes, entry_reply};
use crate::handles::Handles;
use crate::host;
use crate::inodes::Inodes;
use crate::owner::Ownership;
use crate::wire::{Reply, Request, read_request, write_reply};

/// How many of the host's descriptors a share may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For files that the guest knows. There may be more of those ([`crate::MAX_KNOWN`]).
    pub known: usize,
    /// For files that the guest has open. It cannot open more.
    pub open: usize,
}

/// A folder of the host that a guest uses.
pub struct Share {
    pub(crate) inodes: Inodes,
    pub(crate) handles: Handles,
    pub(crate) ownership: Ownership,
    pub(crate) read_only: bool,
}

impl Share {
    /// A share of `folder`.
    ///
    /// # Errors
    /// When it is no folder, or may not be entered.
    pub fn open(folder: &Path, read_only: bool, limits: Limits) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, folder, flags, Mode::empty())?;
        Ok(Self {
            inodes: Inodes::new(root, limits.known)?,
            handles: Handles::new(limits.open),
            ownership: Ownership::of_this_process(),
            read_only,
        })
    }

    /// Closes what the guest has open, and forgets what it knows: it begins anew.
    pub fn reset(&mut self) {
        self.handles.reset();
        self.inodes.reset();
    }

    /// Does what `request` asks for, and writes the answer into `reply`. Returns the answer's
    /// length in bytes, 0 if there is none.
    pub fn serve<B: BitmapSlice>(
        &mut self,
        request: &[VolatileSlice<'_, B>],
        reply: &[VolatileSlice<'_, B>],
    ) -> usize {
        let Some(mut parsed) = read_request(request) else {
            return 0;
        };
        let unique = parsed.header.unique;
        let answer = self.answer(&mut parsed, request, reply);
        write_reply(reply, unique, answer)
    }

    fn answer<B: BitmapSlice>(
        &mut self,
        request: &mut Request,
        pieces: &[VolatileSlice<'_, B>],
        reply: &[VolatileSlice<'_, B>],
    ) -> Result<Reply, Errno> {
        use fuse_opcode::*;
        let operation = fuse_opcode::try_from(request.header.opcode).map_err(|_| Errno::NOSYS)?;
        if self.read_only && is_change(operation) {
            return Err(Errno::ROFS);
        }
        match operation {
            FUSE_INIT => self.init(request),
            FUSE_DESTROY => {
                self.reset();
                Ok(Reply::DONE)
            }
            FUSE_STATFS => self.statfs(request),
            FUSE_SYNCFS => self.syncfs(),

            FUSE_LOOKUP => self.lookup(request),
            FUSE_FORGET => self.forget(request),
            FUSE_BATCH_FORGET => self.batch_forget(request),
            FUSE_GETATTR => self.getattr(request),
            FUSE_SETATTR => self.setattr(request),

            FUSE_READLINK => self.readlink(request),
            FUSE_SYMLINK => self.symlink(request),
            FUSE_MKNOD => self.mknod(request),
            FUSE_MKDIR => self.mkdir(request),
            FUSE_UNLINK => self.remove(request, rustix::fs::AtFlags::empty()),
            FUSE_RMDIR => self.remove(request, rustix::fs::AtFlags::REMOVEDIR),
            FUSE_RENAME => self.rename(request),
            FUSE_RENAME2 => self.rename2(request),
            FUSE_LINK => self.link(request),

            FUSE_OPEN => self.open_file(request),
            FUSE_CREATE => self.create(request),
            FUSE_READ => self.read(request, reply),
            FUSE_WRITE => self.write(request, pieces),
            FUSE_RELEASE | FUSE_RELEASEDIR => self.release(request),
            FUSE_FSYNC | FUSE_FSYNCDIR => self.fsync(request),
            FUSE_FALLOCATE => self.fallocate(request),
            FUSE_LSEEK => self.lseek(request),
            FUSE_COPY_FILE_RANGE => self.copy_file_range(request),

            FUSE_OPENDIR => self.open_folder(request),
            FUSE_READDIR => self.read_folder(request, false),
            FUSE_READDIRPLUS => self.read_folder(request, true),

            FUSE_GETXATTR => self.getxattr(request),
            FUSE_LISTXATTR => self.listxattr(request),
            FUSE_SETXATTR => self.setxattr(request),
            FUSE_REMOVEXATTR => self.removexattr(request),

            // There is nobody to interrupt: requests are served one after the other.
            FUSE_INTERRUPT => Ok(Reply::Silence),
            // The guest's kernel then does it itself (locks, access checks), or not at all; and it
            // does not ask again.
            _ => Err(Errno::NOSYS),
        }
    }

    /// Tells the guest of the file that was found by this name.
    pub(crate) fn tell(
        &mut self,
        parent: u64,
        name: &std::ffi::CStr,
        handle: OwnedFd,
    ) -> Result<fuse_entry_out, Errno> {
        let status = host::status(&handle)?;
        let attr = attributes(&handle, &status, self.ownership);
        let node = self.inodes.enter(parent, name, handle, &status)?;
        Ok(entry_reply(node, attr))
    }
}

/// What is refused where the guest may only read. Files are opened for reading only, so that what
/// needs an open file need not be here.
fn is_change(operation: fuse_opcode) -> bool {
    use fuse_opcode::*;
    matches!(
        operation,
        FUSE_SETATTR
            | FUSE_SYMLINK
            | FUSE_MKNOD
            | FUSE_MKDIR
            | FUSE_UNLINK
            | FUSE_RMDIR
            | FUSE_RENAME
            | FUSE_RENAME2
            | FUSE_LINK
            | FUSE_CREATE
            | FUSE_WRITE
            | FUSE_FALLOCATE
            | FUSE_COPY_FILE_RANGE
            | FUSE_SETXATTR
            | FUSE_REMOVEXATTR
    )
}
