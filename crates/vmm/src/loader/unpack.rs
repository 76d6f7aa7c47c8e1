//! Undoes one layer of compression, within bounds.

use std::borrow::Cow;
use std::io::Read;

use flate2::bufread::GzDecoder;
use ruzstd::decoding::StreamingDecoder;

use super::error::Problem;
use super::format::{Format, recognise};
use super::image;

/// Where an EFI zboot header keeps the payload's offset and size (little-endian 32-bit words) and
/// the name of its compression (Linux, `drivers/firmware/efi/libstub/zboot-header.S`).
const ZBOOT_PAYLOAD_OFFSET: usize = 8;
const ZBOOT_PAYLOAD_SIZE: usize = 12;
const ZBOOT_COMPRESSION: std::ops::Range<usize> = 24..32;

/// Returns what is inside `file` if it is compressed, else `file` itself. More than `limit` bytes
/// are not unpacked but refused.
pub(super) fn unpack(file: &[u8], limit: u64) -> Result<Cow<'_, [u8]>, Problem> {
    match recognise(file) {
        Format::Gzip => gunzip(file, limit).map(Cow::Owned),
        Format::Zstd => unzstd(file, limit).map(Cow::Owned),
        Format::Zboot => unpack_zboot(file, limit).map(Cow::Owned),
        _ => Ok(Cow::Borrowed(file)),
    }
}

fn gunzip(file: &[u8], limit: u64) -> Result<Vec<u8>, Problem> {
    read_bounded(GzDecoder::new(file), "gzip", limit)
}

fn unzstd(file: &[u8], limit: u64) -> Result<Vec<u8>, Problem> {
    let decoder = StreamingDecoder::new(file).map_err(|error| bad("zstd", &error))?;
    read_bounded(decoder, "zstd", limit)
}

fn unpack_zboot(file: &[u8], limit: u64) -> Result<Vec<u8>, Problem> {
    image::check_efi_program(file)?;
    let offset = word(file, ZBOOT_PAYLOAD_OFFSET)?;
    let need = offset + word(file, ZBOOT_PAYLOAD_SIZE)?;
    let have = file.len() as u64;
    if need > have {
        return Err(Problem::Truncated { need, have });
    }
    let payload = &file[offset as usize..need as usize];
    let name = file.get(ZBOOT_COMPRESSION).unwrap_or_default();
    match name.split(|&byte| byte == 0).next().unwrap_or_default() {
        b"gzip" => gunzip(payload, limit),
        b"zstd" | b"zstd22" => unzstd(payload, limit),
        _ => Err(Problem::Compressed {
            format: "EFI zboot other than gzip or zstd",
            tool: "unpack-kernel",
        }),
    }
}

fn read_bounded(decoder: impl Read, format: &'static str, limit: u64) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    decoder
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| bad(format, &error))?;
    match bytes.len() as u64 {
        0 => Err(Problem::Empty),
        need if need > limit => Err(Problem::TooLarge { need, have: limit }),
        _ => Ok(bytes),
    }
}

fn bad(format: &'static str, error: &dyn std::error::Error) -> Problem {
    let reason = error.to_string();
    Problem::BadCompression { format, reason }
}

fn word(file: &[u8], offset: usize) -> Result<u64, Problem> {
    file.get(offset..)
        .and_then(|rest| rest.first_chunk())
        .map(|bytes| u64::from(u32::from_le_bytes(*bytes)))
        .ok_or(Problem::Truncated {
            need: offset as u64 + 4,
            have: file.len() as u64,
        })
}
