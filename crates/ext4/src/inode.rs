//! Inodes ("Index Nodes"), and the tables and bitmaps that hold them.

use std::collections::BTreeMap;
use std::path::Path;

use crate::Error;
use crate::blocks::Blocks;
use crate::checksum::{Seed, crc32c};
use crate::extent::{self, Extent};
use crate::fields::Record;
use crate::geometry::{BLOCK_SIZE, Geometry, INODE_SIZE};
use crate::journal;
use crate::tree::{Content, FIRST_INODE, Metadata, Node, Special};
use crate::xattr::Attributes;

/// Shorter targets of symbolic links stand in the inode itself; bytes.
pub(crate) const INLINE: usize = 60;
/// Bytes behind the classic 128 that this crate fills.
pub(crate) const EXTRA_SIZE: u16 = 32;
const ATTRIBUTES: usize = 128 + EXTRA_SIZE as usize;

const EXTENTS_FLAG: u32 = 0x8_0000;
const SECTORS_PER_BLOCK: u64 = BLOCK_SIZE as u64 / 512;

const FIFO: u16 = 0o010_000;
const CHARACTER_DEVICE: u16 = 0o020_000;
const FOLDER: u16 = 0o040_000;
const BLOCK_DEVICE: u16 = 0o060_000;
const FILE: u16 = 0o100_000;
const SYMLINK: u16 = 0o120_000;
const SOCKET: u16 = 0o140_000;

/// The inodes of one group.
pub(crate) struct GroupInodes {
    /// The table up to the last inode that is used.
    table: Vec<u8>,
    pub(crate) bitmap: [u8; BLOCK_SIZE],
    /// How many are used, and how many of those are folders.
    pub(crate) used: u64,
    pub(crate) folders: u64,
}

impl GroupInodes {
    pub(crate) fn table_length(&self) -> u64 {
        (self.table.len() / INODE_SIZE) as u64
    }
}

/// All groups that have inodes, and what the superblock repeats of the journal's.
pub(crate) struct Inodes {
    pub(crate) groups: BTreeMap<u64, GroupInodes>,
    pub(crate) journal: [u8; 60],
    pub(crate) journal_size: u64,
}

/// What an inode says of its content.
pub(crate) struct Stored<'a> {
    pub(crate) extents: &'a [Extent],
    /// Bytes.
    pub(crate) size: u64,
    pub(crate) links: u16,
}

/// Collects inodes.
pub(crate) struct InodeTable<'a> {
    geometry: &'a Geometry,
    seed: Seed,
    inodes: Inodes,
}

impl<'a> InodeTable<'a> {
    pub(crate) fn new(geometry: &'a Geometry, seed: Seed) -> Self {
        let mut table = Self {
            geometry,
            seed,
            inodes: Inodes {
                groups: BTreeMap::new(),
                journal: [0; 60],
                journal_size: 0,
            },
        };
        for number in 1..FIRST_INODE {
            table.put(number, &[0; INODE_SIZE], false);
        }
        table
    }

    /// Adds the journal's inode.
    pub(crate) fn add_journal(
        &mut self,
        extents: &[Extent],
        created: i64,
        blocks: &mut Blocks,
    ) -> Result<(), Error> {
        let length: u64 = extents.iter().map(|extent| extent.length).sum();
        let size = length * BLOCK_SIZE as u64;
        let node = Node {
            metadata: Metadata {
                permissions: 0o600,
                modified: created,
                ..Metadata::default()
            },
            content: Content::File {
                size,
                extents: Vec::new(),
            },
            names: 1,
        };
        let content = Stored {
            extents,
            size,
            links: 1,
        };
        self.inodes.journal = self.add(journal::INODE, &node, &content, blocks)?;
        self.inodes.journal_size = size;
        Ok(())
    }

    /// Adds an inode with the blocks of its content; gives its field `i_block`.
    pub(crate) fn add(
        &mut self,
        number: u32,
        node: &Node,
        content: &Stored<'_>,
        blocks: &mut Blocks,
    ) -> Result<[u8; 60], Error> {
        let mut inode = Record::<INODE_SIZE>::new();
        let data: u64 = content.extents.iter().map(|extent| extent.length).sum();
        let (map, tree) = self.map(number, node, content.extents, blocks)?;
        let attributes = self.put_attributes(number, node, &mut inode, blocks)?;
        put_metadata(&mut inode, node);
        inode.put_u16(0x1a, content.links);
        if uses_extents(&node.content, content.size) {
            inode.put_u32(0x20, EXTENTS_FLAG);
        }
        inode.put(0x28, &map);
        inode.put_split32(0x4, 0x6c, content.size);
        let sectors = (data + tree + attributes) * SECTORS_PER_BLOCK;
        inode.put_u32(0x1c, sectors as u32);
        inode.put_u16(0x74, (sectors >> 32) as u16);
        let checksum = crc32c(self.seed.of_inode(number), &inode.0);
        inode.put_split16(0x7c, 0x82, checksum);
        self.put(number, &inode.0, matches!(node.content, Content::Folder(_)));
        Ok(map)
    }

