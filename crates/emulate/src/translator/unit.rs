//! What is translated at once: the basic blocks of one page that are reached from one entry by
//! direct jumps.

use clade_engine::PAGE_SIZE;
use clade_riscv::isa::{self, Class, Inst, Op};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::block::instruction_parcels;

/// The most instructions in a unit, more or less.
const MAX_INSTRUCTIONS: usize = 256;
/// The most instructions in a block: they are counted in one signed byte.
const MAX_BLOCK: usize = 64;
const PAGE: usize = PAGE_SIZE as usize;

/// An instruction where it stands in its page.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placed {
    pub(super) offset: u16,
    /// Its bits.
    pub(super) raw: u32,
    pub(super) inst: Inst,
}

impl Placed {
    /// The offset behind it, at most the page's size.
    pub(super) fn end(&self) -> u16 {
        self.offset + u16::from(self.inst.len)
    }
}

/// How a block ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Its last instruction says where to go on.
    Jump,
    /// With the instruction behind the last.
    FallThrough,
    /// Before an instruction that the interpreter must execute: the next one.
    Interpret,
    /// With an instruction that begins in the page's last two bytes, which are these.
    Straddle(u16),
}

/// Instructions that are executed one after the other.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) start: u16,
    pub(super) instructions: Vec<Placed>,
    pub(super) end: End,
    /// Whether others than its unit may jump here; then it looks at the budget.
    pub(super) entry: bool,
}

impl Block {
    /// The offset behind the last instruction.
    pub(super) fn stop(&self) -> u16 {
        self.instructions.last().map_or(self.start, Placed::end)
    }

    /// The number of its instructions.
    pub(super) fn count(&self) -> u16 {
        let straddling = matches!(self.end, End::Straddle(_));
        self.instructions.len() as u16 + u16::from(straddling)
    }
}

/// Eight-byte quads in a line: as much of a page as a word of [`Offsets`] speaks of.
pub(super) const LINE: usize = 2 * u64::BITS as usize / 8;

/// A set of offsets in a page, in parcels of two bytes.
#[derive(Clone, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(transparent)]
pub(super) struct Offsets([u64; 32]);

impl Offsets {
    pub(super) const fn new() -> Self {
        Self([0; 32])
    }

    pub(super) fn contains(&self, offset: u16) -> bool {
        let parcel = usize::from(offset / 2);
        self.0[parcel / 64] >> (parcel % 64) & 1 != 0
    }

    /// Adds an offset; false when it was there already.
    pub(super) fn insert(&mut self, offset: u16) -> bool {
        let parcel = usize::from(offset / 2);
        let bit = 1 << (parcel % 64);
        let new = self.0[parcel / 64] & bit == 0;
        self.0[parcel / 64] |= bit;
        new
    }

    /// The lines with offsets in the set, as which of the page's lines they are, in order.
    pub(super) fn lines(&self) -> impl Iterator<Item = usize> {
        (0..self.0.len()).filter(|&line| self.0[line] != 0)
    }

    /// The bits of the eight bytes at `8 * quad` of a line, four parcels.
    pub(super) fn of_quad(&self, line: usize, quad: usize) -> u64 {
        self.0[line] >> (4 * quad) & 15
    }
}

/// Where a direct jump at `offset` leads, relative to the page.
pub(super) fn target(placed: &Placed) -> i64 {
    i64::from(placed.offset) + i64::from(placed.inst.imm)
}

/// The offset if it lies in the page.
pub(super) fn in_page(offset: i64) -> Option<u16> {
    u16::try_from(offset)
        .ok()
        .filter(|&offset| usize::from(offset) < PAGE)
}

/// Finds the blocks that are reached from `entry`, in the order of their offsets. Empty when the
/// first instruction cannot be translated. `known` says which offsets have code already.
pub(super) fn discover(
    page: &[u16; PAGE / 2],
    entry: u16,
    known: &dyn Fn(u16) -> bool,
) -> Vec<Block> {
    let mut finder = Finder {
        page,
        known,
        leaders: Offsets::new(),
        entries: Offsets::new(),
        starts: Offsets::new(),
        runs: Vec::new(),
        pending: Vec::new(),
        count: 0,
    };
    finder.leaders.insert(entry);
    finder.entries.insert(entry);
    finder.run(entry);
    // Nearest first: what is left out beyond the limit is what is least likely to run.
    while let Some(leader) = finder.next(entry) {
        if !finder.starts.contains(leader) && !known(leader) {
            finder.run(leader);
        }
    }
    finder.blocks()
}

