//! The journal ("Journal (jbd2)"): empty, in an inode of its own.

use crate::Error;
use crate::blocks::Blocks;
use crate::extent::{self, Extent};
use crate::fields::Record;
use crate::geometry::BLOCK_SIZE;

/// The inode of the journal ("Special inodes").
pub(crate) const INODE: u32 = 8;

const MAGIC: u32 = 0xc03b_3998;
const SUPERBLOCK_V2: u32 = 4;
/// Bounds of its length in blocks: the least that jbd2 takes, and what holds a busy guest's writes.
const MIN_LENGTH: u64 = 1024;
const MAX_LENGTH: u64 = 16384;

/// Takes the journal's blocks and writes its superblock; the rest of it is zero.
pub(crate) fn create(blocks: &mut Blocks) -> Result<Vec<Extent>, Error> {
    let length = (blocks.free() / 64).clamp(MIN_LENGTH, MAX_LENGTH);
    let mut extents = Vec::new();
    let mut done = 0;
    while done < length {
        let taken = blocks.allocate(length - done)?;
        extent::append(&mut extents, done as u32, taken.clone());
        done += taken.end - taken.start;
    }
    let mut superblock = Record::<1024>::new();
    superblock.put_be32(0x0, MAGIC);
    superblock.put_be32(0x4, SUPERBLOCK_V2);
    superblock.put_be32(0xc, BLOCK_SIZE as u32);
    superblock.put_be32(0x10, length as u32);
    // The log begins behind this block, with transaction 1, and there is nothing in it.
    superblock.put_be32(0x14, 1);
    superblock.put_be32(0x18, 1);
    // One file system uses it.
    superblock.put_be32(0x40, 1);
    blocks.write(extents[0].physical, &superblock.0)?;
    Ok(extents)
}
