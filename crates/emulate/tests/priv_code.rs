//! Fetching instructions: self-modifying code, instructions across pages, counting.

mod common;

use clade_engine::Exit;
use clade_riscv::csr::address::{MEPC, MINSTRET, MTVEC, SATP};
use clade_riscv::hart::Mode;
use clade_riscv::isa::Op;
use clade_riscv::trap::Exception;

use common::asm::*;
use common::machine::*;
use common::paging::*;

/// Where the programs put the code that they change.
const PATCHED: u64 = RAM + 0x2000;
const C_JR_RA: u16 = 0x8082;
const C_ADDI_A0_16: u16 = 0x0541;

fn add(amount: i32) -> u32 {
    immediate(Op::Addi, A0, A0, amount)
}

/// Calls the code at `PATCHED`.
fn call(a: &mut Asm) {
    a.li(S0, PATCHED).i(Op::Jalr, RA, S0, 0);
}

/// Stores the word in A1 at `PATCHED`.
fn patch(a: &mut Asm, word: u32) {
    a.li(S0, PATCHED)
        .li(A1, u64::from(word))
        .s(Op::Sw, A1, S0, 0);
}

#[test]
fn fence_i_makes_new_code_visible() {
    let mut machine = Machine::with(Start::Machine, |a| {
        call(a);
        call(a);
        patch(a, add(100));
        a.op(Op::FenceI);
        call(a);
        patch(a, add(1000));
        a.op(Op::FenceI);
        call(a);
        a.finish();
    });
    machine.assemble(PATCHED, |a| {
        a.word(add(1)).ret();
    });
    machine.run();
    assert_eq!(machine.x(A0), 1 + 1 + 100 + 1000);
}

/// Until `fence.i` the old or the new instruction may run, but nothing else (unprivileged spec,
/// Zifencei), and after it only the new one.
#[test]
fn without_fence_i_the_old_or_the_new_code_runs() {
    let mut machine = Machine::with(Start::Machine, |a| {
        call(a);
        patch(a, add(100));
        call(a);
        a.mv(A2, A0).op(Op::FenceI);
        call(a);
        a.finish();
    });
    machine.assemble(PATCHED, |a| {
        a.word(add(1)).ret();
    });
    machine.run();
    assert!([2, 101].contains(&machine.x(A2)), "{}", machine.x(A2));
    assert_eq!(machine.x(A0), machine.x(A2) + 100);
}

/// A trap handler that counts in S11 and returns to RA.
fn return_to_caller(a: &mut Asm) {
    const S11: u8 = 27;
    a.la(T0, "trap").csrw(MTVEC, T0).j("start");
    // The handler's address is a multiple of four.
    a.pad_to((a.here() + 3) & !3);
    a.label("trap")
        .addi(S11, S11, 1)
        .csrw(MEPC, RA)
        .op(Op::Mret)
        .label("start");
}

#[test]
fn illegal_code_becomes_legal_after_fence_i() {
    let mut machine = Machine::with(Start::Machine, |a| {
        return_to_caller(a);
        call(a);
        call(a);
        patch(a, add(5));
        a.op(Op::FenceI);
        call(a);
        patch(a, 0);
        a.op(Op::FenceI);
        call(a);
        a.finish();
    });
    machine.assemble(PATCHED, |a| {
        a.word(0).ret();
    });
    machine.run();
    assert_eq!(machine.x(A0), 5);
    assert_eq!(machine.x(27), 3, "two traps before and one after");
}

#[test]
fn an_instruction_across_pages_becomes_a_short_one_after_fence_i() {
    let end = PATCHED + 0xffe;
    let call = |a: &mut Asm| {
        a.li(S0, end).i(Op::Jalr, RA, S0, 0);
    };
    let mut machine = Machine::with(Start::Machine, |a| {
        call(a);
        call(a);
        a.li(A1, u64::from(C_ADDI_A0_16)).s(Op::Sh, A1, S0, 0);
        a.li(A1, u64::from(C_JR_RA)).s(Op::Sh, A1, S0, 2);
        a.op(Op::FenceI);
        call(a);
        a.finish();
    });
    machine.assemble(end, |a| {
        a.word(add(1)).ret();
    });
    machine.run();
    assert_eq!(machine.x(A0), 1 + 1 + 16);
}

