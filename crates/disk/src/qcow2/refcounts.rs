//! A look at the refcount table of a file that is to be written, before anybody allocates by it:
//! each block of refcounts that is missing below another would be made anew, one by one and each
//! within the making of the next.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Largest table, as in QEMU.
const TABLE_MAX: u64 = 8 << 20;

/// Offsets in the header; numbers there are big-endian.
const CLUSTER_BITS: u64 = 20;
const TABLE_OFFSET: u64 = 48;
const TABLE_CLUSTERS: u64 = 56;

/// Checks the table of a file whose header is sound.
///
/// # Errors
/// When the table is not all in the file, or what it refers to is not, or has gaps.
pub(super) fn check(file: &File) -> io::Result<()> {
    let size = file.metadata()?.len();
    let cluster = 1u64 << number::<4>(file, CLUSTER_BITS)?.min(32);
    let clusters = number::<4>(file, TABLE_CLUSTERS)?;
    let length = clusters.saturating_mul(cluster);
    if length == 0 || length > TABLE_MAX {
        return Err(damaged("has an impossible size"));
    }
    let mut table = vec![0; length as usize];
    file.read_exact_at(&mut table, number::<8>(file, TABLE_OFFSET)?)
        .map_err(|_| damaged("is not all there"))?;
    let entries: Vec<u64> = table.chunks_exact(8).map(big_endian).collect();
    let used = entries.iter().take_while(|&&block| block != 0).count();
    let (used, unused) = entries.split_at(used);
    if used.is_empty() || unused.iter().any(|&block| block != 0) {
        return Err(damaged("has gaps"));
    }
    // The size of a block device is not that of its metadata.
    let inside =
        |block: u64| size == 0 || block.checked_add(cluster).is_some_and(|end| end <= size);
    for &block in used {
        if !block.is_multiple_of(cluster) || !inside(block) {
            return Err(damaged("points to what is not there"));
        }
    }
    Ok(())
}

fn number<const BYTES: usize>(file: &File, offset: u64) -> io::Result<u64> {
    let mut bytes = [0; BYTES];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(big_endian(&bytes))
}

fn big_endian(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |value, &byte| value << 8 | u64::from(byte))
}

fn damaged(how: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("its table of refcounts {how}"),
    )
}
