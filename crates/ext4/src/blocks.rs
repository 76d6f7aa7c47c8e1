//! The blocks of an image: which are used, and what is in them.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use rustix::fs::{FallocateFlags, fallocate};

use crate::Error;
use crate::geometry::{BLOCK_SIZE, Geometry};

/// The image file, and a bitmap of what is used of it.
#[derive(Debug)]
pub(crate) struct Blocks {
    file: File,
    /// One bit for each block, set where it is used.
    used: Vec<u8>,
    count: u64,
    free: u64,
    /// Where the last search ended: files lie one after another.
    cursor: u64,
}

impl Blocks {
    /// Empties the file and makes it as large as the file system, with only its structures used.
    pub(crate) fn new(file: File, geometry: &Geometry, size: u64) -> Result<Self, Error> {
        file.set_len(0)?;
        file.set_len(size)?;
        let mut blocks = Self {
            file,
            used: vec![0; geometry.blocks.div_ceil(8) as usize],
            count: geometry.blocks,
            free: geometry.blocks,
            cursor: 0,
        };
        for group in 0..geometry.groups {
            blocks.mark(geometry.group(group).used());
        }
        Ok(blocks)
    }

    pub(crate) fn free(&self) -> u64 {
        self.free
    }

    /// The part of the bitmap that describes these blocks, which must begin at a multiple of eight.
    pub(crate) fn bitmap(&self, blocks: &Range<u64>) -> &[u8] {
        &self.used[(blocks.start / 8) as usize..blocks.end.div_ceil(8) as usize]
    }

    /// Takes at most `wanted` blocks that follow one another; at least one.
    pub(crate) fn allocate(&mut self, wanted: u64) -> Result<Range<u64>, Error> {
        if self.free == 0 {
            return Err(Error::Full { what: "block" });
        }
        while self.is_used(self.cursor) {
            // Whole bytes at once: what is in front of the cursor is mostly full.
            let full =
                self.cursor.is_multiple_of(8) && self.used[(self.cursor / 8) as usize] == 0xff;
            self.cursor += if full { 8 } else { 1 };
            if self.cursor >= self.count {
                self.cursor = 0;
            }
        }
        let start = self.cursor;
        let limit = self.count.min(start + wanted);
        while self.cursor < limit && !self.is_used(self.cursor) {
            self.cursor += 1;
        }
        let taken = start..self.cursor;
        if self.cursor == self.count {
            self.cursor = 0;
        }
        self.mark(taken.clone());
        Ok(taken)
    }

    /// Takes one block and writes it.
    pub(crate) fn store(&mut self, content: &[u8; BLOCK_SIZE]) -> Result<u64, Error> {
        let block = self.allocate(1)?.start;
        self.write(block, content)?;
        Ok(block)
    }

    /// Gives blocks back; they read as zero again and take no space on the host.
    pub(crate) fn release(&mut self, blocks: Range<u64>) -> Result<(), Error> {
        for block in blocks.clone() {
            self.used[(block / 8) as usize] &= !(1 << (block % 8));
        }
        self.free += blocks.end - blocks.start;
        // Searching from here again fills the gap.
        self.cursor = self.cursor.min(blocks.start);
        let size = BLOCK_SIZE as u64;
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let length = (blocks.end - blocks.start) * size;
        if fallocate(&self.file, flags, blocks.start * size, length).is_err() {
            // Not every file system has holes.
            for block in blocks {
                self.write(block, &[0; BLOCK_SIZE])?;
            }
        }
        Ok(())
    }

    /// Writes from the beginning of a block on.
    pub(crate) fn write(&self, block: u64, content: &[u8]) -> Result<(), Error> {
        Ok(self.file.write_all_at(content, block * BLOCK_SIZE as u64)?)
    }

    /// Writes at an offset in bytes from the image's beginning.
    pub(crate) fn write_at(&self, offset: u64, content: &[u8]) -> Result<(), Error> {
        Ok(self.file.write_all_at(content, offset)?)
    }

    pub(crate) fn read(&self, block: u64, content: &mut [u8]) -> Result<(), Error> {
        Ok(self
            .file
            .read_exact_at(content, block * BLOCK_SIZE as u64)?)
    }

    pub(crate) fn into_file(self) -> File {
        self.file
    }

    fn is_used(&self, block: u64) -> bool {
        self.used[(block / 8) as usize] & (1 << (block % 8)) != 0
    }

    fn mark(&mut self, blocks: Range<u64>) {
        for block in blocks.clone() {
            self.used[(block / 8) as usize] |= 1 << (block % 8);
        }
        self.free -= blocks.end - blocks.start;
    }
}
