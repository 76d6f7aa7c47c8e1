//! Any bytes as code: the translator does what the interpreter does, and never crashes.
//!
//! The code runs in S-mode or U-mode and may not write to itself, since what unfenced changes do is
//! not defined; a handler in M-mode skips what traps and leads what went astray back.

#![no_main]

#[path = "../../crates/emulate/tests/oracle/assembler.rs"]
#[allow(dead_code)]
mod assembler;
#[path = "../../crates/emulate/tests/lockstep/machine.rs"]
#[allow(dead_code)]
mod machine;
#[path = "../../crates/emulate/tests/lockstep/pair.rs"]
mod pair;
#[path = "../../crates/emulate/tests/lockstep/report.rs"]
mod report;

use assembler::Assembler;
use clade_emulate::{Tier, Tuning};
use clade_riscv::csr::address::*;
use clade_riscv::csr::{envcfg, status};
use clade_riscv::hart::Mode;
use clade_riscv::isa::Op;
use clade_riscv::trap::interrupt;
use libfuzzer_sys::fuzz_target;
use machine::{BASE, Machine};
use pair::{Pair, Stride};

/// M-mode's own doublewords: two registers, and the number of traps.
const FRAME: u64 = BASE + 0x3000;
/// A page table whose leaves are as large as can be.
const ROOT: u64 = BASE + 0x4000;
const CODE: u64 = BASE + 0x1_0000;
const CODE_SIZE: u64 = 0x4000;
const DATA: u64 = BASE + 0x2_0000;
const DATA_SIZE: u64 = 0x4000;
/// The devices that log, and that let time pass.
const DEVICES: u64 = 0x400_0000;
const DEVICES_SIZE: u64 = 0x400_0000;

/// Instructions that are executed, those of M-mode among them.
const LENGTH: u64 = 2000;

/// As the first bytes of the input say.
#[derive(Clone, Copy)]
struct Choices {
    mode: Mode,
    translated: bool,
    poll_interval: u64,
    tlb_entries: usize,
    hot_after: u32,
    longest: u64,
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&[first, second], code)) = bytes.split_first_chunk::<2>() else {
        return;
    };
    if code.len() < 2 {
        return;
    }
    let bits = |byte: u8, shift: u32| usize::from(byte >> shift & 3);
    let choices = Choices {
        mode: [Mode::User, Mode::Supervisor][usize::from(first & 1)],
        translated: first & 2 != 0,
        poll_interval: [1, 5, 50, 8192][bits(first, 2)],
        tlb_entries: [2, 4, 64, 1024][bits(first, 4)],
        hot_after: [0, 0, 1, 2][bits(first, 6)],
        longest: [1, 9, 60, 600][bits(second, 0)],
    };
    let image = image(choices, code);
    let tuning = |tier| Tuning {
        tier,
        hot_after: choices.hot_after,
        code_bytes: 1 << 20,
        tlb_entries: choices.tlb_entries,
        jump_entries: 4,
        poll_interval: choices.poll_interval,
        exact_polls: true,
    };
    let make = || Pair {
        reference: Machine::new(&image, tuning(Tier::Interpreter)),
        subject: Machine::new(&image, tuning(Tier::Translator)),
    };
    let mut strides = Vec::new();
    let mut total = 0;
    while total < LENGTH {
        let instructions = 1 + strides.len() as u64 * 7 % choices.longest;
        strides.push(Stride {
            ns: 100,
            instructions,
        });
        total += instructions;
    }
    if let Err(report) = pair::run(make, &strides) {
        panic!("{report}");
    }
});

fn image(choices: Choices, code: &[u8]) -> Vec<u8> {
    let mut a = Assembler::new(BASE);
    let over_handler = a.here();
    a.word(0);
    let handler = a.here();
    trap_handler(&mut a);
    let begin = a.here();
    a.patch(over_handler, jump_word(over_handler, begin));
    set_up(&mut a, handler, choices);
    a.skip_to(ROOT);
    // Gigabytes for the devices, for all of memory, and none for the rest.
    const LEAF: u64 = 0xcf;
    const USER: u64 = 1 << 4;
    let user = if choices.mode == Mode::User { USER } else { 0 };
    for gigabyte in 0..512 {
        let mapped = gigabyte == 0 || gigabyte == BASE >> 30;
        a.double(if mapped {
            gigabyte << 28 | LEAF | user
        } else {
            0
        });
    }
    a.skip_to(CODE);
    a.bytes.extend(code.iter().cycle().take(CODE_SIZE as usize));
    a.skip_to(DATA);
    a.bytes
        .extend(code.iter().rev().cycle().take(DATA_SIZE as usize));
    a.bytes
}

/// `jal x0, to` at `from`.
fn jump_word(from: u64, to: u64) -> u32 {
    assembler::word(clade_riscv::isa::Inst {
        imm: to.wrapping_sub(from) as i32,
        ..assembler::blank(Op::Jal)
    })
}

