//! The built-in SBI against the text of its specification, version 2.0.

mod common;

use clade_engine::{Exit, SystemEvent};
use clade_riscv::csr::address::{
    CYCLE, INSTRET, SCAUSE, SIE, SIP, SSTATUS, STIMECMP, TIME as TIME_CSR,
};
use clade_riscv::csr::status;
use clade_riscv::hart::Mode;
use clade_riscv::isa::Op;
use clade_riscv::trap::interrupt;

use common::asm::*;
use common::machine::*;

const BASE: u64 = 0x10;
const TIMER: u64 = 0x5449_4d45;
const IPI: u64 = 0x73_5049;
const RFENCE: u64 = 0x5246_4e43;
const HSM: u64 = 0x48_534d;
const SRST: u64 = 0x5352_5354;
const DBCN: u64 = 0x4442_434e;
const SUSP: u64 = 0x5355_5350;
const PMU: u64 = 0x50_4d55;

const SUCCESS: i64 = 0;
const NOT_SUPPORTED: i64 = -2;
const INVALID_PARAM: i64 = -3;
const DENIED: i64 = -4;
const INVALID_ADDRESS: i64 = -5;
const ALREADY_AVAILABLE: i64 = -6;
const ALREADY_STARTED: i64 = -7;
const ALREADY_STOPPED: i64 = -8;

const OTHER: u64 = RAM + 0x1000;
const DATA: u64 = RAM + 0x8000;

/// Loads the arguments and calls.
fn call(a: &mut Asm, extension: u64, function: u64, arguments: &[u64]) {
    for (register, &value) in (A0..).zip(arguments) {
        a.li(register, value);
    }
    a.sbi(extension, function);
}

/// One call on a machine with two harts: the error and the value.
fn answer(extension: u64, function: u64, arguments: &[u64]) -> (i64, u64) {
    let mut machine = Machine::with_harts(Start::Supervisor, 2, |a| {
        call(a, extension, function, arguments);
        a.finish();
    });
    assert_eq!(machine.run_all()[0], Exit::Kicked);
    (machine.x(A0) as i64, machine.x(A1))
}

/// All registers but `a0` and `a1` are preserved (chapter 3).
#[test]
fn calls_preserve_registers() {
    for (extension, function) in [
        (BASE, 0),
        (TIMER, 0),
        (IPI, 0),
        (RFENCE, 0),
        (PMU, 0),
        (99, 9),
    ] {
        let mut machine = Machine::with(Start::Supervisor, |a| {
            call(a, extension, function, &[0]);
            a.nop().finish();
        });
        let before = {
            machine.set_hart(0, |hart| {
                (1..32).for_each(|register| hart.x[register] = 0x1000 + register as u64);
            });
            machine.hart(0)
        };
        machine.run();
        let after = machine.hart(0);
        let changed = [A0, A1, A6, A7, T5, T6].map(usize::from);
        for register in (0..32).filter(|register| !changed.contains(register)) {
            assert_eq!(after.x[register], before.x[register], "x{register}");
        }
        assert_eq!(after.mode, Mode::Supervisor);
    }
}

#[test]
fn base() {
    assert_eq!(answer(BASE, 0, &[]), (SUCCESS, 2 << 24));
    assert_eq!(answer(BASE, 1, &[]), (SUCCESS, 0xc1ade));
    assert_eq!(answer(BASE, 2, &[]).0, SUCCESS);
    for function in 4..=6 {
        assert_eq!(answer(BASE, function, &[]), (SUCCESS, 0));
    }
    assert_eq!(answer(BASE, 7, &[]).0, NOT_SUPPORTED);
}

