//! Files' contents to and from guest memory, without a copy on the way.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::io::Errno;
use vm_memory::VolatileSlice;
use vm_memory::bitmap::BitmapSlice;

use crate::wire::{part, total};

/// As many pieces as the host takes at once (`UIO_MAXIOV`).
const MAX_PIECES: usize = 1024;

/// Reads from `offset` on until the pieces are full or the file ends. Returns how much it was.
pub(crate) fn read_at<B: BitmapSlice>(
    file: impl AsFd,
    pieces: &[VolatileSlice<'_, B>],
    offset: u64,
) -> Result<usize, Errno> {
    transfer(pieces, offset, |pieces, offset| {
        read_some(file.as_fd(), pieces, offset)
    })
}

/// Writes the pieces from `offset` on, or to the file's end. Returns how much it was.
pub(crate) fn write_at<B: BitmapSlice>(
    file: impl AsFd,
    pieces: &[VolatileSlice<'_, B>],
    offset: u64,
    append: bool,
) -> Result<usize, Errno> {
    transfer(pieces, offset, |pieces, offset| {
        write_some(file.as_fd(), pieces, offset, append)
    })
}

/// Repeats `some` until everything is done. An error after the first bytes ends it, too: the
/// guest will come upon it again.
fn transfer<'a, B: BitmapSlice>(
    pieces: &[VolatileSlice<'a, B>],
    offset: u64,
    some: impl Fn(&[VolatileSlice<'a, B>], i64) -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    let mut done = 0;
    while done < total(pieces) {
        let at = offset.checked_add(done as u64).ok_or(Errno::INVAL)?;
        let at = i64::try_from(at).map_err(|_| Errno::INVAL)?;
        let mut rest = part(pieces, done, usize::MAX);
        rest.truncate(MAX_PIECES);
        match some(&rest, at) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(Errno::INTR) => {}
            Err(error) if done == 0 => return Err(error),
            Err(_) => break,
        }
    }
    Ok(done)
}

fn read_some<B: BitmapSlice>(
    file: BorrowedFd<'_>,
    pieces: &[VolatileSlice<'_, B>],
    offset: i64,
) -> Result<usize, Errno> {
    let guards: Vec<_> = pieces.iter().map(VolatileSlice::ptr_guard_mut).collect();
    let vectors: Vec<_> = guards
        .iter()
        .map(|guard| libc::iovec {
            iov_base: guard.as_ptr().cast(),
            iov_len: guard.len(),
        })
        .collect();
    // SAFETY: each vector is a piece of guest memory that stays mapped and writable while its
    // guard lives. Nobody holds a reference to it, and guests expect devices to write there.
    let count = unsafe {
        libc::preadv(
            file.as_raw_fd(),
            vectors.as_ptr(),
            vectors.len() as libc::c_int,
            offset,
        )
    };
    let count = checked(count)?;
    let mut left = count;
    for piece in pieces {
        let written = left.min(piece.len());
        piece.bitmap().mark_dirty(0, written);
        left -= written;
    }
    Ok(count)
}

fn write_some<B: BitmapSlice>(
    file: BorrowedFd<'_>,
    pieces: &[VolatileSlice<'_, B>],
    offset: i64,
    append: bool,
) -> Result<usize, Errno> {
    let guards: Vec<_> = pieces.iter().map(VolatileSlice::ptr_guard).collect();
    let vectors: Vec<_> = guards
        .iter()
        .map(|guard| libc::iovec {
            iov_base: guard.as_ptr().cast_mut().cast(),
            iov_len: guard.len(),
        })
        .collect();
    let flags = if append { libc::RWF_APPEND } else { 0 };
    // SAFETY: each vector is a piece of guest memory that stays mapped while its guard lives; the
    // host only reads it, whatever the guest does to it meanwhile.
    let count = unsafe {
        libc::pwritev2(
            file.as_raw_fd(),
            vectors.as_ptr(),
            vectors.len() as libc::c_int,
            offset,
            flags,
        )
    };
    checked(count)
}

fn checked(count: libc::ssize_t) -> Result<usize, Errno> {
    usize::try_from(count)
        .map_err(|_| Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
}
