//! Where the guest goes on: branches, jumps, and what links them to code.

use clade_riscv::isa::{Inst, Op};

use super::assembler::{
    Alu, CodeOffset, Cond, Label, Mem, Operand, RAX, RCX, RDX, Reg, Scale, Width,
};
use super::emit::{Emitter, Stub};
use super::layout::*;
use super::unit::{self, Placed};

/// Where a direct jump within the page leads.
enum Target {
    Label(Label),
    Code(CodeOffset),
    Nowhere,
}

impl Emitter<'_> {
    fn find(&self, offset: u16) -> Target {
        let own = self
            .blocks
            .binary_search_by_key(&offset, |block| block.start);
        match own {
            Ok(index) => Target::Label(self.labels[index]),
            Err(_) => (self.known)(offset).map_or(Target::Nowhere, Target::Code),
        }
    }

    /// The block that is translated, if the next one comes right behind it.
    fn before(&self) -> Option<usize> {
        (!self.careful).then_some(self.at.0)
    }

    /// Goes on at `offset` relative to the page. Nothing where that follows block `behind` anyway.
    pub(super) fn go_to(&mut self, offset: i64, behind: Option<usize>) {
        let Some(offset) = unit::in_page(offset) else {
            return self.other_page(offset);
        };
        let next = behind.and_then(|index| self.blocks.get(index + 1));
        if next.is_some_and(|next| next.start == offset) {
            return;
        }
        match self.find(offset) {
            Target::Label(label) => self.a.jmp(label),
            Target::Code(code) => self.a.jmp_to(code),
            Target::Nowhere => {
                self.a.align4(1);
                let label = self.unlinked(offset, 1);
                self.a.jmp(label);
            }
        }
    }

    /// As [`Emitter::go_to`], if the condition holds.
    fn go_to_if(&mut self, cond: Cond, offset: i64) {
        let Some(offset) = unit::in_page(offset) else {
            let label = self.a.label();
            self.a.jcc(cond, label);
            return self.stubs.push(Stub::OtherPage {
                label,
                target: offset,
            });
        };
        match self.find(offset) {
            Target::Label(label) => self.a.jcc(cond, label),
            Target::Code(code) => self.a.jcc_to(cond, code),
            Target::Nowhere => {
                self.a.align4(2);
                let label = self.unlinked(offset, 2);
                self.a.jcc(cond, label);
            }
        }
    }

    /// The stub for a jump of which `opcode` bytes come before the displacement.
    fn unlinked(&mut self, offset: u16, opcode: u32) -> Label {
        let label = self.a.label();
        let site = self.a.here() + opcode;
        self.stubs.push(Stub::Unlinked {
            label,
            offset,
            site,
        });
        label
    }

    /// Goes to an address relative to the page, in another one.
    pub(super) fn other_page(&mut self, target: i64) {
        self.a.mov(RAX, PC_PAGE);
        self.add_offset(RAX, target);
        self.jump_to_rax();
    }

    fn add_offset(&mut self, reg: Reg, offset: i64) {
        let offset = i32::try_from(offset).expect("direct jumps reach less than 2 GiB");
        if offset != 0 {
            self.a.alu_imm(Width::B64, Alu::Add, reg, offset);
        }
    }

    /// Goes to the virtual address in `rax`, by the hart's cache of jumps. An odd address is never
    /// found in there.
    fn jump_to_rax(&mut self) {
        let mask = (self.options.jump_entries as i32 - 1) << 1;
        let entry = |disp| Mem::indexed(RDX, RCX, Scale::Eight, disp);
        self.a.mov(RDX, JUMPS);
        self.a.mov32(RCX, RAX);
        self.a.alu_imm(Width::B32, Alu::And, RCX, mask);
        self.a.alu(Alu::Cmp, RAX, entry(0));
        self.a.jcc_to(Cond::NotEqual, self.thunks.dispatch);
        self.a.alu_imm(Width::B64, Alu::And, RAX, -4096);
        self.a.store(Width::B64, PC_PAGE, RAX);
        self.a.jmp_indirect(entry(8));
    }

    pub(super) fn branch(&mut self, placed: &Placed) {
        let Inst { op, rs1, rs2, .. } = placed.inst;
        let cond = match op {
            Op::Beq => Cond::Equal,
            Op::Bne => Cond::NotEqual,
            Op::Blt => Cond::Less,
            Op::Bge => Cond::GreaterEqual,
            Op::Bltu => Cond::Below,
            Op::Bgeu => Cond::AboveEqual,
            other => unreachable!("{other:?} is not a branch"),
        };
        self.compare(rs1, rs2);
        self.go_to_if(cond, unit::target(placed));
        let before = self.before();
        self.go_to(i64::from(placed.end()), before);
    }

    /// Sets the flags by two registers.
    pub(super) fn compare(&mut self, rs1: u8, rs2: u8) {
        match (rs1, rs2) {
            (0, 0) => self.a.alu(Alu::Cmp, RAX, RAX),
            (_, 0) => match self.operand(rs1) {
                Operand::Reg(a) => self.a.test(a, a),
                slot => self.a.alu_imm(Width::B64, Alu::Cmp, slot, 0),
            },
            _ => {
                let a = self.read(rs1, RAX);
                let b = self.operand(rs2);
                self.a.alu(Alu::Cmp, a, b);
            }
        }
    }

    pub(super) fn jump(&mut self, placed: &Placed) {
        let Inst {
            op, rd, rs1, imm, ..
        } = placed.inst;
        if op == Op::Jal {
            self.link(rd, placed);
            let before = self.before();
            return self.go_to(unit::target(placed), before);
        }
        // `rd` may be `rs1`.
        self.copy(rs1, RAX);
        self.add_offset(RAX, i64::from(imm));
        self.link(rd, placed);
        self.jump_to_rax();
    }

    /// Puts the address behind an instruction into `rd`. Leaves `rax` alone.
    fn link(&mut self, rd: u8, placed: &Placed) {
        if rd == 0 {
            return;
        }
        let to = self.target(rd, RCX);
        self.a.mov(to, PC_PAGE);
        self.add_offset(to, i64::from(placed.end()));
        self.write(rd, to);
    }

    /// `auipc`: an address relative to the page.
    pub(super) fn page_relative(&mut self, rd: u8, offset: i64) {
        let to = self.target(rd, RAX);
        self.a.mov(to, PC_PAGE);
        match i32::try_from(offset) {
            Ok(offset) => self.a.alu_imm(Width::B64, Alu::Add, to, offset),
            Err(_) => {
                self.a.mov_imm(RCX, offset);
                self.a.alu(Alu::Add, to, RCX);
            }
        }
        self.write(rd, to);
    }
}
