//! What the guest is told about files.

use std::os::fd::AsFd;

use fuse_abi::linux::{fuse_attr, fuse_attr_out, fuse_entry_out};
use rustix::fs::{Statx, makedev};

use crate::owner::Ownership;

/// So many seconds the guest may believe what it was told of a file and of a name. Until then it
/// may miss what changes on the host.
const VALID: u64 = 1;

/// A file's attributes.
pub(crate) fn attributes(handle: impl AsFd, status: &Statx, ownership: Ownership) -> fuse_attr {
    let owner = ownership.owner(handle, status);
    fuse_attr {
        ino: status.stx_ino,
        size: status.stx_size,
        blocks: status.stx_blocks,
        atime: status.stx_atime.tv_sec as u64,
        mtime: status.stx_mtime.tv_sec as u64,
        ctime: status.stx_ctime.tv_sec as u64,
        atimensec: status.stx_atime.tv_nsec,
        mtimensec: status.stx_mtime.tv_nsec,
        ctimensec: status.stx_ctime.tv_nsec,
        mode: status.stx_mode.into(),
        nlink: status.stx_nlink,
        uid: owner.user,
        gid: owner.group,
        rdev: guest_device(status),
        blksize: status.stx_blksize,
        flags: 0,
    }
}

/// A device number as FUSE has it (`new_encode_dev` in Linux).
fn guest_device(status: &Statx) -> u32 {
    let (major, minor) = (status.stx_rdev_major, status.stx_rdev_minor);
    (minor & 0xff) | (major & 0xfff) << 8 | (minor & !0xff) << 12
}

/// The host's number of the device that a file is on.
pub(crate) fn device(status: &Statx) -> u64 {
    makedev(status.stx_dev_major, status.stx_dev_minor)
}

pub(crate) fn attributes_reply(attr: fuse_attr) -> fuse_attr_out {
    fuse_attr_out {
        attr_valid: VALID,
        attr_valid_nsec: 0,
        dummy: 0,
        attr,
    }
}

pub(crate) fn entry_reply(node: u64, attr: fuse_attr) -> fuse_entry_out {
    fuse_entry_out {
        nodeid: node,
        // Numbers of nodes are never used again.
        generation: 0,
        entry_valid: VALID,
        attr_valid: VALID,
        entry_valid_nsec: 0,
        attr_valid_nsec: 0,
        attr,
    }
}
