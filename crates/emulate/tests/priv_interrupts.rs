//! Interrupts and timers as a running program sees them.

mod common;

use std::thread::sleep;
use std::time::Duration;

use clade_engine::Exit;
use clade_riscv::csr::address::{
    MCAUSE, MENVCFG, MEPC, MIE, MIP, MSTATUS, SCAUSE, SEPC, SIE, SIP, SSTATUS, STIMECMP,
    TIME as TIME_CSR,
};
use clade_riscv::csr::{envcfg, status};
use clade_riscv::hart::Mode;
use clade_riscv::isa::Op;
use clade_riscv::trap::interrupt;

use common::asm::*;
use common::machine::*;

const HANDLER: u64 = RAM + 0x1000;
const NS_PER_TICK: u64 = 100;
const MTIMECMP: u64 = CLINT + 0x4000;
/// `mcause` and `scause` of an interrupt.
const INTERRUPT: u64 = 1 << 63;

/// How a wait is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wake {
    Stimecmp,
    Mtimecmp,
    SupervisorWire,
    MachineWire,
    MachineSoftware,
}

impl Wake {
    const ALL: [Wake; 5] = [
        Wake::Stimecmp,
        Wake::Mtimecmp,
        Wake::SupervisorWire,
        Wake::MachineWire,
        Wake::MachineSoftware,
    ];

    fn bit(self) -> u64 {
        match self {
            Wake::Stimecmp => interrupt::STI,
            Wake::Mtimecmp => interrupt::MTI,
            Wake::SupervisorWire => interrupt::SEI,
            Wake::MachineWire => interrupt::MEI,
            Wake::MachineSoftware => interrupt::MSI,
        }
    }
}

/// WFI goes on once an interrupt is pending that `mie` enables, whether or not `mstatus` does
/// (privileged spec 3.3.3); with `mstatus` it is taken after the WFI.
#[test]
fn wfi_wakes() {
    // The test's clock stands still until the test lets it pass.
    const DELAY_TICKS: u64 = 200_000;
    for wake in Wake::ALL {
        for enabled in [false, true] {
            let mut machine = Machine::with(Start::Machine, |a| {
                a.li(S0, DELAY_TICKS);
                match wake {
                    Wake::Stimecmp => a.csrw(STIMECMP, S0),
                    Wake::Mtimecmp => a.li(T1, MTIMECMP).s(Op::Sd, S0, T1, 0),
                    _ => a,
                };
                a.li(T0, wake.bit()).csrw(MIE, T0);
                a.op(Op::Wfi).label("woken");
                a.csrr(A0, MIP).csrr(A1, TIME_CSR).finish();
            });
            machine.assemble(HANDLER, |a| {
                a.csrr(A0, MIP).csrr(A1, TIME_CSR).csrr(A2, MCAUSE);
                a.finish();
            });
            machine.set_hart(0, |hart| {
                hart.csrs.mtvec = HANDLER;
                hart.csrs.menvcfg |= envcfg::STCE;
                hart.csrs.mstatus |= if enabled { status::MIE } else { 0 };
            });
            machine.run_with(|board| {
                sleep(Duration::from_millis(5));
                match wake {
                    Wake::SupervisorWire => board.set_wire(0, false, true),
                    Wake::MachineWire => board.set_wire(0, true, true),
                    Wake::MachineSoftware => {
                        use clade_engine::IoBus;
                        board.write(CLINT, &1u32.to_le_bytes()).unwrap();
                    }
                    _ => board.clock.advance(DELAY_TICKS * NS_PER_TICK),
                }
            });
            assert_eq!(machine.x(A0) & wake.bit(), wake.bit(), "{wake:?}");
            let cause = INTERRUPT | u64::from(wake.bit().trailing_zeros());
            assert_eq!(machine.x(A2), if enabled { cause } else { 0 }, "{wake:?}");
            if matches!(wake, Wake::Stimecmp | Wake::Mtimecmp) {
                assert_eq!(machine.x(A1), DELAY_TICKS);
            }
        }
    }
}

/// An interrupt that `mie` does not enable does not end a wait.
#[test]
fn wfi_sleeps_on_when_the_interrupt_is_not_enabled() {
    let mut machine = Machine::with(Start::Machine, |a| {
        a.li(T0, interrupt::SEI).csrw(MIE, T0).op(Op::Wfi);
        a.csrr(A0, MIP).finish();
    });
    machine.run_with(|board| {
        board.set_wire(0, true, true);
        sleep(Duration::from_millis(20));
        assert!(!board.finished());
        board.set_wire(0, false, true);
    });
    assert_eq!(machine.x(A0), interrupt::SEI | interrupt::MEI);
}

