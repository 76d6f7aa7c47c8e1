//! Control and status registers: those that only hold a value, in line.

use clade_riscv::csr::address::{SCAUSE, SEPC, SSCRATCH, STVAL};
use clade_riscv::hart::Mode;
use clade_riscv::isa::{Inst, Op};

use super::assembler::{Alu, Cond, Mem, RAX, RCX, Width};
use super::emit::Emitter;
use super::layout::*;

impl Emitter<'_> {
    pub(super) fn csr(&mut self, inst: &Inst) {
        match plain(inst.imm as u16) {
            Some(slot) if inst.op == Op::Csrrw => self.swap_csr(inst, slot),
            Some(slot) if inst.op == Op::Csrrs && inst.rs1 == 0 => self.read_csr(inst, slot),
            _ => {
                self.assist();
                self.floats.forget_modes();
            }
        }
    }

    fn read_csr(&mut self, inst: &Inst, slot: Mem) {
        let (refused, resume) = self.assist_stub();
        self.a
            .alu_imm(Width::B8, Alu::Cmp, MODE, Mode::Supervisor as i32);
        self.a.jcc(Cond::Below, refused);
        let to = self.target(inst.rd, RAX);
        self.a.mov(to, slot);
        self.write(inst.rd, to);
        self.a.bind(resume);
    }

    fn swap_csr(&mut self, inst: &Inst, slot: Mem) {
        let (refused, resume) = self.assist_stub();
        self.a
            .alu_imm(Width::B8, Alu::Cmp, MODE, Mode::Supervisor as i32);
        self.a.jcc(Cond::Below, refused);
        // `rd` may be `rs1`.
        self.copy(inst.rs1, RCX);
        if inst.imm as u16 == SEPC {
            self.a.alu_imm(Width::B64, Alu::And, RCX, -2);
        }
        if inst.rd != 0 {
            let to = self.target(inst.rd, RAX);
            self.a.mov(to, slot);
            self.write(inst.rd, to);
        }
        self.a.store(Width::B64, slot, RCX);
        self.a.bind(resume);
    }
}

/// Where a CSR is that supervisors read and write without any other effect.
fn plain(number: u16) -> Option<Mem> {
    match number {
        SSCRATCH => Some(CSR_SSCRATCH),
        SEPC => Some(CSR_SEPC),
        SCAUSE => Some(CSR_SCAUSE),
        STVAL => Some(CSR_STVAL),
        _ => None,
    }
}
