//! Extents ("Extent Tree"): which blocks of the image hold which blocks of a file.

use std::ops::Range;

use crate::Error;
use crate::blocks::Blocks;
use crate::checksum::crc32c;
use crate::fields::Record;
use crate::geometry::BLOCK_SIZE;

/// More would mark an extent that is not written yet.
const MAX_LENGTH: u64 = 32768;
const MAGIC: u16 = 0xf30a;
const HEADER: usize = 12;
const ENTRY: usize = 12;
/// In the inode.
const ROOT_ENTRIES: usize = 4;
/// In a block, where a checksum takes the last four bytes.
const BLOCK_ENTRIES: usize = (BLOCK_SIZE - HEADER - 4) / ENTRY;

/// Blocks that follow one another, in the file as in the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    /// First block in the file.
    pub(crate) logical: u32,
    /// First block in the image.
    pub(crate) physical: u64,
    pub(crate) length: u64,
}

impl Extent {
    pub(crate) fn blocks(&self) -> Range<u64> {
        self.physical..self.physical + self.length
    }
}

/// Adds blocks to a file's extents, to the last one where they continue it.
pub(crate) fn append(extents: &mut Vec<Extent>, logical: u32, mut blocks: Range<u64>) {
    let mut logical = u64::from(logical);
    if let Some(last) = extents.last_mut()
        && u64::from(last.logical) + last.length == logical
        && last.blocks().end == blocks.start
    {
        let added = (blocks.end - blocks.start).min(MAX_LENGTH - last.length);
        last.length += added;
        logical += added;
        blocks.start += added;
    }
    while !blocks.is_empty() {
        let length = (blocks.end - blocks.start).min(MAX_LENGTH);
        extents.push(Extent {
            logical: logical as u32,
            physical: blocks.start,
            length,
        });
        logical += length;
        blocks.start += length;
    }
}

/// An entry of a node: a leaf's extent, or below an index the first block in the file and the node.
type Entry = (u32, [u8; ENTRY]);

/// The tree's root as it stands in the inode, and how many blocks its other nodes took.
pub(crate) fn tree(
    extents: &[Extent],
    seed: u32,
    blocks: &mut Blocks,
) -> Result<([u8; 60], u64), Error> {
    let mut entries: Vec<Entry> = extents.iter().map(leaf_entry).collect();
    let mut depth = 0;
    let mut taken = 0;
    while entries.len() > ROOT_ENTRIES {
        let mut above = Vec::new();
        for group in entries.chunks(BLOCK_ENTRIES) {
            let mut node = Record::<BLOCK_SIZE>::new();
            fill(&mut node, group, BLOCK_ENTRIES, depth);
            let tail = HEADER + BLOCK_ENTRIES * ENTRY;
            node.put_u32(tail, crc32c(seed, &node.0[..tail]));
            above.push(index_entry(group[0].0, blocks.store(&node.0)?));
            taken += 1;
        }
        entries = above;
        depth += 1;
    }
    let mut root = Record::<60>::new();
    fill(&mut root, &entries, ROOT_ENTRIES, depth);
    Ok((root.0, taken))
}

fn fill<const N: usize>(node: &mut Record<N>, entries: &[Entry], room: usize, depth: u16) {
    node.put_u16(0, MAGIC);
    node.put_u16(2, entries.len() as u16);
    node.put_u16(4, room as u16);
    node.put_u16(6, depth);
    for (index, (_, entry)) in entries.iter().enumerate() {
        node.put(HEADER + index * ENTRY, entry);
    }
}

fn leaf_entry(extent: &Extent) -> Entry {
    let mut entry = Record::<ENTRY>::new();
    entry.put_u32(0, extent.logical);
    entry.put_u16(4, extent.length as u16);
    entry.put_u16(6, (extent.physical >> 32) as u16);
    entry.put_u32(8, extent.physical as u32);
    (extent.logical, entry.0)
}

fn index_entry(logical: u32, node: u64) -> Entry {
    let mut entry = Record::<ENTRY>::new();
    entry.put_u32(0, logical);
    entry.put_u32(4, node as u32);
    entry.put_u16(8, (node >> 32) as u16);
    (logical, entry.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_that_follow_one_another_are_one_extent_up_to_its_limit() {
        let mut extents = Vec::new();
        append(&mut extents, 0, 100..32000);
        append(&mut extents, 31900, 32000..40000);
        append(&mut extents, 39900, 50000..50001);
        append(&mut extents, 39902, 50001..50002);
        let as_tuples: Vec<_> = extents
            .iter()
            .map(|e| (e.logical, e.physical, e.length))
            .collect();
        assert_eq!(
            as_tuples,
            [
                (0, 100, 32768),
                (32768, 32868, 7132),
                (39900, 50000, 1),
                (39902, 50001, 1)
            ]
        );
    }
}