    /// The field `i_block`, and how many blocks were taken for what it points to.
    fn map(
        &self,
        number: u32,
        node: &Node,
        extents: &[Extent],
        blocks: &mut Blocks,
    ) -> Result<([u8; 60], u64), Error> {
        let mut map = Record::<60>::new();
        match &node.content {
            Content::Symlink(target) if target.len() < INLINE => map.put(0, target),
            Content::Special(
                Special::CharacterDevice { major, minor } | Special::BlockDevice { major, minor },
            ) => {
                let number = (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12);
                // Small numbers have an older form, in a place of its own.
                let old = *major < 256 && *minor < 256;
                map.put_u32(if old { 0 } else { 4 }, number);
            }
            Content::Special(_) => {}
            _ => return extent::tree(extents, self.seed.of_inode(number), blocks),
        }
        Ok((map.0, 0))
    }

    /// Puts attributes into the inode or a block; gives the number of blocks taken.
    fn put_attributes(
        &self,
        number: u32,
        node: &Node,
        inode: &mut Record<INODE_SIZE>,
        blocks: &mut Blocks,
    ) -> Result<u64, Error> {
        let attributes = Attributes::new(&node.metadata.attributes).map_err(|reason| {
            Error::unsupported(Path::new(&format!("the entry with inode {number}")), reason)
        })?;
        if attributes.is_empty() || attributes.in_inode(inode, ATTRIBUTES) {
            return Ok(0);
        }
        let block = blocks.allocate(1)?.start;
        blocks.write(block, &attributes.block(block, self.seed))?;
        inode.put_u32(0x68, block as u32);
        inode.put_u16(0x76, (block >> 32) as u16);
        Ok(1)
    }

    fn put(&mut self, number: u32, inode: &[u8; INODE_SIZE], is_folder: bool) {
        let (group, index) = self.geometry.inode(number);
        let per_group = self.geometry.inodes_per_group as usize;
        let group = self
            .inodes
            .groups
            .entry(group)
            .or_insert_with(|| GroupInodes {
                table: Vec::new(),
                bitmap: empty_bitmap(per_group),
                used: 0,
                folders: 0,
            });
        let index = index as usize;
        let start = index * INODE_SIZE;
        if group.table.len() < start + INODE_SIZE {
            group.table.resize(start + INODE_SIZE, 0);
        }
        group.table[start..start + INODE_SIZE].copy_from_slice(inode);
        let bit = 1 << (index % 8);
        // Special inodes are put twice: none of them is a folder the first time.
        if group.bitmap[index / 8] & bit == 0 {
            group.bitmap[index / 8] |= bit;
            group.used += 1;
        }
        group.folders += u64::from(is_folder);
    }

    /// Writes tables and bitmaps.
    pub(crate) fn finish(self, blocks: &Blocks) -> Result<Inodes, Error> {
        for (&number, group) in &self.inodes.groups {
            let layout = self.geometry.group(number);
            blocks.write(layout.inode_table.start, &group.table)?;
            blocks.write(layout.inode_bitmap, &group.bitmap)?;
        }
        Ok(self.inodes)
    }
}

/// A bitmap of free inodes; those that a group does not have count as used.
fn empty_bitmap(inodes: usize) -> [u8; BLOCK_SIZE] {
    let mut bitmap = [0xff; BLOCK_SIZE];
    bitmap[..inodes / 8].fill(0);
    bitmap
}

fn put_metadata(inode: &mut Record<INODE_SIZE>, node: &Node) {
    let metadata = &node.metadata;
    let permissions = match node.content {
        Content::Symlink(_) => 0o777,
        _ => metadata.permissions & 0o7777,
    };
    inode.put_u16(0x0, kind_bits(&node.content) | permissions);
    inode.put_split16(0x2, 0x78, metadata.user);
    inode.put_split16(0x18, 0x7a, metadata.group);
    inode.put_u16(0x80, EXTRA_SIZE);
    let (low, epoch) = time(metadata.modified);
    // Access, change, modification and creation, and the further bits of each.
    for (field, extra) in [(0x8, 0x8c), (0xc, 0x84), (0x10, 0x88), (0x90, 0x94)] {
        inode.put_u32(field, low);
        inode.put_u32(extra, epoch);
    }
}

/// The low 32 bits of a time, and its epoch ("Inode Timestamps").
pub(crate) fn time(seconds: i64) -> (u32, u32) {
    let seconds = seconds.clamp(-(1 << 31), (1 << 34) - (1 << 31) - 1);
    let low = seconds as i32;
    (low as u32, ((seconds - i64::from(low)) >> 32) as u32)
}

fn kind_bits(content: &Content) -> u16 {
    match content {
        Content::File { .. } => FILE,
        Content::Folder(_) => FOLDER,
        Content::Symlink(_) => SYMLINK,
        Content::Special(Special::CharacterDevice { .. }) => CHARACTER_DEVICE,
        Content::Special(Special::BlockDevice { .. }) => BLOCK_DEVICE,
        Content::Special(Special::Fifo) => FIFO,
        Content::Special(Special::Socket) => SOCKET,
    }
}

fn uses_extents(content: &Content, size: u64) -> bool {
    match content {
        Content::File { .. } | Content::Folder(_) => true,
        Content::Symlink(_) => size >= INLINE as u64,
        Content::Special(_) => false,
    }
}