/// The same bytes run from two starting points; both see a change.
#[test]
fn overlapping_instructions() {
    // `lui a1, ...` whose upper half is `c.addi a0, 1`, or later `c.addi a0, 16`.
    let lui = |upper: u16| u32::from(upper) << 16 | 11 << 7 | 0x37;
    let both = |a: &mut Asm| {
        a.li(S0, PATCHED).i(Op::Jalr, RA, S0, 0);
        a.li(S0, PATCHED + 2).i(Op::Jalr, RA, S0, 0);
    };
    let mut machine = Machine::with(Start::Machine, |a| {
        both(a);
        a.mv(A2, A0).mv(A3, A1);
        a.li(S0, PATCHED);
        a.li(T0, u64::from(lui(C_ADDI_A0_16))).s(Op::Sw, T0, S0, 0);
        a.op(Op::FenceI);
        both(a);
        a.finish();
    });
    machine.assemble(PATCHED, |a| {
        a.word(lui(0x0505)).half(C_JR_RA);
    });
    machine.run();
    assert_eq!((machine.x(A2), machine.x(A3)), (1, 0x0505_0000));
    assert_eq!((machine.x(A0), machine.x(A1)), (17, 0x0541_0000));
}

/// A page whose slot in a TLB of a usual size is not that of the program.
const VIRTUAL: u64 = 0x4020_0000;

#[test]
fn an_instruction_on_two_pages_that_are_apart_in_memory() {
    let (mut machine, mut tables) = translated(|a| {
        a.li(S0, VIRTUAL + 0xffe).i(Op::Jalr, RA, S0, 0).finish();
    });
    let word = add(77);
    tables.map(&machine, VIRTUAL, RAM + 0x8000, 0, RWX);
    tables.map(&machine, VIRTUAL + 0x1000, RAM + 0x5000, 0, RWX);
    machine.write(RAM + 0x8ffe, &(word as u16).to_le_bytes());
    machine.write(RAM + 0x5000, &((word >> 16) as u16).to_le_bytes());
    machine.write(RAM + 0x5002, &C_JR_RA.to_le_bytes());
    // What follows the first page in memory must not run.
    machine.write(RAM + 0x9000, &[0; 4]);
    machine.run();
    assert_eq!(machine.x(A0), 77);
}

/// The fault's address is that of the missing part, the trap's `mepc` that of the instruction
/// (privileged spec 3.1.16).
#[test]
fn an_instruction_whose_second_page_is_missing() {
    let (mut machine, mut tables) = translated(|a| {
        a.li(S0, VIRTUAL + 0xffe).i(Op::Jalr, RA, S0, 0).finish();
    });
    tables.map(&machine, VIRTUAL, RAM + 0x8000, 0, RWX);
    machine.write(RAM + 0x8ffe, &(add(77) as u16).to_le_bytes());
    machine.run();
    let csrs = machine.hart(0).csrs;
    assert_eq!(csrs.mcause, Exception::InstructionPageFault as u64);
    assert_eq!(csrs.mepc, VIRTUAL + 0xffe);
    assert_eq!(csrs.mtval, VIRTUAL + 0x1000);
    assert_eq!(machine.x(A0), 0);
}

/// A short instruction at the page's end does not look at the next page.
#[test]
fn a_short_instruction_before_a_missing_page() {
    let (mut machine, mut tables) = translated(|a| {
        a.li(S0, VIRTUAL + 0xffe).i(Op::Jalr, RA, S0, 0).finish();
    });
    tables.map(&machine, VIRTUAL, RAM + 0x8000, 0, RWX);
    machine.write(RAM + 0x8ffe, &C_ADDI_A0_16.to_le_bytes());
    machine.run();
    let csrs = machine.hart(0).csrs;
    assert_eq!(machine.x(A0), 16);
    assert_eq!(csrs.mcause, Exception::InstructionPageFault as u64);
    assert_eq!(
        (csrs.mepc, csrs.mtval),
        (VIRTUAL + 0x1000, VIRTUAL + 0x1000)
    );
}

#[test]
fn fetch_permissions() {
    let fault = |flags: u64, mode: Mode| {
        let (mut machine, mut tables) = translated(|a| {
            a.finish();
        });
        tables.map(&machine, VIRTUAL, RAM + 0x8000, 0, flags);
        machine.assemble(RAM + 0x8000, |a| {
            // A breakpoint tells that the fetch was allowed.
            a.op(Op::Ebreak);
        });
        machine.set_hart(0, |hart| {
            hart.mode = mode;
            hart.pc = VIRTUAL;
        });
        machine.run();
        let csrs = machine.hart(0).csrs;
        assert_eq!(csrs.mtval, VIRTUAL);
        csrs.mcause == Exception::InstructionPageFault as u64
    };
    assert!(!fault(V | X | A, Mode::Supervisor));
    assert!(fault(V | R | W | A | D, Mode::Supervisor));
    assert!(fault(V | X | U | A, Mode::Supervisor));
    assert!(!fault(V | X | U | A, Mode::User));
    assert!(fault(V | X | A, Mode::User));
}