/// A pending interrupt makes WFI a no-operation.
#[test]
fn wfi_does_not_wait_for_what_is_there() {
    let mut machine = Machine::with(Start::Machine, |a| {
        a.li(T0, interrupt::SSI).csrw(MIE, T0).csrw(MIP, T0);
        a.op(Op::Wfi).li(A0, 1).finish();
    });
    machine.run();
    assert_eq!(machine.x(A0), 1);
}

#[test]
fn wfi_below_machine_mode_can_be_forbidden() {
    for (mode, tw, legal) in [
        (Mode::Machine, true, true),
        (Mode::Supervisor, false, true),
        (Mode::Supervisor, true, false),
        // Allowed not to be available in U-mode when S-mode exists (3.1.6.6).
        (Mode::User, false, false),
    ] {
        let mut machine = Machine::with(Start::Machine, |a| {
            a.op(Op::Wfi).finish();
        });
        machine.assemble(HANDLER, |a| {
            a.csrr(A2, MCAUSE).finish();
        });
        machine.set_hart(0, |hart| {
            hart.mode = mode;
            hart.csrs.pmp.open_all();
            hart.csrs.mtvec = HANDLER;
            hart.csrs.mstatus |= if tw { status::TW } else { 0 };
            hart.csrs.mie = interrupt::SSI;
            hart.csrs.mip = interrupt::SSI;
            hart.csrs.mideleg = interrupt::SSI;
            // So that U-mode does not take it.
            hart.csrs.stvec = HANDLER;
            if mode == Mode::User {
                hart.csrs.mie = 0;
            }
        });
        machine.run();
        assert_eq!(machine.x(A2), if legal { 0 } else { 2 }, "{mode:?} {tw}");
    }
}

/// A timer interrupts a loop soon after its time, and not before.
#[test]
fn timers_interrupt_a_loop_on_time() {
    for wake in [Wake::Stimecmp, Wake::Mtimecmp] {
        let mut machine = Machine::with(Start::Machine, |a| {
            a.li(S0, 1000)
                .li(S1, TIME)
                .li(T0, 10 * NS_PER_TICK)
                .li(T1, MTIMECMP);
            match wake {
                Wake::Stimecmp => a.csrw(STIMECMP, S0),
                _ => a.s(Op::Sd, S0, T1, 0),
            };
            a.li(T2, wake.bit())
                .csrw(MIE, T2)
                .li(T2, status::MIE)
                .csrw(MSTATUS, T2);
            // Each turn lets ten ticks pass and counts.
            a.label("loop")
                .s(Op::Sd, T0, S1, 0)
                .addi(A0, A0, 1)
                .j("loop");
        });
        machine.assemble(HANDLER, |a| {
            a.csrr(A1, TIME_CSR).csrr(A2, MCAUSE).finish();
        });
        machine.set_hart(0, |hart| {
            hart.csrs.mtvec = HANDLER;
            hart.csrs.menvcfg |= envcfg::STCE;
        });
        machine.run();
        let (turns, time) = (machine.x(A0), machine.x(A1));
        assert!(time >= 1000, "{wake:?} went off at {time}");
        // The hart looks at the clock every few thousand instructions, three to a turn.
        assert!(
            (100..10_000).contains(&turns),
            "{wake:?} after {turns} turns"
        );
        let cause = INTERRUPT | u64::from(wake.bit().trailing_zeros());
        assert_eq!(machine.x(A2), cause);
    }
}

/// A comparator that is moved into the future withdraws the interrupt before the handler returns
/// (Sstc 2; CLINT), so that each deadline interrupts once.
#[test]
fn a_timer_that_is_set_anew_interrupts_once() {
    for wake in [Wake::Stimecmp, Wake::Mtimecmp] {
        let mut machine = Machine::with(Start::Machine, |a| {
            a.li(S0, 0)
                .li(S1, TIME)
                .li(T0, NS_PER_TICK)
                .li(S2, MTIMECMP)
                .li(S3, 1000);
            match wake {
                Wake::Stimecmp => a.csrw(STIMECMP, S3),
                _ => a.s(Op::Sd, S3, S2, 0),
            };
            a.li(T2, wake.bit())
                .csrw(MIE, T2)
                .li(T2, status::MIE)
                .csrw(MSTATUS, T2);
            a.li(T1, 100_000);
            a.label("loop").s(Op::Sd, T0, S1, 0).addi(S0, S0, 1);
            a.b(Op::Blt, S0, T1, "loop").finish();
        });
        machine.assemble(HANDLER, |a| {
            a.addi(A0, A0, 1).addi(S3, S3, 1000).addi(S3, S3, 1000);
            a.li(T2, 18_000).r(Op::Add, S3, S3, T2);
            match wake {
                Wake::Stimecmp => a.csrw(STIMECMP, S3),
                _ => a.s(Op::Sd, S3, S2, 0),
            };
            a.op(Op::Mret);
        });
        machine.set_hart(0, |hart| {
            hart.csrs.mtvec = HANDLER;
            hart.csrs.menvcfg |= envcfg::STCE;
        });
        machine.run();
        // At 1000, 21000, 41000, 61000 and 81000 of 100000 ticks.
        assert_eq!(machine.x(A0), 5, "{wake:?}");
    }
}