#[test]
fn probe() {
    let present = [
        0, 1, 2, 8, BASE, TIMER, IPI, RFENCE, HSM, SRST, DBCN, SUSP, PMU,
    ];
    for extension in present {
        assert_eq!(
            answer(BASE, 3, &[extension]),
            (SUCCESS, 1),
            "{extension:#x}"
        );
    }
    // Legacy IPIs and fences, nested acceleration, steal time, collaborative power, nonsense.
    let absent = [3, 4, 5, 6, 7, 9, 0x4e41_434c, 0x53_5441, 0x4350_5043, !0];
    for extension in absent {
        assert_eq!(
            answer(BASE, 3, &[extension]),
            (SUCCESS, 0),
            "{extension:#x}"
        );
        assert_eq!(answer(extension, 0, &[]).0, NOT_SUPPORTED);
    }
}

#[test]
fn functions_that_do_not_exist() {
    for (extension, function) in [
        (TIMER, 1),
        (IPI, 1),
        // The hypervisor's fences.
        (RFENCE, 3),
        (RFENCE, 6),
        (HSM, 4),
        (SRST, 1),
        (DBCN, 3),
        (SUSP, 1),
        (PMU, 9),
        (PMU, !0),
    ] {
        assert_eq!(
            answer(extension, function, &[]).0,
            NOT_SUPPORTED,
            "{extension:#x}"
        );
    }
}

/// The timer's pending bit clears with the call and comes back at the deadline (chapter 6).
#[test]
fn set_timer() {
    for legacy in [false, true] {
        let set = |a: &mut Asm| {
            if legacy {
                a.sbi(0, 0)
            } else {
                a.sbi(TIMER, 0)
            };
        };
        let mut machine = Machine::with(Start::Supervisor, |a| {
            a.li(A0, 0);
            set(a);
            a.csrr(S0, SIP)
                .mv(S1, A0)
                .csrr(A0, TIME_CSR)
                .addi(A0, A0, 1000);
            set(a);
            a.csrr(S2, SIP)
                .csrr(S3, STIMECMP)
                .poke(TIME, 99_900)
                .csrr(S4, SIP);
            a.poke(TIME, 100).csrr(S5, SIP).li(A0, !0);
            set(a);
            a.csrr(S6, SIP).finish();
        });
        machine.run();
        let seen = [S0, S1, S2, S3, S4, S5, S6].map(|register| machine.x(register));
        let pending = interrupt::STI;
        assert_eq!(
            seen,
            [pending, 0, 0, 1000, 0, pending, 0],
            "legacy: {legacy}"
        );
    }
}

#[test]
fn inter_processor_interrupts() {
    // To oneself, to hart 1, to both, and to all by the base -1, whatever the mask.
    let cases: [(&[u64], bool, bool); 6] = [
        (&[1, 0], true, false),
        (&[2, 0], false, true),
        (&[3, 0], true, true),
        (&[1, 1], false, true),
        (&[0, 0], false, false),
        (&[0, !0], true, true),
    ];
    for (arguments, first, second) in cases {
        let mut machine = Machine::with_harts(Start::Supervisor, 2, |a| {
            call(a, HSM, 0, &[1, OTHER, 0]);
            call(a, IPI, 0, arguments);
            // The interrupt to oneself is pending by the next block at the latest.
            a.mv(S0, A0).j("next").label("next").csrr(S1, SIP);
            a.li(S2, DATA).li(T0, 1).s(Op::Sd, T0, S2, 0);
            a.label("wait")
                .i(Op::Ld, T0, S2, 8)
                .b(Op::Beq, T0, ZERO, "wait")
                .finish();
        });
        machine.assemble(OTHER, |a| {
            a.li(S2, DATA).label("wait").i(Op::Ld, T0, S2, 0);
            a.b(Op::Beq, T0, ZERO, "wait").j("next").label("next");
            a.csrr(S1, SIP).li(T0, 1).s(Op::Sd, T0, S2, 8);
            a.label("idle").j("idle");
        });
        machine.run_all();
        assert_eq!(machine.x(S0), 0);
        let ssip = |hart: usize| machine.hart(hart).x[usize::from(S1)] & interrupt::SSI != 0;
        assert_eq!((ssip(0), ssip(1)), (first, second), "{arguments:?}");
    }
}

