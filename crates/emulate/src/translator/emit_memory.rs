//! Loads and stores: the TLB's check in line, everything else by the interpreter.

use std::mem::offset_of;

use clade_riscv::isa::{Class, Inst, Op};

use super::assembler::{Alu, Cond, Label, Mem, RAX, RCX, Reg, Scale, Shift, Width};
use super::emit::{Emitter, is_read};
use super::integer_registers::Range;
use super::layout::ZERO_READY;
use crate::interpreter::CACHE_BLOCK;
use crate::tlb::Entry;

/// What a load does with the bits above those that it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extend {
    Zero,
    Sign,
}

const ADDEND: i32 = offset_of!(Entry, addend) as i32;

/// An access that was found in the TLB.
pub(super) struct Found {
    pub(super) mem: Mem,
    /// Where the interpreter executes the instruction after all, and where it goes on.
    stub: Option<(Label, Label)>,
}

/// The farthest apart that the bytes are for which one look-up stands.
const MAX_RANGE: i32 = 1024;

fn bytes(width: Width) -> i32 {
    match width {
        Width::B8 => 1,
        Width::B16 => 2,
        Width::B32 => 4,
        Width::B64 => 8,
    }
}

impl Emitter<'_> {
    /// Finds the `size` bytes at `rs1 + imm`. `rcx` is free afterwards. Then comes the access, and
    /// [`Emitter::accessed`].
    fn locate(&mut self, rs1: u8, imm: i32, size: i32, write: bool) -> Found {
        let range = Range {
            x: rs1,
            low: imm,
            high: imm.wrapping_add(size),
            write,
        };
        if self.careful {
            return self.look_up(range);
        }
        let addend = self
            .integers
            .find_addend(range)
            .or_else(|| self.look_up_range(range));
        match addend {
            Some(addend) => Found {
                mem: Mem::indexed(self.read(rs1, RCX), addend, Scale::One, imm),
                stub: None,
            },
            None => self.look_up(range),
        }
    }

    /// Looks up the bytes of one access.
    fn look_up(&mut self, range: Range) -> Found {
        let (miss, resume) = self.assist_stub();
        let base = self.check(range, miss);
        self.a.mov(RAX, Mem::in_gs(RAX, ADDEND));
        Found {
            mem: Mem::indexed(base, RAX, Scale::One, range.low),
            stub: Some((miss, resume)),
        }
    }

    /// Looks up at once what this and later accesses of the block want by the same register.
    /// Where that is not all in one page, or not all to be had, goes to a copy of the block that
    /// looks up each by itself.
    fn look_up_range(&mut self, first: Range) -> Option<Reg> {
        let range = self.wanted(first)?;
        let rest = self.rest;
        let addend = self.integers.allocate_kept(|x| is_read(rest, x))?;
        let careful = self.careful_stub();
        self.check(range, careful);
        self.a.mov(addend, Mem::in_gs(RAX, ADDEND));
        self.integers.hold_addend(addend, range);
        Some(addend)
    }

    /// What the rest of the block accesses by the register of `first`, and `first`; nothing if that
    /// is all.
    fn wanted(&self, first: Range) -> Option<Range> {
        // The instruction that is translated changes the register, if it is a load into it.
        if writes(&self.current().inst, first.x) {
            return None;
        }
        let mut range = first;
        let mut accesses = 1;
        for placed in self.rest {
            let inst = &placed.inst;
            let class = inst.op.spec().class;
            if matches!(class, Class::Csr | Class::Amo | Class::Cache) {
                break;
            }
            if matches!(class, Class::Load | Class::Store) && inst.rs1 == first.x {
                let low = range.low.min(inst.imm);
                let high = range.high.max(inst.imm + size_of_access(inst.op));
                if high - low > MAX_RANGE {
                    break;
                }
                range = Range {
                    low,
                    high,
                    write: range.write || class == Class::Store,
                    ..range
                };
                accesses += 1;
            }
            if writes(inst, first.x) {
                break;
            }
        }
        (accesses > 1).then_some(range)
    }

    /// Goes to `miss` unless the TLB has the bytes of `range`, all in one page: the host accesses
    /// misaligned data as it is. Leaves the entry's offset in `rax`, uses `rcx`, and returns the
    /// base register.
    fn check(&mut self, range: Range, miss: Label) -> Reg {
        const ENTRY_SHIFT: u32 = size_of::<Entry>().trailing_zeros();
        const READ: i32 = offset_of!(Entry, read) as i32;
        const WRITE: i32 = offset_of!(Entry, write) as i32;
        let base = self.read(range.x, RCX);
        let mask = (self.options.tlb_entries as i32 - 1) << ENTRY_SHIFT;
        let tag = if range.write { WRITE } else { READ };
        let a = &mut self.a;
        // The entry is that of the first byte, the page that of the last: when they differ, so do
        // the entry's tag and the page.
        a.lea32(RAX, Mem::at(base, range.low));
        a.lea(RCX, Mem::at(base, range.high.wrapping_sub(1)));
        a.shift_imm(Width::B32, Shift::Shr, RAX, (12 - ENTRY_SHIFT) as u8);
        a.shift_imm(Width::B64, Shift::Shr, RCX, 12);
        a.alu_imm(Width::B32, Alu::And, RAX, mask);
        a.alu(Alu::Cmp, RCX, Mem::in_gs(RAX, tag));
        a.jcc(Cond::NotEqual, miss);
        base
    }

    /// The access to what was found is done.
    pub(super) fn accessed(&mut self, found: &Found) {
        if let Some((_, resume)) = found.stub {
            self.a.bind(resume);
        }
    }

    /// Looks up what a load reads.
    pub(super) fn locate_load(&mut self, inst: &Inst, width: Width) -> Found {
        self.locate(inst.rs1, inst.imm, bytes(width), false)
    }

    /// Looks up what a store writes.
    pub(super) fn locate_store(&mut self, inst: &Inst, width: Width) -> Found {
        self.locate(inst.rs1, inst.imm, bytes(width), true)
    }

    /// Looks up what an atomic at `rs1` works on. Where it is misaligned the interpreter raises the
    /// trap.
    pub(super) fn locate_aligned(&mut self, rs1: u8, width: Width, write: bool) -> Found {
        let size = bytes(width);
        let found = self.look_up(Range {
            x: rs1,
            low: 0,
            high: size,
            write,
        });
        self.a.test_imm32(found.mem.base, size - 1);
        if let Some((miss, _)) = found.stub {
            self.a.jcc(Cond::NotEqual, miss);
        }
        found
    }

    pub(super) fn load(&mut self, inst: &Inst) {
        if inst.rs1 == 0 {
            return self.assist();
        }
        let (width, extend) = match inst.op {
            Op::Lb => (Width::B8, Extend::Sign),
            Op::Lbu => (Width::B8, Extend::Zero),
            Op::Lh => (Width::B16, Extend::Sign),
            Op::Lhu => (Width::B16, Extend::Zero),
            Op::Lw => (Width::B32, Extend::Sign),
            Op::Lwu => (Width::B32, Extend::Zero),
            Op::Ld => (Width::B64, Extend::Zero),
            _ => return self.float_load(inst),
        };
        let found = self.locate_load(inst, width);
        let to = self.target(inst.rd, RAX);
        match extend {
            Extend::Zero => self.a.movzx(to, width, found.mem),
            Extend::Sign => self.a.movsx(to, width, found.mem),
        }
        self.write(inst.rd, to);
        self.accessed(&found);
    }

    pub(super) fn store(&mut self, inst: &Inst) {
        if inst.rs1 == 0 {
            return self.assist();
        }
        let width = match inst.op {
            Op::Sb => Width::B8,
            Op::Sh => Width::B16,
            Op::Sw => Width::B32,
            Op::Sd => Width::B64,
            _ => return self.float_store(inst),
        };
        let found = self.locate_store(inst, width);
        if inst.rs2 == 0 {
            self.a.store_imm(width, found.mem, 0);
        } else {
            let value = self.read(inst.rs2, RCX);
            self.a.store(width, found.mem, value);
        }
        self.accessed(&found);
    }

    /// `cbo.zero`, with which kernels clear pages.
    pub(super) fn zero_block(&mut self, inst: &Inst) {
        const BLOCK: i32 = CACHE_BLOCK as i32;
        if inst.rs1 == 0 {
            return self.assist();
        }
        let (slow, resume) = self.assist_stub();
        self.a.alu_imm(Width::B8, Alu::Cmp, ZERO_READY, 0);
        self.a.jcc(Cond::Equal, slow);
        // The operand is anywhere in the block.
        let operand = Range {
            x: inst.rs1,
            low: 0,
            high: 1,
            write: true,
        };
        let base = self.check(operand, slow);
        self.a.mov(RAX, Mem::in_gs(RAX, ADDEND));
        self.a.mov(RCX, base);
        self.a.alu_imm(Width::B64, Alu::And, RCX, -BLOCK);
        for offset in (0..BLOCK).step_by(8) {
            let word = Mem::indexed(RCX, RAX, Scale::One, offset);
            self.a.store_imm(Width::B64, word, 0);
        }
        self.a.bind(resume);
    }
}

/// Whether an instruction writes integer register `x`, perhaps: a floating-point register is taken
/// for an integer one.
fn writes(inst: &Inst, x: u8) -> bool {
    inst.rd == x && inst.op.spec().class != Class::Store
}

/// The bytes that a load or store accesses.
fn size_of_access(op: Op) -> i32 {
    match op {
        Op::Lb | Op::Lbu | Op::Sb => 1,
        Op::Lh | Op::Lhu | Op::Sh | Op::Flh | Op::Fsh => 2,
        Op::Lw | Op::Lwu | Op::Sw | Op::Flw | Op::Fsw => 4,
        _ => 8,
    }
}