struct Finder<'a> {
    page: &'a [u16; PAGE / 2],
    /// Offsets that have code of another unit.
    known: &'a dyn Fn(u16) -> bool,
    /// Where blocks begin, if anything was decoded there.
    leaders: Offsets,
    /// Leaders that others may jump to.
    entries: Offsets,
    /// Where decoded instructions begin.
    starts: Offsets,
    runs: Vec<(Vec<Placed>, End)>,
    pending: Vec<u16>,
    count: usize,
}

impl Finder<'_> {
    fn next(&mut self, entry: u16) -> Option<u16> {
        if self.count >= MAX_INSTRUCTIONS {
            return None;
        }
        let nearest =
            (0..self.pending.len()).min_by_key(|&index| self.pending[index].abs_diff(entry))?;
        Some(self.pending.swap_remove(nearest))
    }

    /// Decodes from `start` until the flow is not straight any more.
    fn run(&mut self, start: u16) {
        let mut offset = start;
        let mut run = Vec::new();
        let end = loop {
            if usize::from(offset) >= PAGE {
                break End::FallThrough;
            }
            if self.starts.contains(offset) {
                self.lead(offset);
                break End::FallThrough;
            }
            if offset != start && (self.known)(offset) {
                break End::FallThrough;
            }
            if run.len() == MAX_BLOCK {
                self.lead(offset);
                break End::FallThrough;
            }
            if let Some(low) = self.straddles(offset).filter(|_| !run.is_empty()) {
                break End::Straddle(low);
            }
            let Some(placed) = self.decode(offset) else {
                break End::Interpret;
            };
            if must_interpret(placed.inst.op) {
                // What follows is come back to, often.
                if let Some(next) = in_page(i64::from(placed.end())) {
                    self.lead_entry(next);
                }
                break End::Interpret;
            }
            self.starts.insert(offset);
            self.count += 1;
            run.push(placed);
            offset = placed.end();
            match placed.inst.op.spec().class {
                Class::Branch => {
                    self.jump_to(&placed);
                    if let Some(next) = in_page(i64::from(offset)) {
                        self.lead(next);
                    }
                    break End::Jump;
                }
                Class::Jump => {
                    let call = placed.inst.rd != 0;
                    if placed.inst.op == Op::Jal && !call {
                        self.jump_to(&placed);
                    }
                    if let Some(next) = in_page(i64::from(offset)).filter(|_| call) {
                        self.lead_entry(next);
                    }
                    break End::Jump;
                }
                _ => {}
            }
        };
        self.runs.push((run, end));
    }

    fn jump_to(&mut self, placed: &Placed) {
        if let Some(to) = in_page(target(placed)) {
            // A loop must look at the budget somewhere.
            if to <= placed.offset {
                self.lead_entry(to);
            } else {
                self.lead(to);
            }
        }
    }

    fn lead(&mut self, offset: u16) {
        if self.leaders.insert(offset) {
            self.pending.push(offset);
        }
    }

    fn lead_entry(&mut self, offset: u16) {
        self.entries.insert(offset);
        self.lead(offset);
    }

    /// The first half of an instruction whose second half is in the next page.
    fn straddles(&self, offset: u16) -> Option<u16> {
        let low = self.page[usize::from(offset / 2)];
        let last = usize::from(offset) == PAGE - 2;
        (last && instruction_parcels(low) == 2).then_some(low)
    }

    fn decode(&self, offset: u16) -> Option<Placed> {
        let parcel = usize::from(offset / 2);
        let low = self.page[parcel];
        let raw = match instruction_parcels(low) {
            1 => u32::from(low),
            _ => u32::from(low) | u32::from(*self.page.get(parcel + 1)?) << 16,
        };
        let inst = isa::decode(raw)?;
        Some(Placed { offset, raw, inst })
    }

    /// Cuts the runs where blocks begin.
    fn blocks(self) -> Vec<Block> {
        let mut blocks = Vec::new();
        for (run, end) in self.runs {
            let mut rest = run.as_slice();
            while let Some(first) = rest.first() {
                let length = rest[1..]
                    .iter()
                    .position(|placed| self.leaders.contains(placed.offset))
                    .map_or(rest.len(), |more| more + 1);
                let (block, behind) = rest.split_at(length);
                blocks.push(Block {
                    start: first.offset,
                    instructions: block.to_vec(),
                    end: if behind.is_empty() {
                        end
                    } else {
                        End::FallThrough
                    },
                    entry: self.entries.contains(first.offset),
                });
                rest = behind;
            }
        }
        blocks.sort_unstable_by_key(|block| block.start);
        blocks
    }
}

/// Instructions that end the run of generated code: they change how code is found, or wait.
pub(super) fn must_interpret(op: Op) -> bool {
    op == Op::FenceI || op.spec().class == Class::System && op != Op::Fence
}