#[test]
fn masks_that_name_no_hart() {
    let wrong: [&[u64]; 5] = [&[4, 0], &[7, 0], &[1, 2], &[1, 1 << 40], &[2, !1]];
    for arguments in wrong {
        assert_eq!(answer(IPI, 0, arguments).0, INVALID_PARAM, "{arguments:?}");
        for function in 0..3 {
            assert_eq!(answer(RFENCE, function, arguments).0, INVALID_PARAM);
        }
    }
    for function in 0..3 {
        let range = [2, 0, 0x1000, 0x1000, 1];
        assert_eq!(answer(RFENCE, function, &range), (SUCCESS, 0));
        assert_eq!(answer(RFENCE, function, &[0, !0, 0, !0, 0]), (SUCCESS, 0));
    }
}

/// A started hart begins in S-mode with `satp` and `sstatus.SIE` zero, its id in `a0` and the opaque
/// value in `a1` (chapter 9).
#[test]
fn hart_start_and_stop() {
    let mut machine = Machine::with_harts(Start::Supervisor, 2, |a| {
        call(a, HSM, 2, &[1]);
        a.mv(S0, A1);
        call(a, HSM, 0, &[1, OTHER, 0xabc]);
        a.mv(S1, A0);
        a.label("running").li(S7, DATA).i(Op::Ld, T0, S7, 0);
        a.b(Op::Beq, T0, ZERO, "running");
        call(a, HSM, 2, &[1]);
        a.mv(S2, A1);
        // A second start finds it available.
        call(a, HSM, 0, &[1, OTHER, 0]);
        a.mv(S3, A0).s(Op::Sd, ZERO, S7, 0);
        // Until it has stopped.
        a.label("stopping");
        call(a, HSM, 2, &[1]);
        a.li(T0, 1).b(Op::Bne, A1, T0, "stopping");
        call(a, HSM, 0, &[1, OTHER + 0x100, 0xdef]);
        a.mv(S4, A0).label("idle").j("idle");
    });
    machine.assemble(OTHER, |a| {
        a.mv(S0, A0)
            .mv(S1, A1)
            .csrr(S2, clade_riscv::csr::address::SATP)
            .csrr(S3, SSTATUS);
        a.li(S7, DATA).li(T0, 1).s(Op::Sd, T0, S7, 0);
        a.label("wait")
            .i(Op::Ld, T0, S7, 0)
            .b(Op::Bne, T0, ZERO, "wait");
        // Stopped with interrupts on: the next start has them off.
        a.csr(Op::Csrrsi, ZERO, SSTATUS, status::SIE as u8);
        a.sbi(HSM, 1).poke(DATA, 99);
    });
    machine.assemble(OTHER + 0x100, |a| {
        a.mv(S4, A0).mv(S5, A1).csrr(S6, SSTATUS).finish();
    });
    machine.run_all();
    let seen = [S0, S1, S2, S3, S4].map(|register| machine.x(register) as i64);
    assert_eq!(seen, [1, SUCCESS, 0, ALREADY_AVAILABLE, SUCCESS]);
    let other = machine.hart(1);
    let seen = [S0, S1, S2, S4, S5].map(|register| other.x[usize::from(register)]);
    assert_eq!(seen, [1, 0xabc, 0, 1, 0xdef]);
    for register in [S3, S6] {
        assert_eq!(other.x[usize::from(register)] & status::SIE, 0);
    }
    assert_eq!(other.mode, Mode::Supervisor);
    assert_eq!(machine.read_u64(DATA), 0, "nothing runs after a stop");
}

