//! From blocks of guest instructions to host code.
//!
//! The hot path of a unit comes first, in the order of the guest's addresses; what is rarely
//! needed (TLB misses, exits) stands behind it in stubs. Registers are where `layout` says at
//! every instruction's end, so that any place may be left and come back to.

use clade_riscv::isa::{Class, Inst, Op};

use super::assembler::{Alu, Assembler, CodeOffset, Cond, Label, Operand, RAX, RCX, Reg, Width};
use super::emit_integer::is_assisted;
use super::float_registers::{self, FloatRegisters};
use super::integer_registers::{self, IntegerRegisters};
use super::layout::*;
use super::thunks::Thunks;
use super::unit::{Block, End, Placed};
use crate::tuning::Tuning;

/// How far to look for another use of a register.
const LOOK_AHEAD: usize = 12;

/// What the translator's configuration has to do with the code.
#[derive(Debug, Clone, Copy)]
pub(super) struct Options {
    pub(super) tlb_entries: usize,
    pub(super) jump_entries: usize,
    /// Whether every block looks at the budget, rather than only those that close a loop.
    pub(super) exact: bool,
}

impl Options {
    pub(super) fn of(tuning: &Tuning) -> Self {
        Self {
            tlb_entries: tuning.tlb_entries,
            jump_entries: tuning.jump_entries,
            exact: tuning.exact_polls,
        }
    }
}

/// What becomes of a unit.
pub(super) struct Emitted {
    pub(super) code: Vec<u8>,
    /// Offsets in the page that others may jump to, and their code.
    pub(super) entries: Vec<(u16, CodeOffset)>,
    /// Where each instruction's code begins, for people.
    pub(super) instructions: Vec<(Placed, CodeOffset)>,
    /// Where each block's code begins, for people.
    pub(super) blocks: Vec<(u16, CodeOffset)>,
    /// Where the stubs begin, for people.
    pub(super) stubs: CodeOffset,
}

/// Translates `blocks`, ordered by their offsets, of page `page` for `base` in the code memory. `known` finds the
/// code of offsets of the same page that other units have translated.
pub(super) fn emit(
    blocks: &[Block],
    (base, page): (CodeOffset, u32),
    thunks: Thunks,
    options: Options,
    known: &dyn Fn(u16) -> Option<CodeOffset>,
) -> Emitted {
    let mut a = Assembler::new(base);
    let labels = blocks.iter().map(|_| a.label()).collect();
    let mut emitter = Emitter {
        a,
        page,
        thunks,
        options,
        blocks,
        labels,
        known,
        stubs: Vec::new(),
        instructions: Vec::new(),
        place: Place::new(0, 0),
        raw: 0,
        floats: FloatRegisters::default(),
        integers: IntegerRegisters::default(),
        rest: &[],
        at: (0, 0),
        careful: false,
    };
    for index in 0..blocks.len() {
        emitter.block(index);
    }
    let stubs = emitter.a.here();
    emitter.emit_stubs();
    let places: Vec<_> = blocks
        .iter()
        .zip(&emitter.labels)
        .map(|(block, &label)| {
            let at = emitter.a.position(label).expect("every block was emitted");
            (block.start, at)
        })
        .collect();
    let entries = places
        .iter()
        .zip(blocks)
        .filter(|(_, block)| block.entry)
        .map(|(&place, _)| place)
        .collect();
    Emitted {
        entries,
        blocks: places,
        stubs,
        instructions: emitter.instructions,
        code: emitter.a.finish(),
    }
}

/// Code that stands behind the unit.
pub(super) enum Stub {
    /// Executes one instruction by the interpreter.
    Assist {
        label: Label,
        resume: Label,
        raw: u32,
        place: Place,
        /// What is expected behind the instruction.
        held: (integer_registers::Held, float_registers::Held),
    },
    /// Leaves by a thunk that takes a place.
    Leave {
        label: Label,
        place: Place,
        thunk: CodeOffset,
    },
    /// Leaves for code that does not exist yet; the displacement at `site` is patched once it does.
    Unlinked {
        label: Label,
        offset: u16,
        site: CodeOffset,
    },
    /// Jumps to another page.
    OtherPage { label: Label, target: i64 },
    /// Executes the rest of a block from an instruction on, each access by itself.
    Careful {
        label: Label,
        block: usize,
        instruction: usize,
    },
}

