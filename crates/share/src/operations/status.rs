//! Finding files, and what there is to know about them.

use fuse_abi::linux::*;
use rustix::fs::{AtFlags, Statx, ftruncate, utimensat};
use rustix::fs::{CWD, FileType, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use rustix::io::Errno;

use crate::attributes::{attributes, attributes_reply};
use crate::host;
use crate::owner::{Owner, Ownership};
use crate::server::Share;
use crate::wire::{Reply, Request};

impl Share {
    pub(crate) fn lookup(&mut self, request: &mut Request) -> Result<Reply, Errno> {
        let parent = request.header.nodeid;
        let name = request.take_name()?;
        let folder = self.inodes.handle(parent)?;
        let handle = host::find(&folder, name)?;
        Ok(Reply::of(&self.tell(parent, name, handle)?))
    }

    pub(crate) fn forget(&mut self, request: &mut Request) -> Result<Reply, Errno> {
        if let Ok(forget) = request.take::<fuse_forget_in>() {
            self.inodes.forget(request.header.nodeid, forget.nlookup);
        }
        Ok(Reply::Silence)
    }

    pub(crate) fn batch_forget(&mut self, request: &mut Request) -> Result<Reply, Errno> {
        let count = request
            .take::<fuse_batch_forget_in>()
            .map_or(0, |batch| batch.count);
        for _ in 0..count {
            let Ok(one) = request.take::<fuse_forget_one>() else {
                break;
            };
            self.inodes.forget(one.nodeid, one.nlookup);
        }
        Ok(Reply::Silence)
    }

    pub(crate) fn getattr(&mut self, request: &mut Request) -> Result<Reply, Errno> {
        let get: fuse_getattr_in = request.take()?;
        if get.getattr_flags & FUSE_GETATTR_FH != 0
            && let Ok(file) = self.handles.get(get.fh)
        {
            let attr = attributes(&file, &host::status(&file)?, self.ownership);
            return Ok(Reply::of(&attributes_reply(attr)));
        }
        self.attributes_of(request.header.nodeid)
    }

    fn attributes_of(&mut self, node: u64) -> Result<Reply, Errno> {
        let handle = self.inodes.handle(node)?;
        let attr = attributes(&handle, &host::status(&handle)?, self.ownership);
        Ok(Reply::of(&attributes_reply(attr)))
    }

    pub(crate) fn setattr(&mut self, request: &mut Request) -> Result<Reply, Errno> {
        let node = request.header.nodeid;
        let set: fuse_setattr_in = request.take()?;
        let handle = self.inodes.handle(node)?;
        let status = host::status(&handle)?;
        if set.valid & FATTR_MODE != 0 {
            if host::kind(&status) == FileType::Symlink {
                return Err(Errno::OPNOTSUPP);
            }
            host::set_mode(&handle, set.mode)?;
        }
        if set.valid & (FATTR_UID | FATTR_GID) != 0 {
            self.give(&handle, &status, &set)?;
        }
        if set.valid & FATTR_SIZE != 0 {
            let size = set.size;
            if set.valid & FATTR_FH != 0 {
                ftruncate(self.handles.get(set.fh)?, size)?;
            } else {
                let file = host::open(&handle, FileType::RegularFile, OFlags::WRONLY)?;
                ftruncate(file, size)?;
            }
        }
        if set.valid & FATTR_KILL_SUIDGID != 0 {
            host::drop_privileges(&handle)?;
        }
        if set.valid & (FATTR_ATIME | FATTR_MTIME) != 0 {
            utimensat(CWD, host::path_of(&handle), &times(&set), AtFlags::empty())?;
        }
        self.attributes_of(node)
    }

    fn give(
        &self,
        handle: &std::os::fd::OwnedFd,
        status: &Statx,
        set: &fuse_setattr_in,
    ) -> Result<(), Errno> {
        let mut owner: Owner = self.ownership.owner(handle, status);
        if set.valid & FATTR_UID != 0 {
            owner.user = set.uid;
        }
        if set.valid & FATTR_GID != 0 {
            owner.group = set.gid;
        }
        self.ownership.give(handle, status, owner)?;
        // As the host does when a file really changes hands.
        if self.ownership == Ownership::Recorded && set.valid & FATTR_MODE == 0 {
            host::drop_privileges(handle)?;
        }
        Ok(())
    }
}

/// The times to set, those that are not to be left out.
fn times(set: &fuse_setattr_in) -> Timestamps {
    let time = |given: u32, now: u32, seconds: u64, nanoseconds: u32| Timespec {
        tv_sec: seconds as i64,
        tv_nsec: if set.valid & given == 0 {
            UTIME_OMIT as _
        } else if set.valid & now != 0 {
            UTIME_NOW as _
        } else {
            nanoseconds.into()
        },
    };
    Timestamps {
        last_access: time(FATTR_ATIME, FATTR_ATIME_NOW, set.atime, set.atimensec),
        last_modification: time(FATTR_MTIME, FATTR_MTIME_NOW, set.mtime, set.mtimensec),
    }
}
