//! Folders ("Linear (Classic) Directories").

use crate::checksum::{Seed, crc32c};
use crate::fields::Record;
use crate::geometry::BLOCK_SIZE;
use crate::tree::{Content, Folder, Special, Tree};

/// The last entry of a block is none: it holds the checksum.
const TAIL: usize = 12;
const TAIL_TYPE: u8 = 0xde;
const END: usize = BLOCK_SIZE - TAIL;
const FOLDER_TYPE: u8 = 2;

/// The blocks of a folder.
pub(crate) fn content(tree: &Tree, number: u32, folder: &Folder, seed: Seed) -> Vec<u8> {
    let mut writer = Writer::new(seed.of_inode(number));
    writer.add(b".", number, FOLDER_TYPE);
    writer.add(b"..", folder.parent, FOLDER_TYPE);
    for (name, &number) in &folder.entries {
        writer.add(name, number, file_type(&tree.node(number).content));
    }
    writer.finish()
}

fn file_type(content: &Content) -> u8 {
    match content {
        Content::File { .. } => 1,
        Content::Folder(_) => FOLDER_TYPE,
        Content::Special(Special::CharacterDevice { .. }) => 3,
        Content::Special(Special::BlockDevice { .. }) => 4,
        Content::Special(Special::Fifo) => 5,
        Content::Special(Special::Socket) => 6,
        Content::Symlink(_) => 7,
    }
}

struct Writer {
    seed: u32,
    content: Vec<u8>,
    block: Record<BLOCK_SIZE>,
    /// Where the block's last entry begins, and where the next could.
    last: usize,
    next: usize,
}

impl Writer {
    fn new(seed: u32) -> Self {
        Self {
            seed,
            content: Vec::new(),
            block: Record::new(),
            last: 0,
            next: 0,
        }
    }

    fn add(&mut self, name: &[u8], number: u32, file_type: u8) {
        let length = (8 + name.len()).next_multiple_of(4);
        if self.next + length > END {
            self.end_block();
        }
        self.block.put_u32(self.next, number);
        self.block.put_u16(self.next + 4, length as u16);
        // At most 255, as names of the tree are.
        self.block.put_u8(self.next + 6, name.len() as u8);
        self.block.put_u8(self.next + 7, file_type);
        self.block.put(self.next + 8, name);
        self.last = self.next;
        self.next += length;
    }

    fn end_block(&mut self) {
        // The last entry takes what is left.
        self.block.put_u16(self.last + 4, (END - self.last) as u16);
        self.block.put_u16(END + 4, TAIL as u16);
        self.block.put_u8(END + 7, TAIL_TYPE);
        let checksum = crc32c(self.seed, &self.block.0[..END]);
        self.block.put_u32(END + 8, checksum);
        self.content.extend_from_slice(&self.block.0);
        self.block = Record::new();
        self.next = 0;
    }

    fn finish(mut self) -> Vec<u8> {
        self.end_block();
        self.content
    }
}
