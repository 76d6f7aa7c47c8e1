//! Decoded blocks: straight runs of instructions, decoded once and executed many times.
//!
//! The cache belongs to one hart and is keyed by host address, that is by physical address: the
//! same code is shared by all address spaces. Memory may change under it; the architecture
//! lets a hart keep executing the old instructions until its own `fence.i`. Then nothing is
//! thrown away: each block is compared with memory once, the next time that it runs.

use clade_engine::PAGE_SIZE;
use clade_riscv::isa::{self, Inst};
use zerocopy::FromZeros;

use crate::memory::{HostAddress, Scalar};
use crate::table::Table;

/// The most instructions in a block, which bounds how long a hart goes without looking up.
const MAX_INSTRUCTIONS: usize = 64;

/// Blocks that are kept of code that is executed in no other way.
pub(crate) const ALL: usize = 1 << 14;
/// Blocks that are kept of code that is translated when it comes again. A hart in an idle machine has
/// this many for good.
pub(crate) const RECENT: usize = 1 << 9;

/// Addresses of code whose visits are counted.
const COUNTED: usize = 1 << 12;

/// A run of instructions of which only the last may jump, trap by design or change how the
/// following ones are fetched.
pub(crate) struct Block {
    start: HostAddress,
    /// The generation in which the block was last known to equal memory.
    generation: u64,
    pub(crate) instructions: Vec<Inst>,
    /// The memory it was decoded from, in 16-bit parcels.
    parcels: Vec<u16>,
}

impl Block {
    fn empty() -> Self {
        Self {
            start: HostAddress(0),
            generation: 0,
            instructions: Vec::new(),
            parcels: Vec::new(),
        }
    }

    /// Decodes from `start` to the end of the block or of the page, in place of what the block was.
    /// Empty when the first instruction is illegal or crosses the page's end.
    fn decode(&mut self, start: HostAddress, generation: u64) {
        let in_page = parcels_left(start);
        self.start = start;
        self.generation = generation;
        self.instructions.clear();
        self.parcels.clear();
        while self.instructions.len() < MAX_INSTRUCTIONS && self.parcels.len() < in_page {
            let index = self.parcels.len();
            let low = parcel(start, index);
            let raw = match instruction_parcels(low) {
                1 => u32::from(low),
                _ if index + 1 >= in_page => break,
                _ => u32::from(low) | u32::from(parcel(start, index + 1)) << 16,
            };
            let Some(inst) = isa::decode(raw) else { break };
            self.parcels.push(low);
            if inst.len == 4 {
                self.parcels.push((raw >> 16) as u16);
            }
            self.instructions.push(inst);
            if inst.op.ends_block() {
                break;
            }
        }
    }

    fn equals_memory(&self) -> bool {
        self.parcels
            .iter()
            .enumerate()
            .all(|(index, &p)| p == parcel(self.start, index))
    }

    /// The bits of the instruction that begins `offset` bytes into the block, for `xtval`.
    pub(crate) fn raw_at(&self, offset: u64) -> u32 {
        let index = (offset / 2) as usize;
        let low = self.parcels.get(index).copied().unwrap_or(0);
        match instruction_parcels(low) {
            1 => u32::from(low),
            _ => {
                let high = self.parcels.get(index + 1).copied().unwrap_or(0);
                u32::from(low) | u32::from(high) << 16
            }
        }
    }
}

/// Blocks by the address of their first instruction, each in the one slot that the address names.
pub(crate) struct BlockCache {
    slots: Table<Option<Box<Block>>>,
    generation: u64,
}

impl BlockCache {
    /// A cache of so many blocks at most, a power of two.
    pub(crate) fn new(blocks: usize) -> Self {
        Self {
            slots: Table::new(blocks),
            generation: 0,
        }
    }

    /// From now on every block is compared with memory before it runs again.
    pub(crate) fn revalidate(&mut self) {
        self.generation += 1;
    }

    #[inline(always)]
    fn slot(&mut self, start: HostAddress) -> &mut Option<Box<Block>> {
        let last = self.slots.len() - 1;
        &mut self.slots[(start.0 >> 1) & last]
    }

    /// The block at `start`, the address of RAM from where the rest of the page may be decoded.
    /// `None` when the first instruction is illegal or crosses the page's end.
    #[inline(always)]
    pub(crate) fn fetch(&mut self, start: HostAddress) -> Option<&mut Block> {
        let generation = self.generation;
        let slot = self.slot(start);
        let hit = matches!(slot, Some(b) if b.start == start && b.generation == generation);
        if !hit {
            refill(slot, start, generation);
        }
        slot.as_deref_mut()
    }
}

/// How often a hart has come to code that is not translated, of late: each address in the one slot that it
/// names.
pub(crate) struct Visits(Table<Visit>);

#[derive(Clone, Copy, FromZeros)]
struct Visit {
    start: usize,
    count: usize,
}

impl Visits {
    pub(crate) fn new() -> Self {
        Self(Table::new(COUNTED))
    }

    /// Counts another one; returns how many there were.
    pub(crate) fn count(&mut self, start: HostAddress) -> usize {
        let visit = &mut self.0[(start.0 >> 1) % COUNTED];
        if visit.start != start.0 {
            *visit = Visit {
                start: start.0,
                count: 0,
            };
        }
        visit.count += 1;
        visit.count
    }
}

#[cold]
#[inline(never)]
fn refill(slot: &mut Option<Box<Block>>, start: HostAddress, generation: u64) {
    match slot {
        Some(block) if block.start == start && block.equals_memory() => {
            block.generation = generation;
        }
        _ => {
            // Code that is seldom executed comes and goes: its memory is used again.
            let block = slot.get_or_insert_with(|| Box::new(Block::empty()));
            block.decode(start, generation);
            // An empty block is not kept: there is nothing by which to tell that memory has changed.
            if block.instructions.is_empty() {
                *slot = None;
            }
        }
    }
}

/// Length of an instruction in 16-bit parcels by its first (unprivileged spec 1.5).
pub(crate) fn instruction_parcels(low: u16) -> usize {
    if low & 3 == 3 { 2 } else { 1 }
}

/// Number of parcels from `start` to the end of its page. Host and guest pages coincide.
fn parcels_left(start: HostAddress) -> usize {
    let page = PAGE_SIZE as usize;
    (page - start.0 % page) / 2
}

fn parcel(start: HostAddress, index: usize) -> u16 {
    // SAFETY: callers stay within the page of `start`, which is live RAM; instruction addresses
    // are even.
    unsafe { u16::load(HostAddress(start.0 + 2 * index)) }
}
