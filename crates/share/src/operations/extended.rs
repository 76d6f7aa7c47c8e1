//! Extended attributes: those of users, `user.*`. All others mean something to the host.

use std::ffi::{CStr, CString};

use fuse_abi::linux::*;
use rustix::fs::{XattrFlags, getxattr, listxattr, removexattr, setxattr};
use rustix::io::Errno;

use crate::host;
use crate::owner;
use crate::server::Share;
use crate::wire::{Reply, Request};

/// The longest value and the longest list, in bytes (`XATTR_SIZE_MAX`, `XATTR_LIST_MAX` in Linux).
const MAX_VALUE: usize = 64 << 10;

impl Share {
    pub(crate) fn getxattr(&mut self, request: &mut Request) -> Result<Reply, Errno> {
        let get: fuse_getxattr_in = request.take()?;
        let file = self.inodes.handle(request.header.nodeid)?;
        let name = take_attribute(request)?;
        let mut value = vec![0; MAX_VALUE];
        let length = getxattr(host::path_of(&file), name.as_c_str(), &mut value[..])?;
        value.truncate(length);
        sized(value, get.size)
    }

    pub(crate) fn listxattr(&mut self, request: &mut Request) -> Result<Reply, Errno> {
        let list: fuse_getxattr_in = request.take()?;
        let file = self.inodes.handle(request.header.nodeid)?;
        let mut names = vec![0; MAX_VALUE];
        let length = listxattr(host::path_of(&file), &mut names[..])?;
        let shown = names[..length]
            .split_inclusive(|&byte| byte == 0)
            .filter(|name| CStr::from_bytes_with_nul(name).is_ok_and(|name| check(name).is_ok()));
        sized(shown.flatten().copied().collect(), list.size)
    }

    pub(crate) fn setxattr(&mut self, request: &mut Request) -> Result<Reply, Errno> {
        // Its first half: the other is for who agreed to `FUSE_SETXATTR_EXT`.
        let [size, flags]: [u32; 2] = request.take()?;
        let file = self.inodes.handle(request.header.nodeid)?;
        let name = take_attribute(request)?;
        let value = request.take_bytes(size as usize)?;
        let flags = XattrFlags::from_bits(flags).ok_or(Errno::INVAL)?;
        setxattr(host::path_of(&file), name.as_c_str(), value, flags)?;
        Ok(Reply::DONE)
    }

    pub(crate) fn removexattr(&mut self, request: &mut Request) -> Result<Reply, Errno> {
        let file = self.inodes.handle(request.header.nodeid)?;
        let name = take_attribute(request)?;
        removexattr(host::path_of(&file), name.as_c_str())?;
        Ok(Reply::DONE)
    }
}

fn take_attribute(request: &mut Request) -> Result<CString, Errno> {
    let name = request.take_string()?;
    check(name)?;
    Ok(name.to_owned())
}

/// Whether the guest may have to do with an attribute.
fn check(name: &CStr) -> Result<(), Errno> {
    if name.to_bytes().starts_with(b"user.") && name != owner::ATTRIBUTE {
        Ok(())
    } else {
        Err(Errno::OPNOTSUPP)
    }
}

/// A value, or its length for a guest that asks with size 0.
fn sized(value: Vec<u8>, size: u32) -> Result<Reply, Errno> {
    if size == 0 {
        return Ok(Reply::of(&fuse_getxattr_out {
            size: value.len() as u32,
            padding: 0,
        }));
    }
    if value.len() > size as usize {
        return Err(Errno::RANGE);
    }
    Ok(Reply::Bytes(value))
}