pub(super) struct Emitter<'a> {
    pub(super) a: Assembler,
    page: u32,
    pub(super) thunks: Thunks,
    pub(super) options: Options,
    pub(super) blocks: &'a [Block],
    pub(super) labels: Vec<Label>,
    pub(super) known: &'a dyn Fn(u16) -> Option<CodeOffset>,
    pub(super) stubs: Vec<Stub>,
    instructions: Vec<(Placed, CodeOffset)>,
    /// The instruction that is being translated.
    place: Place,
    raw: u32,
    /// What is known of floating point here.
    pub(super) floats: FloatRegisters,
    pub(super) integers: IntegerRegisters,
    /// The instructions of the block behind the current one.
    pub(super) rest: &'a [Placed],
    /// The block, and the current instruction's index in it.
    pub(super) at: (usize, usize),
    /// Whether each access is looked up by itself.
    pub(super) careful: bool,
}

impl Emitter<'_> {
    fn block(&mut self, index: usize) {
        let block = &self.blocks[index];
        self.a.bind(self.labels[index]);
        let count = block.count();
        self.floats = FloatRegisters::default();
        self.integers = IntegerRegisters::default();
        self.a
            .alu_imm(Width::B64, Alu::Sub, BUDGET, i32::from(count));
        if block.entry || self.options.exact {
            let label = self.a.label();
            self.a.jcc(Cond::Sign, label);
            self.stubs.push(Stub::Leave {
                label,
                place: Place::new(block.start, count),
                thunk: self.thunks.out_of_budget,
            });
        }
        for instruction in 0..block.instructions.len() {
            let placed = block.instructions[instruction];
            self.instructions.push((placed, self.a.here()));
            self.place_instruction(index, instruction);
        }
        self.end(block, Some(index));
    }

    /// The instruction that is translated.
    pub(super) fn current(&self) -> &Placed {
        &self.blocks[self.at.0].instructions[self.at.1]
    }

    /// Translates an instruction of a block.
    fn place_instruction(&mut self, block: usize, instruction: usize) {
        let count = self.blocks[block].count();
        let instructions = &self.blocks[block].instructions;
        let placed = &instructions[instruction];
        self.place = Place::new(placed.offset, count - instruction as u16);
        self.raw = placed.raw;
        self.rest = &instructions[instruction + 1..];
        self.at = (block, instruction);
        let stubs = self.stubs.len();
        self.floats.begin_instruction();
        self.integers.begin_instruction();
        self.instruction(placed);
        self.expect_held(stubs);
    }

    /// What follows the last instruction of a block; nothing where the block behind `before` does
    /// anyway.
    fn end(&mut self, block: &Block, before: Option<usize>) {
        match block.end {
            End::Jump => {}
            End::FallThrough => self.go_to(i64::from(block.stop()), before),
            End::Interpret => {
                let place = Place::new(block.stop(), 0);
                self.leave(place);
            }
            End::Straddle(low) => {
                const LENGTH: i64 = 4;
                let place = Place::new(block.stop(), 1);
                self.a.mov_imm(RAX, i64::from(low));
                self.a.mov_imm(RCX, i64::from(place.0));
                self.a.call_to(self.thunks.straddle);
                self.other_page(i64::from(block.stop()) + LENGTH);
            }
        }
    }

    /// The rest of a block, from the first of `entries` on: labels of instructions, in their order.
    fn careful_copy(&mut self, index: usize, entries: &[(usize, Label)]) {
        let block = &self.blocks[index];
        let Some(&(first, _)) = entries.first() else {
            return;
        };
        self.careful = true;
        for instruction in first..block.instructions.len() {
            if let Some(&(_, label)) = entries.iter().find(|entry| entry.0 == instruction) {
                self.floats = FloatRegisters::default();
                self.integers = IntegerRegisters::default();
                self.a.bind(label);
            }
            self.place_instruction(index, instruction);
        }
        self.end(block, None);
        self.careful = false;
    }

    /// Where the current instruction goes to have each access looked up by itself.
    pub(super) fn careful_stub(&mut self) -> Label {
        let label = self.a.label();
        let (block, instruction) = self.at;
        self.stubs.push(Stub::Careful {
            label,
            block,
            instruction,
        });
        label
    }

    fn leave(&mut self, place: Place) {
        self.a.mov_imm(RCX, i64::from(place.0));
        self.a.jmp_to(self.thunks.leave);
    }

    fn instruction(&mut self, placed: &Placed) {
        let inst = &placed.inst;
        match inst.op.spec().class {
            Class::Alu | Class::MulDiv => self.integer(placed),
            Class::Load => self.load(inst),
            Class::Store => self.store(inst),
            Class::Branch => self.branch(placed),
            Class::Jump => self.jump(placed),
            Class::Amo => self.atomic(inst),
            Class::Float => self.float(inst),
            Class::Fence => self.order(inst),
            Class::Hint if inst.op != Op::Pause => {}
            Class::Csr => self.csr(inst),
            Class::Cache if inst.op == Op::CboZero => self.zero_block(inst),
            _ => self.assist(),
        }
    }

    /// `fence`: only a load after a store needs one on this host (RVWMO on TSO: unprivileged
    /// spec, appendix A.5).
    fn order(&mut self, inst: &Inst) {
        const STORES_BEFORE: i32 = 0b0101 << 4;
        const LOADS_AFTER: i32 = 0b1010;
        if inst.imm & STORES_BEFORE != 0 && inst.imm & LOADS_AFTER != 0 {
            self.a.fence();
        }
    }

    /// Has the interpreter execute the current instruction.
    pub(super) fn assist(&mut self) {
        self.a.mov_imm(RAX, i64::from(self.raw));
        self.a.mov_imm(RCX, i64::from(self.place.0));
        self.a.call_to(self.thunks.interpret);
        self.floats.forget_held();
        self.integers.forget_held();
    }

    /// Has the interpreter execute the current instruction after a jump to the first label, and
    /// goes on at the second, which the caller binds behind the instruction.
    pub(super) fn assist_stub(&mut self) -> (Label, Label) {
        let (label, resume) = (self.a.label(), self.a.label());
        self.stubs.push(Stub::Assist {
            label,
            resume,
            raw: self.raw,
            place: self.place,
            held: Default::default(),
        });
        (label, resume)
    }

    /// Tells the stubs from `first` on what the code behind the current instruction expects.
    fn expect_held(&mut self, first: usize) {
        let now = (self.integers.held(), self.floats.held());
        for stub in &mut self.stubs[first..] {
            if let Stub::Assist { held, .. } = stub {
                *held = now;
            }
        }
    }

    /// Leaves the current instruction to the interpreter, if the condition holds.
    pub(super) fn leave_if(&mut self, cond: Cond) {
        let label = self.a.label();
        self.a.jcc(cond, label);
        self.stubs.push(Stub::Leave {
            label,
            place: self.place,
            thunk: self.thunks.leave,
        });
    }

    // Registers.

    /// Where a register can be read. Not `x0`.
    pub(super) fn operand(&mut self, x: u8) -> Operand {
        debug_assert_ne!(x, 0);
        let held = self.find_host(x).or_else(|| {
            let wanted = is_read(self.rest, x);
            wanted.then(|| self.load_register(x)).flatten()
        });
        held.map_or_else(|| x_slot(x).into(), Operand::Reg)
    }

    /// Loads the value of `x` into a register that holds it from now on, if one is free.
    fn load_register(&mut self, x: u8) -> Option<Reg> {
        let reg = self.allocate()?;
        self.a.mov(reg, x_slot(x));
        self.integers.hold(reg, x);
        Some(reg)
    }

    /// A host register with the value of `x`; `scratch` only when it is zero, or no other is free.
    pub(super) fn read(&mut self, x: u8, scratch: Reg) -> Reg {
        if let Some(reg) = self.find_host(x) {
            return reg;
        }
        if x == 0 {
            self.a.mov_imm(scratch, 0);
            return scratch;
        }
        self.load_register(x).unwrap_or_else(|| {
            self.a.mov(scratch, x_slot(x));
            scratch
        })
    }

    /// As [`Emitter::operand`], without a change to what is held: for code that is only executed
    /// sometimes, or repeatedly.
    pub(super) fn operand_in_place(&mut self, x: u8) -> Operand {
        self.find_host(x)
            .map_or_else(|| x_slot(x).into(), Operand::Reg)
    }

    /// Puts the value of `x` into `to`, without a change to what is held.
    pub(super) fn copy_in_place(&mut self, x: u8, to: Reg) {
        if x == 0 {
            self.a.mov_imm(to, 0);
        } else {
            let from = self.operand_in_place(x);
            self.a.mov(to, from);
        }
    }

    /// Puts the value of `x` into `to`.
    pub(super) fn copy(&mut self, x: u8, to: Reg) {
        if x == 0 {
            self.a.mov_imm(to, 0);
        } else {
            let from = self.operand(x);
            self.a.mov(to, from);
        }
    }

    /// The host register in which to compute a new value of `x`; then call [`Emitter::write`].
    pub(super) fn target(&mut self, x: u8, scratch: Reg) -> Reg {
        match self.find_host(x) {
            _ if x == 0 => scratch,
            Some(reg) => reg,
            None => self.allocate().unwrap_or(scratch),
        }
    }

    fn allocate(&mut self) -> Option<Reg> {
        let rest = self.rest;
        self.integers.allocate(|x| is_read(rest, x))
    }

    /// Makes `from` the value of `x`.
    pub(super) fn write(&mut self, x: u8, from: Reg) {
        self.integers.forget_addends(x);
        match pinned(x) {
            _ if x == 0 => {}
            Some(reg) => self.a.mov(reg, from),
            None if is_overwritten(self.rest, x) && self.integers.hold_unsaved(from, x) => {}
            None => {
                self.a.store(Width::B64, x_slot(x), from);
                self.integers.hold(from, x);
            }
        }
    }

    /// `x` was to be written again, and keeps its value instead.
    pub(super) fn keep(&mut self, x: u8) {
        if let Some(reg) = self.integers.unsaved(x) {
            self.write(x, reg);
        }
    }

    /// The host register that has the value of `x` already.
    fn find_host(&mut self, x: u8) -> Option<Reg> {
        pinned(x).or_else(|| self.integers.find(x))
    }

    fn emit_careful_copies(&mut self) {
        let mut copies: Vec<(usize, Vec<(usize, Label)>)> = Vec::new();
        for stub in &self.stubs {
            if let &Stub::Careful {
                label,
                block,
                instruction,
            } = stub
            {
                match copies.last_mut() {
                    Some((last, entries)) if *last == block => entries.push((instruction, label)),
                    _ => copies.push((block, vec![(instruction, label)])),
                }
            }
        }
        for (block, entries) in copies {
            self.careful_copy(block, &entries);
        }
    }

    fn emit_stubs(&mut self) {
        self.emit_careful_copies();
        for stub in std::mem::take(&mut self.stubs) {
            match stub {
                Stub::Careful { .. } => {}
                Stub::Assist {
                    label,
                    resume,
                    raw,
                    place,
                    held,
                } => {
                    self.a.bind(label);
                    self.raw = raw;
                    self.place = place;
                    self.assist();
                    for (reg, x) in held.0.values() {
                        self.a.mov(reg, x_slot(x));
                    }
                    for (xmm, f, format) in held.1.iter() {
                        self.a.load_float(format, xmm, f_slot(f));
                    }
                    self.a.jmp(resume);
                }
                Stub::Leave {
                    label,
                    place,
                    thunk,
                } => {
                    self.a.bind(label);
                    self.a.mov_imm(RCX, i64::from(place.0));
                    self.a.jmp_to(thunk);
                }
                Stub::Unlinked {
                    label,
                    offset,
                    site,
                } => {
                    self.a.bind(label);
                    self.a.mov_imm(RCX, i64::from(Place::new(offset, 0).0));
                    self.a.call_to(self.thunks.unlinked);
                    self.a.dword(site);
                    self.a.dword(self.page);
                }
                Stub::OtherPage { label, target } => {
                    self.a.bind(label);
                    self.other_page(target);
                }
            }
        }
    }
}

/// Whether instructions read `x` soon before one writes it, perhaps: where one names a
/// floating-point register, that is taken for an integer one.
pub(super) fn is_read(instructions: &[Placed], x: u8) -> bool {
    for placed in instructions.iter().take(LOOK_AHEAD) {
        if placed.inst.rs1 == x || placed.inst.rs2 == x {
            return true;
        }
        if placed.inst.rd == x {
            return false;
        }
    }
    false
}

/// Whether instructions write `x` again before one of them can leave the block, or uses registers
/// in a way of its own.
fn is_overwritten(instructions: &[Placed], x: u8) -> bool {
    for placed in instructions.iter().take(LOOK_AHEAD) {
        let op = placed.inst.op;
        let plain = match op.spec().class {
            Class::Alu => !is_assisted(op),
            Class::MulDiv => matches!(op, Op::Mul | Op::Mulw),
            _ => false,
        };
        if !plain {
            return false;
        }
        if placed.inst.rd == x {
            return true;
        }
    }
    false
}