#[test]
fn hart_state_errors() {
    assert_eq!(answer(HSM, 0, &[2, OTHER, 0]).0, INVALID_PARAM);
    assert_eq!(answer(HSM, 0, &[!0, OTHER, 0]).0, INVALID_PARAM);
    assert_eq!(answer(HSM, 0, &[0, OTHER, 0]).0, ALREADY_AVAILABLE);
    for address in [0, LOG, NOWHERE, RAM + 1, RAM + RAM_SIZE, !1] {
        assert_eq!(
            answer(HSM, 0, &[1, address, 0]).0,
            INVALID_ADDRESS,
            "{address:#x}"
        );
        assert_eq!(
            answer(HSM, 3, &[0x8000_0000, address, 0]).0,
            INVALID_ADDRESS
        );
    }
    assert_eq!(answer(HSM, 2, &[0]), (SUCCESS, 0));
    assert_eq!(answer(HSM, 2, &[1]), (SUCCESS, 1));
    assert_eq!(answer(HSM, 2, &[2]).0, INVALID_PARAM);
    for kind in [1, 0x0fff_ffff, 0x8000_0001, 0x8fff_ffff] {
        assert_eq!(
            answer(HSM, 3, &[kind, OTHER, 0]).0,
            INVALID_PARAM,
            "{kind:#x}"
        );
    }
    // Version 2.0 calls these valid but not implemented, later ones call them invalid.
    for kind in [0x1000_0000, 0x7fff_ffff, 0x9000_0000, 0xffff_ffff] {
        let error = answer(HSM, 3, &[kind, OTHER, 0]).0;
        assert!([NOT_SUPPORTED, INVALID_PARAM].contains(&error), "{kind:#x}");
    }
}

/// Suspension ends with an interrupt that `sie` enables: the retentive one after the call, the other at
/// its address.
#[test]
fn hart_suspend() {
    for retentive in [true, false] {
        let mut machine = Machine::with(Start::Supervisor, |a| {
            a.li(T0, interrupt::STI).csrw(SIE, T0);
            a.li(T0, 50_000).csrw(STIMECMP, T0).li(S3, 33);
            let kind = if retentive { 0 } else { 0x8000_0000 };
            call(a, HSM, 3, &[kind, OTHER, 0x123]);
            a.li(S4, 1).csrr(S5, TIME_CSR).finish();
        });
        machine.assemble(OTHER, |a| {
            a.li(S4, 2).csrr(S5, TIME_CSR).finish();
        });
        machine.run_with(|board| {
            std::thread::sleep(std::time::Duration::from_millis(3));
            board.clock.advance(5_000_000);
        });
        let seen = [A0, S3, S4, S5].map(|register| machine.x(register));
        if retentive {
            assert_eq!(seen, [0, 33, 1, 50_000]);
        } else {
            assert_eq!(seen, [0, 33, 2, 50_000]);
            assert_eq!(machine.x(A1), 0x123);
        }
    }
}

/// A retentive suspension that is ended by an enabled interrupt is followed by its trap.
#[test]
fn hart_suspend_and_trap() {
    let mut machine = Machine::with(Start::Supervisor, |a| {
        a.li(T0, interrupt::SEI).csrw(SIE, T0);
        a.csr(Op::Csrrsi, ZERO, SSTATUS, status::SIE as u8);
        call(a, HSM, 3, &[0]);
        a.label("idle").j("idle");
    });
    machine.assemble(OTHER, |a| {
        a.csrr(S0, SCAUSE).finish();
    });
    machine.set_hart(0, |hart| hart.csrs.stvec = OTHER);
    machine.run_with(|board| {
        std::thread::sleep(std::time::Duration::from_millis(3));
        board.set_wire(0, false, true);
    });
    assert_eq!(machine.x(S0), 1 << 63 | 9);
    assert_eq!(machine.x(A0), 0);
}

