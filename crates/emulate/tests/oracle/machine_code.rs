//! What surrounds the random instructions of an unprivileged program, in M-mode: loading the
//! registers, handling traps, repeating, and storing everything for comparison.

use clade_riscv::csr::address::*;
use clade_riscv::csr::status;
use clade_riscv::isa::Op;

use super::assembler::Assembler;
use super::layout::{SIGNATURE, TO_HOST, frame};

/// Begins a program: sets up traps and floating point, then loads all registers from the frame.
pub(crate) fn prologue(code: &mut Assembler) {
    let over_handler = code.here();
    code.word(0);
    let handler = code.here();
    trap_handler(code);
    let start = code.here();
    code.patch(over_handler, jump_word(over_handler, start));

    code.address(30, handler);
    code.csr_swap(0, MTVEC, 30);
    code.address(31, SIGNATURE);
    code.csr_swap(0, MSCRATCH, 31);
    code.constant(30, status::FS);
    code.csr_swap(0, MSTATUS, 30);
    code.immediate(Op::Ld, 30, 31, frame::FCSR);
    code.csr_swap(0, FCSR, 30);
    for register in 0..32 {
        code.immediate(Op::Fld, register, 31, frame::F + 8 * i32::from(register));
    }
    for register in 1..32 {
        code.immediate(Op::Ld, register, 31, frame::X + 8 * i32::from(register));
    }
    code.csr_swap(0, MCYCLE, 0);
    code.csr_swap(0, MINSTRET, 0);
}

/// Ends a program: jumps back to `again` as often as the frame says, then stores all registers
/// in the frame and tells the host.
pub(crate) fn epilogue(code: &mut Assembler, again: u64) {
    code.csr_swap(31, MSCRATCH, 31);
    code.store(Op::Sd, 30, 31, frame::SAVED);
    code.immediate(Op::Ld, 30, 31, frame::LOOPS);
    code.immediate(Op::Addi, 30, 30, -1);
    code.store(Op::Sd, 30, 31, frame::LOOPS);
    let leave = code.here() + 16;
    code.branch(Op::Beq, 30, 0, leave);
    code.immediate(Op::Ld, 30, 31, frame::SAVED);
    code.csr_swap(31, MSCRATCH, 31);
    code.jump(0, again);

    code.immediate(Op::Ld, 30, 31, frame::SAVED);
    for register in 1..31 {
        code.store(Op::Sd, register, 31, frame::X + 8 * i32::from(register));
    }
    code.csr_read(30, MINSTRET);
    code.store(Op::Sd, 30, 31, frame::INSTRET);
    code.csr_read(30, MSCRATCH);
    code.store(Op::Sd, 30, 31, frame::X + 8 * 31);
    code.constant(30, status::FS);
    code.immediate(Op::Csrrs, 0, 30, i32::from(MSTATUS));
    for register in 0..32 {
        code.store(Op::Fsd, register, 31, frame::F + 8 * i32::from(register));
    }
    code.csr_read(30, FCSR);
    code.store(Op::Sd, 30, 31, frame::FCSR);
    finish(code);
}

/// Tells the host that the program is done, and waits for it to act.
pub(crate) fn finish(code: &mut Assembler) {
    const DONE: i32 = 1;
    code.constant(30, TO_HOST);
    code.immediate(Op::Addi, 31, 0, DONE);
    code.store(Op::Sd, 31, 30, 0);
    let here = code.here();
    code.jump(0, here);
}

/// Notes the trap in the log, and goes on after the instruction that caused it.
fn trap_handler(code: &mut Assembler) {
    code.csr_swap(31, MSCRATCH, 31);
    code.store(Op::Sd, 30, 31, frame::SAVED);
    code.store(Op::Sd, 29, 31, frame::SAVED + 8);
    code.immediate(Op::Ld, 30, 31, frame::TRAPS);
    code.immediate(Op::Andi, 29, 30, frame::LOG_ENTRIES - 1);
    code.immediate(Op::Addi, 30, 30, 1);
    code.store(Op::Sd, 30, 31, frame::TRAPS);
    code.immediate(Op::Slli, 29, 29, frame::LOG_ENTRY_SHIFT);
    code.registers(Op::Add, 29, 29, 31);
    for (index, number) in [MCAUSE, MTVAL, MEPC, MSTATUS].into_iter().enumerate() {
        code.csr_read(30, number);
        code.store(Op::Sd, 30, 29, frame::LOG + 8 * index as i32);
    }
    // The instruction is four bytes long when its low two bits are set, else two.
    code.csr_read(30, MEPC);
    code.immediate(Op::Lhu, 29, 30, 0);
    code.immediate(Op::Andi, 29, 29, 3);
    code.immediate(Op::Sltiu, 29, 29, 3);
    code.immediate(Op::Slli, 29, 29, 1);
    code.immediate(Op::Addi, 30, 30, 4);
    code.registers(Op::Sub, 30, 30, 29);
    code.csr_swap(0, MEPC, 30);
    code.immediate(Op::Ld, 29, 31, frame::SAVED + 8);
    code.immediate(Op::Ld, 30, 31, frame::SAVED);
    code.csr_swap(31, MSCRATCH, 31);
    code.plain(Op::Mret);
}

/// `jal x0, to` at `from`.
pub(crate) fn jump_word(from: u64, to: u64) -> u32 {
    super::assembler::word(clade_riscv::isa::Inst {
        imm: to.wrapping_sub(from) as i32,
        ..super::assembler::blank(Op::Jal)
    })
}
