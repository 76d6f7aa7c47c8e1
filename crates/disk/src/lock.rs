//! Locks that keep two machines from writing one disk.
//!
//! They are taken on the bytes that QEMU and its tools lock, and so that they understand each
//! other: QEMU holds a shared lock on byte 100 + n for a permission n that it uses and on byte
//! 200 + n for one that it grants nobody else, and looks whether others hold the opposite. Open
//! file description locks go when the last descriptor of the opened file does, however a process
//! ends.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use crate::DiskError;

const USED: i64 = 100;
const NOT_SHARED: i64 = 200;
const ALL: i64 = 200;

/// QEMU's permissions.
const CONSISTENT_READ: i64 = 0;
const WRITE: i64 = 1;
const RESIZE: i64 = 3;

/// What a reader locks, in order.
const READER: [i64; 3] = [
    USED + CONSISTENT_READ,
    NOT_SHARED + WRITE,
    NOT_SHARED + RESIZE,
];

/// Locks `file`, for one writer alone or for any number of readers.
///
/// # Errors
/// When somebody else works with the file.
pub(crate) fn lock(file: &File, path: &Path, read_only: bool) -> Result<(), DiskError> {
    let locked = if read_only {
        lock_as_reader(file)
    } else {
        set(file, libc::F_WRLCK, USED, ALL)
    };
    match locked {
        Err(error) if is_contention(&error) => Err(DiskError::InUse {
            path: path.to_owned(),
        }),
        // A file system that cannot lock: QEMU goes on there, too.
        _ => Ok(()),
    }
}

/// Makes a writer's lock one of a reader, without a moment in between when another could begin to
/// write.
pub(crate) fn downgrade(file: &File) {
    let begins = READER.into_iter().map(|byte| byte + 1);
    let ends = READER.into_iter().skip(1).chain([USED + ALL]);
    // Where it fails, the file system cannot lock.
    let _ = lock_as_reader(file).and_then(|()| {
        begins
            .zip(ends)
            .filter(|(begin, end)| begin < end)
            .try_for_each(|(begin, end)| set(file, libc::F_UNLCK, begin, end - begin))
    });
}

fn lock_as_reader(file: &File) -> io::Result<()> {
    READER
        .into_iter()
        .try_for_each(|byte| set(file, libc::F_RDLCK, byte, 1))
}

fn is_contention(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES))
}

fn set(file: &File, kind: i32, start: i64, length: i64) -> io::Result<()> {
    let lock = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: start,
        l_len: length,
        l_pid: 0,
    };
    // SAFETY: the command takes a pointer to a `flock`, which it only reads.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