#[test]
fn fetching_from_a_device_or_nowhere_is_an_access_fault() {
    for target in [LOG, NOWHERE, RAM + RAM_SIZE, !1] {
        let mut machine = Machine::with(Start::Machine, |a| {
            return_to_caller(a);
            a.li(S0, target).i(Op::Jalr, RA, S0, 0).finish();
        });
        assert_eq!(machine.run(), Exit::Kicked);
        let csrs = machine.hart(0).csrs;
        assert_eq!(csrs.mcause, Exception::InstructionAccessFault as u64);
        assert_eq!(csrs.mtval, target);
    }
}

/// Running off the end of memory faults at the first byte that is not there.
#[test]
fn an_instruction_across_the_end_of_memory() {
    let last = RAM + RAM_SIZE - 2;
    let mut machine = Machine::with(Start::Machine, |a| {
        return_to_caller(a);
        a.li(S0, last).i(Op::Jalr, RA, S0, 0).finish();
    });
    machine.write(last, &(add(1) as u16).to_le_bytes());
    machine.run();
    let csrs = machine.hart(0).csrs;
    assert_eq!(csrs.mcause, Exception::InstructionAccessFault as u64);
    assert_eq!(csrs.mtval, last + 2);
}

/// `minstret` counts what retires: not the instruction that traps (privileged spec 3.3.1), and the
/// same whether code comes in long blocks, short ones or one by one.
#[test]
fn minstret_counts_retired_instructions() {
    for nops in [0, 1, 62, 63, 64, 65, 200, 1500] {
        let mut machine = Machine::with(Start::Machine, |a| {
            a.csrr(A0, MINSTRET);
            (0..nops).for_each(|_| {
                a.nop();
            });
            a.csrr(A1, MINSTRET).finish();
        });
        machine.run();
        assert_eq!(machine.x(A1) - machine.x(A0), nops + 1);
    }
    let mut machine = Machine::with(Start::Machine, |a| {
        return_to_caller(a);
        a.la(RA, "after").csrr(A0, MINSTRET).op(Op::Ecall);
        a.label("after").csrr(A1, MINSTRET);
        a.la(RA, "end").csrr(A2, MINSTRET).word(0);
        a.label("end").csrr(A3, MINSTRET).finish();
    });
    machine.run();
    // The read itself, and the handler's three.
    assert_eq!(machine.x(A1) - machine.x(A0), 4);
    assert_eq!(machine.x(A3) - machine.x(A2), 4);
}

/// A page of code is replaced under the same virtual address.
#[test]
fn remapped_code_runs_after_sfence_vma() {
    const TABLE: u64 = 0x5000_7000;
    let (mut machine, mut tables) = translated(|a| {
        a.li(S0, VIRTUAL).i(Op::Jalr, RA, S0, 0);
        a.li(T0, TABLE).i(Op::Ld, T1, T0, 0);
        a.li(T2, 1 << 10).r(Op::Add, T1, T1, T2);
        a.s(Op::Sd, T1, T0, 0).r(Op::SfenceVma, ZERO, S0, ZERO);
        a.i(Op::Jalr, RA, S0, 0).finish();
    });
    let slot = tables.map(&machine, VIRTUAL, RAM + 0x8000, 0, RWX);
    tables.map(&machine, TABLE, slot & !0xfff, 0, RWX);
    for (page, amount) in [(RAM + 0x8000, 3), (RAM + 0x9000, 50)] {
        machine.assemble(page, |a| {
            a.word(add(amount)).ret();
        });
    }
    assert_eq!(slot & 0xfff, 0, "the slot is the first of its table");
    machine.run();
    assert_eq!(machine.x(A0), 53);
}

/// Another root with another identifier needs no fence at all (privileged spec 12.1.11).
#[test]
fn code_follows_satp() {
    let (mut machine, mut tables) = translated(|a| {
        a.li(S0, VIRTUAL).i(Op::Jalr, RA, S0, 0);
        a.csrw(SATP, S1).i(Op::Jalr, RA, S0, 0);
        a.csrw(SATP, S2).i(Op::Jalr, RA, S0, 0).finish();
    });
    let mut other = Tables::new(RAM + 0x11_0000);
    other.map(&machine, RAM, RAM, 0, RWX);
    other.map(&machine, FINISHER, FINISHER, 0, RWX);
    tables.map(&machine, VIRTUAL, RAM + 0x8000, 0, RWX);
    other.map(&machine, VIRTUAL, RAM + 0x9000, 0, RWX);
    for (page, amount) in [(RAM + 0x8000, 3), (RAM + 0x9000, 50)] {
        machine.assemble(page, |a| {
            a.word(add(amount)).ret();
        });
    }
    let (first, second) = (tables.satp(0), other.satp(1));
    machine.set_hart(0, |hart| {
        hart.x[usize::from(S1)] = second;
        hart.x[usize::from(S2)] = first;
    });
    machine.run();
    assert_eq!(machine.x(A0), 3 + 50 + 3);
}
