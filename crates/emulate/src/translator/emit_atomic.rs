//! Atomics, by the host's locked instructions. LR and SC are as in the interpreter: SC compares
//! memory with what LR saw.

use clade_riscv::isa::{Inst, Op};

use super::assembler::{Alu, Cond, Mem, RAX, RCX, RDX, Width};
use super::emit::Emitter;
use super::layout::*;

impl Emitter<'_> {
    pub(super) fn atomic(&mut self, inst: &Inst) {
        use Width::{B32, B64};
        if inst.rs1 == 0 {
            return self.assist();
        }
        match inst.op {
            Op::AmoaddW | Op::AmoswapW => self.exchange(inst, B32),
            Op::AmoaddD | Op::AmoswapD => self.exchange(inst, B64),
            Op::AmoandW => self.modify(inst, B32, Alu::And),
            Op::AmoandD => self.modify(inst, B64, Alu::And),
            Op::AmoorW => self.modify(inst, B32, Alu::Or),
            Op::AmoorD => self.modify(inst, B64, Alu::Or),
            Op::AmoxorW => self.modify(inst, B32, Alu::Xor),
            Op::AmoxorD => self.modify(inst, B64, Alu::Xor),
            Op::AmocasW => self.compare_and_swap(inst, B32),
            Op::AmocasD => self.compare_and_swap(inst, B64),
            Op::LrW => self.load_reserved(inst, B32),
            Op::LrD => self.load_reserved(inst, B64),
            Op::ScW => self.store_conditional(inst, B32),
            Op::ScD => self.store_conditional(inst, B64),
            _ => self.assist(),
        }
    }

    /// Those that one instruction does.
    fn exchange(&mut self, inst: &Inst, width: Width) {
        let found = self.locate_aligned(inst.rs1, width, true);
        self.copy(inst.rs2, RCX);
        match inst.op {
            Op::AmoaddW | Op::AmoaddD => self.a.lock_xadd(width, found.mem, RCX),
            _ => self.a.xchg(width, found.mem, RCX),
        }
        if inst.rd != 0 {
            self.a.movsx(RCX, width, RCX);
            self.write(inst.rd, RCX);
        }
        self.accessed(&found);
    }

    /// Those that try until nobody was in between.
    fn modify(&mut self, inst: &Inst, width: Width, op: Alu) {
        let found = self.locate_aligned(inst.rs1, width, true);
        // The address, as `rax` is what is compared.
        self.integers.clobber(RDX);
        self.a.lea(RDX, found.mem);
        let mem = Mem::at(RDX, 0);
        self.a.movzx(RAX, width, mem);
        let again = self.a.bound_label();
        self.a.mov(RCX, RAX);
        if inst.rs2 == 0 {
            self.a.alu_imm(Width::B64, op, RCX, 0);
        } else {
            let operand = self.operand_in_place(inst.rs2);
            self.a.alu(op, RCX, operand);
        }
        self.a.lock_cmpxchg(width, mem, RCX);
        self.a.jcc(Cond::NotEqual, again);
        if inst.rd != 0 {
            self.a.movsx(RAX, width, RAX);
            self.write(inst.rd, RAX);
        }
        self.accessed(&found);
    }

    fn compare_and_swap(&mut self, inst: &Inst, width: Width) {
        let found = self.locate_aligned(inst.rs1, width, true);
        self.integers.clobber(RDX);
        self.a.lea(RDX, found.mem);
        self.copy_in_place(inst.rd, RAX);
        self.copy_in_place(inst.rs2, RCX);
        self.a.lock_cmpxchg(width, Mem::at(RDX, 0), RCX);
        if inst.rd != 0 {
            self.a.movsx(RAX, width, RAX);
            self.write(inst.rd, RAX);
        }
        self.accessed(&found);
    }

    fn load_reserved(&mut self, inst: &Inst, width: Width) {
        let found = self.locate_aligned(inst.rs1, width, false);
        self.a.lea(RAX, found.mem);
        self.a.movzx(RCX, width, Mem::at(RAX, 0));
        self.a.store(Width::B64, RESERVED_HOST, RAX);
        self.a.store(Width::B64, RESERVED_VALUE, RCX);
        let size = if width == Width::B32 { 4 } else { 8 };
        self.a.store_imm(Width::B64, RESERVED_SIZE, size);
        if inst.rd != 0 {
            self.a.movsx(RCX, width, RCX);
            self.write(inst.rd, RCX);
        }
        self.accessed(&found);
    }

    fn store_conditional(&mut self, inst: &Inst, width: Width) {
        let found = self.locate_aligned(inst.rs1, width, true);
        let size = if width == Width::B32 { 4 } else { 8 };
        self.integers.clobber(RDX);
        self.a.lea(RDX, found.mem);
        // The result without an exchange; whatever clears a register changes the flags.
        self.a.mov32_imm(RCX, 1);
        self.a.alu(Alu::Cmp, RDX, RESERVED_HOST);
        let other_place = self.a.jcc_short(Cond::NotEqual);
        self.a.alu_imm(Width::B64, Alu::Cmp, RESERVED_SIZE, size);
        let other_size = self.a.jcc_short(Cond::NotEqual);
        self.a.mov(RAX, RESERVED_VALUE);
        self.copy_in_place(inst.rs2, RCX);
        self.a.lock_cmpxchg(width, Mem::at(RDX, 0), RCX);
        self.a.setcc(Cond::NotEqual, RCX);
        self.a.movzx(RCX, Width::B8, RCX);
        self.a.bind_short(other_place);
        self.a.bind_short(other_size);
        self.a.store_imm(Width::B64, RESERVED_HOST, 0);
        self.write(inst.rd, RCX);
        self.accessed(&found);
    }
}
