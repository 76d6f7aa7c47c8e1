//! The superblock ("Super Block") and the group descriptors ("Block Group Descriptors"), with their
//! copies, and the block bitmaps.

use crate::blocks::Blocks;
use crate::builder::Options;
use crate::checksum::{Seed, crc32c};
use crate::fields::Record;
use crate::geometry::{
    BLOCK_SIZE, BLOCKS_PER_GROUP, DESCRIPTOR_SIZE, Geometry, GroupLayout, INODE_SIZE,
};
use crate::inode::{EXTRA_SIZE, GroupInodes, Inodes, time};
use crate::tree::FIRST_INODE;
use crate::{Error, journal};

/// Bytes from the image's beginning; copies stand at the beginning of their block.
const OFFSET: u64 = 1024;
const MAGIC: u16 = 0xef53;
/// has_journal, ext_attr, dir_index.
const COMPATIBLE: u32 = 0x4 | 0x8 | 0x20;
/// filetype, extents, 64bit.
const INCOMPATIBLE: u32 = 0x2 | 0x40 | 0x80;
/// sparse_super, large_file, huge_file, dir_nlink, extra_isize, metadata_csum.
const READ_ONLY_COMPATIBLE: u32 = 0x1 | 0x2 | 0x8 | 0x20 | 0x40 | 0x400;
/// One block in so many is kept for root.
const RESERVED_FOR_ROOT: u64 = 100;

const INODES_UNUSED: u16 = 1;
const BLOCKS_UNUSED: u16 = 2;
const INODE_TABLE_ZEROED: u16 = 4;

/// Writes block bitmaps, group descriptors, the superblock and all copies.
pub(crate) fn write(
    options: &Options,
    geometry: &Geometry,
    blocks: &Blocks,
    seed: Seed,
    inodes: &Inodes,
) -> Result<(), Error> {
    let mut descriptors = Vec::new();
    for group in 0..geometry.groups {
        let descriptor = Descriptor {
            group,
            is_last: group + 1 == geometry.groups,
            layout: geometry.group(group),
            inodes: inodes.groups.get(&group),
            inodes_per_group: geometry.inodes_per_group,
        };
        descriptors.extend(descriptor.write(blocks, seed)?);
    }
    let superblock = superblock(options, geometry, blocks, inodes);
    for group in 0..geometry.groups {
        let layout = geometry.group(group);
        if layout.has_superblock {
            let mut copy = Record(superblock.0);
            copy.put_u16(0x5a, group as u16);
            let checksum = crc32c(!0, &copy.0[..0x3fc]);
            copy.put_u32(0x3fc, checksum);
            let within = if group == 0 { OFFSET } else { 0 };
            blocks.write_at(layout.blocks.start * BLOCK_SIZE as u64 + within, &copy.0)?;
            blocks.write(layout.blocks.start + 1, &descriptors)?;
        }
    }
    Ok(())
}

fn superblock(
    options: &Options,
    geometry: &Geometry,
    blocks: &Blocks,
    inodes: &Inodes,
) -> Record<1024> {
    let used: u64 = inodes.groups.values().map(|group| group.used).sum();
    let (created, _) = time(options.created);
    let mut block = Record::<1024>::new();
    block.put_u32(0x0, geometry.inodes() as u32);
    block.put_split32(0x4, 0x150, geometry.blocks);
    block.put_split32(0x8, 0x154, geometry.blocks / RESERVED_FOR_ROOT);
    block.put_split32(0xc, 0x158, blocks.free());
    block.put_u32(0x10, (geometry.inodes() - used) as u32);
    // Sizes of blocks and clusters: 1024 << 2.
    block.put_u32(0x18, 2);
    block.put_u32(0x1c, 2);
    block.put_u32(0x20, BLOCKS_PER_GROUP as u32);
    block.put_u32(0x24, BLOCKS_PER_GROUP as u32);
    block.put_u32(0x28, geometry.inodes_per_group as u32);
    block.put_u32(0x30, created);
    // Never to be checked just because it was mounted often.
    block.put_u16(0x36, u16::MAX);
    block.put_u16(0x38, MAGIC);
    // Cleanly unmounted; on errors, go on; revision 1.
    block.put_u16(0x3a, 1);
    block.put_u16(0x3c, 1);
    block.put_u32(0x40, created);
    block.put_u32(0x4c, 1);
    block.put_u32(0x54, FIRST_INODE);
    block.put_u16(0x58, INODE_SIZE as u16);
    block.put_u32(0x5c, COMPATIBLE);
    block.put_u32(0x60, INCOMPATIBLE);
    block.put_u32(0x64, READ_ONLY_COMPATIBLE);
    block.put(0x68, &options.uuid);
    let label = options.label.as_bytes();
    block.put(0x78, &label[..label.len().min(16)]);
    block.put_u32(0xe0, journal::INODE);
    // Folders that a kernel indexes: the seed and kind of hash (half MD4, of unsigned bytes).
    block.put(0xec, &options.uuid);
    block.put_u8(0xfc, 1);
    block.put_u32(0x160, 2);
    // The journal's inode is repeated below.
    block.put_u8(0xfd, 1);
    block.put_u16(0xfe, DESCRIPTOR_SIZE as u16);
    // Mounted with user_xattr and acl.
    block.put_u32(0x100, 0x4 | 0x8);
    block.put_u32(0x108, created);
    block.put(0x10c, &inodes.journal);
    block.put_split32(0x14c, 0x148, inodes.journal_size);
    block.put_u16(0x15c, EXTRA_SIZE);
    block.put_u16(0x15e, EXTRA_SIZE);
    // CRC-32C.
    block.put_u8(0x175, 1);
    block
}