#[test]
fn system_suspend() {
    // Allowed while the other hart is stopped, denied while it runs.
    for other_runs in [false, true] {
        let mut machine = Machine::with_harts(Start::Supervisor, 2, |a| {
            if other_runs {
                call(a, HSM, 0, &[1, OTHER, 0]);
            }
            a.li(T0, interrupt::SSI).csrw(SIE, T0).csrw(SIP, T0);
            call(a, SUSP, 0, &[0, OTHER + 0x100, 0x77]);
            a.mv(S0, A0).finish();
        });
        machine.assemble(OTHER, |a| {
            a.label("idle").j("idle");
        });
        machine.assemble(OTHER + 0x100, |a| {
            a.mv(S1, A1).li(S2, 1).finish();
        });
        machine.run_all();
        let seen = [S0, S1, S2].map(|register| machine.x(register));
        if other_runs {
            assert_eq!(seen, [DENIED as u64, 0, 0]);
        } else {
            assert_eq!(seen, [0, 0x77, 1]);
        }
    }
    for kind in [1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff] {
        assert_eq!(
            answer(SUSP, 0, &[kind, OTHER, 0]).0,
            INVALID_PARAM,
            "{kind:#x}"
        );
    }
    assert_eq!(answer(SUSP, 0, &[0, NOWHERE, 0]).0, INVALID_ADDRESS);
}

#[test]
fn system_reset() {
    let exit = |arguments: &[u64]| {
        let mut machine = Machine::with(Start::Supervisor, |a| {
            call(a, SRST, 0, arguments);
            a.finish();
        });
        let exit = machine.run();
        (exit, machine.x(A0) as i64)
    };
    let event = |event| Exit::System(event);
    assert_eq!(exit(&[0, 0]).0, event(SystemEvent::PowerOff));
    assert_eq!(exit(&[0, 1]).0, event(SystemEvent::Fail(1)));
    assert_eq!(exit(&[1, 0]).0, event(SystemEvent::Reboot));
    assert_eq!(exit(&[2, 1]).0, event(SystemEvent::Reboot));
    // Reserved types and reasons (tables 18 and 19).
    for arguments in [[3, 0], [0xefff_ffff, 0], [0, 2], [0, 0xdfff_ffff], [1, 3]] {
        assert_eq!(
            exit(&arguments),
            (Exit::Kicked, INVALID_PARAM),
            "{arguments:x?}"
        );
    }
    let mut machine = Machine::with(Start::Supervisor, |a| {
        call(a, 8, 0, &[]);
        a.finish();
    });
    assert_eq!(
        machine.run(),
        event(SystemEvent::PowerOff),
        "legacy shutdown"
    );
}

#[test]
fn debug_console() {
    let text = b"Hello from S-mode\n";
    let mut machine = Machine::with(Start::Supervisor, |a| {
        call(a, DBCN, 0, &[text.len() as u64, DATA, 0]);
        a.mv(S0, A0).mv(S1, A1);
        call(a, DBCN, 2, &[0x121]);
        a.mv(S2, A0);
        // As many bytes as there are, then as many as asked for, then none.
        call(a, DBCN, 1, &[3, DATA + 0x100, 0]);
        a.mv(S3, A1);
        call(a, DBCN, 1, &[100, DATA + 0x103, 0]);
        a.mv(S4, A1);
        call(a, DBCN, 1, &[100, DATA + 0x100, 0]);
        a.mv(S5, A1).mv(S6, A0);
        call(a, 1, 0, &[0x58]);
        call(a, 2, 0, &[]);
        a.mv(S7, A0).finish();
    });
    machine.write(DATA, text);
    machine.console.typed.lock().unwrap().extend(b"typed");
    machine.run();
    let seen = [S0, S1, S2, S3, S4, S5, S6].map(|register| machine.x(register));
    assert_eq!(seen, [0, text.len() as u64, 0, 3, 2, 0, 0]);
    assert_eq!(machine.read(DATA + 0x100, 5), b"typed");
    assert_eq!(machine.x(S7), !0, "nothing was left for the legacy call");
    let printed = machine.console.printed.lock().unwrap();
    assert_eq!(*printed, [&text[..], b"!X"].concat());
}

