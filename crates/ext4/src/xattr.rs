//! Extended attributes ("Extended Attributes"): in what is left of the inode, or else in a block.

use std::collections::BTreeMap;

use crate::checksum::{Seed, crc32c};
use crate::fields::Record;
use crate::geometry::BLOCK_SIZE;

const MAGIC: u32 = 0xea02_0000;
const BLOCK_HEADER: usize = 32;
const ENTRY: usize = 16;
/// Zeros that end the list of entries.
const END: usize = 4;

/// How names begin, and the numbers that stand for it.
const PREFIXES: [(&str, u8); 4] = [
    ("user.", 1),
    ("trusted.", 4),
    ("security.", 6),
    ("system.", 7),
];

/// An attribute as it is stored.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Attribute<'a> {
    // In a block they are sorted by these three, in this order.
    prefix: u8,
    name_length: usize,
    name: &'a [u8],
    value: &'a [u8],
}

impl Attribute<'_> {
    fn entry_size(&self) -> usize {
        ENTRY + self.name.len().next_multiple_of(4)
    }

    fn value_size(&self) -> usize {
        self.value.len().next_multiple_of(4)
    }

    fn hash(&self) -> u32 {
        let hash = self
            .name
            .iter()
            .fold(0u32, |hash, &byte| hash.rotate_left(5) ^ u32::from(byte));
        self.value.chunks(4).fold(hash, |hash, chunk| {
            let mut word = [0; 4];
            word[..chunk.len()].copy_from_slice(chunk);
            hash.rotate_left(16) ^ u32::from_le_bytes(word)
        })
    }
}

/// The attributes of one inode, sorted.
pub(crate) struct Attributes<'a>(Vec<Attribute<'a>>);

impl<'a> Attributes<'a> {
    /// Fails with what ext4 cannot keep.
    pub(crate) fn new(attributes: &'a BTreeMap<String, Vec<u8>>) -> Result<Self, String> {
        let mut list = attributes
            .iter()
            .map(|(name, value)| attribute(name, value))
            .collect::<Result<Vec<_>, _>>()?;
        list.sort();
        let attributes = Self(list);
        if attributes.size() > BLOCK_SIZE - BLOCK_HEADER {
            return Err("its extended attributes do not fit into 4 KiB".to_owned());
        }
        Ok(attributes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes them into the rest of an inode, if they fit.
    pub(crate) fn in_inode<const N: usize>(&self, inode: &mut Record<N>, start: usize) -> bool {
        let entries = start + 4;
        if entries + self.size() > N {
            return false;
        }
        inode.put_u32(start, MAGIC);
        self.put(inode, entries, entries);
        true
    }

    /// The block that holds them, when it has this number.
    pub(crate) fn block(&self, number: u64, seed: Seed) -> [u8; BLOCK_SIZE] {
        let mut block = Record::<BLOCK_SIZE>::new();
        block.put_u32(0x0, MAGIC);
        // One inode refers to it, and it is one block.
        block.put_u32(0x4, 1);
        block.put_u32(0x8, 1);
        let hash = self.0.iter().fold(0u32, |hash, attribute| {
            hash.rotate_left(16) ^ attribute.hash()
        });
        block.put_u32(0xc, hash);
        self.put(&mut block, BLOCK_HEADER, 0);
        let checksum = crc32c(crc32c(seed.0, &number.to_le_bytes()), &block.0);
        block.put_u32(0x10, checksum);
        block.0
    }

    fn size(&self) -> usize {
        let sizes = self.0.iter().map(|a| a.entry_size() + a.value_size());
        sizes.sum::<usize>() + END
    }

    /// Entries from `start` on, values from the end down; their offsets count from `origin`.
    fn put<const N: usize>(&self, record: &mut Record<N>, start: usize, origin: usize) {
        let mut entry = start;
        let mut value = N;
        for attribute in &self.0 {
            value -= attribute.value_size();
            record.put_u8(entry, attribute.name.len() as u8);
            record.put_u8(entry + 1, attribute.prefix);
            record.put_u16(entry + 2, (value - origin) as u16);
            record.put_u32(entry + 8, attribute.value.len() as u32);
            record.put_u32(entry + 12, attribute.hash());
            record.put(entry + ENTRY, attribute.name);
            record.put(value, attribute.value);
            entry += attribute.entry_size();
        }
    }
}

fn attribute<'a>(name: &'a str, value: &'a [u8]) -> Result<Attribute<'a>, String> {
    // Their stored form is another than the one that programs see.
    if name.starts_with("system.posix_acl_") {
        return Err(format!("this crate does not write ACLs ({name})"));
    }
    let (prefix, rest) = PREFIXES
        .iter()
        .find_map(|(text, prefix)| Some((*prefix, name.strip_prefix(text)?)))
        .ok_or_else(|| format!("{name:?} is not the name of an extended attribute"))?;
    if rest.is_empty() || rest.len() > 255 || rest.contains('\0') {
        return Err(format!("{name:?} is not the name of an extended attribute"));
    }
    Ok(Attribute {
        prefix,
        name_length: rest.len(),
        name: rest.as_bytes(),
        value,
    })
}
