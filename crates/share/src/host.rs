//! The host's file system, by handles that name a file without opening it (`O_PATH`).

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Statx, StatxFlags, chmodat, openat, statx};
use rustix::io::Errno;

/// The bits of a mode that can be changed, and some of them.
pub(crate) const MODE_BITS: u32 = 0o7777;
const SET_USER: u32 = 0o4000;
pub(crate) const SET_GROUP: u32 = 0o2000;
const GROUP_EXECUTE: u32 = 0o10;

/// What is asked about a file: what `stat` tells, and when it was made.
const ASKED: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::BTIME);

/// Finds what is called `name` in a folder, without following links, opening it or being held up.
pub(crate) fn find(folder: impl AsFd, name: &CStr) -> Result<OwnedFd, Errno> {
    openat(
        folder,
        name,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// What the host knows about the very file behind a handle.
pub(crate) fn status(handle: impl AsFd) -> Result<Statx, Errno> {
    statx(
        handle,
        c"",
        AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW,
        ASKED,
    )
}

/// The kind of file that a status is of.
pub(crate) fn kind(status: &Statx) -> FileType {
    FileType::from_raw_mode(status.stx_mode.into())
}

/// A path that leads to the very file behind a handle, for system calls that take no handle. Where
/// that is a symbolic link, it leads to the link.
pub(crate) fn path_of(handle: impl AsFd) -> String {
    format!("/proc/self/fd/{}", handle.as_fd().as_raw_fd())
}

/// What the host knows about what is called `name` in a folder.
pub(crate) fn status_of(folder: impl AsFd, name: &CStr) -> Result<Statx, Errno> {
    statx(folder, name, AtFlags::SYMLINK_NOFOLLOW, ASKED)
}

/// Opens the file behind a handle, if it is of the right kind, `wanted`: a regular file or a
/// folder. Nothing else is ever opened, for that has effects, on devices for one.
pub(crate) fn open(handle: impl AsFd, wanted: FileType, flags: OFlags) -> Result<OwnedFd, Errno> {
    match kind(&status(handle.as_fd())?) {
        kind if kind == wanted => {}
        _ if wanted == FileType::Directory => return Err(Errno::NOTDIR),
        FileType::Directory => return Err(Errno::ISDIR),
        FileType::Symlink => return Err(Errno::LOOP),
        _ => return Err(Errno::NXIO),
    }
    let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY;
    openat(CWD, path_of(handle), flags, Mode::empty())
}

/// Changes the mode of the file behind a handle: the lowest twelve bits.
pub(crate) fn set_mode(handle: impl AsFd, mode: u32) -> Result<(), Errno> {
    chmodat(
        CWD,
        path_of(handle),
        Mode::from_raw_mode(mode & MODE_BITS),
        AtFlags::empty(),
    )
}

/// Takes the right to act as somebody else from a file that was changed. Only what can be executed
/// by its group has one as that group (`S_ISGID`).
pub(crate) fn drop_privileges(handle: impl AsFd) -> Result<(), Errno> {
    let status = status(handle.as_fd())?;
    let mode = u32::from(status.stx_mode);
    let mut dropped = SET_USER;
    if mode & GROUP_EXECUTE != 0 {
        dropped |= SET_GROUP;
    }
    if mode & dropped == 0 || kind(&status) != FileType::RegularFile {
        return Ok(());
    }
    set_mode(handle, mode & !dropped)
}
