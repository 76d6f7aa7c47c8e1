//! Loads, stores and atomics: the TLB's check in line, everything else by the interpreter.

use std::mem::offset_of;

use clade_riscv::isa::{Inst, Op};

use super::assembler::{Alu, Cond, Label, Mem, RAX, RCX, RDX, Scale, Shift, Width};
use super::emit::Emitter;
use super::layout::*;
use crate::tlb::Entry;

/// What a load does with the bits above those that it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extend {
    Zero,
    Sign,
}

/// An access that was found in the TLB.
pub(super) struct Found {
    pub(super) mem: Mem,
    /// Has the interpreter execute the instruction after all.
    miss: Label,
    /// To be bound behind the instruction.
    pub(super) resume: Label,
}

fn bytes(width: Width) -> i32 {
    match width {
        Width::B8 => 1,
        Width::B16 => 2,
        Width::B32 => 4,
        Width::B64 => 8,
    }
}

impl Emitter<'_> {
    /// Looks up the `size` bytes at `rs1 + imm`, where `tag` is the offset of the TLB tag that
    /// allows the access. All within one page will do: the host accesses misaligned data as it
    /// is. Uses the scratch registers; `rcx` is free afterwards.
    fn locate(&mut self, rs1: u8, imm: i32, size: i32, tag: usize) -> Found {
        let (miss, resume) = self.assist_stub();
        let base = self.read(rs1, RCX);
        let entry = |field: usize| Mem::in_gs(RAX, field as i32);
        const ENTRY_SHIFT: u32 = size_of::<Entry>().trailing_zeros();
        let mask = (self.options.tlb_entries as i32 - 1) << ENTRY_SHIFT;
        let a = &mut self.a;
        // The entry is that of the first byte, the page that of the last: when they differ, so do
        // the entry's tag and the page.
        a.lea32(RAX, Mem::at(base, imm));
        a.lea(RCX, Mem::at(base, imm.wrapping_add(size - 1)));
        a.shift_imm(Width::B32, Shift::Shr, RAX, (12 - ENTRY_SHIFT) as u8);
        a.shift_imm(Width::B64, Shift::Shr, RCX, 12);
        a.alu_imm(Width::B32, Alu::And, RAX, mask);
        a.alu(Alu::Cmp, RCX, entry(tag));
        a.jcc(Cond::NotEqual, miss);
        a.mov(RAX, entry(offset_of!(Entry, addend)));
        Found {
            mem: Mem::indexed(base, RAX, Scale::One, imm),
            miss,
            resume,
        }
    }

    /// As [`Emitter::locate`] for an atomic at `rs1`. Where it is misaligned the interpreter raises
    /// the trap.
    fn locate_aligned(&mut self, rs1: u8, size: i32) -> Found {
        let found = self.locate(rs1, 0, size, offset_of!(Entry, write));
        let base = self.read(rs1, RCX);
        self.a.test_imm32(base, size - 1);
        self.a.jcc(Cond::NotEqual, found.miss);
        found
    }

    /// Looks up what a load reads.
    pub(super) fn locate_load(&mut self, inst: &Inst, width: Width) -> Found {
        self.locate(inst.rs1, inst.imm, bytes(width), offset_of!(Entry, read))
    }

    /// Looks up what a store writes.
    pub(super) fn locate_store(&mut self, inst: &Inst, width: Width) -> Found {
        self.locate(inst.rs1, inst.imm, bytes(width), offset_of!(Entry, write))
    }

    pub(super) fn load(&mut self, inst: &Inst) {
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
        self.a.bind(found.resume);
    }

    pub(super) fn store(&mut self, inst: &Inst) {
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
        self.a.bind(found.resume);
    }

    /// The atomics that one host instruction does; the others are rarer.
    pub(super) fn atomic(&mut self, inst: &Inst) {
        let width = match inst.op {
            Op::AmoaddW | Op::AmoswapW => Width::B32,
            Op::AmoaddD | Op::AmoswapD => Width::B64,
            _ => return self.assist(),
        };
        let found = self.locate_aligned(inst.rs1, bytes(width));
        self.copy(inst.rs2, RCX);
        match inst.op {
            Op::AmoaddW | Op::AmoaddD => self.a.lock_xadd(width, found.mem, RCX),
            _ => self.a.xchg(width, found.mem, RCX),
        }
        if inst.rd != 0 {
            self.a.movsx(RCX, width, RCX);
            self.write(inst.rd, RCX);
        }
        self.a.bind(found.resume);
    }
}