/// A hart that does nothing but trap, without retiring anything, still sees its timer.
#[test]
fn a_timer_interrupts_a_storm_of_traps() {
    let mut machine = Machine::with(Start::Machine, |a| {
        a.word(0);
    });
    machine.assemble(HANDLER, |a| {
        a.csrr(A2, MCAUSE).finish();
    });
    machine.set_hart(0, |hart| {
        hart.mode = Mode::Supervisor;
        hart.csrs.pmp.open_all();
        hart.csrs.medeleg = 1 << 2;
        hart.csrs.stvec = RAM;
        hart.csrs.mtvec = HANDLER;
        hart.csrs.mie = interrupt::MTI;
    });
    machine
        .change_state(0, |state| state["mtimecmp"] = 1000.into())
        .expect("restored");
    machine.run_with(|board| {
        sleep(Duration::from_millis(5));
        board.clock.advance(1000 * NS_PER_TICK);
    });
    assert_eq!(machine.x(A2), INTERRUPT | 7);
}

/// Without STCE `stimecmp` drives nothing, and switching it off together with another feature
/// withdraws the interrupt at once (Sstc 2).
#[test]
fn stimecmp_is_enabled_by_menvcfg() {
    let mut machine = Machine::with(Start::Machine, |a| {
        let both = envcfg::STCE | envcfg::PBMTE;
        a.li(T0, interrupt::STI).csrw(MIE, T0).csrw(STIMECMP, ZERO);
        a.csrr(A0, MIP)
            .li(T1, both)
            .csr(Op::Csrrs, ZERO, MENVCFG, T1);
        // A write, so that the hart looks at the timer.
        a.csrw(STIMECMP, ZERO)
            .csrr(A1, MIP)
            .csr(Op::Csrrc, ZERO, MENVCFG, T1);
        a.csrr(A2, MIP);
        // Were it still thought pending, it would be taken here.
        a.li(T0, status::MIE)
            .csrw(MSTATUS, T0)
            .nop()
            .li(A3, 1)
            .finish();
    });
    machine.assemble(HANDLER, |a| {
        a.finish();
    });
    machine.set_hart(0, |hart| hart.csrs.mtvec = HANDLER);
    machine.run();
    let seen = [A0, A1, A2].map(|register| machine.x(register));
    assert_eq!(seen, [0, interrupt::STI, 0]);
    assert_eq!(machine.x(A3), 1);
}

/// An interrupt is raised by the instruction at each place of a straight run in turn; wherever it
/// is taken, the program's result is that of an undisturbed run.
#[test]
fn interrupts_at_every_instruction_of_a_block() {
    const LENGTH: usize = 40;
    let program = |raise_at: Option<usize>| {
        let mut machine = Machine::with(Start::Supervisor, |a| {
            a.li(S0, WIRES)
                .li(S1, 1)
                .li(S2, RAM + 0x8000)
                .li(A0, 1)
                .li(A1, 3);
            a.li(T0, interrupt::SEI).csrw(SIE, T0);
            a.csr(Op::Csrrsi, ZERO, SSTATUS, status::SIE as u8);
            for index in 0..LENGTH {
                if raise_at == Some(index) {
                    a.s(Op::Sd, S1, S0, 0);
                }
                match index % 4 {
                    0 => a.r(Op::Mul, A0, A0, A1),
                    1 => a.s(Op::Sd, A0, S2, 8 * index as i32),
                    2 => a.i(Op::Ld, A2, S2, 8 * index as i32 - 8),
                    _ => a.r(Op::Add, A1, A1, A2),
                };
            }
            // The interrupt must have come by the end of the next block.
            a.j("end").label("end").nop().finish();
        });
        machine.assemble(HANDLER, |a| {
            a.s(Op::Sd, ZERO, S0, 0).addi(S7, S7, 1);
            a.csrr(S5, SCAUSE).csrr(S6, SEPC).op(Op::Sret);
        });
        machine.set_hart(0, |hart| hart.csrs.stvec = HANDLER);
        machine.run();
        let memory = machine.read(RAM + 0x8000, 8 * LENGTH);
        (machine, memory)
    };
    let (quiet, memory) = program(None);
    assert_eq!(quiet.x(S7), 0);
    for index in 0..LENGTH {
        let (machine, disturbed) = program(Some(index));
        assert_eq!(machine.x(S7), 1, "taken once when raised at {index}");
        assert_eq!(machine.x(S5), INTERRUPT | 9);
        assert_eq!(disturbed, memory);
        let results = |machine: &Machine| [A0, A1, A2].map(|register| machine.x(register));
        assert_eq!(results(&machine), results(&quiet));
    }
}