/// What is said about one group.
struct Descriptor<'a> {
    group: u64,
    is_last: bool,
    layout: GroupLayout,
    inodes: Option<&'a GroupInodes>,
    inodes_per_group: u64,
}

impl Descriptor<'_> {
    /// Writes the group's block bitmap, and gives the descriptor.
    fn write(&self, blocks: &Blocks, seed: Seed) -> Result<[u8; DESCRIPTOR_SIZE], Error> {
        let layout = &self.layout;
        let bitmap = self.block_bitmap(blocks);
        let used: u64 = bitmap.iter().map(|byte| u64::from(byte.count_ones())).sum();
        let free = BLOCKS_PER_GROUP - used;
        let only_structures = free == layout.blocks.end - layout.used().end;

        let mut flags = INODE_TABLE_ZEROED;
        let mut descriptor = Record::<DESCRIPTOR_SIZE>::new();
        // The bitmap of the last group says how long it is.
        if only_structures && !self.is_last {
            flags |= BLOCKS_UNUSED;
        } else {
            blocks.write(layout.block_bitmap, &bitmap)?;
            descriptor.put_split16(0x18, 0x38, crc32c(seed.0, &bitmap));
        }
        let mut free_inodes = self.inodes_per_group;
        let mut never_used = self.inodes_per_group;
        if let Some(inodes) = self.inodes {
            free_inodes -= inodes.used;
            never_used -= inodes.table_length();
            let covered = &inodes.bitmap[..self.inodes_per_group as usize / 8];
            descriptor.put_split16(0x1a, 0x3a, crc32c(seed.0, covered));
            descriptor.put_split16(0x10, 0x30, inodes.folders as u32);
        } else {
            flags |= INODES_UNUSED;
        }
        descriptor.put_split32(0x0, 0x20, layout.block_bitmap);
        descriptor.put_split32(0x4, 0x24, layout.inode_bitmap);
        descriptor.put_split32(0x8, 0x28, layout.inode_table.start);
        descriptor.put_split16(0xc, 0x2c, free as u32);
        descriptor.put_split16(0xe, 0x2e, free_inodes as u32);
        descriptor.put_u16(0x12, flags);
        descriptor.put_split16(0x1c, 0x32, never_used as u32);
        let checksum = crc32c(
            crc32c(seed.0, &(self.group as u32).to_le_bytes()),
            &descriptor.0,
        );
        descriptor.put_u16(0x1e, checksum as u16);
        Ok(descriptor.0)
    }

    /// Blocks that the group does not have count as used.
    fn block_bitmap(&self, blocks: &Blocks) -> [u8; BLOCK_SIZE] {
        let mut bitmap = [0xff; BLOCK_SIZE];
        let own = blocks.bitmap(&self.layout.blocks);
        bitmap[..own.len()].copy_from_slice(own);
        let count = self.layout.blocks.end - self.layout.blocks.start;
        for missing in count..count.next_multiple_of(8) {
            bitmap[(missing / 8) as usize] |= 1 << (missing % 8);
        }
        bitmap
    }
}
