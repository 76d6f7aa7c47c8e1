//! Where the file system's own structures stand ("Layout", "Block Groups").

use std::ops::Range;

use crate::Error;

/// Bytes.
pub(crate) const BLOCK_SIZE: usize = 4096;
/// What one block of bitmap describes.
pub(crate) const BLOCKS_PER_GROUP: u64 = 8 * BLOCK_SIZE as u64;
/// Bytes.
pub(crate) const INODE_SIZE: usize = 256;
/// Bytes: with 64-bit block numbers.
pub(crate) const DESCRIPTOR_SIZE: usize = 64;
/// Bytes of the file system for each inode, the default of `mke2fs`.
const BYTES_PER_INODE: u64 = 16384;
const INODES_PER_BLOCK: u64 = (BLOCK_SIZE / INODE_SIZE) as u64;
const SIZES: Range<u64> = 16 << 20..(16 << 40) + 1;

/// The division of a file system into groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) blocks: u64,
    pub(crate) groups: u64,
    pub(crate) inodes_per_group: u64,
    /// Blocks of each copy of the group descriptors.
    pub(crate) descriptor_blocks: u64,
}

/// Block numbers of one group's structures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupLayout {
    /// All the group's blocks.
    pub(crate) blocks: Range<u64>,
    /// Whether it begins with a superblock and group descriptors.
    pub(crate) has_superblock: bool,
    pub(crate) block_bitmap: u64,
    pub(crate) inode_bitmap: u64,
    pub(crate) inode_table: Range<u64>,
}

impl GroupLayout {
    /// The blocks that hold structures: from the group's first to the end of the inode table.
    pub(crate) fn used(&self) -> Range<u64> {
        self.blocks.start..self.inode_table.end
    }
}

impl Geometry {
    /// For a file system of `size` bytes; what does not fill a block, or is too little for another
    /// group, is left unused.
    pub(crate) fn new(size: u64) -> Result<Self, Error> {
        if !SIZES.contains(&size) {
            return Err(Error::Size { size });
        }
        let blocks = size / BLOCK_SIZE as u64;
        let groups = blocks.div_ceil(BLOCKS_PER_GROUP);
        let inodes = (size / BYTES_PER_INODE).div_ceil(groups);
        let geometry = Self {
            blocks,
            groups,
            inodes_per_group: inodes.next_multiple_of(INODES_PER_BLOCK),
            descriptor_blocks: (groups * DESCRIPTOR_SIZE as u64).div_ceil(BLOCK_SIZE as u64),
        };
        let last = geometry.group(groups - 1);
        if last.used().end > blocks {
            return Self::new(last.blocks.start * BLOCK_SIZE as u64);
        }
        Ok(geometry)
    }

    pub(crate) fn inodes(&self) -> u64 {
        self.inodes_per_group * self.groups
    }

    /// The layout of a group, by its number.
    pub(crate) fn group(&self, group: u64) -> GroupLayout {
        let start = group * BLOCKS_PER_GROUP;
        let has_superblock = has_superblock(group);
        let copies = if has_superblock {
            1 + self.descriptor_blocks
        } else {
            0
        };
        let block_bitmap = start + copies;
        let table = block_bitmap + 2;
        GroupLayout {
            blocks: start..self.blocks.min(start + BLOCKS_PER_GROUP),
            has_superblock,
            block_bitmap,
            inode_bitmap: block_bitmap + 1,
            inode_table: table..table + self.inodes_per_group / INODES_PER_BLOCK,
        }
    }

    /// Where an inode stands: its group, and its index there.
    pub(crate) fn inode(&self, number: u32) -> (u64, u64) {
        let index = u64::from(number) - 1;
        (index / self.inodes_per_group, index % self.inodes_per_group)
    }
}

/// With "sparse superblocks", the first two groups and powers of 3, 5 and 7 have copies.
fn has_superblock(group: u64) -> bool {
    let is_power = |base: u64| {
        let mut power = base;
        while power < group {
            power *= base;
        }
        power == group
    };
    group <= 1 || is_power(3) || is_power(5) || is_power(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_the_superblock_stand_where_the_documentation_says() {
        let with: Vec<u64> = (0..130).filter(|&group| has_superblock(group)).collect();
        assert_eq!(with, [0, 1, 3, 5, 7, 9, 25, 27, 49, 81, 125]);
    }

    #[test]
    fn groups_follow_one_another_and_hold_their_structures() {
        for size in [16 << 20, 100 << 20, (128 << 20) + 4096, 16 << 30, 5 << 40] {
            let geometry = Geometry::new(size).unwrap();
            let mut end = 0;
            for group in 0..geometry.groups {
                let layout = geometry.group(group);
                assert_eq!(layout.blocks.start, end);
                assert!(layout.used().end <= layout.blocks.end, "{size} {group}");
                end = layout.blocks.end;
            }
            assert_eq!(end, geometry.blocks);
            assert!(size - geometry.blocks * BLOCK_SIZE as u64 <= 128 << 20);
        }
    }

    #[test]
    fn sizes_that_cannot_be_made_are_refused() {
        for size in [0, (16 << 20) - 1, (16 << 40) + 1, u64::MAX] {
            assert!(matches!(Geometry::new(size), Err(Error::Size { .. })));
        }
    }
}
