//! What a program begins with, and its trap handlers.

use clade_riscv::csr::address::*;
use clade_riscv::csr::{envcfg, status};
use clade_riscv::hart::Mode;
use clade_riscv::isa::Op;
use clade_riscv::trap::{Exception, interrupt};

use super::super::common::paging::{A, D, R, V, W};
use super::*;

/// The frame's address while the handler runs, and the registers that it saves there.
const AT_FRAME: u8 = T6;
const SAVED: [u8; 3] = [T3, T4, T5];
/// Most ticks between two timer interrupts.
const LONGEST_DELAY: i32 = 127;

impl Generator {
    /// The entry point and the handler in M-mode.
    pub(super) fn begin(&mut self) {
        self.asm.j("begin");
        self.asm.pad_to(BASE + 16).label("handler");
        self.handler();
        self.asm.label("begin");
        self.set_up_traps();
        self.set_up_status();
        self.load_registers();
        self.asm.op(Op::Mret);
    }

    fn set_csr(&mut self, number: u16, value: u64) {
        self.asm.li(T0, value).csrw(number, T0);
    }

    fn set_up_traps(&mut self) {
        self.asm.la(T0, "handler").csrw(MTVEC, T0);
        self.set_csr(MSCRATCH, FRAME);
        self.set_csr(STVEC, SUPERVISOR_HANDLER);
        let supervisor = interrupt::SSI | interrupt::STI;
        let delegated = if self.around.delegates { supervisor } else { 0 };
        self.set_csr(MIDELEG, delegated);
        self.set_csr(MIE, supervisor);
        self.set_csr(STIMECMP, 10);
    }

    fn set_up_status(&mut self) {
        let all = u64::MAX;
        let mut features =
            envcfg::STCE | envcfg::PBMTE | envcfg::CBIE | envcfg::CBCFE | envcfg::CBZE;
        self.set_csr(SENVCFG, features & 0xff);
        if self.around.updates_ad {
            features |= envcfg::ADUE;
        }
        self.set_csr(MENVCFG, features);
        self.set_csr(MCOUNTEREN, all);
        self.set_csr(SCOUNTEREN, all);
        // Everything may be accessed: one NAPOT entry for all addresses.
        self.set_csr(PMPADDR0, all);
        self.set_csr(PMPCFG0, 0x1f);
        if self.around.translated {
            self.set_csr(SATP, tables::satp(0));
        }
        let bits = self.random.bits() & (status::SUM | status::MXR);
        let enabled = status::FS | status::MPIE | status::SIE;
        let mode = (self.around.mode as u64) << status::MPP_SHIFT;
        self.set_csr(MSTATUS, bits | enabled | mode);
    }

    /// Loads all registers, and leads to the program.
    fn load_registers(&mut self) {
        let user = self.around.mode == Mode::User && self.around.translated;
        let alias = if user { USER_ALIAS } else { 0 };
        self.set_csr(MEPC, CODE + alias);
        self.asm.li(T0, POOL);
        for register in 0..32 {
            let offset = 8 * self.random.below(POOL_ENTRIES) as i32;
            self.asm.i(Op::Fld, register, T0, offset);
        }
        for register in FREE {
            let offset = 8 * self.random.below(POOL_ENTRIES) as i32;
            self.asm.li(T0, POOL).i(Op::Ld, register, T0, offset);
        }
        let number = self.random.bits();
        self.asm
            .li(NUMBER, number)
            .li(MULTIPLIER, 0x5851_f42d_4c95_7f2d)
            .li(DEPTH, 0)
            .li(WINDOW, alias)
            .li(SP, STACK_END + alias);
    }

    fn handler(&mut self) {
        let a = &mut self.asm;
        a.csr(Op::Csrrw, AT_FRAME, MSCRATCH, AT_FRAME);
        for (index, register) in SAVED.into_iter().enumerate() {
            a.s(Op::Sd, register, AT_FRAME, frame::SAVED + 8 * index as i32);
        }
        a.csrr(T5, MCAUSE).b(Op::Blt, T5, ZERO, "interrupt");
        a.i(Op::Ld, T4, AT_FRAME, frame::TRAPS).addi(T4, T4, 1).s(
            Op::Sd,
            T4,
            AT_FRAME,
            frame::TRAPS,
        );
        let targets = [
            (Exception::InstructionAccessFault, "fetch"),
            (Exception::InstructionPageFault, "fetch"),
            (Exception::EcallFromU, "call from user"),
            (Exception::EcallFromS, "call from supervisor"),
            (Exception::LoadPageFault, "data"),
            (Exception::StorePageFault, "data"),
        ];
        for (cause, target) in targets {
            a.li(T4, cause as u64).b(Op::Beq, T5, T4, target);
        }
        self.skip();
        self.leave();
        self.wrong_fetch();
        self.call();
        self.data_fault();
        self.interrupt();
    }

    /// Goes on after the instruction. Its length is in memory, where the mode that trapped sees it.
    fn skip(&mut self) {
        let a = &mut self.asm;
        a.label("skip").csrr(T5, MEPC).csrr(T3, MSTATUS);
        a.li(T4, status::MPRV | status::MXR)
            .csr(Op::Csrrs, ZERO, MSTATUS, T4)
            .i(Op::Lhu, T4, T5, 0)
            .csrw(MSTATUS, T3);
        a.i(Op::Andi, T4, T4, 3)
            .i(Op::Sltiu, T4, T4, 3)
            .i(Op::Slli, T4, T4, 1)
            .addi(T5, T5, 4)
            .r(Op::Sub, T5, T5, T4)
            .csrw(MEPC, T5);
    }

