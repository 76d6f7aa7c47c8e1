//! What a driver asks for (section 5.2.6), checked.

use virtio_bindings::virtio_blk as bits;

use super::config::RANGE_MAX;
use super::{BlockInfo, BlockOperation};
use crate::virtio::{BadChain, Chain, GuestBuffer};

/// The unit of offsets and lengths in requests, in bytes.
pub(super) const SECTOR: u64 = 512;

/// Length of the string that identifies a disk.
pub(super) const ID_LENGTH: usize = 20;

/// Most data in one request, in bytes: far above what drivers use, and a bound on how long one
/// takes.
const DATA_MAX: u64 = 1 << 30;

/// `struct virtio_blk_req` up to the data: type, reserved, sector.
const HEADER_LENGTH: usize = 16;

/// `struct virtio_blk_discard_write_zeroes`: sector, number of sectors, flags.
const RANGE_LENGTH: usize = 16;

/// Request statuses.
pub(super) mod status {
    use virtio_bindings::virtio_blk as bits;

    pub(crate) const OK: u8 = bits::VIRTIO_BLK_S_OK as u8;
    pub(crate) const ERROR: u8 = bits::VIRTIO_BLK_S_IOERR as u8;
    pub(crate) const UNSUPPORTED: u8 = bits::VIRTIO_BLK_S_UNSUPP as u8;
}

/// A request.
pub(super) struct Request {
    /// The byte that tells the driver how it went.
    pub(super) status: GuestBuffer,
    pub(super) action: Action,
}

pub(super) enum Action {
    /// For the disk to do. Once done, it has written this many bytes of guest memory.
    Disk(BlockOperation, u32),
    /// To say which disk this is.
    Identify(GuestBuffer),
    /// Nothing to do, with this status.
    Finished(u8),
}

/// Understands the request in `chain` to a disk such as `info` says; `durable` is whether what it
/// writes is to be safe before it is complete.
///
/// # Errors
/// When there is not even a status byte, or the request lies outside of guest memory.
pub(super) fn parse(chain: &Chain, info: &BlockInfo, durable: bool) -> Result<Request, BadChain> {
    let (mut header, mut input) = chain.buffers()?;
    // Framing is the driver's affair (section 2.7.4): the header may be in pieces, and the status
    // byte is the last one, wherever that is.
    let status = input.split_off(input.len().checked_sub(1).ok_or(BadChain)?);
    let output = header.split_off(HEADER_LENGTH as u64);
    let mut bytes = [0; HEADER_LENGTH];
    let action = if header.copy_to(&mut bytes) == HEADER_LENGTH {
        let kind = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let sector = u64_at(&bytes, 8);
        action(kind, sector, input, output, info, durable)
    } else {
        Err(status::ERROR)
    };
    Ok(Request {
        status,
        action: action.unwrap_or_else(Action::Finished),
    })
}

/// What a request asks for, or the status with which it is refused.
fn action(
    kind: u32,
    sector: u64,
    input: GuestBuffer,
    output: GuestBuffer,
    info: &BlockInfo,
    durable: bool,
) -> Result<Action, u8> {
    let writes = matches!(
        kind,
        bits::VIRTIO_BLK_T_OUT | bits::VIRTIO_BLK_T_DISCARD | bits::VIRTIO_BLK_T_WRITE_ZEROES
    );
    if writes && info.read_only {
        return Err(status::ERROR);
    }
    let action = match kind {
        bits::VIRTIO_BLK_T_IN => {
            let offset = data_offset(sector, input.len(), info)?;
            let written = input.len() as u32;
            let buffer = input;
            Action::Disk(BlockOperation::Read { offset, buffer }, written)
        }
        bits::VIRTIO_BLK_T_OUT => {
            let offset = data_offset(sector, output.len(), info)?;
            let operation = BlockOperation::Write {
                offset,
                buffer: output,
                durable,
            };
            Action::Disk(operation, 0)
        }
        bits::VIRTIO_BLK_T_FLUSH => Action::Disk(BlockOperation::Flush, 0),
        bits::VIRTIO_BLK_T_GET_ID if input.len() < ID_LENGTH as u64 => return Err(status::ERROR),
        bits::VIRTIO_BLK_T_GET_ID => Action::Identify(input),
        bits::VIRTIO_BLK_T_DISCARD => {
            let (offset, length, _) = range(&output, 0, info)?;
            Action::Disk(BlockOperation::Discard { offset, length }, 0)
        }
        bits::VIRTIO_BLK_T_WRITE_ZEROES => {
            let allowed = bits::VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
            let (offset, length, flags) = range(&output, allowed, info)?;
            let operation = BlockOperation::WriteZeroes {
                offset,
                length,
                unmap: flags != 0,
                durable,
            };
            Action::Disk(operation, 0)
        }
        _ => return Err(status::UNSUPPORTED),
    };
    Ok(action)
}

/// Where data goes, in bytes.
fn data_offset(sector: u64, length: u64, info: &BlockInfo) -> Result<u64, u8> {
    if !length.is_multiple_of(SECTOR) || length > DATA_MAX {
        return Err(status::ERROR);
    }
    within(sector, length, info)
}

/// The one range that a discard or write-zeroes request names: offset, length and flags.
fn range(output: &GuestBuffer, allowed: u32, info: &BlockInfo) -> Result<(u64, u64, u32), u8> {
    let mut bytes = [0; RANGE_LENGTH];
    if output.len() != RANGE_LENGTH as u64 || output.copy_to(&mut bytes) != RANGE_LENGTH {
        return Err(status::ERROR);
    }
    let sectors = u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
    let flags = u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]);
    // Section 5.2.6.2: also of a flag that has no meaning for the type of request.
    if flags & !allowed != 0 {
        return Err(status::UNSUPPORTED);
    }
    let length = u64::from(sectors) * SECTOR;
    if length > RANGE_MAX {
        return Err(status::ERROR);
    }
    Ok((within(u64_at(&bytes, 0), length, info)?, length, flags))
}

/// The offset in bytes of `sector`, if `length` bytes from there are on the disk.
fn within(sector: u64, length: u64, info: &BlockInfo) -> Result<u64, u8> {
    let offset = sector.checked_mul(SECTOR).ok_or(status::ERROR)?;
    let end = offset.checked_add(length).ok_or(status::ERROR)?;
    if end > info.capacity {
        return Err(status::ERROR);
    }
    Ok(offset)
}

fn u64_at(bytes: &[u8; 16], offset: usize) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[offset..offset + 8]);
    u64::from_le_bytes(value)
}