/// A PMP entry for a power of two of bytes.
fn protect(a: &mut Assembler, index: u16, start: u64, size: u64) {
    a.constant(5, (start | (size / 2 - 1)) >> 2);
    a.csr_swap(0, PMPADDR0 + index, 5);
}

fn set_up(a: &mut Assembler, handler: u64, choices: Choices) {
    protect(a, 0, CODE, CODE_SIZE);
    protect(a, 1, DATA, DATA_SIZE);
    protect(a, 2, DEVICES, DEVICES_SIZE);
    protect(a, 3, ROOT, 0x1000);
    let satp = if choices.translated {
        8 << 60 | ROOT >> 12
    } else {
        0
    };
    // Nothing of S-mode's touches page tables, and nothing sleeps.
    let mstatus = (choices.mode as u64) << status::MPP_SHIFT
        | status::FS
        | status::MPIE
        | status::TVM
        | status::TW;
    const READ_EXECUTE: u64 = 0x1d;
    const READ_WRITE: u64 = 0x1b;
    const READ: u64 = 0x19;
    let registers = [
        (
            PMPCFG0,
            READ_EXECUTE | READ_WRITE << 8 | READ_WRITE << 16 | READ << 24,
        ),
        (MTVEC, handler),
        (MSCRATCH, FRAME),
        (SATP, satp),
        (
            MENVCFG,
            envcfg::STCE | envcfg::CBIE | envcfg::CBCFE | envcfg::CBZE,
        ),
        (SENVCFG, envcfg::CBIE | envcfg::CBCFE | envcfg::CBZE),
        (MCOUNTEREN, u64::MAX),
        (SCOUNTEREN, u64::MAX),
        (STIMECMP, 5),
        (MIE, interrupt::STI),
        (MSTATUS, mstatus),
        (MEPC, CODE),
    ];
    for (number, value) in registers {
        a.constant(5, value);
        a.csr_swap(0, number, 5);
    }
    a.plain(Op::SfenceVma);
    for register in 1..32 {
        let index = u64::from(register);
        let value = match index % 4 {
            0 => DATA + 0x1ff0 + index / 4,
            1 => DATA + 0x208 * index,
            2 => CODE + 2 * index,
            _ => {
                [0, 1, u64::MAX, 1 << 63, DEVICES, 1 << 31, 0x7fff_ffff, 77][register as usize / 4]
            }
        };
        a.constant(register, value);
    }
    a.plain(Op::Mret);
}

/// Skips the instruction, or goes elsewhere in the code when there is none.
fn trap_handler(a: &mut Assembler) {
    const TRAPS: i32 = 16;
    a.csr_swap(31, MSCRATCH, 31);
    a.store(Op::Sd, 30, 31, 0);
    a.store(Op::Sd, 29, 31, 8);
    a.csr_read(30, MCAUSE);
    let exception = a.here() + 5 * 4;
    a.branch(Op::Bge, 30, 0, exception);
    // A timer: the next one comes soon.
    a.csr_read(30, TIME);
    a.immediate(Op::Addi, 30, 30, 3);
    a.csr_swap(0, STIMECMP, 30);
    let to_leave = a.here();
    a.word(0);

    a.immediate(Op::Ld, 29, 31, TRAPS);
    a.immediate(Op::Addi, 29, 29, 1);
    a.store(Op::Sd, 29, 31, TRAPS);
    a.csr_read(30, MEPC);
    a.immediate(Op::Srli, 29, 30, CODE_SIZE.trailing_zeros() as i32);
    a.immediate(Op::Slli, 29, 29, CODE_SIZE.trailing_zeros() as i32);
    a.registers(Op::Sub, 30, 30, 29);
    a.constant(31, CODE);
    let astray = a.here();
    a.word(0);
    a.csr_read(30, MEPC);
    a.immediate(Op::Lhu, 29, 30, 0);
    a.immediate(Op::Andi, 29, 29, 3);
    a.immediate(Op::Sltiu, 29, 29, 3);
    a.immediate(Op::Slli, 29, 29, 1);
    a.immediate(Op::Addi, 30, 30, 4);
    a.registers(Op::Sub, 30, 30, 29);
    let to_set = a.here();
    a.word(0);
    // Back to the same place in the code, whichever page it was on.
    let back = a.here();
    a.registers(Op::Add, 30, 30, 31);
    let set = a.here();
    a.csr_swap(0, MEPC, 30);
    a.constant(31, FRAME);
    let leave = a.here();
    a.immediate(Op::Ld, 29, 31, 8);
    a.immediate(Op::Ld, 30, 31, 0);
    a.csr_swap(31, MSCRATCH, 31);
    a.plain(Op::Mret);

    let branch = clade_riscv::isa::Inst {
        rs1: 29,
        rs2: 31,
        imm: back.wrapping_sub(astray) as i32,
        ..assembler::blank(Op::Bne)
    };
    a.patch(astray, assembler::word(branch));
    a.patch(to_set, jump_word(to_set, set));
    a.patch(to_leave, jump_word(to_leave, leave));
}