/// Wires that go up and down at any moment, from another thread.
#[test]
fn interrupts_from_another_thread_disturb_nothing() {
    const TURNS: u64 = 300_000;
    let mut machine = Machine::with(Start::Supervisor, |a| {
        a.li(S0, WIRES).li(A1, TURNS).li(A3, 0x9e37_79b9_7f4a_7c15);
        a.li(T0, interrupt::SEI).csrw(SIE, T0);
        a.csr(Op::Csrrsi, ZERO, SSTATUS, status::SIE as u8);
        a.label("loop")
            .r(Op::Mul, A2, A2, A3)
            .r(Op::Add, A2, A2, A1);
        a.addi(A1, A1, -1).b(Op::Bne, A1, ZERO, "loop");
        // Until the other thread has had its turns as well.
        a.label("wait")
            .li(T0, 100)
            .b(Op::Blt, S7, T0, "wait")
            .finish();
    });
    machine.assemble(HANDLER, |a| {
        a.s(Op::Sd, ZERO, S0, 0).addi(S7, S7, 1).op(Op::Sret);
    });
    machine.set_hart(0, |hart| hart.csrs.stvec = HANDLER);
    machine.run_with(|board| {
        while !board.finished() {
            board.set_wire(0, false, true);
            sleep(Duration::from_micros(50));
        }
    });
    let expected = (1..=TURNS).rev().fold(0u64, |sum, turn| {
        sum.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(turn)
    });
    assert_eq!(machine.x(A2), expected);
}

/// Enabling an interrupt that is pending takes it before the next instruction.
#[test]
fn enabling_takes_what_is_pending_at_once() {
    for through_mie in [false, true] {
        let mut machine = Machine::with(Start::Machine, |a| {
            let (status, mie) = (status::MIE, interrupt::SSI);
            a.li(T0, mie).csrw(MIP, T0);
            let order = if through_mie {
                [(MSTATUS, status), (MIE, mie)]
            } else {
                [(MIE, mie), (MSTATUS, status)]
            };
            for (csr, value) in order {
                a.li(T0, value).csr(Op::Csrrs, ZERO, csr, T0);
            }
            a.li(A0, 1).finish();
        });
        machine.assemble(HANDLER, |a| {
            a.csrr(A1, MEPC).csrr(A2, MCAUSE).finish();
        });
        machine.set_hart(0, |hart| hart.csrs.mtvec = HANDLER);
        machine.run();
        assert_eq!(machine.x(A2), INTERRUPT | 1);
        assert_eq!(machine.x(A0), 0, "taken before the next instruction");
        // `li a0, 1` is where it returns to.
        let at = machine.x(A1);
        let word = immediate(Op::Addi, A0, ZERO, 1).to_le_bytes();
        assert_eq!(machine.read(at, 4), word);
    }
}

/// `sip.SSIP` can be cleared by its handler, and the external line shows in `sip` and cannot.
#[test]
fn software_and_external_bits_of_sip() {
    let mut machine = Machine::with(Start::Supervisor, |a| {
        a.li(T0, interrupt::SUPERVISOR)
            .csr(Op::Csrrs, ZERO, SIP, T0);
        a.csrr(A0, SIP).csr(Op::Csrrc, ZERO, SIP, T0).csrr(A1, SIP);
        a.poke(WIRES, 1).li(T0, interrupt::SUPERVISOR);
        a.csr(Op::Csrrc, ZERO, SIP, T0).csrr(A2, SIP);
        a.poke(WIRES, 0).csrr(A3, SIP).finish();
    });
    machine.run();
    let seen = [A0, A1, A2, A3].map(|register| machine.x(register));
    assert_eq!(seen, [interrupt::SSI, 0, interrupt::SEI, 0]);
}

