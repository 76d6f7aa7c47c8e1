//! Whatever loop a hart is in, it must be reached: by a kick, an interrupt, a remote fence.

mod common;

use std::thread::sleep;
use std::time::Duration;

use clade_engine::Exit;
use clade_riscv::csr::address::*;
use clade_riscv::csr::{envcfg, status};
use clade_riscv::isa::Op;
use clade_riscv::trap::interrupt;

use common::asm::*;
use common::machine::*;
use common::paging::*;

const HSM: u64 = 0x48_534d;
const IPI: u64 = 0x73_5049;
const RFENCE: u64 = 0x5246_4e43;

/// Where loops are, and their second parts, on another page.
const LOOP: u64 = RAM + 0x2000;
const FAR: u64 = RAM + 0x4000;
const HANDLER: u64 = RAM + 0x5000;
/// Set by a hart that is about to spin.
const READY: u64 = RAM + 0x8000;

/// Loops that nothing inside ends.
#[derive(Clone, Copy, Debug)]
enum Spin {
    /// One instruction.
    Tight,
    /// A branch back over a few.
    Branch,
    /// Through a register.
    Indirect,
    /// Between two pages.
    Pages,
    /// By calls and returns.
    Calls,
    /// Waiting for memory that never changes.
    Load,
    /// Nothing but exceptions; their handler is at [`HANDLER`].
    Traps,
}

const SPINS: [Spin; 6] = [
    Spin::Tight,
    Spin::Branch,
    Spin::Indirect,
    Spin::Pages,
    Spin::Calls,
    Spin::Load,
];

/// Puts the loop at [`LOOP`].
fn put(machine: &Machine, spin: Spin) {
    machine.assemble(LOOP, |a| {
        a.label("spin");
        match spin {
            Spin::Tight => a.j("spin"),
            Spin::Branch => a
                .addi(A0, A0, 1)
                .addi(A1, A1, 2)
                .b(Op::Beq, ZERO, ZERO, "spin"),
            Spin::Indirect => a.la(T0, "back").label("back").i(Op::Jalr, ZERO, T0, 0),
            Spin::Pages => a.li(T0, FAR).i(Op::Jalr, ZERO, T0, 0),
            Spin::Calls => a
                .jal(RA, "function")
                .j("spin")
                .label("function")
                .addi(A0, A0, 1)
                .ret(),
            Spin::Load => a.li(T0, READY + 64).label("again").i(Op::Ld, T1, T0, 0).b(
                Op::Beq,
                T1,
                ZERO,
                "again",
            ),
            Spin::Traps => a.op(Op::Ebreak),
        };
    });
    machine.assemble(FAR, |a| {
        a.word(jump(FAR, LOOP));
    });
}

/// As [`spin`], and tells the test, too.
fn spin_observed(a: &mut Asm) {
    a.li(T5, LOG).s(Op::Sd, ZERO, T5, 0);
    spin(a);
}

/// Says that the hart is about to spin, and goes there.
fn spin(a: &mut Asm) {
    a.li(T5, READY).li(T6, 1).s(Op::Sd, T6, T5, 0);
    a.li(T0, LOOP).i(Op::Jalr, ZERO, T0, 0);
}

/// Waits until a hart is about to spin, and for long enough for the loop to be translated and to go
/// round many times.
fn while_it_spins(board: &Board) {
    while board.log.lock().unwrap().is_empty() {
        sleep(Duration::from_millis(1));
    }
    sleep(Duration::from_millis(5));
}

#[test]
fn kicks_end_every_loop() {
    for kind in SPINS {
        let mut machine = Machine::with(Start::Machine, spin_observed);
        put(&machine, kind);
        let exits = machine.run_with(|board| {
            for _ in 0..3 {
                while_it_spins(board);
                board.hold(true);
                sleep(Duration::from_millis(1));
                board.hold(false);
            }
            while_it_spins(board);
            board.finish();
        });
        assert_eq!(exits, [Exit::Kicked], "{kind:?}");
        assert_eq!(machine.read_u64(READY), 1);
        let page = machine.hart(0).pc & !0xfff;
        assert!([LOOP, FAR].contains(&page), "{kind:?}: {page:#x}");
    }
}

#[test]
fn kicks_end_a_loop_of_exceptions() {
    let mut machine = Machine::with(Start::Machine, |a| {
        a.li(T0, LOOP).csrw(MTVEC, T0);
        spin_observed(a);
    });
    put(&machine, Spin::Traps);
    let exits = machine.run_with(|board| {
        while_it_spins(board);
        board.finish();
    });
    assert_eq!(exits, [Exit::Kicked]);
    assert_eq!(machine.hart(0).csrs.mcause, 3);
}

/// A machine whose hart spins in M-mode with one interrupt enabled, whose handler finishes.
fn interruptible(kind: Spin, enabled: u64) -> Machine {
    let machine = Machine::with(Start::Machine, |a| {
        a.li(T0, HANDLER).csrw(MTVEC, T0);
        a.li(T0, envcfg::STCE).csrw(MENVCFG, T0);
        a.li(T0, 1000).csrw(STIMECMP, T0);
        a.li(T0, enabled).csrw(MIE, T0);
        a.li(T0, status::MIE).csrw(MSTATUS, T0);
        spin_observed(a);
    });
    put(&machine, kind);
    machine.assemble(HANDLER, |a| {
        a.csrr(S0, MCAUSE).finish();
    });
    machine
}

