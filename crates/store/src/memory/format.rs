//! The file of a memory index, version 1. Numbers are little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `CLADEMEM` |
//! | 4 | version |
//! | 4 | number of layers |
//! | 4 | number of runs |
//! | each layer | one byte with the length of its name, and the name |
//! | each run 28 | page (8), pages (8), slot (8), layer (4) |
//! | 32 | BLAKE3 of all before |
//!
//! Magic, version and the checksum at the end are where they are in every version.

use super::LayerName;
use super::index::{MAX_RUNS, MemoryIndex, Run};
use crate::ContentError;

const MAGIC: &[u8; 8] = b"CLADEMEM";
const VERSION: u32 = 1;
const KIND: &str = "memory index";
const CHECKSUM: usize = 32;
const RUN: usize = 28;

/// Bytes of the longest file: each run in a layer of its own.
pub(super) const LONGEST: u64 = (64 + MAX_RUNS * (RUN + 1 + LayerName::LONGEST)) as u64;

pub(super) fn encode(index: &MemoryIndex) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64 + index.runs().len() * RUN);
    bytes.extend_from_slice(MAGIC);
    // An index is within the limits, which are far below 2³².
    let counts = [index.layers().len() as u32, index.runs().len() as u32];
    for number in [VERSION].into_iter().chain(counts) {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    for layer in index.layers() {
        bytes.push(layer.as_str().len() as u8);
        bytes.extend_from_slice(layer.as_str().as_bytes());
    }
    for run in index.runs() {
        for number in [run.page, run.pages, run.slot] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&run.layer.to_le_bytes());
    }
    let checksum = blake3::hash(&bytes);
    bytes.extend_from_slice(checksum.as_bytes());
    bytes
}

pub(super) fn decode(bytes: &[u8]) -> Result<MemoryIndex, ContentError> {
    let foreign = ContentError::Foreign { kind: KIND };
    let (content, checksum) = bytes.split_last_chunk::<CHECKSUM>().ok_or(foreign)?;
    let mut fields = Fields(content);
    if fields.array::<8>()? != *MAGIC {
        return Err(ContentError::Foreign { kind: KIND });
    }
    if blake3::hash(content) != *checksum {
        return Err(ContentError::no_match());
    }
    ContentError::check_version(KIND, fields.u32()?, VERSION)?;
    let (layers, runs) = (fields.u32()? as usize, fields.u32()? as usize);
    // What it says is there cannot take more memory than what is there.
    if layers > runs || runs > fields.0.len() / RUN {
        return Err(ContentError::damaged("it is too short"));
    }
    let layers = (0..layers)
        .map(|_| fields.name())
        .collect::<Result<_, _>>()?;
    let runs = (0..runs).map(|_| fields.run()).collect::<Result<_, _>>()?;
    if !fields.0.is_empty() {
        return Err(ContentError::damaged("it is too long"));
    }
    MemoryIndex::new(layers, runs)
}

/// What is still to be read.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], ContentError> {
        let too_short = || ContentError::damaged("it is too short");
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(too_short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ContentError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u32(&mut self) -> Result<u32, ContentError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, ContentError> {
        self.array().map(u64::from_le_bytes)
    }

    fn name(&mut self) -> Result<LayerName, ContentError> {
        let [length] = self.array()?;
        let name = String::from_utf8_lossy(self.take(length.into())?);
        LayerName::new(name).map_err(|error| ContentError::damaged(error.to_string()))
    }

    fn run(&mut self) -> Result<Run, ContentError> {
        Ok(Run {
            page: self.u64()?,
            pages: self.u64()?,
            slot: self.u64()?,
            layer: self.u32()?,
        })
    }
}
