//! Items that only privileged code may do; U-mode traps instead, or jumps over them.

use clade_riscv::csr::address::*;
use clade_riscv::csr::status;
use clade_riscv::isa::{Op, decode};
use clade_riscv::trap::interrupt;

use super::super::common::paging::{V, W};
use super::super::machine::TIME as CLOCK;
use super::*;

impl Generator {
    /// Counters, which tell where the hart is.
    pub(super) fn counter(&mut self) {
        let number = self.random.pick(&[INSTRET, INSTRET, CYCLE, TIME]);
        let register = self.free();
        self.asm.csrr(register, number);
    }

    /// Lets time pass, behind the hart's back.
    pub(super) fn pass_time(&mut self) {
        const NS_PER_TICK: u64 = 100;
        let ticks = 1 + self.random.below(40);
        self.asm
            .li(T0, CLOCK)
            .r(Op::Add, T0, T0, WINDOW)
            .li(T1, ticks * NS_PER_TICK)
            .s(Op::Sd, T1, T0, 0);
    }

    /// An instruction that must trap.
    pub(super) fn trap(&mut self) {
        match self.random.below(4) {
            0 => self.asm.op(Op::Ebreak).end(),
            1 => self.asm.half(0).end(),
            2 => self.asm.csrr(T0, 0x123).end(),
            _ => {
                let raw = loop {
                    let raw = self.random.bits() as u32 | 3;
                    if decode(raw).is_none() {
                        break raw;
                    }
                };
                self.asm.word(raw);
            }
        }
    }

    /// Interrupts, and what S-mode may do with pages.
    pub(super) fn status(&mut self) {
        let register = self.free();
        let bits = self
            .random
            .pick(&[status::SUM, status::MXR, status::SUM | status::MXR]);
        let op = self.random.pick(&[Op::Csrrs, Op::Csrrs, Op::Csrrc]);
        let (number, enable) = if self.around.mode == Mode::Machine {
            (MIP, status::MIE)
        } else {
            (SIP, status::SIE)
        };
        match self.random.below(4) {
            0..2 => {
                self.asm.li(register, bits).csr(op, ZERO, SSTATUS, register);
            }
            2 => {
                let software = interrupt::SSI as u8;
                self.asm.csr(Op::Csrrsi, register, number, software);
            }
            _ => {
                let number = if number == MIP { MSTATUS } else { SSTATUS };
                self.asm.csr(Op::Csrrci, ZERO, number, enable as u8);
                self.integers();
                self.pass_time();
                self.asm.csr(Op::Csrrsi, ZERO, number, enable as u8);
            }
        }
    }

    /// Whether S-mode finds page tables in use.
    pub(super) fn has_spaces(&self) -> bool {
        self.around.translated && self.around.mode != Mode::Machine
    }

    /// A label to jump to in U-mode.
    pub(super) fn over_in_user_mode(&mut self) -> String {
        let over = self.name();
        self.asm.b(Op::Bne, WINDOW, ZERO, &over);
        over
    }

    /// Takes a page away, or the right to write to it.
    pub(super) fn flip(&mut self) {
        if !self.has_spaces() {
            return self.access();
        }
        let over = self.over_in_user_mode();
        let page = FLIPPING + self.random.below(FLIPPING_PAGES) * 0x1000;
        let user = self.random.chance(1, 2);
        let entry = tables::leaf(page, user);
        let gone = self.random.pick(&[V, W]);
        let address = if user { page + USER_ALIAS } else { page };
        let by_page = if self.random.chance(1, 2) { A1 } else { ZERO };
        self.asm
            .li(A0, entry + LARGE_ALIAS)
            .i(Op::Ld, A1, A0, 0)
            .i(Op::Andi, A1, A1, !(gone as i32))
            .s(Op::Sd, A1, A0, 0)
            .li(A1, address)
            .r(Op::SfenceVma, ZERO, by_page, ZERO)
            .label(&over);
    }

    /// Another address space. No fence is needed: its number is its own.
    pub(super) fn change_space(&mut self) {
        if !self.has_spaces() {
            return self.access();
        }
        let over = self.over_in_user_mode();
        let satp = tables::satp(self.random.below(SPACES));
        self.asm.li(A0, satp).csrw(SATP, A0).label(&over);
    }

    pub(super) fn fence(&mut self) {
        let address = self.random.below(32) as u8;
        let space = self.random.below(32) as u8;
        match self.random.below(6) {
            0 => self.asm.fence(0b11, 0b11),
            1 => self.asm.op(Op::FenceI),
            2 => self.asm.r(Op::SfenceVma, ZERO, ZERO, ZERO),
            3 => self.asm.r(Op::SfenceVma, ZERO, address, space),
            4 => self.asm.r(Op::SinvalVma, ZERO, address, space),
            _ => self.asm.op(Op::SfenceWInval),
        };
    }
}