#[test]
fn timers_interrupt_every_loop() {
    for kind in SPINS {
        let mut machine = interruptible(kind, interrupt::STI);
        machine.run_with(|board| {
            while_it_spins(board);
            assert!(!board.finished(), "{kind:?}");
            board.clock.advance(1_000_000);
        });
        assert_eq!(machine.x(S0), 1 << 63 | 5, "{kind:?}");
    }
}

#[test]
fn wires_interrupt_every_loop() {
    for kind in SPINS {
        let mut machine = interruptible(kind, interrupt::MEI);
        machine.run_with(|board| {
            while_it_spins(board);
            board.set_wire(0, true, true);
        });
        assert_eq!(machine.x(S0), 1 << 63 | 11, "{kind:?}");
    }
}

/// Starts hart 1 at `RAM + 0x1000`, and waits until it has spun for a while.
fn wait_for_spin(a: &mut Asm) {
    a.li(A0, 1).li(A1, RAM + 0x1000).sbi(HSM, 0);
    a.li(S0, READY).label("wait").op(Op::Pause);
    a.i(Op::Ld, T0, S0, 0).b(Op::Beq, T0, ZERO, "wait");
    a.li(S1, 100_000).label("delay").addi(S1, S1, -1);
    a.b(Op::Bne, S1, ZERO, "delay");
}

/// A kernel whose hart 0 does something about hart 1, once that one spins.
fn against_a_spinning_hart(kind: Spin, act: impl FnOnce(&mut Asm), prepare: impl FnOnce(&mut Asm)) {
    let mut machine = Machine::with_harts(Start::Supervisor, 2, |a| {
        wait_for_spin(a);
        act(a);
        a.label("idle").op(Op::Pause).j("idle");
        assert!(a.here() < RAM + 0x1000);
    });
    machine.assemble(RAM + 0x1000, |a| {
        prepare(a);
        spin(a);
    });
    machine.assemble(HANDLER, |a| {
        a.finish();
    });
    put(&machine, kind);
    // It hangs unless hart 1 comes to the handler.
    machine.run_all();
    let pc = machine.hart(1).pc;
    assert_eq!(pc & !0xfff, HANDLER, "{kind:?}: {pc:#x}");
}

#[test]
fn messages_interrupt_every_loop() {
    for kind in SPINS {
        against_a_spinning_hart(
            kind,
            |a| {
                a.li(A0, 2).li(A1, 0).sbi(IPI, 0);
            },
            |a| {
                a.li(T0, HANDLER).csrw(STVEC, T0);
                a.li(T0, interrupt::SSI).csrw(SIE, T0);
                a.li(T0, status::SIE).csrw(SSTATUS, T0);
            },
        );
    }
}

/// The loop itself is overwritten under the hart that is in it: after the remote `fence.i` it runs
/// the new code.
#[test]
fn overwritten_loops_end() {
    for kind in [Spin::Tight, Spin::Branch, Spin::Calls, Spin::Pages] {
        against_a_spinning_hart(
            kind,
            |a| {
                // A jump to the handler.
                a.li(T0, LOOP).li(T1, u64::from(jump(LOOP, HANDLER)));
                a.s(Op::Sw, T1, T0, 0).fence(0b11, 0b11);
                a.li(A0, 2).li(A1, 0).sbi(RFENCE, 0);
            },
            |_| {},
        );
    }
}

/// The page of the loop is mapped to other code: after the remote fence that code runs.
#[test]
fn remapped_loops_end() {
    for kind in [Spin::Tight, Spin::Branch, Spin::Calls] {
        const ELSEWHERE: u64 = RAM + 0x7000;
        const TABLES: u64 = RAM + 0x10_0000;
        let tables = Tables::new(TABLES);
        // The leaf table of the first two megabytes, which holds all that there is.
        let leaf = TABLES + 0x2000;
        let slot = leaf + (LOOP >> 12 & 0x1ff) * 8;
        let satp = tables.satp(1);
        let mut machine = Machine::with_harts(Start::Supervisor, 2, |a| {
            wait_for_spin(a);
            a.li(T0, slot)
                .li(T1, entry(ELSEWHERE, RWX))
                .s(Op::Sd, T1, T0, 0);
            a.fence(0b11, 0b11);
            a.li(A0, 2)
                .li(A1, 0)
                .li(A2, LOOP)
                .li(A3, 0x1000)
                .sbi(RFENCE, 1);
            a.label("idle").op(Op::Pause).j("idle");
        });
        machine.assemble(RAM + 0x1000, |a| {
            a.li(T0, satp).csrw(SATP, T0);
            spin(a);
        });
        put(&machine, kind);
        machine.assemble(ELSEWHERE, |a| {
            // All that the loop could come to leads to the end.
            for _ in 0..8 {
                a.nop();
            }
            a.li(S0, 0x55).finish();
        });
        let mut tables = tables;
        for page in (RAM..RAM + 0x20_0000).step_by(0x1000) {
            tables.map(&machine, page, page, 0, RWX);
        }
        tables.map(&machine, FINISHER, FINISHER, 0, RWX);
        assert_eq!(tables.slot(&machine, LOOP, 0), slot);
        machine.run_all();
        assert_eq!(machine.hart(1).x[usize::from(S0)], 0x55, "{kind:?}");
    }
}

/// `jal x0, to` at `from`.
fn jump(from: u64, to: u64) -> u32 {
    word(clade_riscv::isa::Inst {
        op: Op::Jal,
        rd: 0,
        rs1: 0,
        rs2: 0,
        rs3: 0,
        rm: 0,
        len: 4,
        imm: to.wrapping_sub(from) as i32,
    })
}