    /// Returns from the trap.
    fn leave(&mut self) {
        let a = &mut self.asm;
        a.label("leave");
        for (index, register) in SAVED.into_iter().enumerate() {
            a.i(Op::Ld, register, AT_FRAME, frame::SAVED + 8 * index as i32);
        }
        a.csr(Op::Csrrw, AT_FRAME, MSCRATCH, AT_FRAME).op(Op::Mret);
    }

    /// Leads to the same code where this mode has it, or back to the program's begin.
    fn wrong_fetch(&mut self) {
        let a = &mut self.asm;
        a.label("fetch").csrr(T5, MEPC);
        a.i(Op::Slli, T4, T5, 32).i(Op::Srli, T4, T4, 32);
        a.li(T3, CODE).b(Op::Bltu, T4, T3, "restart");
        a.li(T3, CODE_END).b(Op::Bgeu, T4, T3, "restart");
        a.r(Op::Add, T4, T4, WINDOW).b(Op::Beq, T4, T5, "restart");
        a.csrw(MEPC, T4).j("leave");
        a.label("restart").li(T4, CODE).r(Op::Add, T4, T4, WINDOW);
        a.csrw(MEPC, T4).li(DEPTH, 0);
        a.li(SP, STACK_END).r(Op::Add, SP, SP, WINDOW).j("leave");
    }

    /// Changes between U-mode and S-mode; code and stack are elsewhere in the other one.
    fn call(&mut self) {
        let a = &mut self.asm;
        a.label("call from user")
            .li(WINDOW, 0)
            .li(T4, (Mode::Supervisor as u64) << status::MPP_SHIFT)
            .csr(Op::Csrrs, ZERO, MSTATUS, T4)
            .j("other mode");
        a.label("call from supervisor")
            .i(Op::Ld, WINDOW, AT_FRAME, frame::ALIAS)
            .li(T4, status::MPP)
            .csr(Op::Csrrc, ZERO, MSTATUS, T4);
        a.label("other mode").csrr(T5, MEPC).addi(T5, T5, 4);
        for register in [T5, SP] {
            a.i(Op::Slli, register, register, 32)
                .i(Op::Srli, register, register, 32)
                .r(Op::Add, register, register, WINDOW);
        }
        a.csrw(MEPC, T5).j("leave");
    }

    /// Maps a page that was taken away, and lets the program try again.
    fn data_fault(&mut self) {
        let wanted = V | R | W | A | D;
        let by_page = self.random.chance(1, 2);
        let a = &mut self.asm;
        a.label("data").csrr(T5, MTVAL);
        a.i(Op::Slli, T4, T5, 32).i(Op::Srli, T4, T4, 32);
        a.li(T3, FLIPPING).b(Op::Bltu, T4, T3, "skip");
        a.li(T3, FLIPPING + FLIPPING_PAGES * 0x1000)
            .b(Op::Bgeu, T4, T3, "skip");
        // The entry of the page, in the table for the alias.
        a.i(Op::Srli, T4, T4, 12)
            .i(Op::Andi, T4, T4, 0x1ff)
            .i(Op::Slli, T4, T4, 3);
        a.i(Op::Srli, T3, T5, 32)
            .i(Op::Andi, T3, T3, 1)
            .i(Op::Slli, T3, T3, 12)
            .r(Op::Add, T4, T4, T3);
        a.li(T3, tables::LEAVES).r(Op::Add, T4, T4, T3);
        a.i(Op::Ld, T3, T4, 0).i(Op::Andi, T5, T3, wanted as i32);
        a.addi(T5, T5, -(wanted as i32))
            .b(Op::Beq, T5, ZERO, "skip");
        a.i(Op::Ori, T3, T3, wanted as i32).s(Op::Sd, T3, T4, 0);
        a.csrr(T5, MTVAL);
        a.r(Op::SfenceVma, ZERO, if by_page { T5 } else { ZERO }, ZERO);
        a.j("leave");
    }

    fn interrupt(&mut self) {
        let a = &mut self.asm;
        a.label("interrupt");
        a.i(Op::Csrrci, ZERO, interrupt::SSI as u8, i32::from(MIP));
        a.i(Op::Ld, T4, AT_FRAME, frame::DELAY)
            .r(Op::Add, T4, T4, NUMBER)
            .s(Op::Sd, T4, AT_FRAME, frame::DELAY);
        a.i(Op::Srli, T4, T4, 20)
            .i(Op::Andi, T4, T4, LONGEST_DELAY)
            .csrr(T5, TIME)
            .r(Op::Add, T5, T5, T4)
            .csrw(STIMECMP, T5)
            .j("leave");
    }

    /// S-mode's own: silences all that can interrupt it.
    pub(super) fn supervisor_handler(&mut self) {
        let a = &mut self.asm;
        a.csrw(SSCRATCH, T0);
        a.i(Op::Csrrci, ZERO, interrupt::SSI as u8, i32::from(SIP));
        a.csrr(T0, TIME).addi(T0, T0, LONGEST_DELAY / 4);
        a.csrw(STIMECMP, T0).csrr(T0, SSCRATCH).op(Op::Sret);
    }
}