#[test]
fn legacy_getchar_reads_a_byte() {
    let mut machine = Machine::with(Start::Supervisor, |a| {
        a.li(A1, 0x55);
        call(a, 2, 0, &[]);
        a.mv(S0, A0).finish();
    });
    machine.console.typed.lock().unwrap().push(0xe9);
    machine.run();
    assert_eq!(machine.x(S0), 0xe9);
    assert_eq!(machine.x(A1), 0x55, "legacy calls keep a1");
}

#[test]
fn debug_console_errors() {
    for function in 0..2 {
        for (length, low, high) in [
            (1, NOWHERE, 0),
            (1, LOG, 0),
            (16, RAM + RAM_SIZE - 8, 0),
            (1, !0, 0),
            (1, DATA, 1),
            (1, DATA, !0),
        ] {
            let error = answer(DBCN, function, &[length, low, high]).0;
            assert_eq!(error, INVALID_PARAM, "{length} at {high:x}:{low:x}");
        }
        assert_eq!(answer(DBCN, function, &[0, DATA, 0]), (SUCCESS, 0));
    }
    // What was typed survives a read to a wrong address.
    let mut machine = Machine::with(Start::Supervisor, |a| {
        call(a, DBCN, 1, &[4, NOWHERE, 0]);
        call(a, DBCN, 1, &[4, DATA, 0]);
        a.finish();
    });
    machine.console.typed.lock().unwrap().extend(b"kept");
    machine.run();
    assert_eq!(machine.read(DATA, 4), b"kept");
    // However much is asked for, what is printed is a prefix, and the count says of what length.
    let (error, written) = answer(DBCN, 0, &[100_000, DATA, 0]);
    assert_eq!(error, SUCCESS);
    assert!((1..=100_000).contains(&written));
}

const FIRMWARE_SET_TIMER: u64 = 15 << 16 | 5;
const FIRMWARE_IPI_SENT: u64 = 15 << 16 | 6;
const CLEAR_VALUE: u64 = 1 << 1;
const AUTO_START: u64 = 1 << 2;

#[test]
fn performance_counters_exist() {
    let (error, count) = answer(PMU, 0, &[]);
    assert_eq!(error, SUCCESS);
    let mut csrs = Vec::new();
    for index in 0..count {
        let (error, info) = answer(PMU, 1, &[index]);
        assert_eq!(error, SUCCESS);
        // Bit 63: firmware; else CSR number and width less one (section 11.6).
        if info >> 63 == 0 {
            assert_eq!(info >> 12 & 0x3f, 63);
            csrs.push(info as u16 & 0xfff);
        }
    }
    assert_eq!(csrs, [CYCLE, INSTRET]);
    assert_eq!(answer(PMU, 1, &[count]).0, INVALID_PARAM);
    assert_eq!(answer(PMU, 1, &[!0]).0, INVALID_PARAM);
}

#[test]
fn firmware_counters_count_calls() {
    let mut machine = Machine::with(Start::Supervisor, |a| {
        // Any of the counters 0 to 9.
        call(
            a,
            PMU,
            2,
            &[0, 0x3ff, CLEAR_VALUE | AUTO_START, FIRMWARE_SET_TIMER, 0],
        );
        a.mv(S0, A0).mv(S1, A1);
        call(
            a,
            PMU,
            2,
            &[0, 0x3ff, CLEAR_VALUE | AUTO_START, FIRMWARE_IPI_SENT, 0],
        );
        a.mv(S2, A1);
        (0..5).for_each(|_| call(a, TIMER, 0, &[!0]));
        (0..2).for_each(|_| call(a, IPI, 0, &[1, 0]));
        a.mv(A0, S1).sbi(PMU, 5).mv(S3, A1);
        a.mv(A0, S2).sbi(PMU, 5).mv(S4, A1);
        // Stopped, it stands still.
        a.mv(A0, S1).li(A1, 1).li(A2, 0).sbi(PMU, 4).mv(S5, A0);
        call(a, TIMER, 0, &[!0]);
        a.mv(A0, S1).sbi(PMU, 5).mv(S6, A1);
        a.mv(A0, S1)
            .li(A1, 1)
            .li(A2, 0)
            .sbi(PMU, 4)
            .mv(S7, A0)
            .finish();
    });
    machine.run();
    let seen = [S0, S3, S4, S5, S6].map(|register| machine.x(register));
    assert_eq!(seen, [0, 5, 2, 0, 5]);
    assert_ne!(machine.x(S1), machine.x(S2));
    assert_eq!(machine.x(S7) as i64, ALREADY_STOPPED);
}