/// A read-modify-write of `mip` does not turn the external line into software's bit (3.1.9).
#[test]
fn the_external_line_does_not_stick_in_mip() {
    let mut machine = Machine::with(Start::Machine, |a| {
        a.poke(WIRES, 1).li(T0, interrupt::SSI);
        a.csr(Op::Csrrs, A0, MIP, T0).poke(WIRES, 0).csrr(A1, MIP);
        a.li(T0, interrupt::SEI)
            .csr(Op::Csrrs, ZERO, MIP, T0)
            .csrr(A2, MIP);
        a.poke(WIRES, 1).poke(WIRES, 0).csrr(A3, MIP).finish();
    });
    machine.run();
    let seen = [A0, A1, A2, A3].map(|register| machine.x(register));
    let software = interrupt::SSI | interrupt::SEI;
    assert_eq!(seen, [interrupt::SEI, interrupt::SSI, software, software]);
}

/// The CLINT's registers, by byte, word and doubleword (SiFive's manual; QEMU's `virt`).
#[test]
fn clint_registers() {
    const MTIME: u64 = CLINT + 0xbff8;
    let mut machine = Machine::with_harts(Start::Machine, 2, |a| {
        a.csrr(T0, clade_riscv::csr::address::MHARTID);
        a.label("other").b(Op::Bne, T0, ZERO, "other");
        a.li(S0, MTIMECMP).li(T0, 0x1122_3344_5566_7788);
        a.s(Op::Sd, T0, S0, 8).i(Op::Ld, A0, S0, 8);
        a.s(Op::Sw, ZERO, S0, 12)
            .i(Op::Ld, A1, S0, 8)
            .i(Op::Lwu, A2, S0, 8);
        a.s(Op::Sb, ZERO, S0, 8).i(Op::Lwu, A3, S0, 8);
        // The other hart's software interrupt: only bit 0 is kept.
        a.li(S1, CLINT)
            .li(T0, !0)
            .s(Op::Sw, T0, S1, 4)
            .i(Op::Lw, A4, S1, 4);
        a.i(Op::Ld, A5, S1, 0)
            .s(Op::Sw, ZERO, S1, 4)
            .i(Op::Lw, A6, S1, 4);
        // Time goes on from where it is set.
        a.li(S2, MTIME).li(T0, 5_000_000).s(Op::Sd, T0, S2, 0);
        a.poke(TIME, 10 * NS_PER_TICK).i(Op::Ld, A7, S2, 0);
        a.csrr(S3, TIME_CSR);
        // A hart that does not exist: zero, and writes go nowhere.
        a.s(Op::Sd, T0, S0, 16).i(Op::Ld, S4, S0, 16).finish();
    });
    machine.run_all();
    let seen = [A0, A1, A2, A3, A4, A5, A6].map(|register| machine.x(register));
    let expected = [
        0x1122_3344_5566_7788,
        0x5566_7788,
        0x5566_7788,
        0x5566_7700,
        1,
        1 << 32,
        0,
    ];
    assert_eq!(seen, expected);
    assert_eq!(machine.x(A7), 5_000_010);
    assert_eq!(machine.x(S3), 5_000_010);
    assert_eq!(machine.x(S4), 0);
}

/// A kick ends a busy loop, a wait and a stopped hart's sleep; one made beforehand is not lost.
#[test]
fn kicks_end_runs() {
    let busy = |a: &mut Asm| {
        a.label("loop").j("loop");
    };
    let trapping = |a: &mut Asm| {
        a.word(0);
    };
    let waiting = |a: &mut Asm| {
        a.label("loop").op(Op::Wfi).j("loop");
    };
    let straight = |a: &mut Asm| {
        a.label("loop");
        (0..500).for_each(|_| {
            a.nop();
        });
        a.j("loop");
    };
    let programs: [&dyn Fn(&mut Asm); 4] = [&busy, &trapping, &waiting, &straight];
    for (index, program) in programs.into_iter().enumerate() {
        // Hart 1 is stopped all the while.
        let mut machine = Machine::with_harts(Start::Supervisor, 2, program);
        machine.set_hart(0, |hart| hart.csrs.stvec = RAM);
        let exits = machine.run_with(|board| {
            for _ in 0..20 {
                sleep(Duration::from_millis(1));
                board.kick();
            }
            board.finish();
        });
        assert_eq!(exits, [Exit::Kicked; 2], "program {index}");
        machine.vcpus[0].handle().kick();
        assert_eq!(machine.vcpus[0].run().unwrap(), Exit::Kicked);
        // A stopped hart too.
        machine.vcpus[1].handle().kick();
        assert_eq!(machine.vcpus[1].run().unwrap(), Exit::Kicked);
    }
}
