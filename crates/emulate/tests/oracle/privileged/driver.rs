//! The driver: M-mode code that goes through the records.

use clade_riscv::csr::address::*;
use clade_riscv::isa::Op;

use super::super::assembler::Assembler;
use super::super::layout::{CLINT, SIGNATURE, privileged::*};
use super::super::machine_code;
use super::{A0, A1};

/// The doublewords of a record.
#[derive(Clone, Copy)]
pub(super) enum Field {
    Pmpaddr1,
    Pmpaddr2,
    Pmpaddr3,
    Pmpaddr4,
    Pmpcfg0,
    Pmpcfg2,
    Satp,
    Menvcfg,
    Senvcfg,
    Mstateen0,
    Medeleg,
    Mideleg,
    Mcounteren,
    Scounteren,
    Stimecmp,
    Mie,
    Mip,
    Sepc,
    /// For a probe of `mret`; an entry by `mret` uses [`Field::Entry`].
    Mepc,
    Mstatus,
    Entry,
    /// 0 to enter by `mret`, else by a jump.
    Jump,
    A0,
    A1,
}

/// Which CSR a field of a record goes into, in the order in which they are written.
pub(super) const FIELDS: [Option<u16>; 24] = [
    Some(PMPADDR0 + 1),
    Some(PMPADDR0 + 2),
    Some(PMPADDR0 + 3),
    Some(PMPADDR0 + 4),
    Some(PMPCFG0),
    Some(PMPCFG0 + 2),
    Some(SATP),
    Some(MENVCFG),
    Some(SENVCFG),
    Some(MSTATEEN0),
    Some(MEDELEG),
    Some(MIDELEG),
    Some(MCOUNTEREN),
    Some(SCOUNTEREN),
    Some(STIMECMP),
    Some(MIE),
    Some(MIP),
    Some(SEPC),
    Some(MEPC),
    None,
    None,
    None,
    None,
    None,
];

const S0: u8 = 8;
const T0: u8 = 5;
const T1: u8 = 6;
const T3: u8 = 28;
const T5: u8 = 30;
const T6: u8 = 31;

/// Offsets in the frame.
const NEXT_RECORD: i32 = 0;
const END_OF_RECORDS: i32 = 8;
const CURSOR: i32 = 16;

/// The frame as the driver begins.
pub(super) fn frame(memory: &mut Assembler, first: u64, end: u64) {
    memory.skip_to(SIGNATURE);
    memory.double(first);
    memory.double(end);
    memory.double(LOG_AT);
}

/// All of the driver, from the program's entry point on.
pub(super) fn code(code: &mut Assembler) {
    let over_handler = code.here();
    code.word(0);
    let handler = code.here();
    trap_handler(code);
    let next = code.here();
    next_record(code, handler);
    // The handler's last instruction, and the entry point, lead to the first one of the loop.
    code.patch(next - 4, machine_code::jump_word(next - 4, next));
    let start = code.here();
    code.patch(over_handler, machine_code::jump_word(over_handler, start));
    set_up(code, handler);
    code.jump(0, next);
}

/// Once: everything that records do not set.
fn set_up(code: &mut Assembler, handler: u64) {
    code.constant(S0, handler);
    code.csr_swap(0, MTVEC, S0);
    for number in [
        MSCRATCH,
        SSCRATCH,
        MCAUSE,
        MTVAL,
        SCAUSE,
        STVAL,
        MCOUNTINHIBIT,
    ] {
        code.csr_swap(0, number, 0);
    }
    // Entry 0 comes first of all: the driver's own memory stays as M-mode needs it.
    code.constant(T0, (OWN_MEMORY | (OWN_MEMORY_SIZE / 2 - 1)) >> 2);
    code.csr_swap(0, PMPADDR0, T0);
    code.constant(T0, u64::MAX);
    const MTIMECMP: u64 = 0x4000;
    code.constant(T1, CLINT + MTIMECMP);
    code.store(Op::Sd, T0, T1, 0);
    code.csr_swap(0, MCYCLE, 0);
    code.csr_swap(0, MINSTRET, 0);
}

/// Does what the next record says, or ends the program.
fn next_record(code: &mut Assembler, handler: u64) {
    code.constant(T6, SIGNATURE);
    code.immediate(Op::Ld, T5, T6, NEXT_RECORD);
    code.immediate(Op::Ld, T0, T6, END_OF_RECORDS);
    let go_on = code.here() + 4 + 4 * 16;
    code.branch(Op::Bne, T5, T0, go_on);
    machine_code::finish(code);
    while code.here() < go_on {
        code.immediate(Op::Addi, 0, 0, 0);
    }
    code.immediate(Op::Addi, T0, T5, 8 * FIELDS.len() as i32);
    code.store(Op::Sd, T0, T6, NEXT_RECORD);
    code.constant(T0, SUPERVISOR_CODE);
    code.csr_swap(0, STVEC, T0);
    code.constant(T0, u64::MAX);
    code.csr_swap(0, PMPADDR0 + 15, T0);
    let load = |code: &mut Assembler, register, field: Field| {
        code.immediate(Op::Ld, register, T5, 8 * field as i32);
    };
    for (index, number) in FIELDS.iter().enumerate() {
        if let Some(number) = number {
            code.immediate(Op::Ld, T0, T5, 8 * index as i32);
            code.csr_swap(0, *number, T0);
        }
    }
    code.plain(Op::SfenceVma);
    code.plain(Op::FenceI);
    load(code, T0, Field::Entry);
    load(code, T1, Field::Mstatus);
    load(code, T3, Field::Jump);
    load(code, A0, Field::A0);
    load(code, A1, Field::A1);
    code.constant(S0, handler);
    code.csr_swap(0, MINSTRET, 0);
    let jump = code.here() + 16;
    code.branch(Op::Bne, T3, 0, jump);
    code.csr_swap(0, MEPC, T0);
    code.csr_swap(0, MSTATUS, T1);
    code.plain(Op::Mret);
    code.csr_swap(0, MSTATUS, T1);
    code.immediate(Op::Jalr, 0, T0, 0);
}

/// Writes a log entry. Its last instruction is left to be filled in.
fn trap_handler(code: &mut Assembler) {
    code.constant(T6, SIGNATURE);
    code.immediate(Op::Ld, T5, T6, CURSOR);
    code.store(Op::Sd, A0, T5, 0);
    code.store(Op::Sd, A1, T5, 8);
    for (index, number) in LOG_CSRS.into_iter().enumerate() {
        code.csr_read(T0, number);
        code.store(Op::Sd, T0, T5, 16 + 8 * index as i32);
    }
    code.immediate(Op::Addi, T5, T5, LOG_ENTRY as i32);
    code.store(Op::Sd, T5, T6, CURSOR);
    code.word(0);
}
