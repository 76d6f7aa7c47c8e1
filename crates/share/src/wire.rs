//! Requests as they come from guest memory, and replies as they go there.

use std::ffi::CStr;

use fuse_abi::linux::{fuse_in_header, fuse_opcode, fuse_out_header, fuse_write_in};
use rustix::io::Errno;
use vm_memory::VolatileSlice;
use vm_memory::bitmap::BitmapSlice;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The longest request, in bytes, that is looked at as a whole: more than an extended attribute
/// with its name. Only what is written to files is longer, and that is not copied.
const MAX_REQUEST: usize = 80 << 10;

/// The longest name of a file, in bytes.
const MAX_NAME: usize = 255;

/// Size of a reply's header in bytes.
pub(crate) const REPLY_HEADER: usize = size_of::<fuse_out_header>();

/// What a request is about, but for data to be written to a file.
pub(crate) struct Request {
    pub(crate) header: fuse_in_header,
    arguments: Vec<u8>,
    place: usize,
}

/// Reads a request: once, for the guest may change it meanwhile. Returns none if there is not even
/// a header, and so nobody to answer.
pub(crate) fn read_request<B: BitmapSlice>(pieces: &[VolatileSlice<'_, B>]) -> Option<Request> {
    let length = total(pieces).min(MAX_REQUEST);
    let bytes = gather(pieces, size_of::<fuse_in_header>().min(length));
    let header = fuse_in_header::read_from_bytes(&bytes).ok()?;
    let wanted = if header.opcode == fuse_opcode::FUSE_WRITE as u32 {
        WRITE_HEAD
    } else {
        (header.len as usize).max(size_of::<fuse_in_header>())
    };
    Some(Request {
        header,
        arguments: gather(pieces, length.min(wanted)),
        place: size_of::<fuse_in_header>(),
    })
}

/// Where the data begin in a request to write to a file.
pub(crate) const WRITE_HEAD: usize = size_of::<fuse_in_header>() + size_of::<fuse_write_in>();

impl Request {
    /// The next argument.
    pub(crate) fn take<T: FromBytes>(&mut self) -> Result<T, Errno> {
        let (value, _) = T::read_from_prefix(self.rest()).map_err(|_| Errno::INVAL)?;
        self.place += size_of::<T>();
        Ok(value)
    }

    /// The next argument, which older guests send in part; the rest is zero.
    pub(crate) fn take_padded<T: FromBytes + IntoBytes>(&mut self) -> T {
        let mut value = T::new_zeroed();
        let rest = self.rest();
        let length = rest.len().min(size_of::<T>());
        value.as_mut_bytes()[..length].copy_from_slice(&rest[..length]);
        self.place += length;
        value
    }

    /// The next string, whatever is in it.
    pub(crate) fn take_string(&mut self) -> Result<&CStr, Errno> {
        let start = self.place;
        let length = CStr::from_bytes_until_nul(self.rest())
            .map_err(|_| Errno::INVAL)?
            .to_bytes_with_nul()
            .len();
        self.place += length;
        CStr::from_bytes_with_nul(&self.arguments[start..start + length]).map_err(|_| Errno::INVAL)
    }

    /// The next string, which names something in a folder: it leads nowhere else.
    pub(crate) fn take_name(&mut self) -> Result<&CStr, Errno> {
        let name = self.take_string()?;
        match name.to_bytes() {
            b"" | b"." | b".." => Err(Errno::INVAL),
            bytes if bytes.contains(&b'/') => Err(Errno::INVAL),
            bytes if bytes.len() > MAX_NAME => Err(Errno::NAMETOOLONG),
            _ => Ok(name),
        }
    }

    /// The bytes that come next.
    pub(crate) fn take_bytes(&mut self, length: usize) -> Result<&[u8], Errno> {
        let start = self.place;
        let end = start.checked_add(length).ok_or(Errno::INVAL)?;
        self.place = end;
        self.arguments.get(start..end).ok_or(Errno::INVAL)
    }

    fn rest(&self) -> &[u8] {
        self.arguments.get(self.place..).unwrap_or_default()
    }
}

/// What answers a request.
pub(crate) enum Reply {
    /// Nothing: the guest does not wait.
    Silence,
    /// These bytes, behind the header.
    Bytes(Vec<u8>),
    /// So many bytes are in the guest's memory already, behind the place of the header.
    Placed(usize),
}

impl Reply {
    /// It is done, and there is nothing more to say.
    pub(crate) const DONE: Reply = Reply::Bytes(Vec::new());

    pub(crate) fn of<T: IntoBytes + Immutable>(value: &T) -> Reply {
        Reply::Bytes(value.as_bytes().to_vec())
    }
}

/// Writes a reply. Returns its length in bytes: 0 if there is none, or no room for it.
pub(crate) fn write_reply<B: BitmapSlice>(
    pieces: &[VolatileSlice<'_, B>],
    unique: u64,
    reply: Result<Reply, Errno>,
) -> usize {
    let room = total(pieces);
    let (error, body, placed) = match reply {
        Ok(Reply::Silence) => return 0,
        Ok(Reply::Bytes(bytes)) if REPLY_HEADER + bytes.len() <= room => (0, bytes, 0),
        Ok(Reply::Placed(length)) => (0, Vec::new(), length),
        Ok(Reply::Bytes(_)) => (-Errno::IO.raw_os_error(), Vec::new(), 0),
        Err(error) => (-error.raw_os_error(), Vec::new(), 0),
    };
    if room < REPLY_HEADER {
        return 0;
    }
    let length = REPLY_HEADER + body.len() + placed;
    let header = fuse_out_header {
        len: length as u32,
        error,
        unique,
    };
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend(body);
    scatter(pieces, &bytes);
    length
}

/// The number of bytes in all pieces.
pub(crate) fn total<B: BitmapSlice>(pieces: &[VolatileSlice<'_, B>]) -> usize {
    pieces
        .iter()
        .fold(0, |sum: usize, piece| sum.saturating_add(piece.len()))
}

/// The pieces between `from` and `from + length`, as far as there are any.
pub(crate) fn part<'a, B: BitmapSlice>(
    pieces: &[VolatileSlice<'a, B>],
    mut from: usize,
    mut length: usize,
) -> Vec<VolatileSlice<'a, B>> {
    let mut part = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let skipped = from.min(piece.len());
        from -= skipped;
        let taken = length.min(piece.len() - skipped);
        length -= taken;
        if taken > 0
            && let Ok(piece) = piece.subslice(skipped, taken)
        {
            part.push(piece);
        }
    }
    part
}

fn gather<B: BitmapSlice>(pieces: &[VolatileSlice<'_, B>], length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut place = 0;
    for piece in part(pieces, 0, length) {
        place += piece.copy_to(&mut bytes[place..]);
    }
    bytes
}

fn scatter<B: BitmapSlice>(pieces: &[VolatileSlice<'_, B>], mut bytes: &[u8]) {
    for piece in part(pieces, 0, bytes.len()) {
        piece.copy_from(bytes);
        bytes = &bytes[piece.len()..];
    }
}