#[test]
fn hardware_counters_start_and_stop() {
    const CPU_CYCLES: u64 = 1;
    let mut machine = Machine::with(Start::Supervisor, |a| {
        call(a, PMU, 2, &[0, 3, CLEAR_VALUE | AUTO_START, CPU_CYCLES, 0]);
        a.mv(S0, A1).csrr(S1, CYCLE);
        call(a, PMU, 3, &[0, 1, 0, 0]);
        a.mv(S2, A0);
        call(a, PMU, 4, &[0, 1, 0]);
        a.csrr(S3, CYCLE).nop().nop().csrr(S4, CYCLE);
        // Start at a value of one's own.
        call(a, PMU, 3, &[0, 1, 1, 1 << 50]);
        a.mv(S5, A0).csrr(S6, CYCLE).nop().csrr(S7, CYCLE).finish();
    });
    machine.run();
    assert_eq!(machine.x(S0), 0, "counter 0 is `cycle`");
    assert!(machine.x(S1) < 10, "cleared a moment ago");
    assert_eq!(machine.x(S2) as i64, ALREADY_STARTED);
    assert_eq!(machine.x(S3), machine.x(S4), "stopped");
    assert_eq!(machine.x(S5), 0);
    assert!((1 << 50..(1 << 50) + 10).contains(&machine.x(S6)));
    assert_eq!(machine.x(S7), machine.x(S6) + 2);
}

#[test]
fn performance_counter_errors() {
    for event in [0, 3, 1 << 16, 2 << 16, 15 << 16 | 0xff, 15 << 16 | 0xffff] {
        let error = answer(PMU, 2, &[0, 0x3ff, 0, event, 0]).0;
        assert_eq!(error, NOT_SUPPORTED, "event {event:#x}");
    }
    for (base, mask) in [(0, 1 << 10), (10, 1), (!0, 3), (1 << 40, 1)] {
        assert_eq!(answer(PMU, 2, &[base, mask, 0, 1, 0]).0, INVALID_PARAM);
        assert_eq!(answer(PMU, 3, &[base, mask, 0, 0]).0, INVALID_PARAM);
        assert_eq!(answer(PMU, 4, &[base, mask, 0]).0, INVALID_PARAM);
    }
    for index in [0, 1, 2, 10, !0] {
        assert_eq!(answer(PMU, 5, &[index]).0, INVALID_PARAM, "counter {index}");
    }
}

/// U-mode's calls go to the kernel, not to the SBI; with firmware in M-mode so do S-mode's.
#[test]
fn calls_that_are_not_for_the_built_in_sbi() {
    for (start, mode, cause) in [
        (Start::Supervisor, Mode::User, 8),
        (Start::Machine, Mode::User, 8),
        (Start::Machine, Mode::Supervisor, 9),
        (Start::Machine, Mode::Machine, 11),
    ] {
        let mut machine = Machine::with(start, |a| {
            call(a, SRST, 0, &[0, 0]);
            a.finish();
        });
        machine.assemble(OTHER, |a| {
            a.finish();
        });
        machine.set_hart(0, |hart| {
            hart.mode = mode;
            (hart.csrs.stvec, hart.csrs.mtvec) = (OTHER, OTHER);
            hart.csrs.pmp.open_all();
        });
        assert_eq!(machine.run(), Exit::Kicked);
        let csrs = machine.hart(0).csrs;
        let seen = if start == Start::Machine {
            csrs.mcause
        } else {
            csrs.scause
        };
        assert_eq!(seen, cause);
    }
}
