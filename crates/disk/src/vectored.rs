//! Files read into and written from guest memory, without a copy in between.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use clade_devices::virtio::GuestBuffer;

/// Most pieces in one system call (`IOV_MAX`).
const PIECES_MAX: usize = 1024;

/// A buffer's pieces as the kernel takes them, from some byte on.
pub(crate) struct Pieces(Vec<libc::iovec>);

// SAFETY: the pointers are to guest RAM, which all threads share, and which the buffer that the
// pieces are of keeps mapped, wherever it is.
unsafe impl Send for Pieces {}

impl Pieces {
    pub(crate) fn none() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn of(buffer: &GuestBuffer) -> Self {
        let piece = |slice: clade_devices::virtio::GuestSlice<'_>| libc::iovec {
            iov_base: slice.ptr_guard_mut().as_ptr().cast(),
            iov_len: slice.len(),
        };
        Self(buffer.slices().map(piece).collect())
    }

    /// Leaves out the first `count` bytes.
    pub(crate) fn advance(&mut self, mut count: usize) {
        let whole = self.0.iter().take_while(|piece| {
            let within = piece.iov_len <= count;
            if within {
                count -= piece.iov_len;
            }
            within
        });
        let whole = whole.count();
        self.0.drain(..whole);
        if let Some(first) = self.0.first_mut() {
            first.iov_base = first.iov_base.wrapping_byte_add(count);
            first.iov_len -= count;
        }
    }

    /// What one system call takes at most.
    pub(crate) fn first(&self) -> &[libc::iovec] {
        &self.0[..self.0.len().min(PIECES_MAX)]
    }
}

/// Fills `buffer` from `offset` on, and marks it dirty.
///
/// # Errors
/// What the host answers; also when the file ends before.
pub(crate) fn read(file: &File, offset: u64, buffer: &GuestBuffer) -> io::Result<()> {
    let result = transfer(
        buffer,
        offset,
        io::ErrorKind::UnexpectedEof,
        |pieces, at| {
            // SAFETY: the pieces are guest RAM, which `buffer` keeps mapped; whatever else is there at
            // the same time sees it as volatile memory, too.
            unsafe { libc::preadv(file.as_raw_fd(), pieces.as_ptr(), pieces.len() as i32, at) }
        },
    );
    // Afterwards, and even if it failed half-way: see `harvest_dirty`.
    buffer.mark_dirty();
    result
}

/// Writes `buffer` from `offset` on; with `durable`, so that it would survive a crash.
///
/// # Errors
/// What the host answers.
pub(crate) fn write(
    file: &File,
    offset: u64,
    buffer: &GuestBuffer,
    durable: bool,
) -> io::Result<()> {
    let flags = if durable { libc::RWF_DSYNC } else { 0 };
    transfer(buffer, offset, io::ErrorKind::WriteZero, |pieces, at| {
        // SAFETY: as in `read`.
        unsafe {
            libc::pwritev2(
                file.as_raw_fd(),
                pieces.as_ptr(),
                pieces.len() as i32,
                at,
                flags,
            )
        }
    })
}

/// Calls `call` until all of the buffer is done; one that does nothing is the error `none`.
fn transfer(
    buffer: &GuestBuffer,
    offset: u64,
    none: io::ErrorKind,
    call: impl Fn(&[libc::iovec], libc::off_t) -> isize,
) -> io::Result<()> {
    let mut pieces = Pieces::of(buffer);
    let mut done = 0;
    while done < buffer.len() {
        let at = libc::off_t::try_from(offset + done).map_err(io::Error::other)?;
        match usize::try_from(call(pieces.first(), at)) {
            Ok(0) => return Err(none.into()),
            Ok(count) => {
                pieces.advance(count);
                done += count as u64;
            }
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
    Ok(())
}
